// Goal: every duration has its bucket, buckets follow each other without gaps, and none is wider than 1/128 of what is
// in it; ticks become the nanoseconds that have passed.

import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Durations")
struct LogLinearTests {
    @Test("Buckets follow each other without a gap, and each knows its bounds")
    func buckets() {
        var expectedLow: UInt64 = 0
        for bucket in 0..<LogLinear.bucketCount {
            let (low, high) = (LogLinear.lowest(ofBucket: bucket), LogLinear.highest(ofBucket: bucket))
            #expect(low == expectedLow)
            #expect(high >= low && (high - low) * 128 <= max(low, 128))
            #expect(LogLinear.bucket(of: low) == bucket)
            #expect(LogLinear.bucket(of: high) == bucket)
            expectedLow = high + 1
        }
        #expect(expectedLow == LogLinear.valueMax + 1)
        #expect(LogLinear.bucket(of: .max) == LogLinear.bucketCount - 1)
    }

    @Test("Random values lie within the bounds of their bucket")
    func randomValues() {
        var generator = RandomGenerator.forTest("durations")
        for _ in 0..<100_000 {
            let value = generator.next() >> UInt64(generator.next(below: 64))
            let bucket = LogLinear.bucket(of: value)
            guard value <= LogLinear.valueMax else { continue }
            #expect(LogLinear.lowest(ofBucket: bucket) <= value && value <= LogLinear.highest(ofBucket: bucket))
        }
    }

    @Test("Ticks measure what the system's clock does")
    func ticks() {
        for clock in [TickClock.system, .monotonic] {
            let (ticks, start) = (clock.now, monotonicNanoseconds())
            TestFiles.sleep(milliseconds: 50)
            let measured = Double(clock.nanoseconds(from: ticks, to: clock.now))
            let elapsed = Double(monotonicNanoseconds() - start)
            #expect(abs(measured - elapsed) < elapsed * 0.05, "\(measured) instead of \(elapsed)")
            #expect(clock.nanoseconds(from: 2, to: 1) == 0)
        }
    }
}
