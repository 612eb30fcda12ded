// The thread that removes keys whose deadline has passed, for databases in a program.
//
// It sleeps 10 ms at a time while deadlines are near and 100 ms otherwise, holds the store weakly between ticks, and
// ends with `stop()` or with the store. A tick removes at most 64 keys for each stripe and lock, so that commands wait
// for microseconds.

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

final class ExpiryTicker: Sendable {
    private final class Control: Sendable {
        let isStopped = Atomic<Bool>(false)
        let store: WeakStore

        init(_ store: Store) {
            self.store = WeakStore(store)
        }
    }

    /// Whether the store still has an owner is asked from the ticker's thread.
    private final class WeakStore: @unchecked Sendable {
        // Sendable: a weak reference is loaded atomically and never stored after init.
        weak var value: Store?

        init(_ value: Store) {
            self.value = value
        }
    }

    private let control: Control

    init(store: Store) {
        control = Control(store)
        // Without a thread to be had, keys expire on access only.
        _ = startThread { [control] in ExpiryTicker.run(control) }
    }

    deinit { stop() }

    func stop() { control.isStopped.store(true, ordering: .relaxed) }

    private static func run(_ control: Control) {
        while !control.isStopped.load(ordering: .relaxed) {
            guard let pause = tick(control.store.value) else { return }
            usleep(pause)
        }
    }

    /// Removes what is due and returns the microseconds to sleep; nil when the store is gone.
    private static func tick(_ store: Store?) -> UInt32? {
        guard let store else { return nil }
        let now = wallClockMilliseconds()
        while store.expireDue(nowMilliseconds: now, limit: 64) >= 64 {}
        return store.earliestDeadlineMilliseconds <= now + 1000 ? 10_000 : 100_000
    }
}
