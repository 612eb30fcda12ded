// The thread that keeps a program's database tidy: it removes keys whose deadline has passed, goes on with evictions
// that commands had no time for, gives memory back, and looks after the journal.
//
// It sleeps 10 ms at a time while deadlines are near or work is left, and 100 ms otherwise, holds the engine weakly
// between ticks, and ends with `stop()` or with the engine. A tick removes at most 64 keys for each stripe and lock,
// and a slice of maintenance holds one lock for less than 100 microseconds, so that commands wait for microseconds.
// Maintenance takes at most a quarter of one core.

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisStore
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

final class BackgroundTicker: Sendable {
    private final class Control: Sendable {
        let isStopped = Atomic<Bool>(false)
        let engine: WeakEngine
        let journal: JournalKeeper?
        /// When the journal is looked at whether it has grown.
        let nextRewriteNanoseconds = Atomic<UInt64>(0)

        init(_ engine: Engine, _ journal: JournalKeeper?) {
            self.engine = WeakEngine(engine)
            self.journal = journal
        }
    }

    private let control: Control

    init(engine: Engine, journal: JournalKeeper?) {
        control = Control(engine, journal)
    }

    /// Once.
    func start() {
        // Without a thread to be had, keys expire on access only, and memory is given back when it is needed.
        _ = startThread { [control] in BackgroundTicker.run(control) }
    }

    deinit { stop() }

    func stop() { control.isStopped.store(true, ordering: .relaxed) }

    private static func run(_ control: Control) {
        while !control.isStopped.load(ordering: .relaxed) {
            guard let pause = tick(control.engine.value, control) else { return }
            usleep(pause)
        }
    }

    private static let maintenanceNanosecondsMax: UInt64 = 2_500_000
    private static let evictionNanosecondsMax: UInt64 = 2_500_000

    /// Does what is due and returns the microseconds to sleep; nil when the engine is gone.
    private static func tick(_ engine: Engine?, _ control: Control) -> UInt32? {
        guard let engine else { return nil }
        let store = engine.store
        if let journal = control.journal { look(after: journal, engine, control) }
        engine.memory.note(usedByteCount: store.usedByteCount)
        engine.observability.throughput.note(engine.statistics, nowNanoseconds: engine.clock.monotonicNanoseconds())
        engine.pause.endWhenDue(nowNanoseconds: engine.clock.monotonicNanoseconds())
        // The time goes on meanwhile: what has just become due is not to wait for all that is looked at early.
        while engine.expireDue(limit: 64) >= 64 {}
        let now = engine.clock.wallMilliseconds
        let mustEvict = engine.evictInBackground(nanosecondsMax: evictionNanosecondsMax)
        let mustMaintain = engine.maintain(nanosecondsMax: maintenanceNanosecondsMax)
        engine.serveRemovedKeys()
        if mustEvict { return 1000 }
        return mustMaintain || store.earliestDeadlineMilliseconds <= now + 1000 ? 10_000 : 100_000
    }

    private static func look(after journal: JournalKeeper, _ engine: Engine, _ control: Control) {
        journal.watch(engine)
        let now = engine.clock.monotonicNanoseconds()
        guard now >= control.nextRewriteNanoseconds.load(ordering: .relaxed) else { return }
        control.nextRewriteNanoseconds.store(now &+ 1_000_000_000, ordering: .relaxed)
        // Who closes comes behind: a rewrite that has begun is waited for.
        if !control.isStopped.load(ordering: .relaxed) { journal.rewriteWhenDue() }
    }
}

/// An engine, as long as it has an owner.
final class WeakEngine: @unchecked Sendable {
    // Sendable: a weak reference is loaded atomically and never stored after init.
    weak var value: Engine?

    init(_ value: Engine) {
        self.value = value
    }
}
