// CLIENT PAUSE: for some time, commands wait: all of them, or those that change something.
//
//   session: a command that must wait ─▶ stays in the input, unexecuted ─▶ enters here ─▶ woken ─▶ goes on with it
//
// Who waits holds nothing: no lock, no place in a queue, only its own input, so every client's commands keep their
// order and none is lost. PAUSE is answered under the locks of all stripes, and batches look here under theirs: after
// the answer nothing that must wait is executed any more. While it lasts, no key expires or is evicted, and what is due
// stays in its place, unseen.
//
// Ownership: the engine's. Threads: any; one lock, held for a few words. Time: the monotonic clock. Cost: while nothing
// is paused, the load that batches make anyway (Interest.swift). Source: the page on CLIENT PAUSE of Redis 7.2.

import KedisStore
import KedisUtilities
import Synchronization

package final class PauseGate: Sendable {
    /// What waits, from least to most.
    package enum Extent: Int, Comparable, Sendable {
        case none
        /// What changes data, and what replicas would have to be told.
        case writes
        case all

        package static func < (left: Extent, right: Extent) -> Bool { left.rawValue < right.rawValue }
    }

    fileprivate struct State {
        var extent = Extent.none
        /// `.max` for one without an end.
        var endNanoseconds: UInt64 = 0
        /// Who waits, by number, and when it came.
        var waiting: [Int64: (record: ClientRecord, number: Int)] = [:]
        var nextNumber = 0
    }

    private let state = Locked(State())
    private let interest: InterestWord

    init(_ interest: InterestWord) { self.interest = interest }

    // MARK: Asking

    /// What waits now, and for how long still.
    package func current(nowNanoseconds: UInt64) -> (extent: Extent, leftNanoseconds: UInt64) {
        guard interest.current.isPaused else { return (.none, 0) }
        return state.withLock { state in
            guard state.extent != .none, state.endNanoseconds > nowNanoseconds else { return (.none, 0) }
            return (state.extent, state.endNanoseconds - nowNanoseconds)
        }
    }

    package func isActive(nowNanoseconds: UInt64) -> Bool { current(nowNanoseconds: nowNanoseconds).extent != .none }

    /// Whether a command has to wait: EXEC by what is in its transaction.
    func postpones(
        _ entry: UnsafePointer<CommandEntry>, of client: UnsafeMutablePointer<ClientState>, nowNanoseconds: UInt64
    ) -> Bool {
        switch current(nowNanoseconds: nowNanoseconds).extent {
        case .none: return false
        case .all: return true
        case .writes:
            if !entry.pointee.flags.isDisjoint(with: .changing) { return true }
            guard entry.pointee.fullName == "exec", let transaction = client.pointee.transaction else { return false }
            return transaction.items.contains { !$0.entry.pointee.flags.isDisjoint(with: .changing) }
        }
    }

    /// How many clients wait.
    package var waitingCount: Int { state.withLock { $0.waiting.count } }

    // MARK: Changing

    /// Begins a pause, or makes the one that there is longer and wider: what was promised before still holds.
    package func begin(_ extent: Extent, milliseconds: Int64, nowNanoseconds: UInt64) {
        let nanoseconds = UInt64(max(0, milliseconds)).multipliedReportingOverflow(by: 1_000_000)
        let end = nowNanoseconds.addingReportingOverflow(nanoseconds.partialValue)
        state.withLock { state in
            let isOver = state.extent == .none || state.endNanoseconds <= nowNanoseconds
            let wanted = nanoseconds.overflow || end.overflow ? .max : end.partialValue
            state.extent = isOver ? extent : max(state.extent, extent)
            state.endNanoseconds = isOver ? wanted : max(state.endNanoseconds, wanted)
            interest.setPaused(true)
        }
    }

    /// Ends the pause and wakes who waits, in the order in which they came.
    package func end() { wake(state.withLock { $0.endPause(interest) }) }

    /// Ends the pause when its time is up.
    package func endWhenDue(nowNanoseconds: UInt64) {
        guard interest.current.isPaused else { return }
        wake(
            state.withLock { state in
                state.endNanoseconds <= nowNanoseconds ? state.endPause(interest) : []
            })
    }

    private func wake(_ records: [ClientRecord]) {
        for record in records { record.wake() }
    }

    // MARK: Waiting

    /// Enters a client. It has to ask again afterwards whether the pause is still there.
    func enter(_ record: ClientRecord) {
        state.withLock { state in
            state.waiting[record.identifier] = (record, state.nextNumber)
            state.nextNumber += 1
        }
    }

    func leave(_ record: ClientRecord) {
        state.withLock { _ = $0.waiting.removeValue(forKey: record.identifier) }
    }

    /// When the pause ends, on the monotonic clock; nil when there is no end.
    var endNanoseconds: UInt64? {
        state.withLock { $0.endNanoseconds == .max ? nil : $0.endNanoseconds }
    }
}

extension PauseGate.State {
    /// Nothing is paused any more; returns who waits.
    fileprivate mutating func endPause(_ interest: InterestWord) -> [ClientRecord] {
        let records = waiting.values.sorted { $0.number < $1.number }.map(\.record)
        waiting = [:]
        extent = .none
        endNanoseconds = 0
        interest.setPaused(false)
        return records
    }
}

extension Engine {
    /// Clients that wait in blocking commands, or for the end of a pause.
    var blockedClientCount: Int { waiters.blockedCount.load(ordering: .relaxed) + pause.waitingCount }
}
