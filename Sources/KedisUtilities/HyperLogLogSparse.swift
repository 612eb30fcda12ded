// The sparse registers of a HyperLogLog: runs of equal ones.
//
//      00nnnnnn             n + 1 registers of zero
//      01nnnnnn nnnnnnnn    n + 1 registers of zero, high bits first
//      1vvvvvnn             n + 1 registers of v + 1
//
// Ranks beyond 32 need the dense form. A sound sequence covers 16384 registers exactly. Nothing is read outside of the
// view: the second byte of a run that ends beyond it counts as zero.

/// A run of equal registers.
package struct SparseRun: Equatable, Sendable {
    /// 0, or 1 to ``valueMax``.
    package var value: UInt8
    /// In registers.
    package var length: Int
    package var byteCount: Int

    static let valueMax: UInt8 = 32
    static let valueLengthMax = 4
    static let shortZerosMax = 64

    /// In the shorter form when it fits.
    static func zeros(_ length: Int) -> SparseRun {
        assert(length >= 1 && length <= HyperLogLog.registerCount)
        return SparseRun(value: 0, length: length, byteCount: length > shortZerosMax ? 2 : 1)
    }

    static func values(_ value: UInt8, _ length: Int) -> SparseRun {
        assert(value >= 1 && value <= valueMax && length >= 1 && length <= valueLengthMax)
        return SparseRun(value: value, length: length, byteCount: 1)
    }

    /// The run whose first byte is at `offset`, which is in `0..<byteCount`.
    @inline(__always)
    static func at(_ offset: Int, in bytes: UnsafePointer<UInt8>, _ byteCount: Int) -> SparseRun {
        assert(offset >= 0 && offset < byteCount)
        let first = bytes[offset]
        if first & 0x80 != 0 {
            return SparseRun(value: (first >> 2 & 31) &+ 1, length: Int(first & 3) &+ 1, byteCount: 1)
        }
        guard first & 0x40 != 0 else { return SparseRun(value: 0, length: Int(first) &+ 1, byteCount: 1) }
        let second = offset &+ 1 < byteCount ? bytes[offset &+ 1] : 0
        return SparseRun(value: 0, length: (Int(first & 63) << 8 | Int(second)) &+ 1, byteCount: 2)
    }

    /// Its bytes, the first one lowest.
    var encoded: UInt16 {
        let count = UInt16(truncatingIfNeeded: length &- 1)
        if value > 0 { return 0x80 | UInt16(value &- 1) << 2 | count }
        return byteCount == 1 ? count : 0x40 | count >> 8 | (count & 0xFF) << 8
    }

    func write(to bytes: UnsafeMutablePointer<UInt8>) {
        let encoded = encoded
        bytes[0] = UInt8(truncatingIfNeeded: encoded)
        if byteCount == 2 { bytes[1] = UInt8(truncatingIfNeeded: encoded >> 8) }
    }
}

/// A run, where it stands and what it covers.
struct SparsePlace {
    var run: SparseRun
    var offset: Int
    /// Of the run before it; its own when it is the first.
    var previousOffset: Int
    /// Its first register.
    var first: Int
}

/// Where a run begins, and the one before it.
struct SparseStart {
    var offset = HyperLogLog.headerByteCount
    var previousOffset = HyperLogLog.headerByteCount
    var first = 0
}

extension HyperLogLog {
    /// The value of the register at `index` of a sparse one; nil when it is damaged. O(bytes), eight at a time.
    package static func sparseRegister(_ index: Int, in bytes: ByteView) -> UInt8? {
        findRun(of: index, in: bytes.base, bytes.count, from: SparseStart())?.place.run.value
    }

    /// The run that covers the register at `index`, and the start of the run before it, looked for from `start` on;
    /// nil when no whole run does.
    static func findRun(
        of index: Int, in bytes: UnsafePointer<UInt8>, _ byteCount: Int, from start: SparseStart
    ) -> (place: SparsePlace, before: SparseStart)? {
        var here = start
        var before = SparseStart()
        while here.offset < byteCount {
            let end = min(here.offset &+ 8, byteCount)
            if end &- here.offset == 8, let word = ShortRuns(at: bytes + here.offset),
                here.first &+ word.length <= index
            {
                before = SparseStart(
                    offset: end &- 1, previousOffset: end &- 2, first: here.first &+ word.length &- word.lastLength)
                here = SparseStart(offset: end, previousOffset: end &- 1, first: here.first &+ word.length)
                continue
            }
            // It is here, or a run of two bytes is.
            while here.offset < end {
                let run = SparseRun.at(here.offset, in: bytes, byteCount)
                if index < here.first &+ run.length {
                    guard here.offset + run.byteCount <= byteCount else { return nil }
                    let place = SparsePlace(
                        run: run, offset: here.offset, previousOffset: here.previousOffset, first: here.first)
                    return (place, before)
                }
                before = here
                here = SparseStart(
                    offset: here.offset &+ run.byteCount, previousOffset: here.offset, first: here.first &+ run.length)
            }
        }
        return nil
    }

    /// Eight runs of a byte each, read as one word.
    private struct ShortRuns {
        /// The registers that they cover together.
        let length: Int
        /// Those of the last one.
        let lastLength: Int

        /// Nil when one of the bytes is a run of two.
        @inline(__always)
        init?(at bytes: UnsafePointer<UInt8>) {
            let word = UInt64(littleEndian: UnsafeRawPointer(bytes).loadUnaligned(as: UInt64.self))
            let ones: UInt64 = 0x0101_0101_0101_0101
            let isValue = word >> 7 & ones
            guard word >> 6 & ones & ~isValue == 0 else { return nil }
            // 6 bits of length, of a value 2.
            let lengths = word & (ones &* 0x3F &- isValue &* 0x3C) &+ ones
            lastLength = Int(truncatingIfNeeded: lengths >> 56)
            let pairs = lengths & 0x00FF_00FF_00FF_00FF &+ lengths >> 8 & 0x00FF_00FF_00FF_00FF
            length = Int(truncatingIfNeeded: (pairs &* 0x0001_0001_0001_0001) >> 48)
        }
    }

    /// Calls `body` with each run of a sparse one and its first register; false when the runs do not cover the
    /// registers exactly. `body` sees only runs that lie among them.
    @inline(__always)
    static func forEachRun(of bytes: ByteView, _ body: (SparseRun, Int) -> Void) -> Bool {
        var offset = headerByteCount
        var index = 0
        while offset < bytes.count {
            let run = SparseRun.at(offset, in: bytes.base, bytes.count)
            guard run.length <= registerCount - index else { return false }
            body(run, index)
            index &+= run.length
            offset &+= run.byteCount
        }
        return index == registerCount
    }

    /// The runs of a sparse one as PFDEBUG DECODE writes them: `z:` and `Z:` with a length, `v:` with value and length.
    /// Nil when it is longer than any sound one.
    package static func decodedRuns(of bytes: ByteView) -> [UInt8]? {
        guard bytes.count <= sparseByteCountMax else { return nil }
        var text: [UInt8] = []
        var offset = headerByteCount
        while offset < bytes.count {
            let run = SparseRun.at(offset, in: bytes.base, bytes.count)
            if !text.isEmpty { text.append(UInt8(ascii: " ")) }
            let description =
                run.value > 0 ? "v:\(run.value),\(run.length)" : "\(run.byteCount == 1 ? "z" : "Z"):\(run.length)"
            text.append(contentsOf: description.utf8)
            offset += run.byteCount
        }
        return text
    }
}
