// The trial of gathering (Gathering.swift), of all loops of a server together.
//
//      80 ms        ├ with ┼ without ┼ with ┼ without ┼ …     turns of 10 ms
//      then 2 s     ├ with, if more came with it … ┼ the next trial
//
// Loops share their clients' processors, and often each other's: one that gathers alone loses to the others what all of
// them would gain together, so they begin and end at one time, and what counts is what comes to all.
//
// Threads: any loop's ends a turn that is over, one at a time. Cost: a load a round.

import KedisStore
import Synchronization

final class GatheringTrial: Sendable {
    static let turnNanoseconds: UInt64 = 10_000_000

    /// How long loops gather now; 0 when they do not.
    private let current = Atomic<UInt64>(0)
    private let end = Atomic<UInt64>(0)
    /// Loops that many connections keep busy.
    private let loopCount = Atomic<Int>(0)
    private let state = Locked(State())
    /// How much has come to all loops, ever.
    private let eventCount: @Sendable () -> UInt64

    private struct State: Sendable {
        /// The turn that runs.
        var start: (nanoseconds: UInt64, eventCount: UInt64) = (0, 0)
        var phase = Phase.resting
        /// What the last trial has said.
        var isKept = false
        /// What came a second in the last turn with gathering; and, for each pair of turns, how much that was of what
        /// came without, in thousandths.
        var gatheredRate: UInt64 = 0
        var shares: [UInt64] = []

        /// The median: other work on the machine disturbs some turns much, and the others not at all.
        var hasGained: Bool {
            shares.sorted()[shares.count / 2] >= (isKept ? keptShareMin : shareMin)
        }
    }

    private enum Phase {
        case resting
        /// In so many more turns.
        case trying(UInt64)
        case decided(UInt64)
    }

    private static let gatherNanosecondsPerLoop: UInt64 = 50_000
    private static let gatherNanosecondsMax: UInt64 = 100_000
    /// The longest that these loops gather.
    let gatherNanosecondsMax: UInt64
    private static let trialTurnCount: UInt64 = 16
    private static let decidedTurnCount: UInt64 = 200
    /// More than chance: the median share from which on gathering is kept, and goes on to be.
    private static let shareMin: UInt64 = 1030
    private static let keptShareMin: UInt64 = 1015

    /// - Parameter eventCount: how much has come to all loops, ever.
    init(loopCount: Int = 1, eventCount: @escaping @Sendable () -> UInt64) {
        self.eventCount = eventCount
        gatherNanosecondsMax = Self.gatherNanoseconds(loopCount: loopCount)
    }

    var nanoseconds: UInt64 {
        @inline(__always) get { current.load(ordering: .relaxed) }
    }

    /// How long so many loops gather when they do: the more of them share what comes, the longer.
    private static func gatherNanoseconds(loopCount: Int) -> UInt64 {
        min(UInt64(clamping: max(1, loopCount)) * gatherNanosecondsPerLoop, gatherNanosecondsMax)
    }

    private var gatherNanoseconds: UInt64 {
        Self.gatherNanoseconds(loopCount: loopCount.load(ordering: .relaxed))
    }

    /// One loop more that many connections keep busy, or one less.
    func noteLoop(isWorthIt: Bool) { loopCount.wrappingAdd(isWorthIt ? 1 : -1, ordering: .relaxed) }

    /// When the turn that runs is over.
    var turnEnd: UInt64 {
        @inline(__always) get { end.load(ordering: .relaxed) }
    }

    /// Ends the turn if that is due: another loop may have done so.
    func endTurn(_ now: UInt64) {
        state.withLock { state in
            guard now >= turnEnd else { return }
            end.store(now + Self.turnNanoseconds, ordering: .relaxed)
            let elapsed = now &- state.start.nanoseconds
            let count = eventCount()
            // The statistics may have been reset.
            let came = count >= state.start.eventCount ? count - state.start.eventCount : 0
            // After a rest, what came then says nothing of what comes now.
            if loopCount.load(ordering: .relaxed) > 0, elapsed < 2 * Self.turnNanoseconds {
                goOn(&state, rate: came * 1_000_000_000 / max(1, elapsed))
            } else {
                // Where gathering itself has made it not worth it, a new trial at once would not end.
                state.phase = nanoseconds > 0 ? .decided(Self.decidedTurnCount) : .resting
                state.isKept = false
                current.store(0, ordering: .relaxed)
            }
            state.start = (now, count)
        }
    }

    private func goOn(_ state: inout State, rate: UInt64) {
        switch state.phase {
        case .resting: beginTrial(&state)
        case .trying(let left):
            if nanoseconds > 0 {
                state.gatheredRate = rate
            } else {
                state.shares.append(state.gatheredRate * 1000 / max(1, rate))
            }
            guard left == 1 else { return goOnTrying(&state, turnCount: left - 1) }
            state.isKept = state.hasGained
            state.phase = .decided(Self.decidedTurnCount)
            current.store(state.isKept ? gatherNanoseconds : 0, ordering: .relaxed)
        case .decided(let left):
            // As many loops as there are now.
            if state.isKept { current.store(gatherNanoseconds, ordering: .relaxed) }
            guard left == 1 else { return state.phase = .decided(left - 1) }
            beginTrial(&state)
        }
    }

    private func beginTrial(_ state: inout State) {
        state.shares.removeAll(keepingCapacity: true)
        goOnTrying(&state, turnCount: Self.trialTurnCount)
    }

    private func goOnTrying(_ state: inout State, turnCount: UInt64) {
        state.phase = .trying(turnCount)
        current.store(turnCount % 2 == 0 ? gatherNanoseconds : 0, ordering: .relaxed)
    }
}
