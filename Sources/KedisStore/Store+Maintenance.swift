// Background work, in slices: freeing what was removed, merging thin segments, emptying thin slabs, giving pages back.
//
// Whoever keeps the store's time (the server's tick, the library's ticker) calls `maintain` until it says that nothing
// is left. A slice holds one stripe's lock for less than about 100 microseconds. Without any work a call costs a look
// at each stripe, about 3 microseconds.

import CKedis
import KedisUtilities
import Synchronization

/// Where a stripe's background work is. Guarded by the stripe's lock.
struct StripeMaintenance {
    /// The walk that empties slabs: the database and the hash threshold at which it goes on.
    var evacuation: (databaseIndex: Int, threshold: UInt64)?
    /// The arena's live and carved units at the end of the last walk: no new one until they have changed.
    var lastPlan: (live: Int, carved: Int)?
}

extension Store {
    /// One bounded slice of background work; true when there is more to do. Locks one stripe at a time.
    package func maintain(nowMilliseconds: Int64) -> Bool {
        if shared.pointee.reclaimer.pendingCount > 0, reclaimSome() { return true }
        let first = shared.pointee.nextStripe.load(ordering: .relaxed)
        let isDefragmenting = shared.pointee.isDefragmenting.load(ordering: .relaxed)
        for offset in 0..<Store.stripeCount {
            let index = (first + offset) & (Store.stripeCount - 1)
            var hasWorked = false
            var fullHalf: UnsafeMutableRawPointer?
            withStripe(index, held: StripeSet()) {
                hasWorked = $0.pointee.maintain(
                    nowMilliseconds: nowMilliseconds, isDefragmenting: isDefragmenting, to: shared.pointee.reclaimer)
                if !hasWorked { fullHalf = $0.pointee.arena?.pointee.takeFullHalf() }
            }
            if let fullHalf {
                // Without the lock, because the system copies 2 MiB for it. Whatever has become of the addresses
                // meanwhile, their content stays as it is.
                hasWorked = kedis_collapse(fullHalf, MemorySource.hugePageByteCount) != 0
            }
            guard hasWorked else { continue }
            // Stay with the stripe: its lines are in the cache.
            shared.pointee.nextStripe.store(index, ordering: .relaxed)
            return true
        }
        if let fullHalf = shared.pointee.source.pointee.takeFullHalf(),
            kedis_collapse(fullHalf, MemorySource.hugePageByteCount) != 0
        {
            return true
        }
        return shared.pointee.source.pointee.trimPages(limit: 64, keeping: Store.sparePageCount)
    }

    /// Whether ``maintain(nowMilliseconds:)`` moves cells together; a walk that has begun is ended.
    package func setDefragmenting(_ isOn: Bool) { shared.pointee.isDefragmenting.store(isOn, ordering: .relaxed) }

    /// Free pages that are kept for the next splits.
    private static let sparePageCount = 16

    /// Gives back what memory is kept for reuse (MEMORY PURGE). Locks one stripe at a time, for one slab at a time, but
    /// for those in `held`.
    package func purge(held: StripeSet = StripeSet()) {
        for index in 0..<Store.stripeCount {
            var hasMore = true
            while hasMore {
                withStripe(index, held: held) { hasMore = $0.pointee.arena?.pointee.discardSpareSlab() ?? false }
            }
        }
        while shared.pointee.source.pointee.trimPages(limit: 64, keeping: 0) {}
    }

    /// Frees a slice of what was removed; false when nothing waits, or another thread is at it. Locks a stripe, unless
    /// it is in `held`.
    @discardableResult
    func reclaimSome(held: StripeSet = StripeSet()) -> Bool {
        let isFree = shared.pointee.isReclaiming.compareExchange(
            expected: false, desired: true, ordering: .acquiringAndReleasing)
        guard isFree.exchanged else { return false }
        defer { shared.pointee.isReclaiming.store(false, ordering: .releasing) }
        guard let item = shared.pointee.reclaimer.takeOldest() else { return false }
        switch item {
        case .blob(let blob, let offset):
            let byteCount = item.byteCount
            if let rest = shared.pointee.reclaimer.releaseSome(blob, discardedUpTo: offset) {
                shared.pointee.reclaimer.putBack(rest)
            } else {
                shared.pointee.reclaimer.done(byteCount: byteCount, isBlob: true)
            }
        case .collection(let collection):
            let byteCount = collection.allocatedByteCount
            let isReleased = collection.releaseSome(byteLimit: Reclaimer.sliceByteCount)
            if isReleased {
                shared.pointee.reclaimer.done(byteCount: byteCount, isBlob: false)
            } else {
                shared.pointee.reclaimer.noteSlice(byteCount: byteCount - collection.allocatedByteCount)
                shared.pointee.reclaimer.putBack(item)
            }
        case .table(let detached):
            if reclaimSome(of: detached, held: held) {
                shared.pointee.reclaimer.done(byteCount: detached.byteCount, isBlob: false)
            } else {
                shared.pointee.reclaimer.putBack(item)
            }
        }
        return true
    }

    /// Frees a segment of a table, or a part of its arena; true when all of it is gone.
    private func reclaimSome(of detached: DetachedTable, held: StripeSet) -> Bool {
        if let arena = detached.ownedArena {
            guard detached.table.pointee.isReleased else {
                _ = detached.table.pointee.releaseSome(withCells: false, to: shared.pointee.reclaimer)
                return false
            }
            guard arena.pointee.unmapSome() else { return false }
            Table.release(detached.table, to: shared.pointee.source)
            Arena.release(arena)
            return true
        }
        // Its cells lie in the stripe's arena.
        var isReleased = false
        withStripe(detached.stripeIndex, held: held) { _ in
            isReleased = detached.table.pointee.releaseSome(withCells: true, to: shared.pointee.reclaimer)
        }
        if isReleased { Table.release(detached.table, to: shared.pointee.source) }
        return isReleased
    }
}

extension Stripe {
    /// One slice of work on this stripe; false when there is none.
    mutating func maintain(
        nowMilliseconds: Int64, isDefragmenting: Bool, to reclaimer: borrowing Reclaimer
    ) -> Bool {
        guard let arena else { return false }
        if evacuateSome(arena) || shrinkSome(nowMilliseconds) { return true }
        if arena.pointee.discardSpareSlab() { return true }
        return isDefragmenting && planEvacuation(arena)
    }

    private mutating func shrinkSome(_ nowMilliseconds: Int64) -> Bool {
        var hasWorked = false
        forEachTable { _, table in
            guard !hasWorked else { return }
            hasWorked = table.pointee.mergeSome()
            guard !hasWorked else { return }
            hasWorked = table.pointee.compactScheduleSome(nowMilliseconds: nowMilliseconds)
            // A rebuilt wheel may have its slots elsewhere.
            if hasWorked { noteDeadline(table.pointee.expiry.nextDueMilliseconds) }
        }
        return hasWorked
    }

    // MARK: Defragmentation

    private mutating func planEvacuation(_ arena: UnsafeMutablePointer<Arena>) -> Bool {
        let (live, carved) = (arena.pointee.liveUnitCount, arena.pointee.carvedUnitCount)
        // An eighth, and at least half a slab: less is not worth a walk over the tables.
        guard carved - live > max(carved / 8, Arena.unitsPerSlab / 2) else { return false }
        if let last = maintenance.lastPlan, abs(last.live - live) < carved / 32, abs(last.carved - carved) < carved / 32
        {
            return false
        }
        maintenance.lastPlan = (live, carved)
        arena.pointee.planEvacuation()
        if arena.pointee.evacuatingSlabCount > 0 { maintenance.evacuation = (0, 0) }
        return maintenance.evacuation != nil || arena.pointee.spareSlabCount > 0
    }

    private mutating func evacuateSome(_ arena: UnsafeMutablePointer<Arena>) -> Bool {
        guard let position = maintenance.evacuation else { return false }
        var next = position
        while next.databaseIndex < databaseCount {
            guard let table = table(next.databaseIndex), table.pointee.count > 0 else {
                next = (next.databaseIndex + 1, 0)
                continue
            }
            if let threshold = table.pointee.evacuateSegment(at: next.threshold) {
                maintenance.evacuation = (next.databaseIndex, threshold)
            } else {
                maintenance.evacuation = (next.databaseIndex + 1, 0)
            }
            return true
        }
        arena.pointee.endEvacuation()
        maintenance.evacuation = nil
        maintenance.lastPlan = (arena.pointee.liveUnitCount, arena.pointee.carvedUnitCount)
        return true
    }
}
