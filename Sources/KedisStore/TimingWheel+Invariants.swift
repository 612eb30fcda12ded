// What must hold for a timing wheel and its pool, checked by a walk over all of it. For tests.

import CKedis

extension TimingWheel {
    /// Every block in use is in exactly one ring, no block of a ring is empty, only a slot's head is partly filled, no
    /// slot of a higher level is as near as the next one, and the counts agree.
    func checkInvariants() {
        pool.checkInvariants()
        guard count > 0 else {
            precondition(
                levels == nil && dueTail == WheelBlockPool.none && earlyTail == WheelBlockPool.none,
                "an empty wheel holds memory")
            return
        }
        var found = 0
        var blockCount = 0
        for list in [dueTail, earlyTail] where list != WheelBlockPool.none {
            countRing(list, isSlot: false, &found, &blockCount)
        }
        for level in 0..<Self.levelCount {
            guard let levels, levels[level].occupied != 0 else { continue }
            guard let tails = levels[level].tails else { preconditionFailure("an occupied level without slots") }
            for near in 0..<UInt64(level == 0 ? 0 : 2) {
                let slot = UInt128((position >> UInt64(level * 6) + near) & (Self.slotCount - 1))
                precondition(levels[level].occupied >> slot & 1 == 0, "a slot that is near was not spread")
            }
            for slot in 0..<Int(Self.slotCount) where levels[level].occupied >> UInt128(slot) & 1 != 0 {
                countRing(tails[slot], isSlot: true, &found, &blockCount)
            }
        }
        precondition(found == count, "the count is not what the rings hold")
        precondition(blockCount == pool.usedBlockCount, "a block is in no ring or in two")
    }

    private func countRing(_ tail: UInt32, isSlot: Bool, _ found: inout Int, _ blockCount: inout Int) {
        var block = tail
        var ringBlockCount = 0
        let head = pool.next(tail)
        repeat {
            let entryCount = pool.entryCount(block)
            precondition(entryCount > 0, "a block without entries in a ring")
            precondition(
                !isSlot || block == head || entryCount == WheelBlockPool.entriesPerBlock,
                "a block that is neither full nor the head")
            found += entryCount
            ringBlockCount += 1
            precondition(ringBlockCount <= pool.usedBlockCount, "a ring does not close")
            block = pool.next(block)
        } while block != tail
        blockCount += ringBlockCount
    }
}

extension WheelBlockPool {
    func checkInvariants() {
        // Without blocks in use the pool is empty or on its way to be.
        guard usedBlockCount > 0 else { return }
        var (used, withMemory, withRoom, withoutMemory) = (0, 0, 0, 0)
        for number in 0..<chunkNumberCount {
            let chunk = chunk(UInt32(number)).pointee
            guard chunk.memory != nil else {
                withoutMemory += 1
                continue
            }
            withMemory += 1
            if chunk.freeMask != 0 { withRoom += 1 }
            let capacity = chunkCount == 1 ? blockCapacity : Self.blocksPerChunk
            used += capacity - chunk.freeMask.nonzeroBitCount
            precondition(chunk.freeMask.nonzeroBitCount < capacity, "an empty chunk keeps its memory")
        }
        precondition(withMemory == chunkCount && used == usedBlockCount, "the pool's counts are wrong")
        precondition(ringLength == withRoom, "a chunk with room is not in the ring, or one without is")
        precondition(vacantLength == withoutMemory, "a vacant number is not in the list")
        precondition(byteCountByWalk == allocatedByteCount, "the pool's byte count is wrong")
    }

    private var ringLength: Int {
        guard available != Self.none else { return 0 }
        var length = 0
        var number = available
        repeat {
            let chunk = chunk(number).pointee
            precondition(chunk.freeMask != 0 && chunk.memory != nil)
            precondition(self.chunk(chunk.next).pointee.previous == number, "the ring's links disagree")
            length += 1
            number = chunk.next
        } while number != available
        return length
    }

    private var vacantLength: Int {
        var length = 0
        var number = vacant
        while number != Self.none {
            length += 1
            number = chunk(number).pointee.next
        }
        return length
    }

    private var byteCountByWalk: Int {
        guard let root else { return 0 }
        var sum = kedis_allocated_size(root)
        for number in 0..<chunkNumberCount {
            if number % Self.chunksPerPage == 0 { sum += kedis_allocated_size(root[number / Self.chunksPerPage]) }
            if let memory = chunk(UInt32(number)).pointee.memory {
                sum += byteCountOfMemory(memory, blockCount(ofChunk: number))
            }
        }
        return sum
    }
}
