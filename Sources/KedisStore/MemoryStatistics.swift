// What the store knows about its memory and its tables: the figures behind INFO, MEMORY and DEBUG HTSTATS.

/// The memory of a store, in bytes unless a name says otherwise. Sums over stripes: each stripe's share is exact, the
/// stripes are looked at one after another.
package struct MemoryStatistics: Sendable {
    package var keyCount = 0
    package var deadlineCount = 0
    /// Live cells, rounded up to their size classes: header, key, deadline, inline value.
    package var cellByteCount = 0
    /// Values outside the arena.
    package var blobByteCount = 0
    package var blobCount = 0
    /// Segments and directories of the tables.
    package var tableByteCount = 0
    package var segmentCount = 0
    /// Timing wheels.
    package var wheelByteCount = 0
    /// The fixed cost of the stripes.
    package var overheadByteCount = 0
    /// What the arenas have mapped, and of that what was touched and not given back: live and free cells.
    package var arenaMappedByteCount = 0
    package var arenaResidentByteCount = 0
    /// Removed values whose memory the background has yet to give back.
    package var pendingByteCount = 0
    package var pendingCount = 0
    /// Values freed by the background since the store was opened.
    package var reclaimedCount: UInt64 = 0
    /// Cells that defragmentation moved, and slabs that it emptied, since the store was opened.
    package var movedCellCount: UInt64 = 0
    package var releasedSlabCount: UInt64 = 0
    /// Work counted on slow paths since the store was opened (splits, merges, directory growth, wheel rebuilds).
    package var slowPathCellCount: UInt64 = 0
    package var slowPathByteCount: UInt64 = 0

    /// The live bytes: what `used_memory` shows.
    package var usedByteCount: Int {
        cellByteCount + blobByteCount + tableByteCount + wheelByteCount + overheadByteCount
    }

    /// Free cells inside resident slabs: what fragmentation costs.
    package var freeCellByteCount: Int { max(0, arenaResidentByteCount - cellByteCount) }

    package init() {}
}

/// The shape of the tables of one database: what DEBUG HTSTATS prints.
package struct TableStatistics: Sendable {
    package var keyCount = 0
    package var tableCount = 0
    package var segmentCount = 0
    package var slotCount = 0
    package var directoryEntryCount = 0
    /// Segments by their depth in hash bits, index = depth.
    package var segmentsByDepth: [Int] = []
    /// Home buckets by how many of their 12 slots are taken, index = slots.
    package var bucketsByFill = [Int](repeating: 0, count: 13)
    /// Keys in their home bucket, in its neighbour, in the stash.
    package var homeKeyCount = 0
    package var neighbourKeyCount = 0
    package var stashKeyCount = 0

    /// Keys for each slot, 0 to 1.
    package var load: Double { slotCount > 0 ? Double(keyCount) / Double(slotCount) : 0 }

    package init() {}
}
