// Blocks that grow, are split, shrink and become one again.

import CKedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension MemberTable {
    /// Free room that a block should have when it is written anew for its garbage: else the next change does it again.
    private static let slackByteCount = 256

    // MARK: Room

    /// Gives the block of a hash `byteCount` free bytes; false when memory is exhausted. O(block).
    @inline(never)
    func makeRoomSlowly(_ hash: UInt64, _ byteCount: Int) -> Bool {
        while true {
            let block = block(hash)
            if block.freeByteCount >= byteCount { return true }
            block.prefetch()
            let slack = block.header.pointee.garbageByteCount > 0 ? MemberTable.slackByteCount : 0
            let needed = block.liveByteCount + byteCount + slack
            if needed <= MemberBlock.byteCountMax || staysWhole(block, hash, needed) {
                return rebuild(block, hash, capacity: MemberBlock.capacity(atLeast: needed))
            }
            guard split(block, hash) else { return false }
        }
    }

    /// Whether a full block had better grow: the directory would grow for few large elements that fell together.
    private func staysWhole(_ block: MemberBlock, _ hash: UInt64, _ byteCount: Int) -> Bool {
        1 << block.depth > 4 * header.pointee.blockCount && byteCount <= MemberBlock.wideByteCountMax
            && !header.pointee.directory.tellsApart(block.depth + 1, hash)
    }

    /// Writes a block anew, without garbage.
    private func rebuild(_ block: MemberBlock, _ hash: UInt64, capacity: Int) -> Bool {
        guard let made = makeBlock(capacity: capacity, depth: block.depth) else { return false }
        made.fill(from: block, isValued: isValued)
        header.pointee.directory.enter(made.address, hash, bitCount: block.depth)
        freeBlock(block)
        return true
    }

    // MARK: Splitting

    /// Makes two blocks of one, by the next bit of the hashes.
    private func split(_ block: MemberBlock, _ hash: UInt64) -> Bool {
        let depth = block.depth + 1
        guard depth <= MemberTable.depthMax, changeDirectory({ $0.prepare(hash, bitCount: depth) }) else {
            return false
        }
        let middle = block.lowerBound(0x8000)
        guard let low = makeHalf(of: block, 0..<middle) else { return false }
        guard let high = makeHalf(of: block, middle..<block.count) else {
            freeBlock(low)
            return false
        }
        header.pointee.blockCount += 1
        header.pointee.directory.enterHalves(low.address, high.address, hash, bitCount: depth)
        freeBlock(block)
        noteElements(of: low)
        noteElements(of: high)
        return true
    }

    /// A block of some elements of another one, one bit deeper. The tags get their last bit from the hashes anew.
    private func makeHalf(of block: MemberBlock, _ range: Range<Int>) -> MemberBlock? {
        var byteCount = MemberBlock.headerByteCount + MemberBlock.slotByteCount * range.count
        for index in range {
            byteCount += MemberElement(at: block.elementAddress(index), isValued: isValued).byteCount
        }
        let depth = block.depth + 1
        guard let half = makeBlock(capacity: MemberBlock.capacity(atLeast: byteCount), depth: depth) else { return nil }
        half.header.pointee.earliestDeadline = block.header.pointee.earliestDeadline
        half.append(block, range, isValued: isValued) { _, element in
            MemberBlock.tag(of: hash(element.member), depth: depth)
        }
        // Tags that were equal may differ in the last bit now.
        half.sort()
        return half
    }

    /// Lets `body` change how many bits the directory tells apart, and what draws are made from with them.
    private func changeDirectory<Result>(_ body: (inout BlockDirectory) -> Result) -> Result {
        let before = header.pointee.directory.bitCountMax
        let result = body(&header.pointee.directory)
        noteBits(before: before)
        return result
    }

    // MARK: Shrinking

    /// After a removal: joins a thin block with its other half, or gives it less room; without memory it stays.
    @inline(never)
    func shrinkSlowly(_ block: MemberBlock, _ hash: UInt64) {
        let live = block.liveByteCount
        if block.depth > 0, 4 * live < MemberBlock.byteCountMax, merge(block, hash) { return }
        let capacity = MemberBlock.capacity(atLeast: live + live / 8)
        guard capacity < block.capacity else { return }
        _ = rebuild(block, hash, capacity: capacity)
    }

    /// Joins a block with the one that it was split from; false when that one is deeper, or both are too full.
    private func merge(_ block: MemberBlock, _ hash: UInt64) -> Bool {
        let bit = UInt64(1) << UInt64(64 - block.depth)
        let (low, high) = (self.block(hash & ~bit), self.block(hash | bit))
        guard low.depth == high.depth else { return false }
        let byteCount = low.liveByteCount + high.liveByteCount
        guard 2 * byteCount <= MemberBlock.byteCountMax,
            header.pointee.directory.canJoin(hash, bitCount: block.depth),
            let joined = makeBlock(capacity: MemberBlock.capacity(atLeast: byteCount), depth: block.depth - 1)
        else { return false }
        joined.append(low, 0..<low.count, isValued: isValued) { index, _ in low.tags[index] >> 1 }
        joined.append(high, 0..<high.count, isValued: isValued) { index, _ in high.tags[index] >> 1 | 0x8000 }
        joined.header.pointee.earliestDeadline = min(
            low.header.pointee.earliestDeadline, high.header.pointee.earliestDeadline)
        changeDirectory { $0.enterJoined(joined.address, hash, bitCount: block.depth) }
        freeBlock(low)
        freeBlock(high)
        header.pointee.blockCount -= 1
        return true
    }
}

extension MemberBlock {
    /// Starts to load all of it: elements lie in the order of their age, and are gone through in that of their tags.
    fileprivate func prefetch() {
        var offset = 0
        while offset < capacity {
            kedis_prefetch(address + offset)
            offset &+= MemorySource.lineByteCount
        }
    }
}
