// Changes of a node's run: an entry at its end, entries that are marked as deleted.
//
// Callers have made room: what is written here fits the node's capacity.

import KedisUtilities

extension StreamNode {
    /// The two counts, each at most 10 bytes, get longer by less than this.
    static let countsGrowthMax = 16

    /// Writes the master of a new node: no entries yet, and the fields of the first one.
    static func begin(_ node: inout StreamNode, fieldCount: Int, piece: (Int) -> ByteView) {
        var address = node.base
        put(.integer(0), &address)
        put(.integer(0), &address)
        put(.integer(Int64(fieldCount)), &address)
        for index in 0..<fieldCount { put(packedValue(piece(2 &* index)), &address) }
        put(.integer(0), &address)
        node.byteCount = UInt32(truncatingIfNeeded: address - node.base)
    }

    /// Writes an entry behind the others and counts it.
    @inline(__always)
    static func append(to node: inout StreamNode, _ id: StreamID, fieldCount: Int, piece: (Int) -> ByteView) {
        let isSame = hasFields(node.master, fieldCount, piece)
        var address = node.base + Int(node.byteCount)
        put(.integer(isSame ? StreamNode.hasSameFields : 0), &address)
        put(.integer(Int64(bitPattern: id.milliseconds &- node.id.milliseconds)), &address)
        put(.integer(Int64(bitPattern: id.sequence &- node.id.sequence)), &address)
        if isSame {
            for index in 0..<fieldCount { put(packedValue(piece(2 &* index &+ 1)), &address) }
            put(.integer(Int64(fieldCount &+ 3)), &address)
        } else {
            put(.integer(Int64(fieldCount)), &address)
            for index in 0..<2 &* fieldCount { put(packedValue(piece(index)), &address) }
            put(.integer(Int64(2 &* fieldCount &+ 4)), &address)
        }
        node.byteCount = UInt32(truncatingIfNeeded: address - node.base)
        let first = node.base.load(as: UInt8.self)
        if first < 127 {
            // The count has one byte, as nearly always.
            node.base.storeBytes(of: first &+ 1, as: UInt8.self)
        } else {
            replaceCount(&node, at: 0, Int64(node.master.liveCount) + 1)
        }
    }

    @inline(__always)
    private static func put(_ value: StringValue, _ address: inout UnsafeMutableRawPointer) {
        if case .integer(let small) = value, small >= 0, small < 128 {
            address.storeBytes(of: UInt8(truncatingIfNeeded: small), as: UInt8.self)
            address.storeBytes(of: 1, toByteOffset: 1, as: UInt8.self)
            address += 2
            return
        }
        if case .bytes(let bytes) = value, bytes.count < 64 {
            address.storeBytes(of: 0x80 | UInt8(truncatingIfNeeded: bytes.count), as: UInt8.self)
            (address + 1).copyMemory(from: bytes.base, byteCount: bytes.count)
            let contentByteCount = UInt8(truncatingIfNeeded: bytes.count &+ 1)
            address.storeBytes(of: contentByteCount, toByteOffset: bytes.count &+ 1, as: UInt8.self)
            address += bytes.count &+ 2
            return
        }
        PackedEntry.write(value, at: address)
        address += PackedEntry.byteCount(at: address)
    }

    /// Whether an entry has the master's fields, in their order.
    @inline(__always)
    private static func hasFields(_ master: StreamMaster, _ fieldCount: Int, _ piece: (Int) -> ByteView) -> Bool {
        guard master.fieldCount == fieldCount else { return false }
        var cursor = PackedCursor(address: master.fields)
        for index in 0..<fieldCount {
            switch cursor.value() {
            case .bytes(let bytes): guard bytes == piece(2 &* index) else { return false }
            case .integer(let integer): guard parseInteger(piece(2 &* index)) == integer else { return false }
            }
        }
        return true
    }

    /// The entry that ends before `end`.
    static func entry(before end: UnsafeRawPointer) -> UnsafeRawPointer {
        var address = end - PackedEntry.byteCount(before: end)
        var cursor = PackedCursor(address: address)
        let pieceCount = Int(truncatingIfNeeded: cursor.integer())
        for _ in 0..<pieceCount { address -= PackedEntry.byteCount(before: address) }
        return address
    }

    /// Marks an entry as deleted: its flags stay one byte.
    static func mark(_ entry: UnsafeRawPointer) {
        let address = UnsafeMutableRawPointer(mutating: entry)
        address.storeBytes(of: address.load(as: UInt8.self) | UInt8(StreamNode.isDeleted), as: UInt8.self)
    }

    /// Whether a count might need more bytes for another value.
    static func countsMayGrow(_ node: StreamNode) -> Bool {
        let master = node.master
        return master.liveCount + master.deletedCount > 127
    }

    /// Counts entries that are marked now.
    static func noteDeleted(_ node: inout StreamNode, _ count: Int) {
        let master = node.master
        replaceCount(&node, at: 0, Int64(master.liveCount - count))
        let offset = PackedEntry.byteCount(at: node.base)
        replaceCount(&node, at: offset, Int64(master.deletedCount + count))
    }

    private static func replaceCount(_ node: inout StreamNode, at offset: Int, _ value: Int64) {
        let address = node.base + offset
        let before = PackedEntry.byteCount(at: address)
        let after = PackedEntry.byteCount(of: .integer(value))
        if before != after {
            (address + after).copyMemory(from: address + before, byteCount: Int(node.byteCount) - offset - before)
            node.byteCount = UInt32(truncatingIfNeeded: Int(node.byteCount) + after - before)
            assert(node.byteCount <= node.capacity)
        }
        PackedEntry.write(.integer(value), at: address)
    }
}
