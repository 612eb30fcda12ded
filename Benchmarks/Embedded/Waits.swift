// How long operations took: a histogram, with and without the time in which the machine kept the thread from running.
//
// A shared machine takes processors away for milliseconds. So an operation that took long is looked at twice: by the
// clock on the wall, and without what the scheduler says the thread waited for a processor in the meantime. Waiting
// for a lock is not in that, and counts.

import BenchmarkSupport
import KedisUtilities

/// A duration of the calling thread, without the time in which it waited for a processor.
struct Stopwatch {
    private let delay = benchmark_thread_delay_nanoseconds()
    // Last: reading the delay takes longer than reading the clock.
    private let start = monotonicNanoseconds()

    var nanoseconds: UInt64 {
        let elapsed = monotonicNanoseconds() - start
        return elapsed - min(elapsed, UInt64(max(0, benchmark_thread_delay_nanoseconds() - delay)))
    }
}

/// Counts of durations in nanoseconds, in buckets at most 1/16 wide; the maximum is exact.
struct Histogram: Sendable {
    private var counts = [UInt64](repeating: 0, count: 64 * 16)
    private(set) var count: UInt64 = 0
    private(set) var maximum: UInt64 = 0

    @inline(__always)
    mutating func record(_ nanoseconds: UInt64) {
        counts[Self.bucket(nanoseconds)] &+= 1
        count &+= 1
        if nanoseconds > maximum { maximum = nanoseconds }
    }

    /// The upper end of the bucket below which `share` (0 to 1) of the durations lie.
    func percentile(_ share: Double) -> UInt64 {
        let wanted = UInt64((Double(count) * share).rounded(.up))
        var seen: UInt64 = 0
        for bucket in counts.indices {
            seen += counts[bucket]
            if seen >= wanted, counts[bucket] > 0 { return min(maximum, Self.upperEnd(bucket)) }
        }
        return maximum
    }

    @inline(__always)
    private static func bucket(_ value: UInt64) -> Int {
        guard value >= 16 else { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount
        return (exponent - 3) * 16 + Int((value >> UInt64(exponent - 4)) & 15)
    }

    private static func upperEnd(_ bucket: Int) -> UInt64 {
        guard bucket >= 16 else { return UInt64(bucket) }
        let exponent = bucket / 16 + 3
        return (UInt64(16 + bucket % 16 + 1) << UInt64(exponent - 4)) - 1
    }
}

struct WaitRecorder: Sendable {
    /// By the clock on the wall.
    private(set) var wall = Histogram()
    /// Without the time in which the thread waited for a processor.
    private(set) var own = Histogram()
    /// The thread waits for nobody: all time that it is not on a processor is the machine's.
    private let isAlone: Bool
    private var windowDelay: Int64 = 0
    private var windowCount = 0

    private static let longWait: UInt64 = 20_000
    private static let windowLength = 256

    init(isAlone: Bool = false) {
        self.isAlone = isAlone
        openWindow()
    }

    /// The time in which the machine kept the thread from running, from some time on.
    private var delay: Int64 {
        isAlone
            ? Int64(truncatingIfNeeded: monotonicNanoseconds()) - benchmark_thread_cpu_nanoseconds()
            : benchmark_thread_delay_nanoseconds()
    }

    /// To be called by one thread, the same that made the recorder.
    @inline(__always)
    mutating func record(from start: UInt64, to end: UInt64) {
        let duration = end &- start
        wall.record(duration)
        windowCount += 1
        if duration < Self.longWait {
            own.record(duration)
            if windowCount >= Self.windowLength { openWindow() }
        } else {
            recordLongWait(duration)
        }
    }

    @inline(never)
    private mutating func recordLongWait(_ duration: UInt64) {
        let delay = delay - windowDelay
        own.record(duration - min(duration, UInt64(max(0, delay))))
        openWindow()
    }

    private mutating func openWindow() {
        windowCount = 0
        windowDelay = delay
    }
}

/// The columns of a histogram, in microseconds.
let histogramColumns = ["p50", "p99", "p99.9", "p99.99", "p99.999", "max:10"]

extension Histogram {
    var figures: [Figure] {
        [0.5, 0.99, 0.999, 0.9999, 0.99999].map { microseconds(percentile($0)) } + [microseconds(maximum)]
    }
}

func microseconds(_ nanoseconds: UInt64) -> Figure { .decimal(Double(nanoseconds) / 1000, digits: 2) }
