// A node of a stream: a run of packed entries (PackedEntry.swift) that holds stream entries with IDs near each other.
//
//      master   ┌──────┬─────────┬────────┬─────────┬─ … ─┬───┐
//               │ live │ deleted │ fields │ field 1 │     │ 0 │       the fields of the entry that began the node
//               └──────┴─────────┴────────┴─────────┴─ … ─┴───┘
//      entry    ┌───────┬──────────┬──────────┬─────────────────────────────────────────┬────────┐
//               │ flags │ ms − own │ sequence │ values, or count and fields with values │ pieces │
//               └───────┴──────────┴──────────┴─────────────────────────────────────────┴────────┘
//
// Flags: 1 for deleted, 2 for the same fields as the master's. IDs are differences to the node's, which its first entry
// had. The last piece says how many pieces the entry has without it, so that a node is read from its end as well. It is
// what files hold, so that saving and loading is copying. Source of the format: files of redis-server, versions 5 to 7.
//
// Ownership: none, these are views of a record of the stream's index, whose memory is the stream's. Reading trusts the
// run: what comes from outside goes through ``checkedStreamNode(_:_:)`` first.

import CKedis
package import KedisUtilities

/// The record of a node in the index of a stream: where its run is.
struct StreamNode {
    var id: StreamID
    var base: UnsafeMutableRawPointer
    var byteCount: UInt32
    var capacity: UInt32

    static let stride = 32
    static let isDeleted: Int64 = 1
    static let hasSameFields: Int64 = 2

    /// At most what a run holds, whatever is configured; so that 32 bits count its bytes.
    static let byteCountMax = 1 << 30
    /// A node begins at most as large as its predecessor became, and this.
    static let firstByteCountMax = 4096
    /// What Redis counts besides the entries.
    static let frameByteCount = 7

    var run: ByteView { ByteView(base: base.assumingMemoryBound(to: UInt8.self), count: Int(byteCount)) }

    var end: UnsafeRawPointer { UnsafeRawPointer(base) + Int(byteCount) }

    var master: StreamMaster { StreamMaster(base) }
}

/// Steps over packed integers and bytes.
struct PackedCursor {
    var address: UnsafeRawPointer

    /// The integer here, 0 for what is none, and goes on to the next piece.
    @inline(__always)
    mutating func integer() -> Int64 {
        let first = address.load(as: UInt8.self)
        if first < 0x80 {
            // One byte of number, one of length.
            address += 2
            return Int64(first)
        }
        return longInteger()
    }

    private mutating func longInteger() -> Int64 {
        let value = PackedEntry.value(at: address)
        skip()
        guard case .integer(let integer) = value else { return 0 }
        return integer
    }

    @inline(__always)
    mutating func skip() { address += PackedEntry.byteCount(at: address) }

    @inline(__always)
    mutating func skip(_ count: Int) { for _ in 0..<count { skip() } }

    @inline(__always)
    mutating func value() -> StringValue {
        let value = PackedEntry.value(at: address)
        skip()
        return value
    }
}

/// What a node begins with.
struct StreamMaster {
    let liveCount: Int
    let deletedCount: Int
    let fieldCount: Int
    /// Of the fields, and of the first entry.
    let fields: UnsafeRawPointer

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer) {
        var cursor = PackedCursor(address: UnsafeRawPointer(base))
        liveCount = Int(truncatingIfNeeded: cursor.integer())
        deletedCount = Int(truncatingIfNeeded: cursor.integer())
        fieldCount = Int(truncatingIfNeeded: cursor.integer())
        fields = cursor.address
    }

    var firstEntry: UnsafeRawPointer {
        var cursor = PackedCursor(address: fields)
        cursor.skip(fieldCount)
        cursor.skip()
        return cursor.address
    }
}

/// An entry of a stream, borrowed: valid while its stripe is locked and until the keyspace is changed.
package struct StreamEntry {
    package let id: StreamID
    package let fieldCount: Int
    let flags: Int64
    /// Of the flags.
    let address: UnsafeRawPointer
    /// The master's fields, or nil when fields and values alternate.
    private let fields: UnsafeRawPointer?
    /// Of the first value, or of the first field.
    private let content: UnsafeRawPointer

    @inline(__always)
    init(at address: UnsafeRawPointer, nodeID: StreamID, master: StreamMaster) {
        self.address = address
        var cursor = PackedCursor(address: address)
        flags = cursor.integer()
        id = StreamID(
            nodeID.milliseconds &+ UInt64(bitPattern: cursor.integer()),
            nodeID.sequence &+ UInt64(bitPattern: cursor.integer()))
        if flags & StreamNode.hasSameFields != 0 {
            fieldCount = master.fieldCount
            fields = master.fields
        } else {
            fieldCount = Int(truncatingIfNeeded: cursor.integer())
            fields = nil
        }
        content = cursor.address
    }

    var isDeleted: Bool { flags & StreamNode.isDeleted != 0 }

    /// Where the next entry is. O(fields).
    @inline(__always)
    var endAddress: UnsafeRawPointer {
        var cursor = PackedCursor(address: content)
        cursor.skip(fields == nil ? 2 &* fieldCount : fieldCount)
        cursor.skip()
        return cursor.address
    }

    /// Calls `body` with each field and its value; returns where the next entry is.
    @inline(__always)
    @discardableResult
    package func forEach(_ body: (_ field: StringValue, _ value: StringValue) -> Void) -> UnsafeRawPointer {
        var values = PackedCursor(address: content)
        if let fields {
            var names = PackedCursor(address: fields)
            for _ in 0..<fieldCount { body(names.value(), values.value()) }
        } else {
            for _ in 0..<fieldCount {
                let field = values.value()
                body(field, values.value())
            }
        }
        values.skip()
        return values.address
    }
}

/// What a run of foreign bytes is as a node.
package struct CheckedStreamNode {
    package let liveCount: Int
    package let firstLiveID: StreamID?
    /// Of entries, deleted ones too.
    package let lastID: StreamID
}

/// Checks a run of foreign bytes from front to end; nil when it is no node: every piece is whole, every count is right,
/// IDs grow. Nothing behind its end is read. O(bytes).
package func checkedStreamNode(_ run: ByteView, _ nodeID: StreamID) -> CheckedStreamNode? {
    var checker = StreamNodeChecker(run: run)
    guard let live = checker.count(), let deleted = checker.count(), let fieldCount = checker.count(),
        checker.skip(fieldCount), checker.integer() == 0
    else { return nil }
    var (liveSeen, deletedSeen) = (0, 0)
    var first: StreamID?
    var previous: StreamID?
    while !checker.isAtEnd {
        let flagsOffset = checker.offset
        guard let flags = checker.integer(), flags >= 0, flags <= 3, checker.offset == flagsOffset + 2,
            let milliseconds = checker.integer(), let sequence = checker.integer()
        else { return nil }
        let id = StreamID(
            nodeID.milliseconds &+ UInt64(bitPattern: milliseconds), nodeID.sequence &+ UInt64(bitPattern: sequence))
        guard id >= nodeID, previous.map({ $0 < id }) ?? true else { return nil }
        previous = id
        var pieceCount = 3
        if flags & StreamNode.hasSameFields != 0 {
            guard checker.skip(fieldCount) else { return nil }
            pieceCount += fieldCount
        } else {
            guard let own = checker.count(), own <= run.count, checker.skip(2 * own) else { return nil }
            pieceCount += 1 + 2 * own
        }
        guard checker.integer() == Int64(pieceCount) else { return nil }
        if flags & StreamNode.isDeleted != 0 {
            deletedSeen += 1
        } else {
            liveSeen += 1
            if first == nil { first = id }
        }
    }
    guard liveSeen == live, deletedSeen == deleted, let previous else { return nil }
    return CheckedStreamNode(liveCount: live, firstLiveID: first, lastID: previous)
}

/// Reads pieces of a run that may be damaged.
private struct StreamNodeChecker {
    let run: ByteView
    private(set) var offset = 0

    init(run: ByteView) { self.run = run }

    var isAtEnd: Bool { offset == run.count }

    mutating func integer() -> Int64? {
        let rest = run[offset..<run.count]
        guard let byteCount = PackedEntry.checkedByteCount(rest),
            case .integer(let value) = PackedEntry.value(at: rest.base)
        else { return nil }
        offset += byteCount
        return value
    }

    /// An integer that can be a number of pieces of this run.
    mutating func count() -> Int? {
        guard let value = integer(), value >= 0, value <= Int64(run.count) else { return nil }
        return Int(value)
    }

    mutating func skip(_ pieceCount: Int) -> Bool {
        for _ in 0..<pieceCount {
            guard let byteCount = PackedEntry.checkedByteCount(run[offset..<run.count]) else { return false }
            offset += byteCount
        }
        return true
    }
}
