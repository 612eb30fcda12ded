// Copies of cells, on their way from the store into a snapshot: with everything that they refer to, so that they stay
// what they are whatever becomes of the originals.
//
//      chunk  ┌──────┬──────┬──────────────┬───────────┬──────────────┬───────────┬─ … ─┐
//             │ next │ used │ database, .. │ cell      │ database, .. │ cell      │     │
//             └──────┴──────┴──────────────┴───────────┴──────────────┴───────────┴─ … ─┘
//
// A cell's own bytes are copied, blobs are shared (who changes one then makes another), a collection outside of the
// cell is copied. Ownership: one owner, who drains it. Cost: the cells and 8 bytes for each, in chunks.

import KedisUtilities

final class CellBatch {
    private struct Chunk {
        var next: UnsafeMutablePointer<Chunk>?
        var usedByteCount = MemoryLayout<Chunk>.stride
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
        assert(isEmpty, "a batch is drained before it goes")
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
        last?.pointee.usedByteCount += CellBatch.recordHeaderByteCount + cellByteCount
        byteCount += CellBatch.recordHeaderByteCount + cellByteCount
        if collection == nil || countsCollection { byteCount += copy.outsideByteCount }
        return true
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

    /// Gives every copy in order and frees it; the batch is empty afterwards, and keeps a chunk. Nothing need be
    /// locked.
    func drain(to reclaimer: borrowing Reclaimer, _ body: (_ databaseIndex: Int, Entry) -> Void) {
        while let chunk = first {
            let base = UnsafeMutableRawPointer(chunk)
            var offset = MemoryLayout<Chunk>.stride
            while offset < chunk.pointee.usedByteCount {
                let databaseIndex = Int((base + offset).load(as: UInt32.self))
                let cellByteCount = Int((base + offset).load(fromByteOffset: 4, as: UInt32.self))
                let cell = Cell(base + offset + CellBatch.recordHeaderByteCount)
                body(databaseIndex, Entry(cell: cell, hash: 0))
                if let blob = cell.valueBlob { reclaimer.release(blob) }
                if let blob = cell.keyBlob { reclaimer.release(blob) }
                if let collection = cell.collection { reclaimer.release(collection) }
                offset += CellBatch.recordHeaderByteCount + cellByteCount
            }
            chunk.pointee.usedByteCount = MemoryLayout<Chunk>.stride
            guard let next = chunk.pointee.next else { break }
            first = next
            deallocateBuffer(base)
        }
        last = first
        byteCount = 0
    }
}
