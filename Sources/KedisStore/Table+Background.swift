// Background work on a table, in slices of one segment: moving cells out of thin slabs, and freeing everything.

import KedisUtilities

extension Table {
    /// Bytes of cells that one slice moves, and a cell more.
    private static let movedByteCountMax = 128 << 10

    /// Moves cells of the segment at `threshold` that lie in slabs to be emptied; returns where to go on, nil at the
    /// end.
    mutating func evacuateSegment(at threshold: UInt64) -> UInt64? {
        var rest = Table.movedByteCountMax
        var isCut = false
        let next = visitSegment(at: threshold) { segment in
            segment.forEachSlot { bucket, slot in
                let reference = bucket.reference(slot)
                guard arena.pointee.isEvacuating(reference) else { return }
                guard rest > 0 else { return isCut = true }
                let units = Cell(arena.pointee.address(reference)).header.units
                // Without memory the cell stays where it is.
                guard let moved = arena.pointee.move(reference, units: units) else { return }
                bucket.setReference(slot, moved)
                rest -= units * SizeClass.unitByteCount
            }
        }
        return isCut ? threshold : next
    }

    /// Whether everything was freed.
    var isReleased: Bool { directory == nil && expiry.byteCount == 0 }

    /// Frees one segment with its cells, or one bucket of it while there are blobs; true when the table is empty of
    /// everything. Blobs go to `reclaimer` when they are large. Without `withCells` the arena goes as a whole, and only
    /// blobs are looked for.
    mutating func releaseSome(withCells: Bool, to reclaimer: borrowing Reclaimer) -> Bool {
        guard let directory else { return releaseSchedule(limit: 64) }
        guard releaseCursor < 1 << depth else {
            arena.pointee.source.pointee.deallocate(directory, count: 1 << depth)
            self.directory = nil
            noteBytes(-(1 << depth) * MemoryLayout<UInt>.stride)
            depth = 0
            releaseCursor = 0
            return false
        }
        let segment = Segment(word: directory[releaseCursor])
        if withCells || outsideCount > 0 {
            let end = outsideCount > 0 ? releaseBucketCursor + 1 : Segment.bucketCount
            for index in releaseBucketCursor..<end {
                releaseCells(of: segment.bucket(index), withCells: withCells, to: reclaimer)
            }
            releaseBucketCursor = end
            guard end == Segment.bucketCount else { return false }
        }
        releaseBucketCursor = 0
        releaseCursor += 1 << (depth - segment.depth)
        count -= segment.count
        release(segment)
        return false
    }

    private mutating func releaseCells(of bucket: Bucket, withCells: Bool, to reclaimer: borrowing Reclaimer) {
        Bucket.forEachSlot(bucket.taken) { slot in
            let reference = bucket.reference(slot)
            let cell = cell(bucket, slot)
            let units = cell.header.units
            if cell.header.isAnyOutside { releaseBlobs(of: cell, to: reclaimer) }
            if withCells { freeCell(reference, units: units) }
        }
    }
}
