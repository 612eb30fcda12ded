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

extension HyperLogLog {
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
