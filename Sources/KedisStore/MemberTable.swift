// A large hash or set: its elements in the order of their hashes, in blocks (MemberBlock.swift) that a directory finds.
//
//      header ─▶ directory, by the first bits of the hash       blocks of up to 4 KiB
//                (BlockDirectory.swift)                         ┌──────────────────────────┐
//                  00 ─────────────────────────────────────────▶│ hashes that begin 00     │
//                  01 ───────────────────────────────────────┐  ├──────────────────────────┤
//                  10 ──┐                                    └─▶│ hashes that begin 01     │
//                  11 ──┤                                       ├──────────────────────────┤
//                       └──────────────────────────────────────▶│ hashes that begin 1      │
//                                                               └──────────────────────────┘
//
// A block that is full is split by the next bit of the hashes; two thin neighbours become one. So no operation touches
// more than two blocks and a part of the directory, however large the table is. The order of the hashes is the order of
// a walk: a scan's cursor is a threshold in it, and two tables are walked together where both are needed.
//
// Ownership: the cell that holds its address, or the reclaimer; never shared. Guarded by the stripe's lock. Memory is
// malloc's, counted by the `MemorySource`. When memory is exhausted a change says so and has changed nothing. Members
// and values that are longer than 512 bytes lie in blobs, which copies share.
// Invariants: see `checkInvariants()`. Cost: an element's bytes, 1 byte (set) or 2 (hash), 4 of its slot, and about a
// tenth of free room. O(1) a lookup and a change: one entry of the directory and one block.

import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Where an element lies, or where it would.
struct MemberPlace {
    /// Any hash that belongs to the block.
    let hash: UInt64
    let block: MemberBlock
    let index: Int
    let isFound: Bool
}

/// What a change of a table did.
enum MemberChange {
    case added
    case replaced
    /// Nothing was changed.
    case outOfMemory
}

struct MemberTable {
    struct Header {
        var frame: CollectionHeader
        let seed: HashSeed
        /// Of a hash, not a set.
        let isValued: Bool
        /// Its room is behind the header.
        var directory: BlockDirectory
        var count = 0
        var blockCount = 1
        /// Capacity of all blocks.
        var blockByteCount = 0
        /// No block has more elements for each entry of the directory that it has: what random draws are made from.
        var elementsPerEntryMax = 0
        var outsideCount = 0
        var outsideByteCount = 0
        var deadlineCount = 0
        /// Where deadlines are near.
        var deadlines = DeadlineIndex()
        /// No element has a later one.
        var latestDeadline = Int64.min
        /// Large blobs that no element refers to any more, for the reclaimer.
        var retired: Blob?
        /// While the table is being freed: the block whose elements are.
        var releasing: MemberBlock?
    }

    /// The first bits that blocks are told apart by; a directory that long is never reached by hashes that nobody can
    /// choose.
    static let depthMax = 32

    let address: UnsafeMutableRawPointer

    @inline(__always)
    init(_ address: UnsafeMutableRawPointer) { self.address = address }

    @inline(__always)
    var header: UnsafeMutablePointer<Header> { address.assumingMemoryBound(to: Header.self) }

    var source: UnsafeMutablePointer<MemorySource> { header.pointee.frame.source }

    // MARK: Making one

    private static let headerByteCount = MemoryLayout<Header>.stride + BlockDirectory.roomByteCount

    /// An empty table; nil when memory is exhausted.
    static func make(
        isValued: Bool, seed: HashSeed, from source: UnsafeMutablePointer<MemorySource>
    ) -> MemberTable? {
        guard let address = allocateBytes(headerByteCount, from: source) else { return nil }
        guard let only = allocateBytes(MemberBlock.byteCountMin, from: source) else {
            freeBytes(address, headerByteCount, to: source)
            return nil
        }
        let table = MemberTable(address)
        let block = MemberBlock.initialize(only, capacity: MemberBlock.byteCountMin, depth: 0, instant: 0)
        let directory = BlockDirectory(
            block.address, room: address + MemoryLayout<Header>.stride, from: source)
        table.header.initialize(
            to: Header(
                frame: CollectionHeader(source: source, form: .members), seed: seed, isValued: isValued,
                directory: directory, blockByteCount: block.capacity))
        return table
    }

    static func allocateBytes(
        _ byteCount: Int, from source: UnsafeMutablePointer<MemorySource>
    ) -> UnsafeMutableRawPointer? {
        guard source.pointee.reserve(byteCount) else { return nil }
        guard let memory = malloc(byteCount) else {
            source.pointee.release(byteCount)
            return nil
        }
        return memory
    }

    static func freeBytes(
        _ memory: UnsafeMutableRawPointer, _ byteCount: Int, to source: UnsafeMutablePointer<MemorySource>
    ) {
        free(memory)
        source.pointee.release(byteCount)
    }

    /// Frees the header of a table without blocks.
    func freeHeader() {
        let source = source
        header.pointee.deadlines.release(to: source)
        MemberTable.freeBytes(address, MemberTable.headerByteCount, to: source)
    }

    /// An empty block, counted; nil when memory is exhausted.
    func makeBlock(capacity: Int, depth: Int) -> MemberBlock? {
        guard let address = MemberTable.allocateBytes(capacity, from: source) else { return nil }
        header.pointee.blockByteCount += capacity
        return MemberBlock.initialize(
            address, capacity: capacity, depth: depth, instant: header.pointee.frame.instant)
    }

    func freeBlock(_ block: MemberBlock) {
        let capacity = block.capacity
        header.pointee.blockByteCount -= capacity
        let instant = block.header.pointee.instant
        if Collection(address).givesAway(block.address, instant) { return source.pointee.release(capacity) }
        MemberTable.freeBytes(block.address, capacity, to: source)
    }

    /// To be called before the bytes of a block are changed: see CollectionPieces.swift.
    @inline(__always)
    func willChange(_ block: MemberBlock) {
        if Collection(address).isWanted(block.header.pointee.instant) { preserve(block) }
    }

    @inline(never)
    private func preserve(_ block: MemberBlock) {
        Collection(address).willChange(block.address)
        noteKept(block)
    }

    /// Nothing of the block is to be kept any more.
    private func noteKept(_ block: MemberBlock) { block.header.pointee.instant = header.pointee.frame.instant }

    /// The same before a single element is added (`old` is nil), changed (to `new`) or removed. True when `didChange`
    /// is to be called behind that.
    @inline(__always)
    func willChange(_ block: MemberBlock, from old: MemberElement?, to new: MemberDraft?) -> Bool {
        Collection(address).isWanted(block.header.pointee.instant) && beginChangeSlowly(block, old, new)
    }

    @inline(never)
    private func beginChangeSlowly(_ block: MemberBlock, _ old: MemberElement?, _ new: MemberDraft?) -> Bool {
        guard old?.isPlain != false, new?.isPlain != false, let member = old?.member ?? new?.member else {
            preserve(block)
            return false
        }
        if Collection(address).beginChange(of: block, member, old: old) { return true }
        noteKept(block)
        return false
    }

    @inline(__always)
    func didChange(_ isHeld: Bool) { if isHeld { Collection(address).endChange() } }

    // MARK: Figures

    var count: Int { header.pointee.count }

    var isValued: Bool { header.pointee.isValued }

    /// How many elements have a deadline.
    var deadlineCount: Int { header.pointee.deadlineCount }

    /// What it takes from the allocator, in bytes. O(1).
    var allocatedByteCount: Int {
        @inline(__always) get {
            MemberTable.headerByteCount &+ 8 &+ header.pointee.directory.byteCount &+ header.pointee.blockByteCount
                &+ 8 &* header.pointee.blockCount &+ header.pointee.outsideByteCount
                &+ header.pointee.deadlines.byteCount
        }
    }

    // MARK: Lookup

    /// The hash that all functions here want of a member. Tables of one store have the same.
    @inline(__always)
    func hash(_ member: ByteView) -> UInt64 { hashBytes(member, seed: header.pointee.seed) }

    @inline(__always)
    func block(_ hash: UInt64) -> MemberBlock { MemberBlock(header.pointee.directory.block(hash)) }

    /// How many entries a block would have in a directory of a single page.
    @inline(__always)
    func entryCount(of block: MemberBlock) -> Int { 1 &<< (header.pointee.directory.bitCountMax &- block.depth) }

    @inline(__always)
    func element(_ place: MemberPlace) -> MemberElement {
        MemberElement(at: place.block.elementAddress(place.index), isValued: isValued)
    }

    /// Where a member lies, or would.
    @inline(__always)
    func locate(_ member: ByteView, _ hash: UInt64) -> MemberPlace {
        let block = block(hash)
        let tag = MemberBlock.tag(of: hash, depth: block.depth)
        let lower = block.lowerBound(tag)
        var index = lower
        let (tags, count) = (block.tags, block.count)
        while index < count, tags[index] == tag {
            let found = MemberElement(at: block.elementAddress(index), isValued: isValued).member
            if found == member { return MemberPlace(hash: hash, block: block, index: index, isFound: true) }
            index &+= 1
        }
        return MemberPlace(hash: hash, block: block, index: lower, isFound: false)
    }

    /// The element of a member, deadline or not; nil when there is none. O(1).
    @inline(__always)
    func find(_ member: ByteView, _ hash: UInt64) -> MemberElement? {
        let place = locate(member, hash)
        return place.isFound ? element(place) : nil
    }
}
