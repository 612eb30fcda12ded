// Threads for tests: as many as asked for, whatever the machine has, since the calls under test block.

import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What went wrong on threads, which have no test to report to.
package final class ThreadProblems: Sendable {
    private let texts = Mutex<[String]>([])

    package init() {}

    package func add(_ text: String) { texts.withLock { $0.append(text) } }

    /// Runs `body`, whose error is a problem.
    package func noting(_ body: () throws -> Void) {
        do { try body() } catch { add("\(error)") }
    }

    package var all: [String] { texts.withLock { $0 } }
}

private final class Work: Sendable {
    let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// Runs `body` on `count` threads at once and returns when all are done.
package func onThreads(_ count: Int, _ body: @escaping @Sendable (_ index: Int) -> Void) {
    var threads: [pthread_t] = []
    for index in 0..<count {
        let work = Unmanaged.passRetained(Work { body(index) })
        #if canImport(Darwin)
        var thread: pthread_t?
        #else
        var thread = pthread_t()
        #endif
        let result = pthread_create(&thread, nil, { runWork($0) }, work.toOpaque())
        precondition(result == 0, "the system has no thread")
        #if canImport(Darwin)
        if let thread { threads.append(thread) }
        #else
        threads.append(thread)
        #endif
    }
    for thread in threads { pthread_join(thread, nil) }
}

private func runWork(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let context { Unmanaged<Work>.fromOpaque(context).takeRetainedValue().body() }
    return nil
}
