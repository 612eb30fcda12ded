// The bytes of a small collection that is changed, wherever they lie: in the cell of its key, or in a buffer while a
// result is built.
//
// A change goes through `splice`, which makes or takes room. Owner: the cell's table, or the buffer itself.

import KedisUtilities

protocol EditableBytes: ~Copyable {
    /// Valid until the next change.
    var bytes: ByteView { get }
    var encoding: ValueEncoding { get set }

    /// Replaces `removed` bytes at `offset` by `inserted` ones, which are undefined, and returns their address; nil
    /// when memory is exhausted, nothing being changed then. At most ``CellHeader/inlineByteCountMax`` bytes result.
    mutating func splice(at offset: Int, removing removed: Int, inserting inserted: Int) -> UnsafeMutableRawPointer?
}

/// The value of the cell of a key: what all editors of collections stand on. Few words, since editors are passed on.
struct CellBytes: EditableBytes {
    let table: UnsafeMutablePointer<Table>
    var place: Place
    private let hash: UInt64
    private let shared: UnsafeMutablePointer<StoreShared>

    @inline(__always)
    init(_ keyspace: Keyspace, _ key: Key, _ table: UnsafeMutablePointer<Table>, _ place: Place) {
        self.table = table
        self.place = place
        hash = key.hash
        shared = keyspace.shared
    }

    @inline(__always)
    var cell: Cell { place.cell }

    var source: UnsafeMutablePointer<MemorySource> { shared.pointee.source }

    var seed: HashSeed { table.pointee.arena.pointee.seed }

    /// Removes the key: the editor ends.
    func removeKey() { table.pointee.remove(place, hash: hash, to: shared.pointee.reclaimer) }

    /// The cell no longer refers to `collection`.
    func release(_ collection: Collection) { table.pointee.release(collection, to: shared.pointee.reclaimer) }

    /// The collection outside of the cell has grown by so many bytes.
    @inline(__always)
    func noteGrowth(_ byteCount: Int) {
        if byteCount != 0 { table.pointee.noteOutside(0, byteCount: byteCount) }
    }

    /// A member of the collection has got a deadline: see Keyspace+Liveness.swift.
    func noteMemberDeadline(_ deadlineMilliseconds: Int64, before: Int64, nowMilliseconds: Int64) {
        shared.pointee.stripes[Int(truncatingIfNeeded: hash >> 58)].noteMemberDeadline(
            deadlineMilliseconds, before: before, of: cell, hash: hash, in: table, nowMilliseconds: nowMilliseconds)
    }

    /// Gives a blob that the collection has dropped to the reclaimer.
    func reclaim(_ blob: Blob) { shared.pointee.reclaimer.add(.blob(blob, discardedUpTo: 0)) }

    /// Gives the cell a value field of this size, undefined, in place of its collection, which is the caller's then.
    /// False when memory is exhausted.
    mutating func moveInside(byteCount: Int, _ encoding: ValueEncoding) -> Bool {
        var header = place.cell.header
        header.encoding = encoding
        header.isValueOutside = false
        header.valueFieldByteCount = byteCount
        return table.pointee.reshape(&place, to: header, keepingValue: false)
    }

    /// Makes the cell refer to a collection in place of the value in it; false when memory is exhausted.
    mutating func moveOutside(_ collection: Collection, _ encoding: ValueEncoding) -> Bool {
        var header = place.cell.header
        header.encoding = encoding
        header.valueFieldByteCount = MemoryLayout<UInt>.size
        guard table.pointee.reshape(&place, to: header, keepingValue: false) else { return false }
        place.cell.setCollection(collection)
        table.pointee.noteOutside(1, byteCount: collection.allocatedByteCount)
        return true
    }

    var bytes: ByteView {
        let header = place.cell.header
        let address = place.cell.address + header.valueOffset
        return ByteView(base: address.assumingMemoryBound(to: UInt8.self), count: header.valueFieldByteCount)
    }

    var encoding: ValueEncoding {
        get { place.cell.header.encoding }
        set { place.cell.header.encoding = newValue }
    }

    /// As ``splice(at:removing:inserting:)`` for a packed collection, which begins with the number of its entries.
    @inline(__always)
    mutating func splice(
        at offset: Int, removing removed: Int, inserting inserted: Int, countChange: Int
    ) throws(StoreError) -> UnsafeMutableRawPointer {
        guard table.pointee.splice(&place, at: offset, removing: removed, inserting: inserted) else {
            throw .outOfMemory
        }
        let base = place.cell.valueAddress
        if countChange != 0 {
            let count = Int(base.loadUnaligned(as: UInt16.self)) &+ countChange
            base.storeBytes(of: UInt16(truncatingIfNeeded: count), as: UInt16.self)
        }
        return base + offset
    }

    @inline(__always)
    mutating func splice(at offset: Int, removing removed: Int, inserting inserted: Int) -> UnsafeMutableRawPointer? {
        guard table.pointee.splice(&place, at: offset, removing: removed, inserting: inserted) else { return nil }
        return place.cell.valueAddress + offset
    }
}

/// A buffer that is as large as a cell's value can be.
struct BufferBytes: ~Copyable, EditableBytes {
    private let base: UnsafeMutableRawPointer
    private var count = 0
    var encoding: ValueEncoding

    /// Nil when memory is exhausted.
    init?(encoding: ValueEncoding) {
        guard let base = allocateBuffer(byteCount: CellHeader.inlineByteCountMax) else { return nil }
        self.base = base
        self.encoding = encoding
    }

    deinit { deallocateBuffer(base) }

    var bytes: ByteView { ByteView(base: base.assumingMemoryBound(to: UInt8.self), count: count) }

    mutating func splice(at offset: Int, removing removed: Int, inserting inserted: Int) -> UnsafeMutableRawPointer? {
        let tail = UnsafeMutableRawBufferPointer(
            start: base + offset + inserted, count: count - offset - removed)
        tail.copyMemory(from: UnsafeRawBufferPointer(start: base + offset + removed, count: tail.count))
        count += inserted - removed
        assert(count <= CellHeader.inlineByteCountMax)
        return base + offset
    }
}
