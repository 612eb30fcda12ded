// How values lie in memory, as DEBUG tells it: the blocks of a large hash, set or sorted set, the lengths of a string,
// the sizes of the store's own structures.
//
// The stripe is locked. O(blocks) for a collection, else O(1).

import KedisUtilities

/// The shape of a large hash, set or sorted set.
package struct CollectionStatistics: Sendable {
    package var elementCount = 0
    package var byteCount = 0
    package var directoryByteCount = 0
    package var blockCount = 0
    /// Room of all blocks, and what of it is taken.
    package var blockByteCount = 0
    package var takenByteCount = 0
    /// Blocks by how full they are: in tenths, index 10 being those that are full.
    package var blocksByFill = [Int](repeating: 0, count: 11)
    /// Blocks by how many bits their hashes share, index = bits.
    package var blocksByDepth: [Int] = []
    /// Of a sorted set, whose blocks are those of its index: the tree beside it.
    package var tree: (height: Int, leafCount: Int)?

    mutating func note(taken: Int, capacity: Int, depth: Int) {
        blockCount += 1
        blockByteCount += capacity
        takenByteCount += taken
        blocksByFill[capacity > 0 ? min(10, taken * 10 / capacity) : 0] += 1
        while blocksByDepth.count <= depth { blocksByDepth.append(0) }
        blocksByDepth[depth] += 1
    }
}

/// What a string takes: its bytes, those that it may grow by, and all.
package typealias ByteCounts = (used: Int, free: Int, taken: Int)

extension Entry {
    /// The shape of the collection; nil for what lies in its cell, or has no table.
    package var collectionStatistics: CollectionStatistics? {
        guard let collection = cell.collection else { return nil }
        var statistics = CollectionStatistics()
        statistics.byteCount = collection.allocatedByteCount
        switch collection.form {
        case .members: MemberTable(collection.address).add(to: &statistics)
        case .sortedTree: SortedTree(collection.address).add(to: &statistics)
        case .deque, .stream: return nil
        }
        return statistics
    }

    /// Key and value of a string that is no number; nil for everything else.
    package var stringLengths: (key: ByteCounts, value: ByteCounts)? {
        guard type == .string, encoding != .integer else { return nil }
        let header = cell.header
        func counts(_ blob: Blob?, inCell byteCount: Int) -> ByteCounts {
            guard let blob else { return (byteCount, 0, byteCount) }
            return (blob.byteCount, blob.capacity - blob.byteCount, blob.allocatedByteCount)
        }
        let key = counts(cell.keyBlob, inCell: header.keyFieldByteCount)
        var value = counts(cell.valueBlob, inCell: header.valueFieldByteCount)
        if cell.valueBlob == nil {
            // The cell is rounded up, and the value lies at its end.
            let used = header.valueOffset + header.valueFieldByteCount
            value.free = SizeClass.rounded(units: header.units) * SizeClass.unitByteCount - used
            value.taken += value.free
        }
        return (key, value)
    }
}

/// The sizes of what a store is made of, in bytes.
package let structureByteCounts: [(name: StaticString, byteCount: Int)] = [
    ("cell_header", CellHeader.byteCount), ("bucket", MemorySource.lineByteCount),
    ("segment", MemorySource.pageByteCount), ("stripe", MemoryLayout<Stripe>.stride),
    ("table", MemoryLayout<Table>.stride), ("list_chunk", MemoryLayout<PackedChunk>.stride),
    ("member_table", MemoryLayout<MemberTable.Header>.stride), ("member_block", MemberBlock.byteCountMax),
    ("sorted_tree", MemoryLayout<SortedTree.Header>.stride), ("stream", MemoryLayout<Stream.Header>.stride),
    ("stream_node", StreamNode.stride), ("pending_entry", StreamPending.stride),
]

extension MemberTable {
    fileprivate func add(to statistics: inout CollectionStatistics) {
        statistics.elementCount = count
        statistics.directoryByteCount = header.pointee.directory.byteCount
        forEachBlock { block in
            statistics.note(taken: block.liveByteCount, capacity: block.capacity, depth: block.depth)
            return true
        }
    }
}

extension SortedTree {
    fileprivate func add(to statistics: inout CollectionStatistics) {
        statistics.elementCount = count
        statistics.directoryByteCount = header.pointee.index.directoryByteCount
        header.pointee.index.forEachBlock { taken, capacity, depth in
            statistics.note(taken: taken, capacity: capacity, depth: depth)
        }
        var leafCount = 0
        var next: TreeLeaf? = firstLeaf
        while let leaf = next {
            leafCount += 1
            next = leaf.next
        }
        statistics.tree = (height, leafCount)
    }
}
