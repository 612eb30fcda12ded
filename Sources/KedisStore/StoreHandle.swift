// A handle on a store: what sessions and handlers work with on the data path.
//
// Plain words, trivially copied: holding and passing it costs no reference counting. Whoever holds one keeps the store
// alive by other means (a session through its engine).

import CKedis
package import KedisUtilities

package struct StoreHandle: @unchecked Sendable {
    // Sendable: as the store itself; see there.

    let stripes: UnsafeMutablePointer<Stripe>
    let shared: UnsafeMutablePointer<StoreShared>
    package let seed: HashSeed
    package let databaseCount: Int
    let owner: Unmanaged<Store>

    /// Starts to fetch a stripe's lock, which another thread may have had last: for who will lock it a while later.
    @inline(__always)
    package func prefetchLock(ofStripe index: Int) { kedis_prefetch_write(stripes + index) }

    /// Locks the stripes of `set`, lowest first.
    package func lock(_ set: StripeSet) {
        set.forEach { stripes[$0].lock.lock() }
    }

    /// The same if nobody holds one of them; else none is locked.
    package func tryLock(_ set: StripeSet) -> Bool {
        var rest = set.mask
        while rest != 0 {
            guard stripes[rest.trailingZeroBitCount].lock.tryLock() else {
                // Those below this one are locked.
                unlock(StripeSet(mask: set.mask & ~rest))
                return false
            }
            rest &= rest &- 1
        }
        return true
    }

    package func unlock(_ set: StripeSet) {
        set.forEach { stripes[$0].lock.unlock() }
    }

    /// A handle on a database for one batch or one background task. `held` are the stripes that the caller has locked.
    package func keyspace(_ databaseIndex: Int, nowMilliseconds: Int64, held: StripeSet = StripeSet()) -> Keyspace {
        assert(databaseIndex >= 0 && databaseIndex < databaseCount)
        return Keyspace(handle: self, databaseIndex: databaseIndex, nowMilliseconds: nowMilliseconds, held: held)
    }

    /// Starts to load what a lookup of `keys` will touch, for all of them at once: first their buckets, then their
    /// cells, so that the cache misses overlap; a key that follows itself is looked at once. The caller holds their
    /// stripes. Best for 8 to 64 keys.
    package func prefetch(_ keys: UnsafeBufferPointer<Key>, databaseIndex: Int) {
        prefetchBuckets(keys, databaseIndex: databaseIndex)
        prefetchCells(keys, databaseIndex: databaseIndex)
    }

    /// The first stage of ``prefetch(_:databaseIndex:)``, for who has more keys than these.
    package func prefetchBuckets(_ keys: UnsafeBufferPointer<Key>, databaseIndex: Int) {
        var last: UInt64?
        for key in keys where key.hash != last {
            last = key.hash
            stripes[key.stripeIndex].table(databaseIndex)?.pointee.prefetchBuckets(key.hash)
        }
    }

    /// The second stage.
    package func prefetchCells(_ keys: UnsafeBufferPointer<Key>, databaseIndex: Int) {
        prefetchCells(keys, databaseIndex: databaseIndex) { _, _ in }
    }

    /// The same; `body` is told each key's index and the cell that is most likely its, of one that is not at home at
    /// first nil.
    @inline(__always)
    func prefetchCells(_ keys: UnsafeBufferPointer<Key>, databaseIndex: Int, _ body: (Int, Cell?) -> Void) {
        // Stripes are alike.
        let reach = keys.first.flatMap { stripes[$0.stripeIndex].table(databaseIndex)?.pointee.cellReach } ?? 0
        var last: UInt64?
        var cell: Cell?
        // Indices of keys that are not at home, as bits.
        var elsewhere: UInt64 = 0
        for (index, key) in keys.enumerated() {
            if key.hash != last {
                last = key.hash
                cell = stripes[key.stripeIndex].table(databaseIndex)?.pointee.prefetchCell(key.hash, reach: reach)
            }
            if cell == nil { elsewhere |= 1 << UInt64(index) }
            body(index, cell)
        }
        while elsewhere != 0 {
            let index = elsewhere.trailingZeroBitCount
            elsewhere &= elsewhere &- 1
            let key = keys[index]
            let table = stripes[key.stripeIndex].table(databaseIndex)
            if let cell = table?.pointee.prefetchDisplacedCell(key.hash, reach: reach) { body(index, cell) }
        }
    }
}
