// One key with its value: one cell of the arena.
//
//      0          8            8 or 16       … + key
//      ┌──────────┬────────────┬─────────────┬─────────────────────────┐
//      │ header   │ deadline   │ key         │ value                   │   rounded up to a size class (SizeClass.swift)
//      │ 8 bytes  │ ms, if any │             │ bytes, or an Int64      │
//      └──────────┴────────────┴─────────────┴─────────────────────────┘
//
//      header, one 64-bit word, low bits first
//      ┌──────┬───────────┬──────────┬──────────┬─────────┬─────────┬─────────┬────────┬─────────────┬───────────┐
//      │ type │ preserved │ encoding │ deadline │ value   │ key     │ members │ access │ value bytes │ key bytes │
//      │ 3    │ 1         │ 4        │ 1        │ outside │ outside │ 1       │ clock  │ 14          │ 14        │
//      └──────┴───────────┴──────────┴──────────┴─────────┴─────────┴─────────┴────────┴─────────────┴───────────┘
//
// "Preserved": a snapshot that is being taken has the entry as it was, or is not to have it (StoreSnapshot.swift).
// "Members": some may have deadlines, and the wheel has an entry for the earliest.
// "Outside": the cell holds the 8-byte address of a `Blob` (a collection: of a `Collection`), and the count says 8. A
// collection in its cell is a count of 2 bytes and a run of packed entries (PackedEntry.swift), or a set of integers.
// The access clock is 24 bits of seconds (LRU), or 16 bits of minutes and a counter of 8 bits (LFU).
//
// Ownership: the table's slot refers to the cell; nothing else does. Every access happens under the stripe's lock.
// Invariants: the cell's class follows from its header; an integer's value is 8 bytes in native order.
// Cost: 8 bytes of header, 8 of a deadline, less than 8 of rounding up to 512 bytes.

import CKedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What kind of value a key holds. The raw values are stored in cells.
@frozen
package enum ValueType: UInt8, Sendable, CaseIterable {
    case string = 0
    case list = 1
    case set = 2
    case sortedSet = 3
    case hash = 4
    case stream = 5

    /// Seen by other modules, unlike what the compiler makes, so that it is one instruction there too.
    @inlinable @inline(__always)
    package static func == (left: Self, right: Self) -> Bool {
        unsafeBitCast(left, to: UInt8.self) == unsafeBitCast(right, to: UInt8.self)
    }

    /// The name that TYPE and SCAN's TYPE option use.
    package var name: StaticString {
        switch self {
        case .string: "string"
        case .list: "list"
        case .set: "set"
        case .sortedSet: "zset"
        case .hash: "hash"
        case .stream: "stream"
        }
    }
}

/// How a value is stored, under the names that OBJECT ENCODING answers. The raw values are stored in cells.
@frozen
package enum ValueEncoding: UInt8, Sendable {
    /// A string that is a decimal Int64, kept as 8 bytes.
    case integer = 0
    /// A string of at most 44 bytes, set at once.
    case embedded = 1
    /// Any other string: long, or changed in place.
    case raw = 2
    /// A collection small enough for one run of packed entries.
    case listpack = 3
    /// A list of several such runs.
    case quicklist = 4
    /// A set of integers, sorted.
    case integerSet = 5
    /// A hash or set of any size.
    case hashTable = 6
    /// A sorted set of any size: in truth a B+tree.
    case skipList = 7
    case stream = 8

    /// As of ``ValueType``.
    @inlinable @inline(__always)
    package static func == (left: Self, right: Self) -> Bool {
        unsafeBitCast(left, to: UInt8.self) == unsafeBitCast(right, to: UInt8.self)
    }

    /// The longest string that Redis keeps beside its header, in bytes: the limit that OBJECT ENCODING shows.
    package static let embeddedByteCountMax = 44

    package var name: StaticString {
        switch self {
        case .integer: "int"
        case .embedded: "embstr"
        case .raw: "raw"
        case .listpack: "listpack"
        case .quicklist: "quicklist"
        case .integerSet: "intset"
        case .hashTable: "hashtable"
        case .skipList: "skiplist"
        case .stream: "stream"
        }
    }
}

/// The header of a cell, as a value.
struct CellHeader {
    var bits: UInt64

    static let byteCount = 8
    /// Longer values, and longer keys, lie outside.
    static let inlineByteCountMax = Blob.valueByteCountMin - 1
    static let inlineKeyByteCountMax = Blob.keyByteCountMin - 1

    private static let typeMask: UInt64 = 0x7
    private static let preservedBit: UInt64 = 1 << 3
    private static let deadlineBit: UInt64 = 1 << 8
    private static let valueOutsideBit: UInt64 = 1 << 9
    private static let keyOutsideBit: UInt64 = 1 << 10
    private static let membersBit: UInt64 = 1 << 11
    private static let clockShift: UInt64 = 12
    private static let clockMask: UInt64 = 0xFF_FFFF << 12
    private static let valueShift: UInt64 = 36
    private static let keyShift: UInt64 = 50
    private static let lengthMask: UInt64 = 0x3FFF

    @inline(__always)
    init(bits: UInt64) { self.bits = bits }

    /// A header without a deadline. The counts are those of the fields in the cell.
    @inline(__always)
    init(type: ValueType, encoding: ValueEncoding, keyFieldByteCount: Int, valueFieldByteCount: Int) {
        assert(keyFieldByteCount <= CellHeader.inlineKeyByteCountMax)
        assert(valueFieldByteCount <= CellHeader.inlineByteCountMax)
        bits =
            UInt64(type.rawValue) | UInt64(encoding.rawValue) << 4
            | UInt64(truncatingIfNeeded: valueFieldByteCount) << CellHeader.valueShift
            | UInt64(truncatingIfNeeded: keyFieldByteCount) << CellHeader.keyShift
    }

    @inline(__always)
    func hasType(_ type: ValueType) -> Bool { UInt8(truncatingIfNeeded: bits & CellHeader.typeMask) == type.rawValue }

    var type: ValueType {
        @inline(__always) get { ValueType(rawValue: UInt8(truncatingIfNeeded: bits & CellHeader.typeMask)) ?? .string }
        set { bits = bits & ~CellHeader.typeMask | UInt64(newValue.rawValue) }
    }

    @inline(__always)
    func hasEncoding(_ encoding: ValueEncoding) -> Bool {
        UInt8(truncatingIfNeeded: bits >> 4 & 0xF) == encoding.rawValue
    }

    var isPreserved: Bool {
        get { bits & CellHeader.preservedBit != 0 }
        set { bits = newValue ? bits | CellHeader.preservedBit : bits & ~CellHeader.preservedBit }
    }

    var encoding: ValueEncoding {
        @inline(__always) get { ValueEncoding(rawValue: UInt8(truncatingIfNeeded: bits >> 4 & 0xF)) ?? .raw }
        set { bits = bits & ~0xF0 | UInt64(newValue.rawValue) << 4 }
    }

    var hasDeadline: Bool {
        @inline(__always) get { bits & CellHeader.deadlineBit != 0 }
        set { bits = newValue ? bits | CellHeader.deadlineBit : bits & ~CellHeader.deadlineBit }
    }

    var isValueOutside: Bool {
        @inline(__always) get { bits & CellHeader.valueOutsideBit != 0 }
        set { bits = newValue ? bits | CellHeader.valueOutsideBit : bits & ~CellHeader.valueOutsideBit }
    }

    var isKeyOutside: Bool {
        @inline(__always) get { bits & CellHeader.keyOutsideBit != 0 }
        set { bits = newValue ? bits | CellHeader.keyOutsideBit : bits & ~CellHeader.keyOutsideBit }
    }

    /// Whether members may have deadlines: then the wheel has an entry for the earliest.
    var hasMemberDeadlines: Bool {
        @inline(__always) get { bits & CellHeader.membersBit != 0 }
        set { bits = newValue ? bits | CellHeader.membersBit : bits & ~CellHeader.membersBit }
    }

    /// Whether the entry, or any member of it, may be due some time.
    var hasAnyDeadline: Bool {
        @inline(__always) get { bits & (CellHeader.deadlineBit | CellHeader.membersBit) != 0 }
    }

    /// Whether the cell refers to any blob.
    var isAnyOutside: Bool { bits & (CellHeader.valueOutsideBit | CellHeader.keyOutsideBit) != 0 }

    /// 24 bits.
    var accessClock: UInt32 {
        @inline(__always) get {
            UInt32(truncatingIfNeeded: (bits & CellHeader.clockMask) >> CellHeader.clockShift)
        }
        @inline(__always) set {
            bits = bits & ~CellHeader.clockMask | UInt64(newValue) << CellHeader.clockShift & CellHeader.clockMask
        }
    }

    var keyFieldByteCount: Int {
        @inline(__always) get { Int(truncatingIfNeeded: bits >> CellHeader.keyShift) }
    }

    var valueFieldByteCount: Int {
        @inline(__always) get {
            Int(truncatingIfNeeded: bits >> CellHeader.valueShift & CellHeader.lengthMask)
        }
        set {
            assert(newValue <= CellHeader.inlineByteCountMax)
            bits =
                bits & ~(CellHeader.lengthMask << CellHeader.valueShift)
                | UInt64(truncatingIfNeeded: newValue) << CellHeader.valueShift
        }
    }

    /// Where the key begins.
    @inline(__always)
    var keyOffset: Int { CellHeader.byteCount &+ (hasDeadline ? 8 : 0) }

    @inline(__always)
    var valueOffset: Int { keyOffset &+ keyFieldByteCount }

    /// What the cell needs, in units of 8 bytes.
    @inline(__always)
    var units: Int { (valueOffset &+ valueFieldByteCount &+ 7) >> 3 }
}

/// A handle on a cell: trivially copied, owns nothing.
struct Cell {
    let address: UnsafeMutableRawPointer

    @inline(__always)
    init(_ address: UnsafeMutableRawPointer) {
        self.address = address
    }

    var header: CellHeader {
        @inline(__always) get { CellHeader(bits: address.load(as: UInt64.self)) }
        @inline(__always) nonmutating set { address.storeBytes(of: newValue.bits, as: UInt64.self) }
    }

    /// The deadline in milliseconds since 1970, or ``noDeadline``. Writing keeps the layout: there is one already.
    var deadlineMilliseconds: Int64 {
        @inline(__always) get {
            header.hasDeadline ? address.load(fromByteOffset: 8, as: Int64.self) : noDeadline
        }
        nonmutating set {
            assert(header.hasDeadline)
            address.storeBytes(of: newValue, toByteOffset: 8, as: Int64.self)
        }
    }

    var key: ByteView {
        let header = header
        let field = address + header.keyOffset
        if header.isKeyOutside { return Cell.blob(at: field).view }
        return ByteView(base: field.assumingMemoryBound(to: UInt8.self), count: header.keyFieldByteCount)
    }

    @inline(__always)
    func hasKey(_ other: ByteView) -> Bool {
        let header = header
        guard header.keyFieldByteCount == other.count, !header.isKeyOutside else {
            return header.isKeyOutside && hasOutsideKeySlowly(other)
        }
        return kedis_equal(address + header.keyOffset, other.base, other.count) != 0
    }

    @inline(never)
    private func hasOutsideKeySlowly(_ other: ByteView) -> Bool {
        let key = key
        return key.count == other.count && memcmp(key.base, other.base, key.count) == 0
    }

    @inline(__always)
    var valueAddress: UnsafeMutableRawPointer { address + header.valueOffset }

    /// The bytes of a value that is no integer, wherever they lie.
    @inline(__always)
    var value: ByteView {
        let header = header
        let field = address + header.valueOffset
        if header.isValueOutside { return Cell.blob(at: field).view }
        return ByteView(base: field.assumingMemoryBound(to: UInt8.self), count: header.valueFieldByteCount)
    }

    var integer: Int64 {
        get { valueAddress.loadUnaligned(as: Int64.self) }
        nonmutating set { valueAddress.storeBytes(of: newValue, as: Int64.self) }
    }

    var valueBlob: Blob? {
        let header = header
        return header.isValueOutside && header.hasType(.string) ? Cell.blob(at: valueAddress) : nil
    }

    /// The entries of a list that does not lie in the cell; only for lists.
    var deque: PackedDeque? {
        @inline(__always) get { collection.map { PackedDeque($0.address) } }
    }

    /// The collection that does not lie in the cell.
    var collection: Collection? {
        @inline(__always) get {
            let header = header
            guard header.isValueOutside, !header.hasType(.string) else { return nil }
            return Collection(Cell.address(at: address + header.valueOffset))
        }
    }

    /// No member is due before; `Int64.max` when none has a deadline.
    var earliestMemberDeadline: Int64 { collection?.earliestMemberDeadline ?? .max }

    var keyBlob: Blob? { header.isKeyOutside ? Cell.blob(at: address + header.keyOffset) : nil }

    /// Makes the value field, of 8 bytes, refer to a collection.
    func setCollection(_ collection: Collection) {
        valueAddress.storeBytes(of: collection.address, as: UnsafeMutableRawPointer.self)
        header.isValueOutside = true
    }

    /// What the cell refers to outside of the arena, in bytes.
    var outsideByteCount: Int {
        (valueBlob?.allocatedByteCount ?? collection?.allocatedByteCount ?? 0) + (keyBlob?.allocatedByteCount ?? 0)
    }

    static func blob(at field: UnsafeMutableRawPointer) -> Blob { Blob(address(at: field)) }

    @inline(__always)
    private static func address(at field: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        guard let address = field.loadUnaligned(as: UnsafeMutableRawPointer?.self) else {
            preconditionFailure("an outside field holds an address")
        }
        return address
    }
}

/// The deadline of an entry that has none.
package let noDeadline: Int64 = -1
