// What happens when the process is asked to end by a signal: a durable store is saved and closed first.
//
// A handler may do next to nothing, so it writes the signal's number into a pipe; a thread that waits at the other end
// saves and ends the process. Handlers count for all threads, those of the runtime too, which a signal mask would miss.
// A reader of the output that has gone (`kedis … | head`) ends the process like that too. The shell's editor gives the
// terminal back first and then passes the signal on to this handler.

import Kedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The writing end of the pipe, for the handler; set once, before the handler is installed.
private nonisolated(unsafe) var terminationPipe: Int32 = -1

/// Saves a durable store when a signal asks the process to end, then ends it with the signal's status. On a terminal,
/// Ctrl-C is the shell's own business.
func saveOnTermination(_ database: KedisDatabase) {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { return complain("signals will end the program without a save: no pipe to be had") }
    let readingEnd = ends[0]
    terminationPipe = ends[1]
    _ = startThread {
        var number: UInt8 = 0
        var count = read(readingEnd, &number, 1)
        while count < 0, errno == EINTR { count = read(readingEnd, &number, 1) }
        guard count == 1 else { return }
        do {
            try database.close()
        } catch {
            complain("\(error)")
        }
        exit(128 + Int32(number))
    }
    for number in [SIGTERM, SIGHUP, SIGPIPE] + (isatty(0) == 0 ? [SIGINT] : []) {
        _ = signal(number) { received in
            var byte = UInt8(truncatingIfNeeded: received)
            _ = write(terminationPipe, &byte, 1)
        }
    }
}
