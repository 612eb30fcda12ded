// Background work on a table, in slices of one segment: moving cells out of thin slabs, and freeing everything.

import KedisUtilities

extension Table {
    /// Moves the cells of the segment at `threshold` that lie in slabs to be emptied; returns where to go on, nil at
    /// the end.
    mutating func evacuateSegment(at threshold: UInt64) -> UInt64? {
        visitSegment(at: threshold) { segment in
            segment.forEachSlot { bucket, slot in
                let reference = bucket.reference(slot)
                guard arena.pointee.isEvacuating(reference) else { return }
                let units = Cell(arena.pointee.address(reference)).header.units
                // Without memory the cell stays where it is.
                if let moved = arena.pointee.move(reference, units: units) { bucket.setReference(slot, moved) }
            }
        }
    }

    /// Whether everything was freed.
    var isReleased: Bool { directory == nil && expiry.byteCount == 0 }

    /// Frees one segment with its cells and blobs; true when the table is empty of everything. Blobs go to `reclaimer`
    /// when they are large. Without `withCells` the arena goes as a whole, and only blobs are looked for.
    mutating func releaseSome(withCells: Bool, to reclaimer: borrowing Reclaimer) -> Bool {
        guard let directory else { return releaseSchedule(limit: 64) }
        guard releaseCursor < 1 << depth else {
            directory.deallocate()
            self.directory = nil
            noteBytes(-(1 << depth) * MemoryLayout<UInt>.stride)
            depth = 0
            releaseCursor = 0
            return false
        }
        let segment = Segment(word: directory[releaseCursor])
        releaseCursor += 1 << (depth - segment.depth)
        let keyCount = segment.count
        if withCells || outsideCount > 0 {
            segment.forEachSlot { bucket, slot in
                let reference = bucket.reference(slot)
                let cell = Cell(arena.pointee.address(reference))
                let units = cell.header.units
                if cell.header.isAnyOutside { releaseBlobs(of: cell, to: reclaimer) }
                if withCells { freeCell(reference, units: units) }
            }
        }
        count -= keyCount
        release(segment)
        return false
    }
}
