// A thread for work that may wait for the disk. Nobody joins it: the work itself tells when it is over.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What a new thread runs, kept alive until it does.
private final class ThreadWork: Sendable {
    let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// Runs `body` on a new thread; false when the system has none to give.
package func startThread(_ body: @escaping @Sendable () -> Void) -> Bool {
    let work = Unmanaged.passRetained(ThreadWork(body))
    #if canImport(Darwin)
    var thread: pthread_t?
    let result = pthread_create(&thread, nil, { runThreadWork($0) }, work.toOpaque())
    guard result == 0, let thread else {
        work.release()
        return false
    }
    #else
    var thread = pthread_t()
    let result = pthread_create(&thread, nil, { runThreadWork($0) }, work.toOpaque())
    guard result == 0 else {
        work.release()
        return false
    }
    #endif
    pthread_detach(thread)
    return true
}

private func runThreadWork(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let context { Unmanaged<ThreadWork>.fromOpaque(context).takeRetainedValue().body() }
    return nil
}

/// Sleeps a millisecond.
package func sleepBriefly() { sleep(nanoseconds: 1_000_000) }

/// Sleeps for less than a second.
package func sleep(nanoseconds: UInt64) {
    if nanoseconds >= 1000 { usleep(UInt32(truncatingIfNeeded: min(nanoseconds / 1000, 999_999))) }
}
