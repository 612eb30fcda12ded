// Packed entries: strings and integers in a row, in the encoding that Redis calls listpack.
//
//      entry     ┌──────────────┬─────────────────┬──────────────────────────┐
//                │ form, length │ bytes or number │ byte count of the two,   │
//                │ 1 to 5 bytes │                 │ backwards, 1 to 5 bytes  │
//                └──────────────┴─────────────────┴──────────────────────────┘
//
//      form      0xxxxxxx  0 to 127            11110000  string, 4 bytes of length
//                10xxxxxx  string up to 63     11110001  Int16     11110010  Int24
//                110xxxxx  13-bit integer      11110011  Int32     11110100  Int64
//                1110xxxx  string up to 4095
//
// The last field makes a run of entries walkable from both ends. Small collections are one such run; large lists are
// deques of them. The encoding is that of the files, so that saving and loading is copying. An entry without its last
// field is a bare one: small hashes, which nobody walks backwards, save a byte for each.
//
// Ownership: none, these are functions on memory of others. Numbers are little-endian. Decoding trusts its input:
// what comes from outside goes through `packedEntryCount(_:)` first. Source of the format: the listpack specification.

import CKedis
public import KedisUtilities

/// A string as packed runs keep it: as a number where its digits are the only spelling of an Int64.
@inline(__always)
package func packedValue(_ bytes: ByteView) -> StringValue {
    // The first byte is "-" or a digit, or one of two between them: most strings are told by it.
    if bytes.count > 0, bytes.count <= 20, bytes[0] &- 0x2D <= 0x0C, let integer = parseInteger(bytes) {
        return .integer(integer)
    }
    return .bytes(bytes)
}

/// The same of a value that may be a number already.
@inline(__always)
func packedValue(_ value: StringValue) -> StringValue {
    guard case .bytes(let bytes) = value else { return value }
    return packedValue(bytes)
}

enum PackedEntry {
    private static let string32: UInt8 = 0xF0
    private static let int16: UInt8 = 0xF1
    private static let int24: UInt8 = 0xF2
    private static let int32: UInt8 = 0xF3
    private static let int64: UInt8 = 0xF4

    // MARK: Sizes

    /// The bytes that a value takes as an entry.
    static func byteCount(of value: StringValue) -> Int {
        byteCount(ofContent: contentByteCount(of: value))
    }

    /// The bytes of an entry but for its last field: what ``write(_:contentByteCount:at:)`` wants to know.
    @inline(__always)
    static func contentByteCount(of value: StringValue) -> Int {
        switch value {
        case .bytes(let bytes): bytes.count &+ (bytes.count < 64 ? 1 : bytes.count < 4096 ? 2 : 5)
        case .integer(let integer): contentByteCount(of: integer)
        }
    }

    /// The bytes of an entry whose content takes `count`.
    @inline(__always)
    static func byteCount(ofContent count: Int) -> Int { count &+ trailerByteCount(count) }

    /// The bytes of the entry at `address`.
    @inline(__always)
    static func byteCount(at address: UnsafeRawPointer) -> Int {
        let count = contentByteCount(at: address)
        return count &+ trailerByteCount(count)
    }

    /// The bytes of the entry that ends before `address`.
    static func byteCount(before address: UnsafeRawPointer) -> Int {
        var count = 0
        var shift = 0
        var byte: UInt8
        var trailer = 0
        repeat {
            trailer += 1
            byte = address.load(fromByteOffset: -trailer, as: UInt8.self)
            count |= Int(byte & 0x7F) << shift
            shift += 7
        } while byte & 0x80 != 0 && trailer < 5
        return count + trailer
    }

    private static func contentByteCount(of integer: Int64) -> Int {
        switch integer {
        case 0...127: 1
        case -4096...4095: 2
        case -0x8000...0x7FFF: 3
        case -0x80_0000...0x7F_FFFF: 4
        case -0x8000_0000...0x7FFF_FFFF: 5
        default: 9
        }
    }

    @inline(__always)
    private static func contentByteCount(at address: UnsafeRawPointer) -> Int {
        let first = address.load(as: UInt8.self)
        if first < 0x80 { return 1 }
        if first < 0xC0 { return 1 &+ Int(first & 0x3F) }
        return longContentByteCount(at: address, first)
    }

    private static func longContentByteCount(at address: UnsafeRawPointer, _ first: UInt8) -> Int {
        if first < 0xE0 { return 2 }
        if first < 0xF0 { return 2 &+ Int(first & 0xF) << 8 &+ Int(address.load(fromByteOffset: 1, as: UInt8.self)) }
        switch first {
        case string32: return 5 &+ Int(address.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
        case int16: return 3
        case int24: return 4
        case int32: return 5
        default: return 9
        }
    }

    /// The limits are one less than 7 bits each would allow, from two bytes on: so the format has it.
    @inline(__always)
    private static func trailerByteCount(_ count: Int) -> Int {
        count <= 127 ? 1 : count < 16_383 ? 2 : count < 2_097_151 ? 3 : count < 268_435_455 ? 4 : 5
    }

    // MARK: Bare entries

    /// The bytes that a value takes as a bare entry.
    @inline(__always)
    static func bareByteCount(of value: StringValue) -> Int { contentByteCount(of: value) }

    /// The bytes of the bare entry, or of an entry without its last field, at `address`.
    @inline(__always)
    static func bareByteCount(at address: UnsafeRawPointer) -> Int { contentByteCount(at: address) }

    /// Writes a value as a bare entry; `address` has room for ``bareByteCount(of:)``.
    @inline(__always)
    static func writeBare(_ value: StringValue, at address: UnsafeMutableRawPointer) {
        switch value {
        case .bytes(let bytes): write(bytes, at: address)
        case .integer(let integer): write(integer, at: address, contentByteCount: contentByteCount(of: value))
        }
    }

    /// The bytes of a run of bare entries as a run of whole ones.
    static func completedByteCount(_ run: ByteView) -> Int {
        var (byteCount, offset) = (0, 0)
        while offset < run.count {
            let count = contentByteCount(at: run.base + offset)
            byteCount += count + trailerByteCount(count)
            offset += count
        }
        return byteCount
    }

    /// Writes a run of bare entries as whole ones to memory of ``completedByteCount(_:)``.
    static func complete(_ run: ByteView, to address: UnsafeMutableRawPointer) {
        var (target, offset) = (address, 0)
        while offset < run.count {
            let count = contentByteCount(at: run.base + offset)
            target.copyMemory(from: run.base + offset, byteCount: count)
            writeTrailer(of: count, at: target + count)
            target += count + trailerByteCount(count)
            offset += count
        }
    }

    /// The bytes of a run of whole entries as a run of bare ones.
    static func strippedByteCount(_ run: ByteView) -> Int {
        var (byteCount, offset) = (0, 0)
        while offset < run.count {
            let count = contentByteCount(at: run.base + offset)
            byteCount += count
            offset += count + trailerByteCount(count)
        }
        return byteCount
    }

    /// Writes a run of whole entries as bare ones to memory of ``strippedByteCount(_:)``.
    static func strip(_ run: ByteView, to address: UnsafeMutableRawPointer) {
        var (target, offset) = (address, 0)
        while offset < run.count {
            let count = contentByteCount(at: run.base + offset)
            target.copyMemory(from: run.base + offset, byteCount: count)
            target += count
            offset += count + trailerByteCount(count)
        }
    }

    // MARK: Values

    /// The value of the entry at `address`, a view of the run's memory.
    @inline(__always)
    static func value(at address: UnsafeRawPointer) -> StringValue {
        let first = address.load(as: UInt8.self)
        if first < 0x80 { return .integer(Int64(first)) }
        if first < 0xC0 { return .bytes(view(address, 1, Int(first & 0x3F))) }
        return longValue(at: address, first)
    }

    private static func longValue(at address: UnsafeRawPointer, _ first: UInt8) -> StringValue {
        let second = address.load(fromByteOffset: 1, as: UInt8.self)
        if first < 0xE0 {
            let bits = Int64(first & 0x1F) << 8 | Int64(second)
            return .integer(bits >= 4096 ? bits - 8192 : bits)
        }
        if first < 0xF0 { return .bytes(view(address, 2, Int(first & 0xF) << 8 | Int(second))) }
        switch first {
        case string32:
            return .bytes(view(address, 5, Int(address.loadUnaligned(fromByteOffset: 1, as: UInt32.self))))
        case int16: return .integer(Int64(address.loadUnaligned(fromByteOffset: 1, as: Int16.self)))
        case int24:
            let low = Int64(address.loadUnaligned(fromByteOffset: 1, as: UInt16.self))
            return .integer(Int64(address.load(fromByteOffset: 3, as: Int8.self)) << 16 | low)
        case int32: return .integer(Int64(address.loadUnaligned(fromByteOffset: 1, as: Int32.self)))
        default: return .integer(address.loadUnaligned(fromByteOffset: 1, as: Int64.self))
        }
    }

    @inline(__always)
    private static func view(_ address: UnsafeRawPointer, _ offset: Int, _ count: Int) -> ByteView {
        ByteView(base: (address + offset).assumingMemoryBound(to: UInt8.self), count: count)
    }

    /// Writes a value as an entry; `address` has room for ``byteCount(of:)``.
    static func write(_ value: StringValue, at address: UnsafeMutableRawPointer) {
        write(value, contentByteCount: contentByteCount(of: value), at: address)
    }

    /// The same of a value that was measured already.
    @inline(__always)
    static func write(_ value: StringValue, contentByteCount count: Int, at address: UnsafeMutableRawPointer) {
        switch value {
        case .bytes(let bytes): write(bytes, at: address)
        case .integer(let integer): write(integer, at: address, contentByteCount: count)
        }
        writeTrailer(of: count, at: address + count)
    }

    @inline(__always)
    private static func writeTrailer(of count: Int, at address: UnsafeMutableRawPointer) {
        guard count > 127 else { return address.storeBytes(of: UInt8(truncatingIfNeeded: count), as: UInt8.self) }
        writeLongTrailer(of: count, at: address)
    }

    private static func writeLongTrailer(of count: Int, at address: UnsafeMutableRawPointer) {
        for position in 0..<trailerByteCount(count) {
            address.storeBytes(of: trailerByte(position, of: count), toByteOffset: position, as: UInt8.self)
        }
    }

    /// A byte of the last field: 7 bits each, the lowest last, marked when more stand before it.
    private static func trailerByte(_ position: Int, of count: Int) -> UInt8 {
        let shift = 7 * (trailerByteCount(count) - 1 - position)
        return UInt8(truncatingIfNeeded: count >> shift & 0x7F) | (position > 0 ? 0x80 : 0)
    }

    /// The bytes of the entry at the start of `run`, or nil when it is not whole or its two lengths differ.
    static func checkedByteCount(_ run: ByteView) -> Int? {
        guard run.count > 0, run[0] <= int64 else { return nil }
        // The length itself must be there before it is read.
        let header = run[0] == string32 ? 5 : run[0] >= 0xE0 && run[0] < string32 ? 2 : 1
        guard header <= run.count else { return nil }
        let count = contentByteCount(at: run.base)
        let trailer = trailerByteCount(count)
        guard count + trailer <= run.count else { return nil }
        for position in 0..<trailer where run[count + position] != trailerByte(position, of: count) { return nil }
        return count + trailer
    }

    @inline(__always)
    private static func write(_ bytes: ByteView, at address: UnsafeMutableRawPointer) {
        guard bytes.count < 64 else { return writeLong(bytes, at: address) }
        address.storeBytes(of: 0x80 | UInt8(truncatingIfNeeded: bytes.count), as: UInt8.self)
        copyBytes(from: bytes, to: (address + 1).assumingMemoryBound(to: UInt8.self))
    }

    private static func writeLong(_ bytes: ByteView, at address: UnsafeMutableRawPointer) {
        var offset = 2
        if bytes.count < 4096 {
            address.storeBytes(of: 0xE0 | UInt8(bytes.count >> 8), as: UInt8.self)
            address.storeBytes(of: UInt8(truncatingIfNeeded: bytes.count), toByteOffset: 1, as: UInt8.self)
        } else {
            address.storeBytes(of: string32, as: UInt8.self)
            // Values are strings of at most 4 GiB: proto-max-bulk-len, and the loader's limit.
            address.storeBytes(of: UInt32(truncatingIfNeeded: bytes.count), toByteOffset: 1, as: UInt32.self)
            offset = 5
        }
        copyBytes(from: bytes, to: (address + offset).assumingMemoryBound(to: UInt8.self))
    }

    private static func write(_ integer: Int64, at address: UnsafeMutableRawPointer, contentByteCount: Int) {
        switch contentByteCount {
        case 1: address.storeBytes(of: UInt8(truncatingIfNeeded: integer), as: UInt8.self)
        case 2:
            address.storeBytes(of: 0xC0 | UInt8(truncatingIfNeeded: integer >> 8 & 0x1F), as: UInt8.self)
            address.storeBytes(of: UInt8(truncatingIfNeeded: integer), toByteOffset: 1, as: UInt8.self)
        case 3:
            address.storeBytes(of: int16, as: UInt8.self)
            address.storeBytes(of: Int16(truncatingIfNeeded: integer), toByteOffset: 1, as: Int16.self)
        case 4:
            address.storeBytes(of: int24, as: UInt8.self)
            address.storeBytes(of: UInt16(truncatingIfNeeded: integer), toByteOffset: 1, as: UInt16.self)
            address.storeBytes(of: Int8(truncatingIfNeeded: integer >> 16), toByteOffset: 3, as: Int8.self)
        case 5:
            address.storeBytes(of: int32, as: UInt8.self)
            address.storeBytes(of: Int32(truncatingIfNeeded: integer), toByteOffset: 1, as: Int32.self)
        default:
            address.storeBytes(of: int64, as: UInt8.self)
            address.storeBytes(of: integer, toByteOffset: 1, as: Int64.self)
        }
    }
}

/// How many entries a run of foreign bytes has; nil when it is no run of whole, well-formed entries. O(bytes).
package func packedEntryCount(_ run: ByteView) -> Int? {
    var offset = 0
    var count = 0
    while offset < run.count {
        guard let byteCount = PackedEntry.checkedByteCount(run[offset..<run.count]) else { return nil }
        offset += byteCount
        count += 1
    }
    return count
}

/// The same of a well-formed run, as all are in the store: a quarter of the time.
package func wellFormedPackedEntryCount(_ run: ByteView) -> Int {
    let end = UnsafeRawPointer(run.base) + run.count
    var address = UnsafeRawPointer(run.base)
    var count = 0
    while address < end {
        address += PackedEntry.byteCount(at: address)
        count &+= 1
    }
    return count
}

/// Calls `body` with each value of a well-formed run. O(bytes).
package func forEachPackedEntry(_ run: ByteView, _ body: (StringValue) -> Void) {
    var offset = 0
    while offset < run.count {
        let address = UnsafeRawPointer(run.base) + offset
        body(PackedEntry.value(at: address))
        offset += PackedEntry.byteCount(at: address)
    }
}

/// Goes from entry to entry of a well-formed run; who has one counts. Inlinable, for replies of many elements.
@frozen
@usableFromInline
package struct PackedEntryCursor {
    @usableFromInline var address: UnsafeRawPointer

    @inlinable
    init(_ address: UnsafeRawPointer) { self.address = address }

    /// The value of the entry here; goes on to the next.
    @inlinable
    @inline(__always)
    package mutating func next() -> StringValue {
        let first = address.load(as: UInt8.self)
        guard first < 0xC0 else { return nextLongEntry() }
        let start = address
        if first < 0x80 {
            address = start + 2
            return .integer(Int64(first))
        }
        let count = Int(first & 0x3F)
        address = start + (count &+ 2)
        return .bytes(ByteView(base: (start + 1).assumingMemoryBound(to: UInt8.self), count: count))
    }

    @usableFromInline
    @inline(never)
    mutating func nextLongEntry() -> StringValue {
        let value = PackedEntry.value(at: address)
        address += PackedEntry.byteCount(at: address)
        return value
    }
}

/// Reads the values of a well-formed run one after the other.
package struct PackedRunReader {
    private let run: ByteView
    private var offset = 0

    package init(_ run: ByteView) { self.run = run }

    /// The next value, nil at the end.
    package mutating func next() -> StringValue? {
        guard offset < run.count else { return nil }
        let address = UnsafeRawPointer(run.base) + offset
        offset += PackedEntry.byteCount(at: address)
        return PackedEntry.value(at: address)
    }
}
