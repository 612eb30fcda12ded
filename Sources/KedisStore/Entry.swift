// An entry of the keyspace as handlers see it, and the values that it gives out.

public import KedisUtilities

/// The value of a string key: handlers that only copy it need not know how it is stored.
@frozen
@usableFromInline
package enum StringValue: Sendable, BitwiseCopyable {
    case integer(Int64)
    case bytes(ByteView)

    /// Its length as a string, in bytes.
    package var byteCount: Int {
        switch self {
        case .integer(let value): decimalDigitCount(value)
        case .bytes(let bytes): bytes.count
        }
    }

    /// Calls `body` with the value's bytes, which are valid during the call and until the keyspace is changed.
    package func withBytes<Result, Failure: Error>(
        _ body: (ByteView) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard case .integer(let integer) = self else {
            guard case .bytes(let bytes) = self else { return try body(.empty) }
            return try body(bytes)
        }
        var digits: (UInt64, UInt64, UInt64) = (0, 0, 0)
        return try withUnsafeMutableBytes(of: &digits) { (room) throws(Failure) in
            guard let base = room.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return try body(.empty) }
            return try body(ByteView(base: base, count: formatInteger(integer, into: base)))
        }
    }
}

/// A borrowed entry: valid while its stripe is locked and until the keyspace is changed.
package struct Entry {
    let cell: Cell
    let hash: UInt64

    package var key: ByteView { cell.key }

    @inline(__always)
    package var type: ValueType { cell.header.type }

    @inline(__always)
    package var encoding: ValueEncoding { cell.header.encoding }

    /// When the key expires, in milliseconds since 1970, or ``noDeadline``.
    package var deadlineMilliseconds: Int64 { cell.deadlineMilliseconds }

    /// The value of a string.
    @inline(__always)
    package var string: StringValue {
        cell.header.hasEncoding(.integer) ? .integer(cell.integer) : .bytes(cell.value)
    }

    /// The 24 bits that say when or how often the entry was used (``AccessTracking``), as DEBUG OBJECT shows them.
    package var accessClock: Int { Int(cell.header.accessClock) }

    /// How long ago the entry was last used, in seconds; means something while the store notes the last use. Wraps
    /// after 194 days, as in Redis.
    package func idleSeconds(nowMilliseconds: Int64) -> Int64 {
        Int64(AccessClock.idleSeconds(cell.header.accessClock, nowMilliseconds: nowMilliseconds))
    }

    /// How many members of a hash, set or sorted set have a deadline. O(1).
    package var memberDeadlineCount: Int {
        switch type {
        case .hash: fields(nowMilliseconds: .min).deadlineCount
        case .set: set(nowMilliseconds: .min).deadlineCount
        case .sortedSet: sortedSet.deadlineCount
        case .string, .list, .stream: 0
        }
    }

    /// What the entry takes from arena and allocator, in bytes, without its slot in the table.
    package var allocatedByteCount: Int {
        SizeClass.rounded(units: cell.header.units) * SizeClass.unitByteCount + cell.outsideByteCount
    }

    /// All bytes of the entry: with its slot (5 bytes, and its share of free ones) and its deadline's place in the
    /// wheel.
    package var memoryByteCount: Int {
        allocatedByteCount + Entry.slotByteCount + (cell.header.hasDeadline ? Entry.wheelByteCount : 0)
    }

    /// At the usual load of a large table, three quarters.
    private static let slotByteCount = 7
    private static let wheelByteCount = 5
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
