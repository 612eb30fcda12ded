// A signal for one thread that waits: given by any thread, kept until it is taken.
//
// Used where a thread of a program waits in a blocking command (the library). Cost: a system call to wait, and one to
// signal.

import CKedis
import Synchronization

package final class WakeSignal: Sendable {
    private let word = Word()

    /// The atomic in place: its address is what the system waits on.
    private struct Word: ~Copyable {
        let value = Atomic<UInt32>(0)

        func wait(nanosecondsMax: UInt64) {
            withUnsafePointer(to: value) { address in
                kedis_futex_wait_for(UnsafeMutableRawPointer(mutating: address), 0, nanosecondsMax)
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
        word.value.store(1, ordering: .releasing)
        word.wake()
    }

    /// Takes the signal: returns when it was given, when the time is up, or earlier without a reason.
    package func wait(nanosecondsMax: UInt64) {
        guard word.value.exchange(0, ordering: .acquiring) == 0 else { return }
        word.wait(nanosecondsMax: min(nanosecondsMax, UInt64(Int32.max) * 1_000_000_000))
        _ = word.value.exchange(0, ordering: .acquiring)
    }
}
