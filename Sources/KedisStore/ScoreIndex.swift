// From a member to its score, without the member: what a sorted tree is asked with before it is searched.
//
//      hash of the member, 32 bits ─▶ directory, 2^depth addresses by the top bits
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
        byteCount.pointee -= count + BlockMemory.overheadByteCount
        source.pointee.release(count)
        free(block)
    }
}

struct ScoreIndex {
    /// Hash bits of the directory at most: beyond that blocks grow.
    private static let depthMax = 24

    private var directory: UnsafeMutablePointer<UnsafeMutableRawPointer>?
    private var depth = 0
    /// Blocks of the directory's depth: without any, it halves.
    private var deepestCount = 0
    /// The entries of the directory whose blocks are not freed yet, while the index is.
    private var releaseCursor: Int?

    // MARK: Looking

    @inline(__always)
    private func position(_ hash: UInt32) -> Int { Int(truncatingIfNeeded: UInt64(hash) >> UInt64(32 &- depth)) }

    @inline(__always)
    private func block(_ hash: UInt32) -> ScoreBlock? { directory.map { ScoreBlock($0[position(hash)]) } }

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
        if let directory { kedis_prefetch(directory + position(UInt32(truncatingIfNeeded: hash >> 32))) }
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

    mutating func insert(_ hash: UInt32, _ score: Double, _ memory: BlockMemory) -> Bool {
        if directory == nil, !makeDirectory(memory) { return false }
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

    private mutating func makeDirectory(_ memory: BlockMemory) -> Bool {
        guard let made = memory.allocate(MemoryLayout<UnsafeMutableRawPointer>.stride) else { return false }
        guard let block = ScoreBlock.make(count: 8, depth: 0, memory) else {
            memory.deallocate(made, MemoryLayout<UnsafeMutableRawPointer>.stride)
            return false
        }
        directory = made.bindMemory(to: UnsafeMutableRawPointer.self, capacity: 1)
        directory?.initialize(to: block.base)
        (depth, deepestCount) = (0, 1)
        return true
    }

    /// Makes the directory refer to `block` wherever hashes begin as `hash` does.
    private func enter(_ block: ScoreBlock, _ hash: UInt32) {
        let span = 1 << (depth - block.depth)
        let first = position(hash) & ~(span - 1)
        for position in first..<first + span { directory?[position] = block.base }
    }

    /// Gives a block room for `count` entries and a few more.
    private func resize(_ block: ScoreBlock, _ hash: UInt32, count: Int, _ memory: BlockMemory) -> Bool {
        guard let made = ScoreBlock.make(count: count, depth: block.depth, memory) else { return false }
        made.append(block, 0..<block.count)
        enter(made, hash)
        block.release(memory)
        return true
    }

    private mutating func split(_ block: ScoreBlock, _ hash: UInt32, _ memory: BlockMemory) -> Bool {
        if block.depth == depth, !doubleDirectory(memory) { return false }
        let bit: UInt32 = 1 << UInt32(31 - block.depth)
        let prefix = block.depth == 0 ? 0 : hash & ~(.max >> UInt32(block.depth))
        let middle = block.firstIndex(atLeast: prefix | bit)
        let newDepth = block.depth + 1
        guard let low = ScoreBlock.make(count: middle, depth: newDepth, memory) else { return false }
        guard let high = ScoreBlock.make(count: block.count - middle, depth: newDepth, memory) else {
            low.release(memory)
            return false
        }
        low.append(block, 0..<middle)
        high.append(block, middle..<block.count)
        enter(low, prefix)
        enter(high, prefix | bit)
        if newDepth == depth { deepestCount += 2 }
        block.release(memory)
        return true
    }

    private mutating func doubleDirectory(_ memory: BlockMemory) -> Bool {
        let stride = MemoryLayout<UnsafeMutableRawPointer>.stride
        guard let directory, let memoryBlock = memory.allocate(stride << (depth + 1)) else { return false }
        let made = memoryBlock.bindMemory(to: UnsafeMutableRawPointer.self, capacity: 2 << depth)
        for index in 0..<1 << depth {
            made[2 * index] = directory[index]
            made[2 * index + 1] = directory[index]
        }
        memory.deallocate(directory, stride << depth)
        self.directory = made
        depth += 1
        deepestCount = 0
        return true
    }

    /// Makes one block of a thin one and its neighbour; false when they are not that thin, or memory is exhausted.
    private mutating func merge(_ block: ScoreBlock, _ hash: UInt32, _ memory: BlockMemory) -> Bool {
        let bit: UInt32 = 1 << UInt32(32 - block.depth)
        guard let other = self.block(hash ^ bit), other.depth == block.depth,
            block.count + other.count <= ScoreBlock.countMax / 2,
            let made = ScoreBlock.make(count: block.count + other.count, depth: block.depth - 1, memory)
        else { return false }
        let (low, high) = hash & bit == 0 ? (block, other) : (other, block)
        made.append(low, 0..<low.count)
        made.append(high, 0..<high.count)
        if block.depth == depth { deepestCount -= 2 }
        enter(made, hash)
        low.release(memory)
        high.release(memory)
        halveDirectory(memory)
        return true
    }

    private mutating func halveDirectory(_ memory: BlockMemory) {
        while depth > 0, deepestCount == 0, let directory {
            let stride = MemoryLayout<UnsafeMutableRawPointer>.stride
            guard let memoryBlock = memory.allocate(stride << (depth - 1)) else { return }
            let made = memoryBlock.bindMemory(to: UnsafeMutableRawPointer.self, capacity: 1 << (depth - 1))
            for index in 0..<1 << (depth - 1) { made[index] = directory[2 * index] }
            memory.deallocate(directory, stride << depth)
            self.directory = made
            depth -= 1
            deepestCount = blockCount(ofDepth: depth)
        }
    }

    private func blockCount(ofDepth wanted: Int) -> Int {
        guard let directory else { return 0 }
        var (position, count) = (0, 0)
        while position < 1 << depth {
            let block = ScoreBlock(directory[position])
            if block.depth == wanted { count += 1 }
            position += 1 << (depth - block.depth)
        }
        return count
    }

    // MARK: Copies and the end

    /// The same entries in new memory, in an index that is empty; false when memory is exhausted, and what was copied
    /// is to be released.
    mutating func copy(_ other: ScoreIndex, _ memory: BlockMemory) -> Bool {
        let stride = MemoryLayout<UnsafeMutableRawPointer>.stride
        guard let source = other.directory else { return true }
        guard let memoryBlock = memory.allocate(stride << other.depth) else { return false }
        let made = memoryBlock.bindMemory(to: UnsafeMutableRawPointer.self, capacity: 1 << other.depth)
        (directory, depth, deepestCount) = (made, other.depth, other.deepestCount)
        var position = 0
        while position < 1 << depth {
            let block = ScoreBlock(source[position])
            guard let copied = ScoreBlock.make(count: block.count, depth: block.depth, memory) else {
                releaseCursor = position
                return false
            }
            copied.append(block, 0..<block.count)
            let span = 1 << (depth - block.depth)
            for entry in position..<position + span { made[entry] = copied.base }
            position += span
        }
        return true
    }

    /// Frees the last block, or the directory when there is none any more; false when that was done before.
    mutating func releaseLast(_ memory: BlockMemory) -> Bool {
        guard let directory else { return false }
        let end = releaseCursor ?? 1 << depth
        if end > 0 {
            let block = ScoreBlock(directory[end - 1])
            releaseCursor = end - 1 << (depth - block.depth)
            block.release(memory)
        } else {
            memory.deallocate(directory, MemoryLayout<UnsafeMutableRawPointer>.stride << depth)
            self.directory = nil
        }
        return true
    }

    /// Traps when something does not hold; returns the number of entries.
    func checkInvariants() -> Int {
        guard let directory else { return 0 }
        var (position, entries, deepest) = (0, 0, 0)
        while position < 1 << depth {
            let block = ScoreBlock(directory[position])
            precondition(block.depth <= depth && block.count <= block.capacity)
            let span = 1 << (depth - block.depth)
            precondition(position & (span - 1) == 0)
            for entry in position..<position + span { precondition(directory[entry] == block.base) }
            for index in 0..<block.count {
                precondition(position..<position + span ~= self.position(block.hashes[index]))
                precondition(index == 0 || block.hashes[index - 1] <= block.hashes[index])
            }
            if block.depth == depth { deepest += 1 }
            entries += block.count
            position += span
        }
        precondition(deepest == deepestCount)
        return entries
    }
}

/// Entries whose hashes begin with the same `depth` bits.
private struct ScoreBlock {
    /// With header and what malloc adds, about half a page; a multiple of the step.
    static let countMax = 168
    private static let headerByteCount = 16
    private static let entryByteCount = 12

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
