// Ctrl-C while a command runs: a flag that loops look at, instead of the end of the process and of its unsaved data.
//
// Armed by an interactive shell for as long as it lives. The signal belongs to the process, so there is one flag; the
// handler only sets it, on whichever thread the system picks. While a line is edited the terminal sends Ctrl-C as a
// key and the flag stays down. Cost: one load to look.

import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

private let requested = Atomic<Bool>(false)
private let armCount = Atomic<Int>(0)

enum Interruption {
    /// True while SIGINT sets the flag.
    static var isArmed: Bool { armCount.load(ordering: .relaxed) > 0 }

    /// True if SIGINT has arrived since `reset`.
    static var isRequested: Bool { requested.load(ordering: .relaxed) }

    static func reset() { requested.store(false, ordering: .relaxed) }

    /// Runs `body`, during which SIGINT sets the flag.
    static func whileArmed<Result>(_ body: () -> Result) -> Result {
        // Touches both variables before the handler can: their initialization is no work for a handler.
        reset()
        armCount.add(1, ordering: .relaxed)
        let previous = signal(SIGINT) { _ in requested.store(true, ordering: .relaxed) }
        defer {
            _ = signal(SIGINT, previous)
            armCount.subtract(1, ordering: .relaxed)
        }
        return body()
    }
}
