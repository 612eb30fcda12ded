// Memory that is no longer data but not yet given back: flushed tables, large blobs. The background frees it in
// slices, so that no command waits for it.
//
// Ownership: the store's; it owns what waits. Threads: any; its lock is held for moments, and never while another lock
// is taken. Order: tables and blobs each first in, first out, so that the tables of an arena are gone before the one
// that owns it.
// Limit: when more blobs wait than `pendingByteCountMax`, who adds one frees the oldest at once; who adds tables
// faster than they go frees some of them (`Keyspace.removeAll`). What waits is no longer counted as used.

import Synchronization

/// A table that belongs to no database any more.
struct DetachedTable {
    var table: UnsafeMutablePointer<Table>
    /// The arena of its cells when no other table uses it: it is freed as a whole, without looking at the cells.
    var ownedArena: UnsafeMutablePointer<Arena>?
    var stripeIndex: Int
    var byteCount: Int
}

/// Tables that wait, first in, first out, linked through themselves: adding one takes no memory.
struct DetachedTableQueue {
    private var firstTable: UnsafeMutablePointer<Table>?
    private var lastTable: UnsafeMutablePointer<Table>?

    var first: DetachedTable? { firstTable?.pointee.waiting?.item }

    mutating func append(_ detached: DetachedTable) {
        detached.table.pointee.waiting = (detached, nil)
        if let lastTable { lastTable.pointee.waiting?.next = detached.table } else { firstTable = detached.table }
        lastTable = detached.table
    }

    mutating func takeFirst() -> DetachedTable? {
        guard let table = firstTable, let (item, next) = table.pointee.waiting else { return nil }
        firstTable = next
        if next == nil { lastTable = nil }
        return item
    }

    /// The one that was taken last is the first again.
    mutating func putBack(_ detached: DetachedTable) {
        detached.table.pointee.waiting = (detached, firstTable)
        firstTable = detached.table
        if lastTable == nil { lastTable = detached.table }
    }
}

struct Reclaimer: ~Copyable {
    enum Item: @unchecked Sendable {
        // Sendable: plain memory that nobody else refers to; who takes it owns it.
        case table(DetachedTable)
        case blob(Blob, discardedUpTo: Int)
        case collection(Collection)

        var byteCount: Int {
            switch self {
            case .table(let detached): detached.byteCount
            case .blob(let blob, _): blob.allocatedByteCount
            case .collection(let collection): collection.allocatedByteCount
            }
        }
    }

    /// A list of tables, one of blobs and one of collections, linked through what waits: adding to them takes no
    /// memory, so that freeing works when there is none.
    struct State: @unchecked Sendable {
        // Sendable: what waits is the reclaimer's alone, whose lock guards it.
        private var tables = DetachedTableQueue()
        private var firstBlob: Blob?
        private var lastBlob: Blob?
        private var firstCollection: Collection?
        private var lastCollection: Collection?
        private var turn = 0
        var byteCount = 0
        /// That of blobs alone.
        var blobByteCount = 0
        var reclaimedCount: UInt64 = 0

        mutating func append(_ item: Item) {
            byteCount += item.byteCount
            switch item {
            case .table(let detached): tables.append(detached)
            case .blob(let blob, let offset):
                blobByteCount += item.byteCount
                blob.discardedByteCount = offset
                blob.nextWaiting = nil
                if let lastBlob { lastBlob.nextWaiting = blob } else { firstBlob = blob }
                lastBlob = blob
            case .collection(let collection):
                collection.nextWaiting = nil
                if let lastCollection { lastCollection.nextWaiting = collection } else { firstCollection = collection }
                lastCollection = collection
            }
        }

        /// A blob, a table and a collection in turn, while there are such.
        mutating func takeFirst() -> Item? {
            turn = (turn + 1) % 3
            switch turn {
            case 0: return takeFirstBlob() ?? takeFirstTable() ?? takeFirstCollection()
            case 1: return takeFirstTable() ?? takeFirstCollection() ?? takeFirstBlob()
            default: return takeFirstCollection() ?? takeFirstBlob() ?? takeFirstTable()
            }
        }

        private mutating func takeFirstCollection() -> Item? {
            guard let collection = firstCollection else { return nil }
            firstCollection = collection.nextWaiting
            if firstCollection == nil { lastCollection = nil }
            return .collection(collection)
        }

        private mutating func takeFirstTable() -> Item? { tables.takeFirst().map { .table($0) } }

        mutating func takeFirstBlob() -> Item? {
            guard let blob = firstBlob else { return nil }
            firstBlob = blob.nextWaiting
            if firstBlob == nil { lastBlob = nil }
            return .blob(blob, discardedUpTo: blob.discardedByteCount)
        }

        /// The item that was taken last is the first of its list again.
        mutating func putBack(_ item: Item) {
            switch item {
            case .table(let detached): tables.putBack(detached)
            case .blob(let blob, let offset):
                blob.discardedByteCount = offset
                blob.nextWaiting = firstBlob
                firstBlob = blob
                if lastBlob == nil { lastBlob = blob }
            case .collection(let collection):
                collection.nextWaiting = firstCollection
                firstCollection = collection
                if lastCollection == nil { lastCollection = collection }
            }
        }

        mutating func noteFreed(byteCount: Int, isBlob: Bool) {
            self.byteCount -= byteCount
            if isBlob { blobByteCount -= byteCount }
            reclaimedCount &+= 1
        }
    }

    /// Blobs and collections up to this size are freed at once: it takes some tens of microseconds.
    static let immediateByteCountMax = 1 << 20
    /// What one slice discards.
    static let sliceByteCount = 1 << 20
    /// Of blobs that wait.
    static let pendingByteCountMax = 1 << 30

    let source: UnsafeMutablePointer<MemorySource>
    private let state = Locked(State())
    /// Whether anything waits: read without the lock by every tick.
    private let pendingCounter = Atomic<Int>(0)

    init(source: UnsafeMutablePointer<MemorySource>) { self.source = source }

    var pendingCount: Int { pendingCounter.load(ordering: .relaxed) }

    var figures: (count: Int, byteCount: Int, reclaimedCount: UInt64) {
        // What is being freed just now waits still.
        state.withLock { (pendingCount, $0.byteCount, $0.reclaimedCount) }
    }

    /// Takes over an item.
    borrowing func add(_ item: Item) {
        state.withLock { $0.append(item) }
        pendingCounter.wrappingAdd(1, ordering: .relaxed)
        while let blob = takeExcess() {
            let byteCount = blob.allocatedByteCount
            blob.deallocate(to: source)
            done(byteCount: byteCount, isBlob: true)
        }
    }

    /// The oldest blob, now the caller's, while more waits than may.
    private borrowing func takeExcess() -> Blob? {
        let item: Item? = state.withLock {
            $0.blobByteCount > Self.pendingByteCountMax ? $0.takeFirstBlob() : nil
        }
        guard case .blob(let blob, _) = item else { return nil }
        return blob
    }

    /// Frees a blob whose last reference is gone, or lets the background do it.
    borrowing func release(_ blob: Blob) {
        guard blob.dropReference() else { return }
        if blob.capacity <= Self.immediateByteCountMax {
            blob.deallocate(to: source)
        } else {
            add(.blob(blob, discardedUpTo: 0))
        }
    }

    /// Takes over a collection: a small one is freed at once.
    borrowing func release(_ collection: Collection) {
        if collection.allocatedByteCount <= Self.immediateByteCountMax {
            collection.release()
        } else {
            add(.collection(collection))
        }
    }

    /// The oldest item, now the caller's, who puts it back with ``putBack(_:)`` or says ``done(byteCount:isBlob:)``
    /// before anybody takes the next one.
    borrowing func takeOldest() -> Item? {
        guard pendingCount > 0 else { return nil }
        return state.withLock { $0.takeFirst() }
    }

    borrowing func putBack(_ item: Item) {
        state.withLock { $0.putBack(item) }
    }

    /// A part of an item is freed.
    borrowing func noteSlice(byteCount: Int) { state.withLock { $0.byteCount -= byteCount } }

    borrowing func done(byteCount: Int, isBlob: Bool) {
        state.withLock { $0.noteFreed(byteCount: byteCount, isBlob: isBlob) }
        pendingCounter.wrappingSubtract(1, ordering: .relaxed)
    }

    /// A slice of freeing a blob; nil when it is freed.
    borrowing func releaseSome(_ blob: Blob, discardedUpTo offset: Int) -> Item? {
        if let next = blob.discard(from: offset, limit: Self.sliceByteCount) {
            return .blob(blob, discardedUpTo: next)
        }
        blob.deallocate(to: source)
        return nil
    }
}
