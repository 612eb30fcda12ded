// Giving back the memory of a wheel that has shrunk: the blocks that are left move out of thinly used chunks.
//
// A walk over all slots, in slices between which the wheel may change: entries are pushed into blocks of their own or
// into the ring's head, and only whole slots leave (TimingWheel.move resets the cursor for that).
// Cost: 64 bytes copied for each block that moves; afterwards at least about three quarters of the memory are in use.

extension TimingWheel {
    /// A block moves when its chunk has at most so many blocks in use, of 64.
    private static var thinChunkBlockCount: Int { 48 }

    /// Whether so much memory is unused that a walk is worth it.
    var wantsCompaction: Bool {
        pool.blockCapacity > pool.usedBlockCount * 3 / 2 + 2 * WheelBlockPool.blocksPerChunk
    }

    /// Looks at about `limit` blocks, or slots without any, and moves those that lie in thin chunks; true until the
    /// walk has been through all slots.
    mutating func compactSome(limit: Int) -> Bool {
        guard count > 0, levels != nil else {
            compaction = CompactionCursor()
            return false
        }
        var rest = max(1, limit)
        while rest > 0 {
            rest -= 1
            if !compactOne() {
                compaction = CompactionCursor()
                return false
            }
        }
        return true
    }

    /// Looks at one block, or goes on to the next slot; false after the last slot.
    private mutating func compactOne() -> Bool {
        guard let levels, compaction.level < Self.levelCount else { return false }
        let level = compaction.level
        let slots = levels[level].occupied >> UInt128(truncatingIfNeeded: compaction.slot)
        guard compaction.slot < Int(Self.slotCount), slots != 0, let tails = levels[level].tails else {
            compaction.level += 1
            compaction.slot = 0
            compaction.block = WheelBlockPool.none
            return compaction.level < Self.levelCount
        }
        if slots & 1 == 0 {
            compaction.slot += slots.trailingZeroBitCount
            compaction.block = WheelBlockPool.none
        }
        let tail = tails[compaction.slot]
        let previous = compaction.block == WheelBlockPool.none ? tail : compaction.block
        let block = pool.next(previous)
        let moved = move(block, after: previous)
        if block == tail {
            tails[compaction.slot] = moved
            compaction.slot += 1
            compaction.block = WheelBlockPool.none
        } else {
            compaction.block = moved
        }
        return true
    }

    /// The block that holds what `block` held: itself where its chunk is well used or no other one has room.
    private mutating func move(_ block: UInt32, after previous: UInt32) -> UInt32 {
        guard pool.usedBlockCount(inChunkOf: block) <= Self.thinChunkBlockCount,
            pool.available != WheelBlockPool.none, pool.available != block >> 6, let target = pool.take()
        else { return block }
        let (from, to) = (pool.words(block), pool.words(target))
        to.update(from: from, count: 15)
        let next = pool.next(block)
        to[15] = from[15] & 0xF000_0000 | (next == block ? target : next)
        if previous != block { pool.setNext(previous, target) }
        pool.give(block)
        return target
    }
}
