// The clocks and the entropy of the machine. Only the outermost layers call these: the engine gets time and randomness
// as parameters, so that it runs deterministically under test.
//
// Cost: about 20 ns a call (no system call on Linux); entropy is a system call.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Milliseconds since 1970, UTC. May jump when the machine's clock is set.
package func wallClockMilliseconds() -> Int64 {
    let now = readClock(CLOCK_REALTIME)
    return Int64(now.tv_sec) &* 1_000 &+ Int64(now.tv_nsec) / 1_000_000
}

/// Microseconds since 1970, UTC. May jump when the machine's clock is set.
package func wallClockMicroseconds() -> Int64 {
    let now = readClock(CLOCK_REALTIME)
    return Int64(now.tv_sec) &* 1_000_000 &+ Int64(now.tv_nsec) / 1_000
}

/// Nanoseconds since some moment before the program's start; never goes back. For durations.
package func monotonicNanoseconds() -> UInt64 {
    nanoseconds(of: CLOCK_MONOTONIC)
}

/// What all threads of the process ever spent on processors, in nanoseconds.
package func processorNanosecondsOfProcess() -> UInt64 { nanoseconds(of: CLOCK_PROCESS_CPUTIME_ID) }

/// What the calling thread ever spent on processors, in nanoseconds. A system call.
package func processorNanosecondsOfThread() -> UInt64 { nanoseconds(of: CLOCK_THREAD_CPUTIME_ID) }

@inline(__always)
private func nanoseconds(of clock: clockid_t) -> UInt64 {
    let now = readClock(clock)
    return UInt64(truncatingIfNeeded: now.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: now.tv_nsec)
}

/// 64 bits from the system's cryptographic source.
package func systemEntropy() -> UInt64 {
    var generator = SystemRandomNumberGenerator()
    return generator.next()
}

/// So many bytes from the system's cryptographic source.
@Sendable package func systemRandomBytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
}

private func readClock(_ clock: clockid_t) -> timespec {
    var now = timespec()
    // Cannot fail: the clocks exist on every platform that Kedis builds for.
    _ = clock_gettime(clock, &now)
    return now
}
