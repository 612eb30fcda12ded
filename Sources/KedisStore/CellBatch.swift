// Copies of cells, on their way from the store into a snapshot: with everything that they refer to, so that they stay
// what they are whatever becomes of the originals.
//
//      chunk  ┌──────┬──────┬──────────────┬───────────┬──────────────┬───────────┬─ … ─┐
//             │ next │ used │ database, .. │ cell      │ database, .. │ cell      │     │
//             └──────┴──────┴──────────────┴───────────┴──────────────┴───────────┴─ … ─┘
//
// A cell's own bytes are copied, blobs are shared (who changes one then makes another), a collection outside of the
// cell is copied. Ownership: one owner, who empties it. Cost: the cells and 8 bytes for each, in chunks.

import KedisUtilities

final class CellBatch {
    private struct Chunk {
        var next: UnsafeMutablePointer<Chunk>?
        var usedByteCount = MemoryLayout<Chunk>.stride
        /// What its copies take, with all that they refer to.
        var byteCount = 0
    }

    /// Room for the largest cell many times over.
    private static let chunkByteCount = 256 << 10
    private static let recordHeaderByteCount = 8

    private var first: UnsafeMutablePointer<Chunk>?
    private var last: UnsafeMutablePointer<Chunk>?
    /// What the copies take, with all that they refer to.
    private(set) var byteCount = 0
    private let backlog: SnapshotBacklog

    init(_ backlog: SnapshotBacklog) { self.backlog = backlog }

    deinit {
        assert(isEmpty, "a batch is emptied before it goes")
        deallocateBuffer(first)
    }

    var isEmpty: Bool { byteCount == 0 }

    /// Copies a cell, whose stripe is locked, but for a collection outside of it, in whose place comes `collection`,
    /// the batch's from now on; one that was there anyway need not count. False when memory is exhausted.
    func append(
        _ cell: Cell, databaseIndex: Int, collection: Collection?, countsCollection: Bool = true
    ) -> Bool {
        let cellByteCount = cell.header.units * SizeClass.unitByteCount
        guard let room = room(CellBatch.recordHeaderByteCount + cellByteCount) else { return false }
        room.storeBytes(of: UInt32(truncatingIfNeeded: databaseIndex), as: UInt32.self)
        room.storeBytes(of: UInt32(truncatingIfNeeded: cellByteCount), toByteOffset: 4, as: UInt32.self)
        let copy = Cell(room + CellBatch.recordHeaderByteCount)
        copy.address.copyMemory(from: cell.address, byteCount: cellByteCount)
        copy.header.isPreserved = false
        if let collection { copy.setCollection(collection) }
        copy.valueBlob?.retain()
        copy.keyBlob?.retain()
        var taken = CellBatch.recordHeaderByteCount + cellByteCount
        last?.pointee.usedByteCount += taken
        if collection == nil || countsCollection { taken += copy.outsideByteCount }
        last?.pointee.byteCount += taken
        byteCount += taken
        return true
    }

    /// Gives an empty batch the first chunk of this one, or all.
    func moveFirst(to other: CellBatch) {
        assert(other.isEmpty)
        guard let chunk = first else { return }
        // One that was kept takes the place of the only one.
        let kept = other.first
        (other.first, other.last, other.byteCount) = (chunk, chunk, chunk.pointee.byteCount)
        byteCount -= chunk.pointee.byteCount
        if let next = chunk.pointee.next {
            first = next
            deallocateBuffer(kept)
        } else {
            (first, last) = (kept, kept)
        }
        chunk.pointee.next = nil
    }

    private func room(_ byteCount: Int) -> UnsafeMutableRawPointer? {
        if let last, last.pointee.usedByteCount + byteCount <= CellBatch.chunkByteCount {
            return UnsafeMutableRawPointer(last) + last.pointee.usedByteCount
        }
        guard let memory = backlog.allocate(byteCount: CellBatch.chunkByteCount) else { return nil }
        let chunk = memory.bindMemory(to: Chunk.self, capacity: 1)
        chunk.initialize(to: Chunk())
        if let last { last.pointee.next = chunk } else { first = chunk }
        last = chunk
        return memory + chunk.pointee.usedByteCount
    }

    /// Gives every copy in order. Nothing need be locked.
    func forEach(_ body: (_ databaseIndex: Int, Entry) -> Void) {
        var next = first
        while let chunk = next {
            next = chunk.pointee.next
            forEach(of: chunk) { body($0, Entry(cell: $1, hash: 0)) }
        }
    }

    private func forEach(of chunk: UnsafeMutablePointer<Chunk>, _ body: (_ databaseIndex: Int, Cell) -> Void) {
        let base = UnsafeMutableRawPointer(chunk)
        var offset = MemoryLayout<Chunk>.stride
        while offset < chunk.pointee.usedByteCount {
            let databaseIndex = Int((base + offset).load(as: UInt32.self))
            let cellByteCount = Int((base + offset).load(fromByteOffset: 4, as: UInt32.self))
            body(databaseIndex, Cell(base + offset + CellBatch.recordHeaderByteCount))
            offset += CellBatch.recordHeaderByteCount + cellByteCount
        }
    }

    /// Frees every copy; the batch is empty afterwards, and keeps a chunk. Nothing need be locked.
    func removeAll(to reclaimer: borrowing Reclaimer) {
        while let chunk = first {
            forEach(of: chunk) { _, cell in
                if let blob = cell.valueBlob { reclaimer.release(blob) }
                if let blob = cell.keyBlob { reclaimer.release(blob) }
                if let collection = cell.collection { reclaimer.release(collection) }
            }
            chunk.pointee.usedByteCount = MemoryLayout<Chunk>.stride
            chunk.pointee.byteCount = 0
            guard let next = chunk.pointee.next else { break }
            first = next
            deallocateBuffer(chunk)
        }
        last = first
        byteCount = 0
    }
}
