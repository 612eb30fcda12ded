// Buckets for durations: each doubling is cut into 128 equal parts, so that a bucket is never wider than 1/128 of what
// is in it, from 1 ns to 137 s.
//
//      value   0 … 127        128 … 255     256 … 511     512 … 1023    …   2^36 … 2^37 - 1
//      bucket  0 … 127, 1     128 … 255, 1  256 … 383, 2  384 … 511, 4  …   3,840 … 3,967
//              (exact)        (exact)       (pairs)       (fours)
//
// The same buckets as an HDR histogram with two significant digits has, which Redis reports percentiles from, so the
// figures are comparable to the last digit. Longer durations count as the longest.

/// The arithmetic of the buckets.
package enum LogLinear {
    package static let bucketCount = (doublingCount + 1) << partBitCount
    private static let partBitCount = 7
    private static let doublingCount = 30
    /// The longest value that has a bucket of its own.
    package static let valueMax: UInt64 = 1 << UInt64(partBitCount + doublingCount) - 1

    /// The bucket of a value.
    @inline(__always)
    package static func bucket(of value: UInt64) -> Int {
        let value = min(value, valueMax)
        // 0 for values below 256, which have buckets of their own.
        let shift = max(0, 63 - partBitCount - (value | 1).leadingZeroBitCount)
        return shift << partBitCount &+ Int(truncatingIfNeeded: value >> UInt64(truncatingIfNeeded: shift))
    }

    /// The least value in a bucket.
    package static func lowest(ofBucket bucket: Int) -> UInt64 {
        let shift = max(0, bucket >> partBitCount - 1)
        return UInt64(bucket - shift << partBitCount) << UInt64(shift)
    }

    /// The greatest value in a bucket.
    package static func highest(ofBucket bucket: Int) -> UInt64 {
        bucket + 1 < bucketCount ? lowest(ofBucket: bucket + 1) - 1 : valueMax
    }
}
