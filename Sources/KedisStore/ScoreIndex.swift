// From a member to its score, without the member: what a sorted tree is asked with before it is searched.
//
//      hash of the member, 32 bits ─▶ directory, by the top bits (BlockDirectory.swift)
//                                       └▶ block  ┌────────┬────────────────────┬──────────────────────────┐
//                                                 │ header │ hashes, ascending  │ scores in the same order │
//                                                 │ 16     │ 4 each             │ 8 each                   │
//                                                 └────────┴────────────────────┴──────────────────────────┘
//
// Hashes are spread evenly, so where one stands among the others of its block follows from its value, give or take a
// few places: no slot needs to stay empty, a split is two copies, and a merge one. Two members with the same hash (one
// in 4 billion pairs) are two entries; whoever asks gets both scores and looks into the tree, which has the members.
//
// Ownership: a part of the header of its tree (SortedTree.swift), whose memory it takes. Guarded by the stripe's lock.
// A refused allocation is a false, and nothing was changed. Cost: 12 bytes an element and about 1 of slack; one or two
// cache lines for a look, at most 2 KiB moved by a change.

import CKedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The memory of one structure: malloc's, counted by the source and by the structure itself.
struct BlockMemory {
    let source: UnsafeMutablePointer<MemorySource>
    let byteCount: UnsafeMutablePointer<Int>

    /// What malloc adds to a block.
    private static let overheadByteCount = 8

    func allocate(_ count: Int) -> UnsafeMutableRawPointer? {
        guard source.pointee.reserve(count) else { return nil }
        guard let block = malloc(max(1, count)) else {
            source.pointee.release(count)
            return nil
        }
        byteCount.pointee += count + BlockMemory.overheadByteCount
        return block
    }

    func deallocate(_ block: UnsafeMutableRawPointer, _ count: Int) {
        forget(count)
        free(block)
    }

    /// A block is somebody else's from now on.
    func forget(_ count: Int) {
        byteCount.pointee -= count + BlockMemory.overheadByteCount
        source.pointee.release(count)
    }
}

struct ScoreIndex {
    /// Hash bits of the directory at most: beyond that blocks grow.
    private static let depthMax = 24

    /// Nil while there was no element.
    private var directory: BlockDirectory?

    /// What it takes from the allocator beside its blocks, in bytes.
    var directoryByteCount: Int { directory?.byteCount ?? 0 }

    // MARK: Looking

    /// Hashes as the directory wants them.
    @inline(__always)
    private static func wide(_ hash: UInt32) -> UInt64 { UInt64(hash) << 32 }

    @inline(__always)
    private func block(_ hash: UInt32) -> ScoreBlock? { directory.map { ScoreBlock($0.block(ScoreIndex.wide(hash))) } }

    /// Calls `body` with every score that is noted under `hash`, until it answers false.
    @inline(__always)
    func forEachScore(_ hash: UInt32, _ body: (Double) -> Bool) {
        guard let block = block(hash) else { return }
        var index = block.firstIndex(atLeast: hash)
        let count = block.count
        while index < count, block.hashes[index] == hash {
            guard body(block.scores[index]) else { return }
            index &+= 1
        }
    }

    // MARK: Loading ahead: see ElementPrefetch.swift, whose hashes have 64 bits

    @inline(__always)
    func prefetchEntry(_ hash: UInt64) {
        directory?.prefetchEntry(hash)
    }

    @inline(__always)
    func blockAddress(_ hash: UInt64) -> UnsafeMutableRawPointer? {
        block(UInt32(truncatingIfNeeded: hash >> 32))?.base
    }

    /// Where the hash should be in its block, whose head is loaded.
    @inline(__always)
    func prefetchPlace(_ hash: UInt64, inBlock address: UnsafeMutableRawPointer) {
        guard directory != nil else { return }
        ScoreBlock(address).prefetchPlace(UInt32(truncatingIfNeeded: hash >> 32))
    }

    /// A score that is noted under the hash.
    @inline(__always)
    func firstScore(_ hash: UInt64, inBlock address: UnsafeMutableRawPointer) -> Double? {
        guard directory != nil else { return nil }
        let (block, wanted) = (ScoreBlock(address), UInt32(truncatingIfNeeded: hash >> 32))
        let index = block.firstIndex(atLeast: wanted)
        return index < block.count && block.hashes[index] == wanted ? block.scores[index] : nil
    }

    // MARK: Changes

    /// - Parameter room: ``BlockDirectory/roomByteCount`` bytes that live as long.
    mutating func insert(
        _ hash: UInt32, _ score: Double, room: UnsafeMutableRawPointer, _ memory: BlockMemory
    ) -> Bool {
        if directory == nil {
            guard let block = ScoreBlock.make(count: 8, depth: 0, memory) else { return false }
            directory = BlockDirectory(block.base, room: room, from: memory.source)
        }
        while let block = block(hash) {
            if block.count < block.capacity {
                block.insert(hash, score)
                return true
            }
            if block.count >= ScoreBlock.countMax, block.depth < ScoreIndex.depthMax {
                guard split(block, hash, memory) else { return false }
            } else {
                guard resize(block, hash, count: block.count + 1, memory) else { return false }
            }
        }
        return false
    }

    /// Notes another score for a member; what is noted under `old` is there.
    func replace(_ hash: UInt32, _ old: Double, with new: Double) {
        guard let block = block(hash), let index = block.index(of: hash, old) else { return }
        block.scores[index] = new
    }

    mutating func remove(_ hash: UInt32, _ score: Double, _ memory: BlockMemory) {
        guard let block = block(hash), let index = block.index(of: hash, score) else { return }
        block.remove(index)
        guard block.capacity - block.count > max(32, block.capacity / 4) else { return }
        if block.depth == 0 || block.count >= ScoreBlock.countMax / 3 || !merge(block, hash, memory) {
            _ = resize(block, hash, count: block.count, memory)
        }
    }

    // MARK: Blocks

    /// Gives a block room for `count` entries and a few more.
    private func resize(_ block: ScoreBlock, _ hash: UInt32, count: Int, _ memory: BlockMemory) -> Bool {
        guard let made = ScoreBlock.make(count: count, depth: block.depth, memory) else { return false }
        made.append(block, 0..<block.count)
        directory?.enter(made.base, ScoreIndex.wide(hash), bitCount: block.depth)
        block.release(memory)
        return true
    }

    private mutating func split(_ block: ScoreBlock, _ hash: UInt32, _ memory: BlockMemory) -> Bool {
        let depth = block.depth + 1
        guard directory?.prepare(ScoreIndex.wide(hash), bitCount: depth) == true else { return false }
        let bit: UInt32 = 1 << UInt32(32 - depth)
        let middle = block.firstIndex(atLeast: hash & ~(bit - 1) | bit)
        guard let low = ScoreBlock.make(count: middle, depth: depth, memory) else { return false }
        guard let high = ScoreBlock.make(count: block.count - middle, depth: depth, memory) else {
            low.release(memory)
            return false
        }
        low.append(block, 0..<middle)
        high.append(block, middle..<block.count)
        directory?.enterHalves(low.base, high.base, ScoreIndex.wide(hash), bitCount: depth)
        block.release(memory)
        return true
    }

    /// Makes one block of a thin one and its neighbour; false when they are not that thin, or memory is exhausted.
    private mutating func merge(_ block: ScoreBlock, _ hash: UInt32, _ memory: BlockMemory) -> Bool {
        let bit: UInt32 = 1 << UInt32(32 - block.depth)
        guard let other = self.block(hash ^ bit), other.depth == block.depth,
            block.count + other.count <= ScoreBlock.countMax / 2,
            directory?.canJoin(ScoreIndex.wide(hash), bitCount: block.depth) == true,
            let made = ScoreBlock.make(count: block.count + other.count, depth: block.depth - 1, memory)
        else { return false }
        let (low, high) = hash & bit == 0 ? (block, other) : (other, block)
        made.append(low, 0..<low.count)
        made.append(high, 0..<high.count)
        directory?.enterJoined(made.base, ScoreIndex.wide(hash), bitCount: block.depth)
        low.release(memory)
        high.release(memory)
        return true
    }

    // MARK: Copies and the end

    /// The same entries in new memory, in an index that is empty; false when memory is exhausted, and what was copied
    /// is to be released.
    mutating func copy(_ other: ScoreIndex, room: UnsafeMutableRawPointer, _ memory: BlockMemory) -> Bool {
        guard let source = other.directory else { return true }
        guard let empty = ScoreBlock.make(count: 0, depth: 0, memory) else { return false }
        var made = BlockDirectory(empty.base, room: room, from: memory.source)
        var (hash, isComplete) = (UInt64(0), true)
        source.forEach { address in
            let block = ScoreBlock(address)
            isComplete = ScoreIndex.copy(block, hash, to: &made, memory)
            hash = BlockDirectory.hash(behind: hash, bitCount: block.depth)
            return isComplete
        }
        if isComplete {
            made.endCopy()
            empty.release(memory)
        }
        directory = made
        return isComplete
    }

    private static func copy(
        _ block: ScoreBlock, _ hash: UInt64, to directory: inout BlockDirectory, _ memory: BlockMemory
    ) -> Bool {
        guard let copied = ScoreBlock.make(count: block.count, depth: block.depth, memory) else { return false }
        guard directory.enterCopy(copied.base, hash, bitCount: block.depth) else {
            copied.release(memory)
            return false
        }
        copied.append(block, 0..<block.count)
        return true
    }

    /// Frees the last block; false when there is none any more.
    mutating func releaseLast(_ memory: BlockMemory) -> Bool {
        guard let block = directory?.takeLast() else { return false }
        ScoreBlock(block).release(memory)
        return true
    }

    /// Calls `body` with what the entries of each block take, what they may, and how many bits they share. O(blocks).
    func forEachBlock(_ body: (_ taken: Int, _ capacity: Int, _ depth: Int) -> Void) {
        directory?.forEach { address in
            let block = ScoreBlock(address)
            body(block.count * ScoreBlock.entryByteCount, block.capacity * ScoreBlock.entryByteCount, block.depth)
            return true
        }
    }

    /// Traps when something does not hold; returns the number of entries.
    func checkInvariants() -> Int {
        var entries = 0
        directory?.checkInvariants { address, lowest, bitCount in
            let block = ScoreBlock(address)
            precondition(block.depth == bitCount && block.count <= block.capacity)
            for index in 0..<block.count {
                let hash = ScoreIndex.wide(block.hashes[index])
                precondition(bitCount == 0 || (hash ^ lowest) >> UInt64(64 - bitCount) == 0)
                precondition(index == 0 || block.hashes[index - 1] <= block.hashes[index])
            }
            entries += block.count
        }
        return entries
    }
}

/// Entries whose hashes begin with the same `depth` bits.
private struct ScoreBlock {
    /// With header and what malloc adds, about half a page; a multiple of the step.
    static let countMax = 168
    private static let headerByteCount = 16
    static let entryByteCount = 12

    let base: UnsafeMutableRawPointer

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer) { self.base = base }

    /// An empty block with room for `count` entries and a few more; nil when memory is exhausted.
    static func make(count: Int, depth: Int, _ memory: BlockMemory) -> ScoreBlock? {
        // A few steps from nothing to a page: little room stays free, and few steps are taken twice.
        let step = count < 64 ? 8 : 24
        let rounded = (count + step) / step * step
        let capacity = count < countMax ? min(rounded, countMax) : rounded
        guard let base = memory.allocate(headerByteCount + capacity * entryByteCount) else { return nil }
        base.storeBytes(of: 0, as: UInt32.self)
        base.storeBytes(of: UInt32(truncatingIfNeeded: capacity), toByteOffset: 4, as: UInt32.self)
        base.storeBytes(of: UInt32(truncatingIfNeeded: depth), toByteOffset: 8, as: UInt32.self)
        return ScoreBlock(base)
    }

    func release(_ memory: BlockMemory) {
        memory.deallocate(base, ScoreBlock.headerByteCount + capacity * ScoreBlock.entryByteCount)
    }

    var count: Int {
        @inline(__always) get { Int(base.load(as: UInt32.self)) }
        nonmutating set { base.storeBytes(of: UInt32(truncatingIfNeeded: newValue), as: UInt32.self) }
    }

    var capacity: Int { Int(base.load(fromByteOffset: 4, as: UInt32.self)) }
    var depth: Int { Int(base.load(fromByteOffset: 8, as: UInt32.self)) }

    @inline(__always)
    var hashes: UnsafeMutablePointer<UInt32> {
        (base + ScoreBlock.headerByteCount).assumingMemoryBound(to: UInt32.self)
    }

    /// The capacity is even, so that scores are aligned.
    @inline(__always)
    var scores: UnsafeMutablePointer<Double> {
        (base + ScoreBlock.headerByteCount + 4 &* capacity).assumingMemoryBound(to: Double.self)
    }

    /// The first entry whose hash is at least `hash`: guessed from the value, then walked to.
    @inline(__always)
    func firstIndex(atLeast hash: UInt32) -> Int {
        let count = count
        let rest = UInt64(hash &<< UInt32(depth))
        var index = Int(truncatingIfNeeded: (rest &* UInt64(count)) >> 32)
        let hashes = hashes
        kedis_prefetch(scores + index)
        while index > 0, hashes[index &- 1] >= hash { index &-= 1 }
        while index < count, hashes[index] < hash { index &+= 1 }
        return index
    }

    @inline(__always)
    func prefetchPlace(_ hash: UInt32) {
        let guess = Int(truncatingIfNeeded: (UInt64(hash &<< UInt32(depth)) &* UInt64(count)) >> 32)
        kedis_prefetch(hashes + guess)
        kedis_prefetch(scores + guess)
    }

    func index(of hash: UInt32, _ score: Double) -> Int? {
        var index = firstIndex(atLeast: hash)
        while index < count, hashes[index] == hash {
            if scores[index] == score { return index }
            index += 1
        }
        return nil
    }

    func insert(_ hash: UInt32, _ score: Double) {
        assert(count < capacity)
        let index = firstIndex(atLeast: hash)
        let moved = count - index
        (hashes + index + 1).update(from: hashes + index, count: moved)
        (scores + index + 1).update(from: scores + index, count: moved)
        hashes[index] = hash
        scores[index] = score
        count += 1
    }

    func remove(_ index: Int) {
        let moved = count - index - 1
        (hashes + index).update(from: hashes + index + 1, count: moved)
        (scores + index).update(from: scores + index + 1, count: moved)
        count -= 1
    }

    func append(_ other: ScoreBlock, _ range: Range<Int>) {
        assert(count + range.count <= capacity)
        (hashes + count).update(from: other.hashes + range.lowerBound, count: range.count)
        (scores + count).update(from: other.scores + range.lowerBound, count: range.count)
        count += range.count
    }
}
