// The memory of a stripe's cells: slabs of one size class each, cut from chunks that are mapped on demand.
//
//      arena ─▶ chunk table ─▶ chunk (256 KiB, 1 MiB, then 4 MiB)
//                              ┌─────────┬─────────┬─────────┬─ … ┐
//                              │ slab 0  │ slab 1  │ slab 2  │    │    64 KiB each, up to 64 in a chunk
//                              └─────────┴────┬────┴─────────┴─ … ┘
//                                   ┌──────┬──┴───┬──────┬─ …
//                                   │ cell │ cell │ free │             all of one class, no header
//                                   └──────┴──────┴──────┴─ …
//
//      reference (32 bits)     ┌───────────────┬──────────┬────────────────┐
//      in units of 8 bytes,    │ chunk         │ slab     │ unit in slab   │    = 32 GiB for a stripe
//      0 is none               │ 13 bits       │ 6 bits   │ 13 bits        │
//                              └───────────────┴──────────┴────────────────┘
//
// Only a table points at a cell, so cells can be moved: `Arena+Evacuation.swift` picks thin slabs, the table's walk
// empties them. A free cell's first 2 bytes link to the next free cell of its slab.
//
// Ownership: the stripe's; guarded by its lock. Invariants: see `checkInvariants()`. Memory that was never carved is
// never touched, so it is not resident. Cost: 20 bytes for each slab of 64 KiB; allocate and free are O(1).

import CKedis
import KedisUtilities

/// What is known of a slab, beside the slab itself.
struct SlabRecord {
    static let free: UInt8 = 0xFF

    /// The size class, or ``free``.
    var sizeClass: UInt8 = SlabRecord.free
    /// Its cells are being moved away: nothing is allocated in it.
    var isEvacuating = false
    /// It is in the list of its class's slabs with free cells.
    var isListed = false
    /// A free slab that may still have resident pages.
    var isSpare = false
    var liveCount: UInt16 = 0
    /// Cells carved so far, live and free.
    var carvedCount: UInt16 = 0
    /// The first free cell, in units from the slab's start, plus 1; 0 for none.
    var firstFree: UInt16 = 0
    /// Neighbours in the list, by slab number plus 1; 0 for none.
    var next: UInt32 = 0
    var previous: UInt32 = 0
}

struct Arena: ~Copyable {
    static let slabByteCount = 64 << 10
    static let slabUnitLog2: UInt32 = 13
    static let chunkUnitLog2: UInt32 = 19
    static let slabsPerChunk = 64
    static let chunkCountMax = 1 << 13

    struct Chunk {
        /// Nil: unmapped; its number is used again.
        var base: UnsafeMutableRawPointer?
        var records: UnsafeMutablePointer<SlabRecord>?
        var slabCount = 0
        /// One bit for each free slab.
        var freeSlabs: UInt64 = 0
        /// Halves (of 2 MiB) that were made huge pages, as bits, and that were found not worth it or refused.
        var collapsedHalves: UInt8 = 0

        var byteCount: Int { slabCount * Arena.slabByteCount }
    }

    let source: UnsafeMutablePointer<MemorySource>
    /// The hash of the keys in the cells: cells do not store it.
    let seed: HashSeed
    var chunks: UnsafeMutablePointer<Chunk>
    var chunkCount = 0
    /// 0 while there is none.
    private var chunkCapacity = 0
    /// For each class the slab numbers plus 1 of its first and last slab with free cells; 0 for none.
    private let firstListed: UnsafeMutablePointer<UInt32>
    private let lastListed: UnsafeMutablePointer<UInt32>
    /// No chunk before this one has a free slab.
    private var firstChunkWithFree = 0

    /// Units of live cells, rounded up to their classes.
    private(set) var liveUnitCount = 0
    /// Units carved so far in slabs that are in use: live and free cells.
    private(set) var carvedUnitCount = 0
    /// Cells moved, and slabs emptied for it.
    var movedCellCount: UInt64 = 0
    var releasedSlabCount: UInt64 = 0
    /// Free slabs that may have resident pages.
    private(set) var spareSlabCount = 0
    private(set) var evacuatingSlabCount = 0

    /// An arena without chunks; nil when memory is exhausted.
    static func make(source: UnsafeMutablePointer<MemorySource>, seed: HashSeed) -> UnsafeMutablePointer<Arena>? {
        guard let lists = source.pointee.allocate(UInt32.self, count: 2 * SizeClass.count) else { return nil }
        guard let arena = source.pointee.allocate(Arena.self, count: 1) else {
            source.pointee.deallocate(lists, count: 2 * SizeClass.count)
            return nil
        }
        lists.initialize(repeating: 0, count: 2 * SizeClass.count)
        arena.initialize(to: Arena(source: source, seed: seed, lists: lists))
        return arena
    }

    private init(source: UnsafeMutablePointer<MemorySource>, seed: HashSeed, lists: UnsafeMutablePointer<UInt32>) {
        self.source = source
        self.seed = seed
        chunks = Arena.noChunks
        firstListed = lists
        lastListed = lists + SizeClass.count
    }

    /// Frees what ``make(source:seed:)`` made.
    static func release(_ arena: UnsafeMutablePointer<Arena>) {
        let source = arena.pointee.source
        arena.deinitialize(count: 1)
        source.pointee.deallocate(arena, count: 1)
    }

    deinit {
        for index in 0..<chunkCount {
            releaseRecords(ofChunk: index)
            if let base = chunks[index].base { source.pointee.unmap(base, chunks[index].byteCount) }
        }
        if chunkCapacity > 0 { source.pointee.deallocate(chunks, count: chunkCapacity) }
        source.pointee.deallocate(firstListed, count: 2 * SizeClass.count)
    }

    // MARK: Addresses

    @inline(__always)
    func address(_ reference: UInt32) -> UnsafeMutableRawPointer {
        let base = chunks[Int(truncatingIfNeeded: reference >> Arena.chunkUnitLog2)].base.unsafelyUnwrapped
        return base + Int(truncatingIfNeeded: reference & (1 << Arena.chunkUnitLog2 - 1)) &* SizeClass.unitByteCount
    }

    @inline(__always)
    func record(ofSlab slab: UInt32) -> UnsafeMutablePointer<SlabRecord> {
        chunks[Int(truncatingIfNeeded: slab >> 6)].records.unsafelyUnwrapped + Int(truncatingIfNeeded: slab & 63)
    }

    @inline(__always)
    static func slab(of reference: UInt32) -> UInt32 { reference >> slabUnitLog2 }

    // MARK: Cells

    /// A cell of at least `units`, its bytes undefined; nil when memory is exhausted. O(1).
    @inline(__always)
    mutating func allocate(units: Int) -> UInt32? {
        let sizeClass = SizeClass.index(units: units)
        let listed = firstListed[sizeClass]
        guard listed != 0 else { return allocateSlowly(sizeClass) }
        return take(fromSlab: listed &- 1, sizeClass)
    }

    @inline(__always)
    private mutating func take(fromSlab slab: UInt32, _ sizeClass: Int) -> UInt32 {
        let record = record(ofSlab: slab)
        let units = SizeClass.units(ofClass: sizeClass)
        let start = slab << Arena.slabUnitLog2
        let reference: UInt32
        if record.pointee.firstFree != 0 {
            reference = start &+ UInt32(record.pointee.firstFree &- 1)
            record.pointee.firstFree = address(reference).load(as: UInt16.self)
        } else {
            reference = start &+ UInt32(truncatingIfNeeded: Int(record.pointee.carvedCount) &* units)
            record.pointee.carvedCount &+= 1
            carvedUnitCount &+= units
        }
        record.pointee.liveCount &+= 1
        liveUnitCount &+= units
        if record.pointee.firstFree == 0, Int(record.pointee.carvedCount) &* units &+ units > Arena.unitsPerSlab {
            unlist(slab, sizeClass)
        }
        return reference
    }

    static let unitsPerSlab = 1 << 13

    /// Gives a cell of `units` back. O(1).
    @inline(__always)
    mutating func free(_ reference: UInt32, units: Int) {
        let sizeClass = SizeClass.index(units: units)
        let slab = Arena.slab(of: reference)
        let record = record(ofSlab: slab)
        assert(Int(record.pointee.sizeClass) == sizeClass, "a cell is freed with the size that it has")
        assert(record.pointee.liveCount > 0)
        address(reference).storeBytes(of: record.pointee.firstFree, as: UInt16.self)
        record.pointee.firstFree = UInt16(truncatingIfNeeded: reference & (1 << Arena.slabUnitLog2 - 1)) &+ 1
        record.pointee.liveCount &-= 1
        liveUnitCount &-= SizeClass.units(ofClass: sizeClass)
        if record.pointee.liveCount == 0 || !record.pointee.isListed { relistSlowly(slab, sizeClass) }
    }

    @inline(never)
    private mutating func relistSlowly(_ slab: UInt32, _ sizeClass: Int) {
        let record = record(ofSlab: slab)
        if record.pointee.liveCount == 0 {
            // The last slab of a class stays, so that one key that comes and goes does not carve a slab each time.
            let isLast = firstListed[sizeClass] == slab &+ 1 && lastListed[sizeClass] == slab &+ 1
            if record.pointee.isEvacuating || !isLast || liveUnitCount == 0 { return release(slab) }
        }
        if !record.pointee.isListed, !record.pointee.isEvacuating { list(slab, sizeClass) }
    }

    @inline(never)
    private mutating func allocateSlowly(_ sizeClass: Int) -> UInt32? {
        guard let slab = takeSlab() else { return nil }
        let record = record(ofSlab: slab)
        record.pointee = SlabRecord()
        record.pointee.sizeClass = UInt8(truncatingIfNeeded: sizeClass)
        list(slab, sizeClass)
        return take(fromSlab: slab, sizeClass)
    }

    // MARK: Lists of slabs with free cells

    private mutating func list(_ slab: UInt32, _ sizeClass: Int) {
        let record = record(ofSlab: slab)
        record.pointee.isListed = true
        record.pointee.next = 0
        record.pointee.previous = lastListed[sizeClass]
        if lastListed[sizeClass] != 0 {
            self.record(ofSlab: lastListed[sizeClass] &- 1).pointee.next = slab &+ 1
        } else {
            firstListed[sizeClass] = slab &+ 1
        }
        lastListed[sizeClass] = slab &+ 1
    }

    private mutating func unlist(_ slab: UInt32, _ sizeClass: Int) {
        let record = record(ofSlab: slab)
        guard record.pointee.isListed else { return }
        let (next, previous) = (record.pointee.next, record.pointee.previous)
        if previous != 0 {
            self.record(ofSlab: previous &- 1).pointee.next = next
        } else {
            firstListed[sizeClass] = next
        }
        if next != 0 {
            self.record(ofSlab: next &- 1).pointee.previous = previous
        } else {
            lastListed[sizeClass] = previous
        }
        record.pointee.isListed = false
    }

    /// The first slab with free cells of a class, plus 1; 0 for none.
    func firstListedSlab(ofClass sizeClass: Int) -> UInt32 { firstListed[sizeClass] }

    // MARK: Slabs

    private mutating func takeSlab() -> UInt32? {
        while firstChunkWithFree < chunkCount, chunks[firstChunkWithFree].freeSlabs == 0 { firstChunkWithFree += 1 }
        if firstChunkWithFree == chunkCount, !mapChunk() { return nil }
        let chunk = chunks + firstChunkWithFree
        let index = chunk.pointee.freeSlabs.trailingZeroBitCount
        chunk.pointee.freeSlabs &= chunk.pointee.freeSlabs &- 1
        if chunk.pointee.records.unsafelyUnwrapped[index].isSpare { spareSlabCount -= 1 }
        return UInt32(truncatingIfNeeded: firstChunkWithFree) << 6 | UInt32(truncatingIfNeeded: index)
    }

    /// An empty slab becomes free for any class; its pages are given back later (``discardSpareSlab()``).
    private mutating func release(_ slab: UInt32) {
        let record = record(ofSlab: slab)
        if record.pointee.isListed { unlist(slab, Int(record.pointee.sizeClass)) }
        carvedUnitCount -= Int(record.pointee.carvedCount) * SizeClass.units(ofClass: Int(record.pointee.sizeClass))
        if record.pointee.isEvacuating {
            evacuatingSlabCount -= 1
            releasedSlabCount &+= 1
        }
        record.pointee = SlabRecord()
        record.pointee.isSpare = true
        spareSlabCount += 1
        let chunk = Int(truncatingIfNeeded: slab >> 6)
        chunks[chunk].freeSlabs |= 1 << UInt64(slab & 63)
        firstChunkWithFree = min(firstChunkWithFree, chunk)
    }

    private mutating func mapChunk() -> Bool {
        let reused = (0..<chunkCount).first { chunks[$0].base == nil }
        let index = reused ?? chunkCount
        guard index < Arena.chunkCountMax else { return false }
        let slabCount = min(Arena.slabsPerChunk, 4 << (2 * min(index, 2)))
        guard index < chunkCapacity || growChunkTable(),
            let records = source.pointee.allocate(SlabRecord.self, count: slabCount)
        else { return false }
        guard let base = source.pointee.map(slabCount * Arena.slabByteCount) else {
            source.pointee.deallocate(records, count: slabCount)
            return false
        }
        records.initialize(repeating: SlabRecord(), count: slabCount)
        var chunk = Chunk(
            base: base, records: records, slabCount: slabCount,
            freeSlabs: slabCount == 64 ? .max : 1 << UInt64(slabCount) - 1)
        // The reference 0 means none: the very first slab is never used, and as it is never touched it costs nothing.
        if index == 0 { chunk.freeSlabs &= ~1 }
        (chunks + index).initialize(to: chunk)
        if index == chunkCount { chunkCount += 1 }
        firstChunkWithFree = index
        return true
    }

    private mutating func growChunkTable() -> Bool {
        let capacity = max(1, chunkCapacity * 2)
        guard let moved = source.pointee.allocate(Chunk.self, count: capacity) else { return false }
        moved.moveInitialize(from: chunks, count: chunkCount)
        if chunkCapacity > 0 { source.pointee.deallocate(chunks, count: chunkCapacity) }
        chunks = moved
        chunkCapacity = capacity
        return true
    }

    /// Where the chunk table lies before it has any entry: never read.
    private static var noChunks: UnsafeMutablePointer<Chunk> {
        UnsafeMutablePointer(bitPattern: MemoryLayout<Chunk>.alignment).unsafelyUnwrapped
    }

    // MARK: For Arena+Evacuation.swift

    /// Frees the records of a chunk that has its slabs.
    func releaseRecords(ofChunk index: Int) {
        guard let records = chunks[index].records else { return }
        source.pointee.deallocate(records, count: chunks[index].slabCount)
        chunks[index].records = nil
    }

    /// Marks a slab that is in the list of its class; one without cells is free at once.
    mutating func beginEvacuation(of slab: UInt32) {
        let record = record(ofSlab: slab)
        guard record.pointee.liveCount > 0 else { return release(slab) }
        unlist(slab, Int(record.pointee.sizeClass))
        record.pointee.isEvacuating = true
        evacuatingSlabCount += 1
    }

    /// A slab that could not be emptied takes cells again.
    mutating func endEvacuation(of slab: UInt32) {
        let record = record(ofSlab: slab)
        record.pointee.isEvacuating = false
        evacuatingSlabCount -= 1
        list(slab, Int(record.pointee.sizeClass))
    }

    mutating func noteSlabDiscarded() { spareSlabCount -= 1 }
}
