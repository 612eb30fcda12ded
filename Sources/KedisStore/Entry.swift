// An entry of the keyspace as handlers see it, and the values that it gives out.

package import KedisUtilities

/// The value of a string key: handlers that only copy it need not know how it is stored.
package enum StringValue: Sendable {
    case integer(Int64)
    case bytes(ByteView)

    /// Its length as a string, in bytes.
    package var byteCount: Int {
        switch self {
        case .integer(let value): decimalDigitCount(value)
        case .bytes(let bytes): bytes.count
        }
    }
}

/// A borrowed entry: valid while its stripe is locked and until the keyspace is changed.
package struct Entry {
    let cell: Cell
    let hash: UInt64

    package var key: ByteView { cell.key }

    package var type: ValueType { ValueType(rawValue: cell.header.pointee.type) ?? .string }

    package var encoding: ValueEncoding { cell.encoding }

    /// When the key expires, in milliseconds since 1970, or ``noDeadline``.
    package var deadlineMilliseconds: Int64 { cell.header.pointee.deadlineMilliseconds }

    /// The value of a string.
    package var string: StringValue {
        cell.encoding == .integer ? .integer(cell.integer) : .bytes(cell.value)
    }

    /// When the entry was last used, in seconds since 1970.
    package var accessedSeconds: Int64 { Int64(truncatingIfNeeded: cell.header.pointee.accessedSeconds) }

    /// What the entry takes from the allocator, in bytes, without its slot in the table.
    package var allocatedByteCount: Int { cell.allocatedByteCount }

    /// The length of the value as stored, in bytes.
    package var storedValueByteCount: Int { cell.header.pointee.valueByteCount }

    package func touch(nowMilliseconds: Int64) {
        cell.header.pointee.accessedSeconds = UInt64(truncatingIfNeeded: nowMilliseconds / 1000)
    }
}

/// What a write does to the deadline of its key.
package enum DeadlineUpdate: Sendable {
    case clear
    case keep
    case set(Int64)
}

/// Why the store refused a change.
package enum StoreError: Error, Sendable {
    /// The system has no memory for it; nothing was changed.
    case outOfMemory
}
