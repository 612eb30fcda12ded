// A signal for one thread that waits: given by any thread, kept until it is taken.
//
// Used where a thread of a program waits in a blocking command (the library), and by the thread of the journal. Cost: a
// system call to wait, and one to signal only while the other thread sleeps; otherwise an atomic exchange.

import CKedis
import Synchronization

package final class WakeSignal: Sendable {
    private static let none: UInt32 = 0
    private static let given: UInt32 = 1
    private static let sleeping: UInt32 = 2

    private let word = Word()

    /// The atomic in place: its address is what the system waits on.
    private struct Word: ~Copyable {
        let value = Atomic<UInt32>(WakeSignal.none)

        func wait(nanosecondsMax: UInt64) {
            withUnsafePointer(to: value) { address in
                kedis_futex_wait_for(
                    UnsafeMutableRawPointer(mutating: address), WakeSignal.sleeping, nanosecondsMax)
            }
        }

        func wake() {
            withUnsafePointer(to: value) { address in
                kedis_futex_wake_one(UnsafeMutableRawPointer(mutating: address))
            }
        }
    }

    package init() {}

    package func signal() {
        // Given already: whoever gave it has seen to the waking.
        if word.value.exchange(Self.given, ordering: .acquiringAndReleasing) == Self.sleeping { word.wake() }
    }

    /// Takes the signal: returns when it was given, when the time is up, or earlier without a reason.
    package func wait(nanosecondsMax: UInt64) {
        let before = word.value.compareExchange(
            expected: Self.none, desired: Self.sleeping, ordering: .acquiringAndReleasing)
        if before.exchanged { word.wait(nanosecondsMax: min(nanosecondsMax, UInt64(Int32.max) * 1_000_000_000)) }
        _ = word.value.exchange(Self.none, ordering: .acquiring)
    }
}
