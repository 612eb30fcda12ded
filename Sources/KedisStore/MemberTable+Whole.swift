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

    /// Takes copies of the blocks of another table in place of the own, empty one. After a refusal there are those that
    /// were made before it.
    private func copyBlocks(of other: MemberTable) -> Bool {
        let empty = block(0)
        var (hash, isComplete) = (UInt64(0), true)
        other.forEachBlock { block in
            isComplete = copy(block, hash, isSharing: other.header.pointee.outsideCount > 0)
            hash = BlockDirectory.hash(behind: hash, bitCount: block.depth)
            return isComplete
        }
        guard isComplete else { return false }
        header.pointee.directory.endCopy()
        freeBlock(empty)
        header.pointee.blockCount -= 1
        let theirs = other.header.pointee
        header.pointee.count = theirs.count
        header.pointee.elementsPerEntryMax = theirs.elementsPerEntryMax
        noteBits(before: theirs.directory.bitCountMax)
        header.pointee.deadlineCount = theirs.deadlineCount
        header.pointee.deadlines = theirs.deadlines.copy(source: source)
        header.pointee.latestDeadline = theirs.latestDeadline
        return true
    }

    private func copy(_ block: MemberBlock, _ hash: UInt64, isSharing: Bool) -> Bool {
        guard let made = makeBlock(capacity: block.capacity, depth: block.depth) else { return false }
        guard header.pointee.directory.enterCopy(made.address, hash, bitCount: block.depth) else {
            freeBlock(made)
            return false
        }
        header.pointee.blockCount += 1
        made.fill(from: block, isValued: isValued)
        if isSharing { retainBlobs(of: made) }
        return true
    }

    private func retainBlobs(of block: MemberBlock) {
        block.forEachBlob(isValued: isValued) { blob in
            blob.retain()
            header.pointee.outsideCount += 1
            header.pointee.outsideByteCount += blob.allocatedByteCount
        }
    }

    // MARK: The end

    /// Frees about `byteLimit` bytes from the end; true when the table itself is gone.
    func releaseSome(byteLimit: Int) -> Bool {
        var left = byteLimit
        while left > 0 {
            if header.pointee.releasing == nil {
                guard let block = header.pointee.directory.takeLast() else { return releaseHeader() }
                header.pointee.releasing = MemberBlock(block)
            }
            left -= releaseSome(ofBlock: left)
        }
        return false
    }

    /// Frees elements of the block that is being freed, and with the last one the block; returns how many bytes.
    private func releaseSome(ofBlock byteLimit: Int) -> Int {
        guard let block = header.pointee.releasing else { return 0 }
        let before = header.pointee.outsideByteCount
        while header.pointee.outsideCount > 0, block.count > 0 {
            let freed = before - header.pointee.outsideByteCount
            if freed >= byteLimit { return freed }
            dropElement(at: MemberPlace(hash: 0, block: block, index: block.count - 1, isFound: true))
        }
        header.pointee.releasing = nil
        header.pointee.blockCount -= 1
        // Freeing a small one is work too.
        let byteCount = max(block.capacity, 1024) + before - header.pointee.outsideByteCount
        freeBlock(block)
        return byteCount
    }

    private func releaseHeader() -> Bool {
        while let blob = takeRetired() { blob.deallocate(to: source) }
        freeHeader()
        return true
    }

    func release() { _ = releaseSome(byteLimit: .max) }

    // MARK: Invariants

    /// Walks the table and traps when something does not hold. O(n).
    func checkInvariants() {
        let header = header.pointee
        var sums = (elements: 0, blocks: 0, capacity: 0, deadlines: 0, outside: 0, outsideBytes: 0)
        header.directory.checkInvariants { address, hash, bitCount in
            let block = MemberBlock(address)
            precondition(block.depth == bitCount, "a block has all entries of the hashes that begin alike")
            checkBlock(block, prefix: bitCount == 0 ? 0 : hash >> UInt64(64 - bitCount)) { element in
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
        }
        precondition(sums.elements == header.count && sums.blocks == header.blockCount)
        precondition(sums.capacity == header.blockByteCount)
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
