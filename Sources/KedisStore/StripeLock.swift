// The lock of a stripe: one atomic word, a short spin, then a futex.
//
// Not recursive, not fair. Who holds it: the thread that executes a plan (Commands), the expiry tick, the snapshot.
// Who waits for a set of stripes does so in ascending order, so two plans cannot wait for each other; who holds others
// only tries. Cost uncontended: one
// compare-and-exchange to lock, one exchange to unlock.
//
// The standard library's Mutex has no form for a set of stripes, hence our own.

import CKedis
import Synchronization

/// A lock word in place. Never moved: it lives inside a stripe, which stays where the store allocated it.
@usableFromInline
package struct StripeLock: ~Copyable {
    private static let free: UInt32 = 0
    private static let held: UInt32 = 1
    private static let heldWithWaiters: UInt32 = 2
    /// Spins before sleeping. Critical sections take about a microsecond, a futex sleep several.
    private static let spinLimit = 64

    private let word = Atomic<UInt32>(StripeLock.free)

    @usableFromInline
    package init() {}

    @usableFromInline
    package func lock() {
        if word.compareExchange(expected: Self.free, desired: Self.held, ordering: .acquiring).exchanged { return }
        lockSlowly()
    }

    package func tryLock() -> Bool {
        word.compareExchange(expected: Self.free, desired: Self.held, ordering: .acquiring).exchanged
    }

    @usableFromInline
    package func unlock() {
        let before = word.exchange(Self.free, ordering: .releasing)
        assert(before != Self.free, "unlock of a stripe that is not locked")
        if before == Self.heldWithWaiters { wakeOneSlowly() }
    }

    package var isLocked: Bool { word.load(ordering: .relaxed) != Self.free }

    @inline(never)
    private func lockSlowly() {
        for _ in 0..<Self.spinLimit {
            if word.load(ordering: .relaxed) == Self.free, tryLock() { return }
            kedis_spin_hint()
        }
        // From here on the word says "with waiters", so that whoever unlocks wakes one of us.
        while word.exchange(Self.heldWithWaiters, ordering: .acquiring) != Self.free {
            withUnsafePointer(to: word) { address in
                kedis_futex_wait(UnsafeMutableRawPointer(mutating: address), Self.heldWithWaiters)
            }
        }
    }

    @inline(never)
    private func wakeOneSlowly() {
        withUnsafePointer(to: word) { address in
            kedis_futex_wake_one(UnsafeMutableRawPointer(mutating: address))
        }
    }
}
