// Threads of the benchmarks: several at once that are waited for, and one beside that is told to stop.

import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Runs `body` on `count` threads that start together, the caller's among them, and returns their results in order.
func onThreads<Result: Sendable>(_ count: Int, _ body: @escaping @Sendable (_ index: Int) -> Result) -> [Result] {
    let meeting = Meeting<Result>()
    for index in 1..<max(1, count) {
        let isStarted = startThread {
            meeting.arrive(count)
            meeting.finish(index, body(index))
        }
        precondition(isStarted, "the system has no thread")
    }
    meeting.arrive(count)
    meeting.finish(0, body(0))
    return meeting.results(count)
}

private final class Meeting<Result: Sendable>: Sendable {
    private let arrivedCount = Atomic<Int>(0)
    private let finished = Mutex<[Int: Result]>([:])

    func arrive(_ count: Int) {
        arrivedCount.wrappingAdd(1, ordering: .acquiringAndReleasing)
        // Busy: whoever slept would start late.
        while arrivedCount.load(ordering: .acquiring) < count {}
    }

    func finish(_ index: Int, _ result: Result) { finished.withLock { $0[index] = result } }

    func results(_ count: Int) -> [Result] {
        while true {
            let all = finished.withLock { $0.count == count ? $0 : nil }
            if let all { return (0..<count).compactMap { all[$0] } }
            usleep(200)
        }
    }
}

/// A thread that repeats `step` until it is told to stop, and then gives what it has gathered.
final class RepeatingThread<Gathered: Sendable>: Sendable {
    private let isStopped = Atomic<Bool>(false)
    private let result = Mutex<Gathered?>(nil)

    /// - Parameter body: is given a function that says whether to go on.
    init(_ body: @escaping @Sendable (_ goesOn: () -> Bool) -> Gathered) {
        let isStarted = startThread { [self] in
            let gathered = body { !self.isStopped.load(ordering: .relaxed) }
            result.withLock { $0 = gathered }
        }
        precondition(isStarted, "the system has no thread")
    }

    func stop() -> Gathered {
        isStopped.store(true, ordering: .relaxed)
        while true {
            if let gathered = result.withLock({ $0 }) { return gathered }
            usleep(200)
        }
    }
}
