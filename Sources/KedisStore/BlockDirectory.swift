// Which block of a large collection a hash belongs to: extendible hashing whose directory grows in pieces, too.
//
//      root, by the first bits of a hash       pages, by the bits behind             blocks
//      ┌──────┐                                ┌───────┬───────┬─ … ─┐
//      │ 00   │───────────────────────────────▶│ block │ block │     │──────▶ hashes that begin alike
//      │ 01   │──┐                             └───────┴───────┴─ … ─┘
//      │ 10   │──┴▶ a page that tells them apart by the first bit   up to 1,024 addresses, a power of two
//      │ 11   │──▶ …
//      └──────┘
//
// A block that shares fewer bits than its page tells apart has several entries there, side by side; so has a page in
// the root. A page that has to tell more bits apart doubles up to 1,024 entries and is split then; the root doubles
// when a page that shares all of its bits is split, which is 16 bytes for every thousand blocks. So whatever is added
// or removed, not much more than a page is copied. With a single array of addresses a set of 10 million members doubles
// 1 MiB at once, one of 100 million 8 MiB.
//
// Ownership: a part of the header of its structure, which gives it room for the root and the page of a single block and
// frees the blocks. Guarded by the stripe's lock. When memory is exhausted a change answers false and has changed
// nothing; shrinking needs none. Cost: a lookup reads one entry of the root and one of a page; 8 to 16 bytes a block.

import CKedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct BlockDirectory {
    typealias Block = UnsafeMutableRawPointer

    /// An entry of the root: a page. Of one that has several entries, the first has the count.
    struct Page {
        var entries: UnsafeMutablePointer<Block>
        /// Blocks that share as many bits as the page tells apart.
        var deepestCount: UInt32
        /// The bits that all hashes of the page share, and those that it tells apart beyond them.
        var sharedBitCount: UInt8
        var depth: UInt8

        var bitCount: Int { Int(sharedBitCount) + Int(depth) }
    }

    /// A page that is full has 8 KiB. Two that are thin, a quarter of that together, become one.
    static let pageDepthMax = 10
    private static let thinPageDepthMax = 7
    /// The root and the page of a single block.
    static let roomByteCount = MemoryLayout<Page>.stride + MemoryLayout<Block>.stride

    var root: UnsafeMutablePointer<Page>
    var rootDepth = 0
    /// Pages that share as many bits as the root tells apart.
    var deepestPageCount = 1
    /// No block shares more bits.
    private(set) var bitCountMax = 0
    /// What it takes from the allocator beside the room, in bytes.
    private(set) var byteCount = 0
    /// While blocks are taken out for good: how many entries of the root, and of the last page, are left, and the block
    /// that was taken last.
    var releasing: (rootCount: Int, entryCount: Int, last: Block?)?
    private let room: UnsafeMutableRawPointer
    private let source: UnsafeMutablePointer<MemorySource>

    /// A directory of one block, which all hashes belong to.
    /// - Parameter room: ``roomByteCount`` bytes that live as long.
    init(_ block: Block, room: UnsafeMutableRawPointer, from source: UnsafeMutablePointer<MemorySource>) {
        self.room = room
        self.source = source
        root = room.bindMemory(to: Page.self, capacity: 1)
        let entries = (room + MemoryLayout<Page>.stride).bindMemory(to: Block.self, capacity: 1)
        entries.initialize(to: block)
        root.initialize(to: Page(entries: entries, deepestCount: 1, sharedBitCount: 0, depth: 0))
    }

    // MARK: Looking

    @inline(__always)
    private func rootIndex(_ hash: UInt64) -> Int {
        // In two steps, as the depth may be 0.
        Int(truncatingIfNeeded: (hash &>> 1) &>> UInt64(truncatingIfNeeded: 63 &- rootDepth))
    }

    @inline(__always)
    private func entryIndex(_ hash: UInt64, _ page: Page) -> Int {
        let rest = hash &<< UInt64(page.sharedBitCount)
        return Int(truncatingIfNeeded: (rest &>> 1) &>> UInt64(truncatingIfNeeded: 63 &- Int(page.depth)))
    }

    /// The block that a hash belongs to.
    @inline(__always)
    func block(_ hash: UInt64) -> Block {
        let page = root[rootIndex(hash)]
        return page.entries[entryIndex(hash, page)]
    }

    /// Loads the entry of a hash ahead.
    @inline(__always)
    func prefetchEntry(_ hash: UInt64) {
        let page = root[rootIndex(hash)]
        kedis_prefetch(page.entries + entryIndex(hash, page))
    }

    /// The lowest hash behind those that share `bitCount` bits with `hash`; 0 behind the last of them.
    static func hash(behind hash: UInt64, bitCount: Int) -> UInt64 {
        guard bitCount > 0 else { return 0 }
        let span = UInt64(1) << UInt64(64 - bitCount)
        return (hash & ~(span - 1)) &+ span
    }

    /// Whether blocks can share `bitCount` bits with `hash` as the directory is.
    func tellsApart(_ bitCount: Int, _ hash: UInt64) -> Bool { root[rootIndex(hash)].bitCount >= bitCount }

    /// Calls `body` with every block, in the order of hashes, until it answers false.
    @inline(__always)
    func forEach(_ body: (Block) -> Bool) {
        var index = 0
        while index < 1 << rootDepth {
            let page = root[index]
            var last: Block?
            for entry in 0..<1 << Int(page.depth) where page.entries[entry] != last {
                last = page.entries[entry]
                guard body(page.entries[entry]) else { return }
            }
            index += 1 << (rootDepth - Int(page.sharedBitCount))
        }
    }

    // MARK: Entering blocks

    /// The entry of the root that has the page's count.
    private func firstRootIndex(_ hash: UInt64) -> Int {
        let index = rootIndex(hash)
        return index & ~(1 << (rootDepth - Int(root[index].sharedBitCount)) - 1)
    }

    private func setPage(_ page: Page, _ hash: UInt64) {
        let width = 1 << (rootDepth - Int(page.sharedBitCount))
        let first = rootIndex(hash) & ~(width - 1)
        for index in first..<first + width { root[index] = page }
    }

    /// Makes `block`, whose hashes share `bitCount` bits with `hash`, take the place of what is there.
    func enter(_ block: Block, _ hash: UInt64, bitCount: Int) {
        let page = root[rootIndex(hash)]
        assert(bitCount >= Int(page.sharedBitCount) && bitCount <= page.bitCount)
        let width = 1 << (page.bitCount - bitCount)
        let first = entryIndex(hash, page) & ~(width - 1)
        for entry in first..<first + width { page.entries[entry] = block }
    }

    /// Sees to it that blocks that share `bitCount` bits with `hash` are told apart; false when memory is exhausted.
    mutating func prepare(_ hash: UInt64, bitCount: Int) -> Bool {
        while !tellsApart(bitCount, hash) {
            let page = root[firstRootIndex(hash)]
            let isGrown = Int(page.depth) < Self.pageDepthMax ? doublePage(page, hash) : splitPage(page, hash)
            guard isGrown else { return false }
        }
        return true
    }

    /// Two blocks take the place of one that shared `bitCount - 1` bits with `hash`, told apart by the next; room for
    /// them was prepared.
    mutating func enterHalves(_ low: Block, _ high: Block, _ hash: UInt64, bitCount: Int) {
        let bit = UInt64(1) << UInt64(64 - bitCount)
        enter(low, hash & ~bit, bitCount: bitCount)
        enter(high, hash | bit, bitCount: bitCount)
        let index = firstRootIndex(hash)
        if root[index].bitCount == bitCount { root[index].deepestCount += 2 }
    }

    /// Whether one block can take the place of two that share `bitCount` bits.
    func canJoin(_ hash: UInt64, bitCount: Int) -> Bool { bitCount > Int(root[rootIndex(hash)].sharedBitCount) }

    /// One block takes the place of two that shared `bitCount` bits, `hash` being of either; see ``canJoin``.
    mutating func enterJoined(_ block: Block, _ hash: UInt64, bitCount: Int) {
        enter(block, hash, bitCount: bitCount - 1)
        let index = firstRootIndex(hash)
        if root[index].bitCount == bitCount { root[index].deepestCount -= 2 }
        if root[index].deepestCount == 0, root[index].depth > 0 { shrinkSlowly(hash) }
    }

    // MARK: Growing

    private mutating func allocate<Element>(_ type: Element.Type, count: Int) -> UnsafeMutablePointer<Element>? {
        let count = count * MemoryLayout<Element>.stride
        guard source.pointee.reserve(count) else { return nil }
        guard let memory = malloc(count) else {
            source.pointee.release(count)
            return nil
        }
        byteCount += count + Self.overheadByteCount
        return memory.assumingMemoryBound(to: type)
    }

    /// What malloc adds to a piece.
    static let overheadByteCount = 8

    mutating func deallocate<Element>(_ memory: UnsafeMutablePointer<Element>, count: Int) {
        guard !isRoom(memory) else { return }
        let count = count * MemoryLayout<Element>.stride
        byteCount -= count + Self.overheadByteCount
        source.pointee.release(count)
        free(memory)
    }

    func isRoom<Element>(_ memory: UnsafeMutablePointer<Element>) -> Bool {
        let address = UnsafeMutableRawPointer(memory)
        return address >= room && address < room + Self.roomByteCount
    }

    private mutating func doublePage(_ page: Page, _ hash: UInt64) -> Bool {
        let count = 1 << Int(page.depth)
        guard let entries = allocate(Block.self, count: 2 * count) else { return false }
        for entry in 0..<count {
            (entries + 2 * entry).initialize(to: page.entries[entry])
            (entries + 2 * entry + 1).initialize(to: page.entries[entry])
        }
        deallocate(page.entries, count: count)
        var grown = page
        (grown.entries, grown.depth, grown.deepestCount) = (entries, page.depth + 1, 0)
        setPage(grown, hash)
        bitCountMax = max(bitCountMax, grown.bitCount)
        return true
    }

    /// Makes two pages of one, by the first bit that it tells apart.
    private mutating func splitPage(_ page: Page, _ hash: UInt64) -> Bool {
        if Int(page.sharedBitCount) == rootDepth, !doubleRoot() { return false }
        let count = 1 << (Int(page.depth) - 1)
        guard let low = allocate(Block.self, count: count) else { return false }
        guard let high = allocate(Block.self, count: count) else {
            deallocate(low, count: count)
            return false
        }
        low.initialize(from: page.entries, count: count)
        high.initialize(from: page.entries + count, count: count)
        deallocate(page.entries, count: 2 * count)
        let bit = UInt64(1) << UInt64(63 - Int(page.sharedBitCount))
        var half = page
        (half.sharedBitCount, half.depth) = (page.sharedBitCount + 1, page.depth - 1)
        for (entries, hash) in [(low, hash & ~bit), (high, hash | bit)] {
            (half.entries, half.deepestCount) = (entries, Self.deepestCount(entries, depth: Int(half.depth)))
            setPage(half, hash)
        }
        if Int(half.sharedBitCount) == rootDepth { deepestPageCount += 2 }
        return true
    }

    private mutating func doubleRoot() -> Bool {
        let count = 1 << rootDepth
        guard let grown = allocate(Page.self, count: 2 * count) else { return false }
        for index in 0..<count {
            (grown + 2 * index).initialize(to: root[index])
            (grown + 2 * index + 1).initialize(to: root[index])
        }
        deallocate(root, count: count)
        root = grown
        rootDepth += 1
        deepestPageCount = 0
        return true
    }

    /// How many blocks have one entry only: those that share less have it twice, side by side.
    static func deepestCount(_ entries: UnsafeMutablePointer<Block>, depth: Int) -> UInt32 {
        guard depth > 0 else { return 1 }
        var count: UInt32 = 0
        for entry in stride(from: 0, to: 1 << depth, by: 2) where entries[entry] != entries[entry + 1] { count += 2 }
        return count
    }

    // MARK: Shrinking

    /// Halves the page of a hash, whose blocks all have several entries, as often as it can be; joins it with its other
    /// half when both are thin, and halves the root.
    @inline(never)
    private mutating func shrinkSlowly(_ hash: UInt64) {
        var page = root[firstRootIndex(hash)]
        let before = page.bitCount
        while page.depth > 0, page.deepestCount == 0 { halve(&page) }
        setPage(page, hash)
        if joinPages(page, hash) {
            while rootDepth > 0, deepestPageCount == 0 { halveRoot() }
        }
        guard before == bitCountMax else { return }
        bitCountMax = 0
        for index in 0..<1 << rootDepth { bitCountMax = max(bitCountMax, root[index].bitCount) }
    }

    private mutating func halve(_ page: inout Page) {
        let count = 1 << (Int(page.depth) - 1)
        for entry in 0..<count { page.entries[entry] = page.entries[2 * entry] }
        page.depth -= 1
        page.deepestCount = Self.deepestCount(page.entries, depth: Int(page.depth))
        page.entries = shrink(page.entries, from: 2 * count, to: count)
    }

    /// The same memory with less room, which never fails: without another place it stays.
    private mutating func shrink<Element>(
        _ memory: UnsafeMutablePointer<Element>, from old: Int, to new: Int
    ) -> UnsafeMutablePointer<Element> {
        let removed = (old - new) * MemoryLayout<Element>.stride
        byteCount -= removed
        source.pointee.release(removed)
        guard let moved = realloc(memory, new * MemoryLayout<Element>.stride) else { return memory }
        return moved.assumingMemoryBound(to: Element.self)
    }

    /// Makes one page of a thin one and its other half; false when they are not that thin, or memory is exhausted.
    private mutating func joinPages(_ page: Page, _ hash: UInt64) -> Bool {
        guard page.sharedBitCount > 0, page.depth <= Self.thinPageDepthMax else { return false }
        let bit = UInt64(1) << UInt64(64 - Int(page.sharedBitCount))
        let other = root[firstRootIndex(hash ^ bit)]
        guard other.sharedBitCount == page.sharedBitCount, other.depth <= Self.thinPageDepthMax else { return false }
        let (low, high) = hash & bit == 0 ? (page, other) : (other, page)
        let depth = max(low.depth, high.depth)
        guard let entries = allocate(Block.self, count: 2 << Int(depth)) else { return false }
        for (half, start) in [(low, 0), (high, 1 << Int(depth))] {
            let width = 1 << Int(depth - half.depth)
            for entry in 0..<1 << Int(depth) { (entries + start + entry).initialize(to: half.entries[entry / width]) }
            deallocate(half.entries, count: 1 << Int(half.depth))
        }
        if Int(page.sharedBitCount) == rootDepth { deepestPageCount -= 2 }
        setPage(
            Page(
                entries: entries, deepestCount: Self.deepestCount(entries, depth: Int(depth) + 1),
                sharedBitCount: page.sharedBitCount - 1, depth: depth + 1),
            hash)
        return true
    }

    private mutating func halveRoot() {
        let count = 1 << (rootDepth - 1)
        for index in 0..<count { root[index] = root[2 * index] }
        root = shrink(root, from: 2 * count, to: count)
        rootDepth -= 1
        deepestPageCount = 0
        for index in 0..<count where Int(root[index].sharedBitCount) == rootDepth { deepestPageCount += 1 }
    }
}
