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

/// The value of a cell.
struct CellBytes: EditableBytes {
    let table: UnsafeMutablePointer<Table>
    var place: Place

    init(_ table: UnsafeMutablePointer<Table>, _ place: Place) {
        self.table = table
        self.place = place
    }

    var cell: Cell { place.cell }

    var bytes: ByteView {
        let header = place.cell.header
        let address = place.cell.address + header.valueOffset
        return ByteView(base: address.assumingMemoryBound(to: UInt8.self), count: header.valueFieldByteCount)
    }

    var encoding: ValueEncoding {
        get { place.cell.header.encoding }
        set { place.cell.header.encoding = newValue }
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
