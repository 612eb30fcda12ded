// One key with its value: a block of memory from malloc.
//
//      0       4     5     6    7        8         16         24         32        32+k
//      ┌───────┬─────┬─────┬────┬────────┬─────────┬──────────┬──────────┬─────────┬───────────────┐
//      │ key   │type │enco-│fre-│reserved│accessed │ value    │ deadline │ key     │ value bytes   │
//      │ bytes │     │ding │quen│        │seconds  │ bytes    │ ms or -1 │ …       │ or an Int64   │
//      └───────┴─────┴─────┴────┴────────┴─────────┴──────────┴──────────┴─────────┴───────────────┘
//
// Ownership: the table's slot owns the block; only it points there. Every access happens under the stripe's lock.
// Invariants: 32 + key + value ≤ the block's capacity; an integer's value is 8 bytes in native order.
// Cost: 32 bytes of header for each key, plus what malloc adds.

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
package enum ValueType: UInt8, Sendable, CaseIterable {
    case string = 0

    /// The name that TYPE and SCAN's TYPE option use.
    package var name: StaticString {
        switch self {
        case .string: "string"
        }
    }
}

/// How a value is stored, under the names that OBJECT ENCODING answers. The raw values are stored in cells.
package enum ValueEncoding: UInt8, Sendable {
    /// A string that is a decimal Int64, kept as 8 bytes.
    case integer = 0
    /// A string of at most 44 bytes, set at once.
    case embedded = 1
    /// Any other string: long, or changed in place.
    case raw = 2

    /// The longest string that Redis keeps beside its header, in bytes: the limit that OBJECT ENCODING shows.
    package static let embeddedByteCountMax = 44

    package var name: StaticString {
        switch self {
        case .integer: "int"
        case .embedded: "embstr"
        case .raw: "raw"
        }
    }
}

/// The fixed part of a cell, in memory exactly as drawn above.
struct CellHeader {
    var keyByteCount: UInt32
    var type: UInt8
    var encoding: UInt8
    var frequency: UInt8
    var reserved: UInt8 = 0
    var accessedSeconds: UInt64
    var valueByteCount: Int
    var deadlineMilliseconds: Int64

    static let byteCount = 32
}

/// A handle on a cell: trivially copied, owns nothing.
struct Cell {
    let address: UnsafeMutableRawPointer

    init(_ address: UnsafeMutableRawPointer) {
        self.address = address
    }

    /// Allocates a cell with `key` and room for `valueByteCount` bytes, left uninitialised; nil when memory is
    /// exhausted.
    static func make(key: ByteView, valueByteCount: Int, type: ValueType, encoding: ValueEncoding) -> Cell? {
        // Lengths of keys have 32 bits; nothing that comes through a parser is longer.
        guard key.count <= Int(UInt32.max), let address = malloc(CellHeader.byteCount + key.count + valueByteCount)
        else { return nil }
        let cell = Cell(address)
        cell.header.initialize(
            to: CellHeader(
                keyByteCount: UInt32(truncatingIfNeeded: key.count), type: type.rawValue, encoding: encoding.rawValue,
                frequency: 0, accessedSeconds: 0, valueByteCount: valueByteCount, deadlineMilliseconds: noDeadline
            )
        )
        (address + CellHeader.byteCount).copyMemory(from: key.base, byteCount: key.count)
        return cell
    }

    func deallocate() { free(address) }

    /// Resizes the value to `byteCount` and gives the block room for `capacityByteCount`; the cell may move. Nil when
    /// memory is exhausted, the cell then being as it was.
    func resized(to byteCount: Int, capacityByteCount: Int) -> Cell? {
        assert(capacityByteCount >= byteCount)
        guard let moved = realloc(address, CellHeader.byteCount + keyByteCount + capacityByteCount) else { return nil }
        let cell = Cell(moved)
        cell.header.pointee.valueByteCount = byteCount
        return cell
    }

    var header: UnsafeMutablePointer<CellHeader> { address.assumingMemoryBound(to: CellHeader.self) }

    var keyByteCount: Int { Int(header.pointee.keyByteCount) }

    var key: ByteView {
        ByteView(base: (address + CellHeader.byteCount).assumingMemoryBound(to: UInt8.self), count: keyByteCount)
    }

    var valueAddress: UnsafeMutableRawPointer { address + (CellHeader.byteCount + keyByteCount) }

    var value: ByteView {
        ByteView(base: valueAddress.assumingMemoryBound(to: UInt8.self), count: header.pointee.valueByteCount)
    }

    var integer: Int64 {
        get { valueAddress.loadUnaligned(as: Int64.self) }
        nonmutating set { valueAddress.storeBytes(of: newValue, as: Int64.self) }
    }

    var encoding: ValueEncoding { ValueEncoding(rawValue: header.pointee.encoding) ?? .raw }

    /// What the block takes from the allocator, in bytes.
    var allocatedByteCount: Int {
        kedis_allocated_size(address)
    }

    func hasKey(_ other: ByteView) -> Bool {
        keyByteCount == other.count && memcmp(address + CellHeader.byteCount, other.base, other.count) == 0
    }
}

/// The deadline of an entry that has none.
package let noDeadline: Int64 = -1
