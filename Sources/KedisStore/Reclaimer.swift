// Memory that is no longer data but not yet given back: flushed tables, large blobs. The background frees it in
// slices, so that no command waits for it.
//
// Ownership: the store's; it owns what waits. Threads: any; its lock is held for moments, and never while another lock
// is taken. Order: first in, first out, so that the tables of an arena are gone before the one that owns it.
// Limit: when more waits than `pendingByteCountMax`, who adds a blob frees the oldest ones at once; who adds tables
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

struct Reclaimer: ~Copyable {
    enum Item: @unchecked Sendable {
        // Sendable: plain memory that nobody else refers to; who takes it owns it.
        case table(DetachedTable)
        case blob(Blob, discardedUpTo: Int)

        var byteCount: Int {
            switch self {
            case .table(let detached): detached.byteCount
            case .blob(let blob, _): blob.allocatedByteCount
            }
        }
    }

    struct State: Sendable {
        var items: [Item] = []
        var byteCount = 0
        var reclaimedCount: UInt64 = 0
    }

    /// Blobs up to this size are freed at once: it takes a few microseconds.
    static let immediateByteCountMax = 1 << 20
    /// What one slice discards.
    private static let sliceByteCount = 1 << 20
    static let pendingByteCountMax = 1 << 30

    let source: UnsafeMutablePointer<MemorySource>
    private let state = Locked(State())
    /// Whether anything waits: read without the lock by every tick.
    private let pendingCounter = Atomic<Int>(0)

    init(source: UnsafeMutablePointer<MemorySource>) { self.source = source }

    var pendingCount: Int { pendingCounter.load(ordering: .relaxed) }

    var figures: (count: Int, byteCount: Int, reclaimedCount: UInt64) {
        state.withLock { ($0.items.count, $0.byteCount, $0.reclaimedCount) }
    }

    /// Takes over an item.
    borrowing func add(_ item: Item) {
        state.withLock { state in
            state.items.append(item)
            state.byteCount += item.byteCount
        }
        pendingCounter.wrappingAdd(1, ordering: .relaxed)
        while let blob = takeExcess() {
            let byteCount = blob.allocatedByteCount
            blob.deallocate(to: source)
            done(byteCount: byteCount)
        }
    }

    /// The oldest blob, now the caller's, while more waits than may.
    private borrowing func takeExcess() -> Blob? {
        let item: Item? = state.withLock { state in
            guard state.byteCount > Self.pendingByteCountMax, let index = state.items.firstIndex(where: { $0.isBlob })
            else { return nil }
            return state.items.remove(at: index)
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

    /// The oldest item, now the caller's, who puts it back with ``putBack(_:)`` or says ``done(_:)``.
    borrowing func takeOldest() -> Item? {
        guard pendingCount > 0 else { return nil }
        return state.withLock { $0.items.isEmpty ? nil : $0.items.removeFirst() }
    }

    borrowing func putBack(_ item: Item) {
        state.withLock { $0.items.insert(item, at: 0) }
    }

    borrowing func done(byteCount: Int) {
        state.withLock {
            $0.byteCount -= byteCount
            $0.reclaimedCount &+= 1
        }
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

extension Reclaimer.Item {
    var isBlob: Bool {
        if case .blob = self { return true }
        return false
    }
}
