// A small set of integers: sorted, all of one width, in the cell of its key.
//
//      ┌───────────┬──────┬──────┬─ … ─┐
//      │ width     │ low  │      │     │    2, 4 or 8 bytes each, as wide as the widest needs
//      │ 1 byte    │      │      │     │
//      └───────────┴──────┴──────┴─ … ─┘
//
// Ownership: none, a view of memory of others; nothing is aligned. Numbers are little-endian, as in files.
// Cost: 2 to 8 bytes a member; lookup O(log n), insertion O(n) for the bytes that move.

import KedisUtilities

struct IntegerSet {
    static let headerByteCount = 1

    let bytes: ByteView

    init(_ bytes: ByteView) { self.bytes = bytes }

    /// The bytes of a member.
    @inline(__always)
    var width: Int { Int(bytes[0]) }

    @inline(__always)
    var count: Int { (bytes.count &- IntegerSet.headerByteCount) >> IntegerSet.shift(ofWidth: width) }

    /// The members without the width.
    var content: ByteView { bytes[IntegerSet.headerByteCount..<bytes.count] }

    /// The member at a position, in ascending order.
    @inline(__always)
    func member(at position: Int) -> Int64 {
        assert(position >= 0 && position < count)
        let base = UnsafeRawPointer(bytes.base)
        return IntegerSet.load(base + IntegerSet.offset(ofPosition: position, width: width), width: width)
    }

    /// How many members are less than `value`. O(log n).
    func lowerBound(of value: Int64) -> Int {
        var (low, length) = (0, count)
        while length > 0 {
            let half = length >> 1
            let isBelow = member(at: low &+ half) < value
            low = isBelow ? low &+ half &+ 1 : low
            length = isBelow ? length &- half &- 1 : half
        }
        return low
    }

    /// Where `value` is; nil when it is no member.
    func position(of value: Int64) -> Int? {
        guard IntegerSet.width(of: value) <= width else { return nil }
        let position = lowerBound(of: value)
        return position < count && member(at: position) == value ? position : nil
    }

    // MARK: Bytes

    /// The fewest bytes that hold `value`: 2, 4 or 8.
    static func width(of value: Int64) -> Int {
        if Int64(Int16(truncatingIfNeeded: value)) == value { return 2 }
        return Int64(Int32(truncatingIfNeeded: value)) == value ? 4 : 8
    }

    static func byteCount(count: Int, width: Int) -> Int { headerByteCount + count * width }

    @inline(__always)
    static func offset(ofPosition position: Int, width: Int) -> Int { headerByteCount &+ position &* width }

    @inline(__always)
    private static func shift(ofWidth width: Int) -> Int { width.trailingZeroBitCount }

    @inline(__always)
    static func load(_ address: UnsafeRawPointer, width: Int) -> Int64 {
        switch width {
        case 2: Int64(Int16(littleEndian: address.loadUnaligned(as: Int16.self)))
        case 4: Int64(Int32(littleEndian: address.loadUnaligned(as: Int32.self)))
        default: Int64(littleEndian: address.loadUnaligned(as: Int64.self))
        }
    }

    @inline(__always)
    static func store(_ value: Int64, at address: UnsafeMutableRawPointer, width: Int) {
        switch width {
        case 2: address.storeBytes(of: Int16(truncatingIfNeeded: value).littleEndian, as: Int16.self)
        case 4: address.storeBytes(of: Int32(truncatingIfNeeded: value).littleEndian, as: Int32.self)
        default: address.storeBytes(of: value.littleEndian, as: Int64.self)
        }
    }

    /// Gives the members of a set, whose memory has the room already, another width.
    static func widen(_ base: UnsafeMutableRawPointer, count: Int, from old: Int, to new: Int) {
        // From the end on, so that no member is overwritten before it was read.
        var position = count &- 1
        while position >= 0 {
            let value = load(base + offset(ofPosition: position, width: old), width: old)
            store(value, at: base + offset(ofPosition: position, width: new), width: new)
            position &-= 1
        }
        base.storeBytes(of: UInt8(truncatingIfNeeded: new), as: UInt8.self)
    }
}
