// The hash table of one database in one stripe: extendible hashing over segments of one page.
//
//      hash      ┌────────┬────────────────┬───────────────────┬─ … ─┬───────┐
//      (64 bits) │ stripe │ directory      │ home bucket       │     │ tag   │
//                │ 6      │ depth          │ 16, scaled to 60  │     │ 8     │
//                └────────┴────────────────┴───────────────────┴─ … ─┴───────┘
//
//      directory ┌───┬───┬───┬───┐     2^depth entries; a segment of less depth has several in a row
//                └─┬─┴─┬─┴─┬─┴─┬─┘
//                  └───┤   │   └──▶ segment ─▶ 60 home buckets and 4 of stash (Bucket.swift)
//                      ▼   ▼
//
// A segment that is full splits in two (Table+Split.swift), thin neighbours merge: growth and shrinking touch one
// segment at a time. As all bits below the stripe's are used from the top, storage order is hash
// order, and SCAN's cursor is a threshold in hash space (Table+Scan.swift).
//
// Ownership: the table owns its segments, the cells that they refer to, and its wheels; cells live in the arena.
// Guarded by the stripe's lock. Invariants: see `checkInvariants()`.
// Cost: 4 KiB for up to about 720 keys, 5.3 to 11.5 bytes a key once large; lookup touches 1 to 2 cache lines and the
// cell's, growth at most 768 cells for one insert.

import CKedis
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Where a key is: valid until the table changes.
struct Place {
    var bucket: Bucket
    var slot: Int
    var cell: Cell

    @inline(__always)
    var reference: UInt32 { bucket.reference(slot) }
}

struct Table: ~Copyable {
    static let stripeBitCount = 6
    /// How many hashes a stripe is for.
    static let hashCount: UInt64 = 1 << UInt64(64 - stripeBitCount)
    /// The deepest directory, in hash bits: 157 M keys in this stripe.
    static let depthMax = 18

    let arena: UnsafeMutablePointer<Arena>
    let stripeIndex: Int
    /// The stripe's sum of bytes, which this table's is part of; nil for a table that has left its stripe.
    private var stripeByteCount: UnsafeMutablePointer<ByteCounter>?
    var directory: UnsafeMutablePointer<UInt>?
    /// Hash bits that index the directory.
    var depth = 0
    /// Keys with this hash or a higher one are what a snapshot has yet to take; `.max` without one.
    var unsavedFrom = UInt64.max
    var segmentCount = 0
    var count = 0
    /// Entries that have a deadline.
    var deadlineCount = 0
    /// Entries whose members may have deadlines.
    var memberDeadlineKeyCount = 0
    /// Cells that refer to a blob.
    private(set) var outsideCount = 0
    private(set) var cellByteCount = 0
    private(set) var blobByteCount = 0
    /// All live bytes: cells, blobs, segments, directory, wheels.
    private(set) var byteCount = 0
    var expiry: ExpirySchedule
    /// Cells and bytes that slow paths have touched.
    var work = SlowPathWork()
    /// Where the next merge is tried, in hash space.
    var mergeCursor: UInt64 = 0
    /// Segments looked at since the last merge, or since keys went: when it was all of them, none is left to merge.
    var mergeMissCount = 0
    /// Segments that the merging of a thin table has yet to look at.
    var mergeStepsLeft = 0
    /// The next entry of the directory to be freed, while the table is (Table+Background.swift).
    var releaseCursor = 0
    var releaseBucketCursor = 0
    /// Keeps the table where it is: of a struct without an atomic, Swift 6.3 copies all its bytes onto the stack for a
    /// method that only reads, which took a lookup 20 ns.
    private let staysInPlace = Atomic<Bool>(true)
    /// The snapshot that has yet to take keys of this table, and the database that it was at the instant of that.
    var snapshot: Unmanaged<StoreSnapshot>?
    var snapshotDatabaseIndex = 0
    /// What the reclaimer notes here while the table waits to be freed: its item, and the table behind it.
    var waiting: (item: DetachedTable, next: UnsafeMutablePointer<Table>?)?

    /// An empty table; nil when memory is exhausted.
    static func make(
        arena: UnsafeMutablePointer<Arena>, stripeIndex: Int, stripeByteCount: UnsafeMutablePointer<ByteCounter>
    ) -> UnsafeMutablePointer<Table>? {
        let table = arena.pointee.source.pointee.allocate(Table.self, count: 1)
        table?.initialize(to: Table(arena: arena, stripeIndex: stripeIndex, stripeByteCount: stripeByteCount))
        return table
    }

    /// Frees what ``make(arena:stripeIndex:stripeByteCount:)`` made, when it is empty.
    static func release(_ table: UnsafeMutablePointer<Table>, to source: UnsafeMutablePointer<MemorySource>) {
        table.deinitialize(count: 1)
        source.pointee.deallocate(table, count: 1)
    }

    private init(
        arena: UnsafeMutablePointer<Arena>, stripeIndex: Int, stripeByteCount: UnsafeMutablePointer<ByteCounter>
    ) {
        self.arena = arena
        self.stripeIndex = stripeIndex
        self.stripeByteCount = stripeByteCount
        expiry = ExpirySchedule(source: arena.pointee.source)
    }

    deinit {
        precondition(directory == nil, "a table is emptied before it goes")
    }

    /// The table leaves its stripe, whose sum of bytes it is no longer part of.
    mutating func detach() {
        stripeByteCount?.pointee.add(0 &- byteCount)
        stripeByteCount = nil
    }

    // MARK: Hash bits

    @inline(__always)
    static func tag(of hash: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: hash) }

    @inline(__always)
    func directoryIndex(_ hash: UInt64) -> Int {
        // Two shifts, because one by 64 (depth 0) would be one by 0.
        Int(truncatingIfNeeded: ((hash &<< 6) &>> 1) &>> UInt64(truncatingIfNeeded: 63 &- depth))
    }

    /// The segment of a hash; the directory is there.
    @inline(__always)
    func segment(of hash: UInt64, in directory: UnsafeMutablePointer<UInt>) -> Segment {
        Segment(word: directory[directoryIndex(hash)])
    }

    // MARK: Lookup

    /// The place of `key`, or nil. O(1).
    ///
    /// - Parameter isForInsert: a key that is not there will be put, which looks at the neighbour too.
    @inline(__always)
    func find(_ key: Key, isForInsert: Bool = false) -> Place? {
        guard let directory else { return nil }
        let segment = segment(of: key.hash, in: directory)
        let home = segment.home(of: key.hash)
        let tag = Table.tag(of: key.hash)
        let own = segment.bucket(home)
        if isForInsert { kedis_prefetch(segment.neighbour(ofHome: home).address) }
        if let place = find(key, in: own, own.match(tag) & own.own) { return place }
        if own.hasOverhang {
            let neighbour = segment.neighbour(ofHome: home)
            if let place = find(key, in: neighbour, neighbour.match(tag) & neighbour.displaced) { return place }
        }
        return own.overflowCount == 0 ? nil : findInStashSlowly(key, segment)
    }

    @inline(__always)
    private func find(_ key: Key, in bucket: Bucket, _ candidates: UInt32) -> Place? {
        var rest = candidates
        while rest != 0 {
            let slot = rest.trailingZeroBitCount
            let cell = cell(bucket, slot)
            if cell.hasKey(key.bytes) { return Place(bucket: bucket, slot: slot, cell: cell) }
            rest &= rest &- 1
        }
        return nil
    }

    @inline(never)
    private func findInStashSlowly(_ key: Key, _ segment: Segment) -> Place? {
        for index in Segment.homeCount..<Segment.bucketCount {
            let bucket = segment.bucket(index)
            let candidates = bucket.match(Table.tag(of: key.hash)) & bucket.taken
            if let place = find(key, in: bucket, candidates) { return place }
        }
        return nil
    }

    @inline(__always)
    func cell(_ bucket: Bucket, _ slot: Int) -> Cell { Cell(arena.pointee.address(bucket.reference(slot))) }

    // MARK: Cells

    /// A cell of `units`, counted; nil when memory is exhausted.
    @inline(__always)
    mutating func allocateCell(units: Int) -> UInt32? {
        guard let reference = arena.pointee.allocate(units: units) else { return nil }
        noteCellBytes(SizeClass.rounded(units: units) &* SizeClass.unitByteCount)
        return reference
    }

    @inline(__always)
    mutating func freeCell(_ reference: UInt32, units: Int) {
        arena.pointee.free(reference, units: units)
        noteCellBytes(0 &- SizeClass.rounded(units: units) &* SizeClass.unitByteCount)
    }

    @inline(__always)
    private mutating func noteCellBytes(_ change: Int) {
        cellByteCount &+= change
        noteBytes(change)
    }

    /// Counts a blob that a cell now refers to, or with a negative number no longer does.
    mutating func noteBlob(_ byteCount: Int) { noteOutside(byteCount.signum(), byteCount: byteCount) }

    /// Counts things outside of the arena, and their bytes, that cells now refer to.
    mutating func noteOutside(_ count: Int, byteCount: Int) {
        outsideCount += count
        blobByteCount += byteCount
        noteBytes(byteCount)
    }

    @inline(__always)
    mutating func noteBytes(_ change: Int) {
        byteCount &+= change
        stripeByteCount?.pointee.add(change)
    }

    /// A cell for a new key, its header and key written; deadline and value are the caller's. Nil when memory is
    /// exhausted. The deadline is counted, the value's blob is not.
    @inline(__always)
    mutating func makeCell(
        key: ByteView, type: ValueType, encoding: ValueEncoding, valueFieldByteCount: Int, isValueOutside: Bool,
        hasDeadline: Bool, accessClock: UInt32
    ) -> (reference: UInt32, cell: Cell)? {
        let isKeyOutside = key.count > CellHeader.inlineKeyByteCountMax
        var header = CellHeader(
            type: type, encoding: encoding, keyFieldByteCount: isKeyOutside ? MemoryLayout<UInt>.size : key.count,
            valueFieldByteCount: valueFieldByteCount)
        header.isValueOutside = isValueOutside
        header.hasDeadline = hasDeadline
        header.accessClock = accessClock
        guard !isKeyOutside else { return makeOutsideKeyCellSlowly(key, header) }
        guard let reference = allocateCell(units: header.units) else { return nil }
        let cell = Cell(arena.pointee.address(reference))
        cell.header = header
        (cell.address + header.keyOffset).copyMemory(from: key.base, byteCount: key.count)
        if hasDeadline { deadlineCount &+= 1 }
        return (reference, cell)
    }

    @inline(never)
    private mutating func makeOutsideKeyCellSlowly(
        _ key: ByteView, _ inlineHeader: CellHeader
    ) -> (reference: UInt32, cell: Cell)? {
        var header = inlineHeader
        header.isKeyOutside = true
        guard let blob = Blob.make(byteCount: key.count, capacity: key.count, from: arena.pointee.source) else {
            return nil
        }
        guard let reference = allocateCell(units: header.units) else {
            _ = blob.dropReference()
            blob.deallocate(to: arena.pointee.source)
            return nil
        }
        blob.content.copyMemory(from: key.base, byteCount: key.count)
        blob.hash = hashBytes(key, seed: arena.pointee.seed)
        let cell = Cell(arena.pointee.address(reference))
        cell.header = header
        (cell.address + header.keyOffset).storeBytes(of: blob.address, as: UnsafeMutableRawPointer.self)
        noteBlob(blob.allocatedByteCount)
        if header.hasDeadline { deadlineCount += 1 }
        return (reference, cell)
    }

    /// Frees a cell that no slot refers to, with its blobs.
    @inline(__always)
    mutating func discard(_ reference: UInt32, to reclaimer: borrowing Reclaimer) {
        let cell = Cell(arena.pointee.address(reference))
        let header = cell.header
        if header.hasAnyDeadline { forgetDeadlines(header) }
        if header.isAnyOutside { releaseBlobs(of: cell, to: reclaimer) }
        freeCell(reference, units: header.units)
    }

    @inline(__always)
    private mutating func forgetDeadlines(_ header: CellHeader) {
        if header.hasDeadline { deadlineCount &-= 1 }
        if header.hasMemberDeadlines { memberDeadlineKeyCount &-= 1 }
    }

    @inline(never)
    mutating func releaseBlobs(of cell: Cell, to reclaimer: borrowing Reclaimer) {
        if let blob = cell.valueBlob { release(blob, to: reclaimer) }
        if let blob = cell.keyBlob { release(blob, to: reclaimer) }
        if let collection = cell.collection { release(collection, to: reclaimer) }
    }

    /// A cell no longer refers to `blob`.
    mutating func release(_ blob: Blob, to reclaimer: borrowing Reclaimer) {
        noteBlob(-blob.allocatedByteCount)
        reclaimer.release(blob)
    }

    /// A cell no longer refers to `collection`.
    mutating func release(_ collection: Collection, to reclaimer: borrowing Reclaimer) {
        noteOutside(-1, byteCount: -collection.allocatedByteCount)
        reclaimer.release(collection)
    }

    // MARK: Slots

    /// The place of an entry that is in the table, by the address of its cell.
    func place(of entry: Entry) -> Place? {
        firstPlace(of: entry.hash) { $0.cell.address == entry.cell.address }
    }

    /// The first place whose key may have this hash and that `isWanted`.
    func firstPlace(of hash: UInt64, where isWanted: (Place) -> Bool) -> Place? {
        var found: Place?
        forEachCandidate(Table.fingerprint(of: hash)) { place in
            if isWanted(place) { found = place }
            return found == nil
        }
        return found
    }

    /// Puts the cell of a key that is not there; false when memory is exhausted (the table is then unchanged but for a
    /// split that may have happened).
    @inline(__always)
    mutating func insert(_ reference: UInt32, hash: UInt64) -> Bool {
        noteBirth(Cell(arena.pointee.address(reference)), hash: hash)
        if let directory, segment(of: hash, in: directory).put(reference: reference, hash: hash) {
            count &+= 1
            return true
        }
        return insertSlowly(reference, hash: hash)
    }

    @inline(never)
    private mutating func insertSlowly(_ reference: UInt32, hash: UInt64) -> Bool {
        if directory == nil, !makeDirectory() { return false }
        // Once is enough unless all keys share the next bit of the hash too.
        while let directory, depth <= Table.depthMax {
            if segment(of: hash, in: directory).put(reference: reference, hash: hash) {
                count += 1
                return true
            }
            guard split(hash) else { return false }
        }
        return false
    }

    /// Removes a key with its cell and blobs.
    @inline(__always)
    mutating func remove(_ place: Place, hash: UInt64, to reclaimer: borrowing Reclaimer) {
        preserveRemoved(place.cell, hash: hash)
        let reference = place.reference
        clear(place, hash: hash)
        discard(reference, to: reclaimer)
    }

    /// Takes a key out of the table; its cell is the caller's.
    @inline(__always)
    mutating func clear(_ place: Place, hash: UInt64) {
        guard let directory else { return }
        segment(of: hash, in: directory).clear(place.bucket, place.slot, hash: hash)
        count &-= 1
        mergeMissCount = 0
    }

    // MARK: Segments

    private mutating func makeDirectory() -> Bool {
        guard let segment = makeSegment(depth: 0) else { return false }
        guard let made = arena.pointee.source.pointee.allocate(UInt.self, count: 1) else {
            release(segment)
            return false
        }
        made.initialize(to: segment.word)
        directory = made
        depth = 0
        noteBytes(MemoryLayout<UInt>.stride)
        return true
    }

    mutating func makeSegment(depth: Int) -> Segment? {
        guard let page = arena.pointee.source.pointee.takePage() else { return nil }
        segmentCount += 1
        noteBytes(MemorySource.pageByteCount)
        return Segment(page: page, depth: depth)
    }

    mutating func release(_ segment: Segment) {
        arena.pointee.source.pointee.returnPage(segment.page)
        segmentCount -= 1
        noteBytes(-MemorySource.pageByteCount)
    }

    /// Calls `body` with every segment once, in hash order.
    func forEachSegment(_ body: (Segment) -> Void) {
        guard let directory else { return }
        var index = 0
        while index < 1 << depth {
            let segment = Segment(word: directory[index])
            body(segment)
            index += 1 << (depth - segment.depth)
        }
    }

    /// Calls `body` with every key's bucket and slot, in hash order of their homes. `body` must not change the table.
    func forEachSlot(_ body: (Bucket, Int) -> Void) {
        forEachSegment { $0.forEachSlot(body) }
    }
}

/// What slow paths (splits, merges, growth of a directory, rebuilding of a wheel) have touched, in sum.
struct SlowPathWork {
    var cellCount: UInt64 = 0
    var byteCount: UInt64 = 0

    mutating func add(cells: Int, bytes: Int) {
        cellCount &+= UInt64(truncatingIfNeeded: cells)
        byteCount &+= UInt64(truncatingIfNeeded: bytes)
    }

    mutating func add(_ other: SlowPathWork) {
        cellCount &+= other.cellCount
        byteCount &+= other.byteCount
    }
}

/// A sum that its stripe changes under the lock and anybody reads without.
struct ByteCounter: ~Copyable {
    private let value = Atomic<Int>(0)

    init() {}

    var current: Int { value.load(ordering: .relaxed) }

    @inline(__always)
    func add(_ change: Int) {
        value.store(value.load(ordering: .relaxed) &+ change, ordering: .relaxed)
    }
}
