// Copies of a table, its end, and what must hold.

import KedisUtilities

extension MemberTable {
    /// A copy that shares the blobs; nil when memory is exhausted. O(bytes).
    func copy() -> MemberTable? {
        guard let copy = MemberTable.make(isValued: isValued, seed: header.pointee.seed, from: source) else {
            return nil
        }
        guard copy.copyBlocks(of: self) else {
            copy.release()
            return nil
        }
        return copy
    }

    /// Takes the blocks of another table in place of the own, empty one. What was copied before a refusal is in the
    /// directory, so that it is freed with it.
    private func copyBlocks(of other: MemberTable) -> Bool {
        let depth = other.header.pointee.depth
        if depth > 0 {
            guard let memory = MemberTable.allocateBytes(other.directoryByteCount, from: source) else { return false }
            let empty = onlyEntry.pointee
            let directory = memory.bindMemory(to: UnsafeMutableRawPointer.self, capacity: 1 << depth)
            directory.initialize(repeating: empty, count: 1 << depth)
            header.pointee.directory = directory
            header.pointee.depth = depth
        }
        let empty = MemberBlock(header.pointee.directory[0])
        var (index, isComplete) = (0, true)
        other.forEachBlock { block in
            guard let made = makeBlock(capacity: block.capacity, depth: block.depth) else {
                isComplete = false
                return false
            }
            made.fill(from: block, isValued: isValued)
            if other.header.pointee.outsideCount > 0 { retainBlobs(of: made) }
            let width = 1 << (depth - block.depth)
            for entry in index..<index + width { header.pointee.directory[entry] = made.address }
            index += width
            return true
        }
        guard isComplete else {
            // Only the blocks that were made are freed, and then the empty one.
            releaseEntries(below: index)
            (header.pointee.blockCount, header.pointee.count) = (1, 0)
            header.pointee.releasingCount = 0
            freeBlock(empty)
            return false
        }
        freeBlock(empty)
        let theirs = other.header.pointee
        header.pointee.count = theirs.count
        header.pointee.blockCount = theirs.blockCount
        header.pointee.deepestBlockCount = theirs.deepestBlockCount
        header.pointee.elementsPerEntryMax = theirs.elementsPerEntryMax
        header.pointee.deadlineCount = theirs.deadlineCount
        header.pointee.deadlines = theirs.deadlines.copy(source: source)
        header.pointee.latestDeadline = theirs.latestDeadline
        return true
    }

    private func retainBlobs(of block: MemberBlock) {
        for index in 0..<block.count {
            let element = MemberElement(at: block.elementAddress(index), isValued: isValued)
            for blob in [element.memberBlob, element.valueBlob] {
                guard let blob else { continue }
                blob.retain()
                header.pointee.outsideCount += 1
                header.pointee.outsideByteCount += blob.allocatedByteCount
            }
        }
    }

    // MARK: The end

    private func releaseEntries(below end: Int) {
        var index = 0
        while index < end {
            let block = MemberBlock(header.pointee.directory[index])
            index += 1 << (header.pointee.depth - block.depth)
            _ = releaseBlock(block)
        }
    }

    /// Frees a block with the blobs of its elements; returns how many bytes that were.
    private func releaseBlock(_ block: MemberBlock) -> Int {
        var byteCount = block.capacity
        if header.pointee.outsideCount > 0 {
            let before = header.pointee.outsideByteCount
            for index in 0..<block.count {
                let element = MemberElement(at: block.elementAddress(index), isValued: isValued)
                if let blob = element.memberBlob { drop(blob) }
                if let blob = element.valueBlob { drop(blob) }
            }
            byteCount += before - header.pointee.outsideByteCount
        }
        freeBlock(block)
        return byteCount
    }

    /// Frees about `byteLimit` bytes from the end; true when the table itself is gone.
    func releaseSome(byteLimit: Int) -> Bool {
        var left = byteLimit
        var end = header.pointee.releasingCount ?? 1 << header.pointee.depth
        while end > 0 {
            guard left > 0 else {
                header.pointee.releasingCount = end
                return false
            }
            let block = MemberBlock(header.pointee.directory[end - 1])
            end -= 1 << (header.pointee.depth - block.depth)
            left -= releaseBlock(block)
            header.pointee.blockCount -= 1
        }
        while let blob = takeRetired() { blob.deallocate(to: source) }
        freeHeader()
        return true
    }

    func release() { _ = releaseSome(byteLimit: .max) }

    // MARK: Invariants

    /// Walks the table and traps when something does not hold. O(n).
    func checkInvariants() {
        let header = header.pointee
        var sums = (elements: 0, blocks: 0, deepest: 0, capacity: 0, deadlines: 0, outside: 0, outsideBytes: 0)
        var index = 0
        while index < 1 << header.depth {
            let block = MemberBlock(header.directory[index])
            let width = 1 << (header.depth - block.depth)
            precondition(index & (width - 1) == 0, "a block has a whole part of the directory")
            for entry in index..<index + width {
                precondition(header.directory[entry] == block.address, "all entries of a block are equal")
            }
            checkBlock(block, prefix: UInt64(index) >> UInt64(header.depth - block.depth)) { element in
                if element.hasDeadline { sums.deadlines += 1 }
                for blob in [element.memberBlob, element.valueBlob] {
                    guard let blob else { continue }
                    sums.outside += 1
                    sums.outsideBytes += blob.allocatedByteCount
                }
            }
            sums.elements += block.count
            sums.blocks += 1
            sums.capacity += block.capacity
            if block.depth == header.depth { sums.deepest += 1 }
            index += width
        }
        precondition(sums.elements == header.count && sums.blocks == header.blockCount)
        precondition(sums.capacity == header.blockByteCount && sums.deepest == header.deepestBlockCount)
        precondition(sums.deadlines == header.deadlineCount)
        precondition(sums.deadlines > 0 || header.deadlines.earliest == .max, "without deadlines none is near")
        header.deadlines.checkInvariants()
        precondition(sums.outside == header.outsideCount && sums.outsideBytes == header.outsideByteCount)
    }

    private func checkBlock(_ block: MemberBlock, prefix: UInt64, _ visit: (MemberElement) -> Void) {
        let own = block.header.pointee
        precondition(block.freeByteCount >= 0 && own.garbageByteCount <= own.heapByteCount)
        precondition(block.count <= header.pointee.elementsPerEntryMax * entryCount(of: block))
        precondition(block.depth <= MemberTable.depthMax)
        var byteCount = 0
        for index in 0..<block.count {
            let element = MemberElement(at: block.elementAddress(index), isValued: isValued)
            let hash = hash(element.member)
            precondition(block.tags[index] == MemberBlock.tag(of: hash, depth: block.depth))
            precondition(index == 0 || block.tags[index - 1] <= block.tags[index], "tags are in order")
            precondition(block.depth == 0 || hash >> UInt64(64 - block.depth) == prefix, "hashes begin alike")
            precondition(
                !element.hasDeadline
                    || element.deadlineMilliseconds >= own.earliestDeadline
                        && element.deadlineMilliseconds >= header.pointee.deadlines.bound(of: hash)
                        && element.deadlineMilliseconds <= header.pointee.latestDeadline, "bounds of deadlines hold")
            precondition(isValued || element.value.isEmpty)
            byteCount += element.byteCount
            visit(element)
        }
        precondition(byteCount + Int(own.garbageByteCount) == Int(own.heapByteCount), "all other bytes are garbage")
    }
}
