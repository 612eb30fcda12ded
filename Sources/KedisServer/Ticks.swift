// Work in the background: expiry, eviction and maintenance of memory every 10 ms, save rules every second. On the first
// event loop, in slices of about half a millisecond, so that its connections never wait long. While nobody asks
// anything and nothing is due soon, it looks ten times a second only; the next request ends that.
//
// Expiry and eviction go on, slice by slice, until they are done: memory is short or promised. Maintenance (giving back
// memory, defragmentation, shrinking tables) takes at most the part of the loop's time that
// `active-defrag-cycle-max` gives it, and looks for work less often when there was none.

import KedisCommands
import KedisDurability
import KedisStore
import KedisUtilities
import Synchronization

final class Ticks: Sendable {
    let engine: Engine
    let state: ServerState
    private let expiry = SlicedWork()
    private let eviction = SlicedWork()
    private let maintenance = SlicedWork()
    /// What maintenance may still take before the next tick; only the loop changes it.
    private let maintenanceNanosecondsLeft = Atomic<UInt64>(0)
    private let tickCount = Atomic<UInt64>(0)
    private let rhythm: TickRhythm

    init(engine: Engine, state: ServerState, rhythm: TickRhythm) {
        self.engine = engine
        self.state = state
        self.rhythm = rhythm
    }

    /// Begins to tick on a loop, until `rhythm` is stopped.
    func start(on turns: LoopTurns) {
        rhythm.start(on: turns.loop) { [self] in
            run(on: turns)
            return isIdle
        }
    }

    /// Whether there is nothing to do in the next tenth of a second, unless somebody asks for something.
    private var isIdle: Bool {
        !expiry.isGoingOn && !eviction.isGoingOn && !maintenance.isGoingOn
            && !engine.memory.isMaintaining.load(ordering: .relaxed)
            && !engine.memory.isEvictionRequested.load(ordering: .relaxed)
            && engine.store.earliestDeadlineMilliseconds
                > engine.clock.wallMilliseconds + TickRhythm.idlePeriodMilliseconds
    }

    static let periodMilliseconds: Int64 = TickRhythm.periodMilliseconds
    /// Keys of a stripe that one slice of expiry removes.
    private static let sliceKeyCount = 16
    private static let sliceNanoseconds: UInt64 = 500_000
    private static let periodNanoseconds = UInt64(periodMilliseconds) * 1_000_000
    /// Without work, maintenance looks for it every this many ticks, as the peak of used memory is looked at.
    private static let idleTickCount: UInt64 = 5

    /// Every 10 ms.
    private func run(on turns: LoopTurns) {
        let count = tickCount.wrappingAdd(1, ordering: .relaxed).newValue
        let isTurn = rhythm.isSlow || count % Self.idleTickCount == 0
        if isTurn {
            engine.memory.note(usedByteCount: engine.store.usedByteCount)
            engine.observability.throughput.note(
                engine.statistics, nowNanoseconds: engine.clock.monotonicNanoseconds())
        }
        state.journal.watch(engine)
        engine.pause.endWhenDue(nowNanoseconds: engine.clock.monotonicNanoseconds())
        turns.now {
            expiry.start(on: turns) { [self] in expire() }
            eviction.start(on: turns) { [self] in engine.evictInBackground(nanosecondsMax: Self.sliceNanoseconds) }
            guard isTurn || engine.memory.isMaintaining.load(ordering: .relaxed) else { return }
            let percentage = engine.configuration.maintenancePercentage.load(ordering: .relaxed)
            maintenanceNanosecondsLeft.store(UInt64(percentage) * Self.periodNanoseconds / 100, ordering: .relaxed)
            maintenance.start(on: turns) { [self] in maintain() }
        }
    }

    /// Removes what is due, as far as a slice of time goes; true when more is due.
    private func expire() -> Bool {
        let start = monotonicNanoseconds()
        var hasMore = true
        repeat {
            hasMore = engine.expireDue(limit: Self.sliceKeyCount) >= Self.sliceKeyCount
        } while hasMore && monotonicNanoseconds() &- start < Self.sliceNanoseconds
        let elapsed = monotonicNanoseconds() &- start
        engine.statistics.expiryNanoseconds.wrappingAdd(elapsed, ordering: .relaxed)
        engine.observability.latency.note(
            .expireCycle, nanoseconds: elapsed, wallMilliseconds: engine.clock.wallMilliseconds)
        return hasMore
    }

    /// A slice of maintenance; true when there is work left and time for it before the next tick.
    private func maintain() -> Bool {
        let start = monotonicNanoseconds()
        guard engine.maintain(nanosecondsMax: Self.sliceNanoseconds) else { return false }
        let elapsed = monotonicNanoseconds() &- start
        let left = maintenanceNanosecondsLeft.load(ordering: .relaxed)
        maintenanceNanosecondsLeft.store(left > elapsed ? left - elapsed : 0, ordering: .relaxed)
        return left > elapsed
    }

    /// Looks at the save rules every second, from the next one on, until `rhythm` is stopped. On the loop.
    func startSaveRules(on loop: any ServerLoop) {
        _ = loop.schedule(inMilliseconds: 1000) { [self] in
            guard !rhythm.isOver else { return }
            applySaveRules()
            startSaveRules(on: loop)
        }
    }

    private func applySaveRules() {
        state.saveWhenDue()
        state.journal.rewriteWhenDue()
    }
}

/// Work that goes on in slices, in turns with the loop's connections. One run at a time: a new one with every tick
/// would add up, and their slices with them.
private final class SlicedWork: Sendable {
    private let state = Atomic<Bool>(false)

    var isGoingOn: Bool { state.load(ordering: .relaxed) }

    /// Runs `slice` now, and again in turns for as long as it answers that there is more.
    func start(on turns: LoopTurns, _ slice: @escaping @Sendable () -> Bool) {
        guard !isGoingOn, slice() else { return }
        state.store(true, ordering: .relaxed)
        turns.next { [self] in
            state.store(false, ordering: .relaxed)
            start(on: turns, slice)
        }
    }
}
