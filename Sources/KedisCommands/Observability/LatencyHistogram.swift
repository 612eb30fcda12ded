// Histograms of durations: one counter for each bucket of `LogLinear`.
//
//   writers ─▶ HistogramCounters (atomics, one set for each event loop) ─┐
//                                                                        ├▶ LatencyDistribution ─▶ percentiles, LATENCY
//                                                                  … ────┘                          HISTOGRAM, /metrics
//
// Threads: any; counters are only added to. A reader gets a sum that may miss what is counted meanwhile. Cost: 31 KiB
// of address space, of which only the touched pages become memory; one addition for each entry.

import KedisUtilities
import Synchronization

/// The counters, in memory of their own. Never freed before the owner is.
struct HistogramCounters: @unchecked Sendable {
    // Sendable: the memory holds atomics only.

    private let buckets: UnsafeMutablePointer<Atomic<UInt64>>

    /// Nil when memory is refused.
    init?() {
        let byteCount = LogLinear.bucketCount * MemoryLayout<Atomic<UInt64>>.stride
        guard let memory = allocateBuffer(byteCount: byteCount, isZeroed: true) else { return nil }
        // An atomic of zero is zeroed memory: pages that nobody touches are never made.
        buckets = memory.bindMemory(to: Atomic<UInt64>.self, capacity: LogLinear.bucketCount)
    }

    init(address: UnsafeMutableRawPointer) {
        buckets = address.assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    var address: UnsafeMutableRawPointer { UnsafeMutableRawPointer(buckets) }

    func release() { deallocateBuffer(address) }

    @inline(__always)
    func add(_ nanoseconds: UInt64, weight: UInt64) {
        buckets[LogLinear.bucket(of: nanoseconds)].wrappingAdd(weight, ordering: .relaxed)
    }

    func add(to distribution: inout LatencyDistribution) {
        for index in 0..<LogLinear.bucketCount {
            let count = buckets[index].load(ordering: .relaxed)
            if count > 0 { distribution.add(count, toBucket: index) }
        }
    }

    func reset() {
        for index in 0..<LogLinear.bucketCount where buckets[index].load(ordering: .relaxed) != 0 {
            buckets[index].store(0, ordering: .relaxed)
        }
    }
}

/// Durations as they were at one time. A value.
package struct LatencyDistribution: Sendable {
    /// One for each bucket; none before anything was added.
    private var counts: [UInt64] = []
    package private(set) var count: UInt64 = 0
    private var highestBucket = -1
    private var lowestBucket = LogLinear.bucketCount

    package init() {}

    package mutating func add(_ nanoseconds: UInt64, weight: UInt64 = 1) {
        add(weight, toBucket: LogLinear.bucket(of: nanoseconds))
    }

    mutating func add(_ added: UInt64, toBucket bucket: Int) {
        if counts.isEmpty { counts = Array(repeating: 0, count: LogLinear.bucketCount) }
        counts[bucket] &+= added
        count &+= added
        highestBucket = max(highestBucket, bucket)
        lowestBucket = min(lowestBucket, bucket)
    }

    /// The duration, in nanoseconds, that `percentile` percent of all (their number rounded to the nearest, as Redis
    /// does) are not longer than: the greatest of its bucket, or for 0 percent the least of the first one. 0 when there
    /// is none.
    package func nanoseconds(atPercentile percentile: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        guard percentile > 0 else { return LogLinear.lowest(ofBucket: lowestBucket) }
        let wanted = max(1, UInt64(min(percentile, 100) / 100 * Double(count) + 0.5))
        var sum: UInt64 = 0
        for bucket in lowestBucket...highestBucket {
            sum &+= counts[bucket]
            if sum >= wanted { return LogLinear.highest(ofBucket: bucket) }
        }
        return LogLinear.highest(ofBucket: highestBucket)
    }

    /// The longest duration, in nanoseconds, to the width of its bucket; 0 when there is none.
    package var longestNanoseconds: UInt64 { highestBucket >= 0 ? LogLinear.highest(ofBucket: highestBucket) : 0 }

    /// How many are not longer than about 1, 2, 4 … microseconds, as far as that changes: bounds in microseconds,
    /// rounded down, and counts scaled to `total`.
    ///
    /// The bounds are those of Redis: 1.024 µs and its doublings, each with the rest of its bucket.
    package func doublings(scaledTo total: UInt64) -> [(microseconds: UInt64, count: UInt64)] {
        guard count > 0 else { return [] }
        var result: [(microseconds: UInt64, count: UInt64)] = []
        var sum: UInt64 = 0
        var before: UInt64 = 0
        var bucket = lowestBucket
        for bound in Self.doublingBuckets {
            while bucket <= min(bound, highestBucket) {
                sum &+= counts[bucket]
                bucket += 1
            }
            let isLast = bucket > highestBucket
            let scaled = isLast ? total : Self.scale(sum, from: count, to: total)
            if scaled > before {
                result.append((LogLinear.highest(ofBucket: bound) / 1000, scaled))
                before = scaled
            }
            if isLast { break }
        }
        return result
    }

    /// The buckets that end a doubling.
    private static let doublingBuckets: [Int] = (10...36).map { LogLinear.bucket(of: 1 << UInt64($0)) }
        + [LogLinear.bucketCount - 1]

    /// 1,024 ns and its doublings, to 17 s.
    static let doublingNanoseconds: [UInt64] = (10...34).map { 1 << UInt64($0) }

    /// How many are shorter than each of ``doublingNanoseconds``, scaled to `total`.
    func countsOfDoublings(scaledTo total: UInt64) -> [UInt64] {
        guard count > 0 else { return Self.doublingNanoseconds.map { _ in 0 } }
        var sum: UInt64 = 0
        var bucket = lowestBucket
        return Self.doublingNanoseconds.map { bound in
            while bucket <= highestBucket, LogLinear.highest(ofBucket: bucket) < bound {
                sum &+= counts[bucket]
                bucket += 1
            }
            return Self.scale(sum, from: count, to: total)
        }
    }

    private static func scale(_ part: UInt64, from whole: UInt64, to total: UInt64) -> UInt64 {
        guard whole != total else { return part }
        let product = part.multipliedFullWidth(by: total)
        // `part` is at most `whole`, so the quotient is at most `total` and fits.
        return product.high < whole ? whole.dividingFullWidth(product).quotient : total
    }
}
