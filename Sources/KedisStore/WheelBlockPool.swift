// The memory of one timing wheel: 64-byte blocks of fingerprints, addressed by 26-bit numbers.
//
//      block   ┌──────┬──────┬─   ─┬──────┬───────────────────────────┐
//              │ 4 B  │ 4 B  │  …  │ 4 B  │ next block 28 bits│count 4│   15 fingerprints and a link: one cache line
//              └──────┴──────┴─   ─┴──────┴───────────────────────────┘
//      chunk   64 blocks, a page of the store's pool; the first one has 4, then 16 from malloc, then 64
//      page    128 descriptors of chunks, 3 KiB; the first one has 2, 8, 32, then 128
//      root    the addresses of the pages
//
// Ownership: the pool owns all of it. Guarded by the stripe's lock, like the wheel.
// Invariants: a chunk with memory has at least one block in use, a chunk with a free block is in the ring of available
// chunks, and one without memory in the list of vacant numbers; only a chunk that is alone has fewer than 64 blocks.
// Cost: 4.27 bytes a fingerprint in full blocks, 24 bytes for each chunk; taking and giving a block is O(1), and no
// growth copies more than 32 KiB.

import CKedis

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct WheelBlockPool: ~Copyable {
    struct Chunk {
        var memory: UnsafeMutablePointer<UInt32>?
        /// A bit for each block that is free.
        var freeMask: UInt64
        /// Neighbours in the ring of available chunks; `next` alone in the list of vacant numbers.
        var previous: UInt32
        var next: UInt32
    }

    typealias Page = UnsafeMutablePointer<Chunk>

    static let blockByteCount = 64
    static let entriesPerBlock = 15
    static let blocksPerChunk = 64
    static let chunksPerPage = 128
    /// Keeps the root at 64 KiB: 2^26 blocks, 10^9 fingerprints.
    static let pageCountMax = 8192
    static let none = UInt32.max

    var root: UnsafeMutablePointer<Page>?
    private var rootCapacity = 0
    private var firstPageCapacity = 0
    /// Chunk numbers given out so far; those without memory are in the vacant list.
    private(set) var chunkNumberCount = 0
    private(set) var chunkCount = 0
    private(set) var usedBlockCount = 0
    private var firstChunkBlockCount = 0
    /// Where the next block comes from: chunks in the order in which they got a free block, so that those that drain
    /// have time to become empty.
    private(set) var available = WheelBlockPool.none
    private(set) var vacant = WheelBlockPool.none
    private(set) var allocatedByteCount = 0

    /// Where whole chunks come from: pages that go back to the system, which blocks between others of malloc do not.
    /// Nil: from malloc.
    private let source: UnsafeMutablePointer<MemorySource>?

    init(source: UnsafeMutablePointer<MemorySource>? = nil) { self.source = source }

    deinit { releaseAll() }

    // MARK: Memory of chunks

    private func isPage(_ blockCount: Int) -> Bool { source != nil && blockCount == Self.blocksPerChunk }

    private mutating func takeMemory(_ blockCount: Int) -> UnsafeMutableRawPointer? {
        let byteCount = blockCount * Self.blockByteCount
        guard let memory = isPage(blockCount) ? source.unsafelyUnwrapped.pointee.takePage() : malloc(byteCount) else {
            return nil
        }
        allocatedByteCount += byteCountOfMemory(memory, blockCount)
        return memory
    }

    private mutating func giveMemory(_ memory: UnsafeMutableRawPointer, _ blockCount: Int) {
        allocatedByteCount -= byteCountOfMemory(memory, blockCount)
        freeMemory(memory, blockCount)
    }

    private func freeMemory(_ memory: UnsafeMutableRawPointer, _ blockCount: Int) {
        if isPage(blockCount) { source.unsafelyUnwrapped.pointee.returnPage(memory) } else { free(memory) }
    }

    /// What a chunk of `blockCount` blocks takes, in bytes.
    func byteCountOfMemory(_ memory: UnsafeMutableRawPointer, _ blockCount: Int) -> Int {
        isPage(blockCount) ? MemorySource.pageByteCount : kedis_allocated_size(memory)
    }

    /// The blocks of a chunk with memory.
    func blockCount(ofChunk number: Int) -> Int {
        number == 0 && chunkCount == 1 ? firstChunkBlockCount : Self.blocksPerChunk
    }

    /// Blocks that have memory, used or not.
    var blockCapacity: Int { chunkCount == 1 ? firstChunkBlockCount : chunkCount * Self.blocksPerChunk }

    // MARK: Blocks

    @inline(__always)
    func chunk(_ number: UInt32) -> UnsafeMutablePointer<Chunk> {
        assert(Int(number) < chunkNumberCount)
        return root.unsafelyUnwrapped[Int(number >> 7)] + Int(number & 127)
    }

    /// The 16 words of a block that is in use.
    @inline(__always)
    func words(_ block: UInt32) -> UnsafeMutablePointer<UInt32> {
        chunk(block >> 6).pointee.memory.unsafelyUnwrapped + Int(block & 63) * 16
    }

    @inline(__always)
    func next(_ block: UInt32) -> UInt32 { words(block)[15] & 0x0FFF_FFFF }

    @inline(__always)
    func entryCount(_ block: UInt32) -> Int { Int(words(block)[15] >> 28) }

    @inline(__always)
    func setNext(_ block: UInt32, _ next: UInt32) {
        let words = words(block)
        words[15] = words[15] & 0xF000_0000 | next
    }

    func usedBlockCount(inChunkOf block: UInt32) -> Int {
        Self.blocksPerChunk - chunk(block >> 6).pointee.freeMask.nonzeroBitCount
    }

    /// Puts a fingerprint into the head of the ring that ends with `tail` or, when that is full, into a new head; false
    /// when there is no memory.
    mutating func append(_ fingerprint: UInt32, to tail: inout UInt32) -> Bool {
        if tail != Self.none {
            let words = words(next(tail))
            let entryCount = Int(words[15] >> 28)
            if entryCount < Self.entriesPerBlock {
                words[entryCount] = fingerprint
                words[15] &+= 1 << 28
                return true
            }
        }
        guard let block = take() else { return false }
        if tail == Self.none {
            tail = block
        } else {
            setNext(block, next(tail))
            setNext(tail, block)
        }
        let words = words(block)
        words[0] = fingerprint
        words[15] |= 1 << 28
        return true
    }

    /// A block without entries that is its own successor; nil when there is no memory, nothing being changed then.
    mutating func take() -> UInt32? {
        guard available != Self.none || growSlowly() else { return nil }
        let number = available
        let chunk = chunk(number)
        let index = UInt32(truncatingIfNeeded: chunk.pointee.freeMask.trailingZeroBitCount)
        chunk.pointee.freeMask &= chunk.pointee.freeMask &- 1
        if chunk.pointee.freeMask == 0 { leaveRing(number) }
        usedBlockCount += 1
        let block = number << 6 | index
        words(block)[15] = block
        return block
    }

    /// Takes a block back; the last one of a chunk gives the chunk back, the last one of all everything.
    mutating func give(_ block: UInt32) {
        let number = block >> 6
        let chunk = chunk(number)
        let bit: UInt64 = 1 << UInt64(block & 63)
        assert(chunk.pointee.freeMask & bit == 0, "a block was freed twice")
        usedBlockCount -= 1
        if usedBlockCount == 0 { return removeAll() }
        let wasFull = chunk.pointee.freeMask == 0
        chunk.pointee.freeMask |= bit
        if wasFull { joinRing(number) }
        if chunkCount > 1, chunk.pointee.freeMask == .max { releaseChunk(number) }
    }

    // MARK: Giving back

    mutating func removeAll() {
        releaseAll()
        root = nil
        rootCapacity = 0
        firstPageCapacity = 0
        chunkNumberCount = 0
        chunkCount = 0
        usedBlockCount = 0
        firstChunkBlockCount = 0
        available = Self.none
        vacant = Self.none
        allocatedByteCount = 0
    }

    /// Frees at most `limit` chunks, whatever is in them; true while there are more. Blocks are not used any more.
    mutating func releaseSome(limit: Int) -> Bool {
        usedBlockCount = 0
        var rest = max(1, limit)
        while chunkNumberCount > 0, rest > 0 {
            let number = chunkNumberCount - 1
            let chunk = chunk(UInt32(truncatingIfNeeded: number))
            if let memory = chunk.pointee.memory {
                giveMemory(memory, blockCount(ofChunk: number))
                chunkCount -= 1
                // What is left are whole chunks.
                firstChunkBlockCount = Self.blocksPerChunk
            }
            chunkNumberCount = number
            if number & (Self.chunksPerPage - 1) == 0, let root {
                allocatedByteCount -= kedis_allocated_size(root[number >> 7])
                free(root[number >> 7])
            }
            rest -= 1
        }
        if chunkNumberCount == 0 { removeAll() }
        return chunkNumberCount > 0
    }

    private func releaseAll() {
        guard let root else { return }
        for number in 0..<chunkNumberCount {
            if let memory = chunk(UInt32(truncatingIfNeeded: number)).pointee.memory {
                freeMemory(memory, blockCount(ofChunk: number))
            }
        }
        for first in stride(from: 0, to: chunkNumberCount, by: Self.chunksPerPage) {
            free(root[first / Self.chunksPerPage])
        }
        free(root)
    }

    private mutating func releaseChunk(_ number: UInt32) {
        leaveRing(number)
        let chunk = chunk(number)
        if let memory = chunk.pointee.memory { giveMemory(memory, Self.blocksPerChunk) }
        chunk.pointee = Chunk(memory: nil, freeMask: 0, previous: Self.none, next: vacant)
        vacant = number
        chunkCount -= 1
        // A chunk that is alone now has all its blocks: it became so only after it was complete.
        if chunkCount == 1 { firstChunkBlockCount = Self.blocksPerChunk }
    }

    // MARK: The ring of available chunks

    private mutating func joinRing(_ number: UInt32) {
        let chunk = chunk(number)
        guard available != Self.none else {
            (chunk.pointee.previous, chunk.pointee.next) = (number, number)
            available = number
            return
        }
        let first = self.chunk(available)
        let last = self.chunk(first.pointee.previous)
        (chunk.pointee.previous, chunk.pointee.next) = (first.pointee.previous, available)
        last.pointee.next = number
        first.pointee.previous = number
    }

    private mutating func leaveRing(_ number: UInt32) {
        let chunk = chunk(number)
        let (previous, next) = (chunk.pointee.previous, chunk.pointee.next)
        if next == number {
            available = Self.none
            return
        }
        self.chunk(previous).pointee.next = next
        self.chunk(next).pointee.previous = previous
        if available == number { available = next }
    }

    // MARK: Growing

    @inline(never)
    private mutating func growSlowly() -> Bool {
        if chunkCount == 1, firstChunkBlockCount < Self.blocksPerChunk { return growFirstChunk() }
        // Only a pool without any number given out has no chunk, so a small chunk is always number 0.
        let blockCount = chunkCount == 0 ? 4 : Self.blocksPerChunk
        guard let memory = takeMemory(blockCount) else { return false }
        guard let number = takeNumber() else {
            giveMemory(memory, blockCount)
            return false
        }
        chunkCount += 1
        if chunkCount == 1 { firstChunkBlockCount = blockCount }
        let mask = blockCount == Self.blocksPerChunk ? UInt64.max : (1 << UInt64(blockCount)) - 1
        chunk(number).pointee = Chunk(
            memory: memory.assumingMemoryBound(to: UInt32.self), freeMask: mask, previous: number, next: number)
        joinRing(number)
        return true
    }

    /// Copies at most 1 KiB.
    private mutating func growFirstChunk() -> Bool {
        let before = firstChunkBlockCount
        let target = before * 4
        let chunk = chunk(0)
        guard let old = chunk.pointee.memory, let memory = takeMemory(target) else { return false }
        memcpy(memory, old, before * Self.blockByteCount)
        giveMemory(old, before)
        firstChunkBlockCount = target
        chunk.pointee.memory = memory.assumingMemoryBound(to: UInt32.self)
        let all = target == Self.blocksPerChunk ? UInt64.max : (1 << UInt64(target)) - 1
        chunk.pointee.freeMask = all & ~((1 << UInt64(before)) - 1)
        joinRing(0)
        return true
    }

    /// A chunk number whose descriptor has a place.
    private mutating func takeNumber() -> UInt32? {
        if vacant != Self.none {
            let number = vacant
            vacant = chunk(number).pointee.next
            return number
        }
        let pageIndex = chunkNumberCount / Self.chunksPerPage
        let index = chunkNumberCount % Self.chunksPerPage
        if index == 0 {
            guard addPage(pageIndex) else { return nil }
        } else if pageIndex == 0, index == firstPageCapacity {
            guard growFirstPage() else { return nil }
        }
        chunkNumberCount += 1
        return UInt32(truncatingIfNeeded: chunkNumberCount - 1)
    }

    private mutating func addPage(_ pageIndex: Int) -> Bool {
        if pageIndex == rootCapacity, !growRoot() { return false }
        let capacity = pageIndex == 0 ? 2 : Self.chunksPerPage
        guard let root, let memory = malloc(capacity * MemoryLayout<Chunk>.stride) else { return false }
        root[pageIndex] = memory.assumingMemoryBound(to: Chunk.self)
        allocatedByteCount += kedis_allocated_size(memory)
        if pageIndex == 0 { firstPageCapacity = capacity }
        return true
    }

    private mutating func growFirstPage() -> Bool {
        guard let root else { return false }
        let target = firstPageCapacity * 4
        let oldByteCount = kedis_allocated_size(root[0])
        guard let memory = realloc(root[0], target * MemoryLayout<Chunk>.stride) else { return false }
        root[0] = memory.assumingMemoryBound(to: Chunk.self)
        firstPageCapacity = target
        allocatedByteCount += kedis_allocated_size(memory) - oldByteCount
        return true
    }

    private mutating func growRoot() -> Bool {
        let target = max(1, rootCapacity * 2)
        let oldByteCount = root.map { kedis_allocated_size($0) } ?? 0
        guard target <= Self.pageCountMax, let memory = realloc(root, target * MemoryLayout<Page>.stride) else {
            return false
        }
        root = memory.assumingMemoryBound(to: Page.self)
        rootCapacity = target
        allocatedByteCount += kedis_allocated_size(memory) - oldByteCount
        return true
    }
}
