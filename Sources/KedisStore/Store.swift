// The store: all keys of all databases, cut into 64 stripes by key hash.
//
// Ownership: the store owns its stripes and what they share; handlers work through `Keyspace`, a handle on one
// database. Threads: any. What touches keys needs the locks of their stripes, taken with `lock(_:)` by the plan;
// functions that lock by themselves say so.
// Invariants: see Stripe, Table, Arena. Cost: an empty store takes about 30 KiB.

package import KedisUtilities
import Synchronization

/// What happens to a key without a command that says so, or beside one.
package enum KeyEvent: Equatable, Sendable {
    /// Its deadline has passed.
    case expired
    /// It was removed to make room.
    case evicted
    /// Members of its value were removed because their deadlines have passed.
    case membersExpired(ValueType, nowMilliseconds: Int64)
    /// It was removed, as no member of its value was left.
    case emptied
    /// It was not there before. Only while the store reports it.
    case created
    /// It was read, and was not there. Only while the store reports it.
    case missed
}

/// Told of what happens to keys, under the key's stripe lock, before the key goes.
package typealias KeyEventObserver = @Sendable (_ event: KeyEvent, _ databaseIndex: Int, _ key: ByteView) -> Void

package final class Store: @unchecked Sendable {
    // Sendable: stripes are only changed under their own locks; all else is immutable or guards itself.

    package static let stripeCount = 64

    package let databaseCount: Int
    /// Keys the hash, so that nobody outside can choose keys that collide.
    package let seed: HashSeed
    let stripes: UnsafeMutablePointer<Stripe>
    let shared: UnsafeMutablePointer<StoreShared>
    /// Grows only before the store is used by several threads.
    private var keyEventObservers: [KeyEventObserver] = []

    /// Makes an empty store with `databaseCount` databases (1 to 16,384).
    package init(databaseCount: Int = 16, seed: HashSeed) {
        precondition(databaseCount >= 1 && databaseCount <= 16_384)
        self.databaseCount = databaseCount
        self.seed = seed
        precondition(
            MemoryLayout<Stripe>.stride % MemorySource.lineByteCount == 0, "stride \(MemoryLayout<Stripe>.stride)")
        stripes = UnsafeMutableRawPointer.allocate(
            byteCount: Store.stripeCount * MemoryLayout<Stripe>.stride, alignment: MemorySource.lineByteCount
        ).bindMemory(to: Stripe.self, capacity: Store.stripeCount)
        shared = .allocate(capacity: 1)
        shared.initialize(to: StoreShared(stripes: stripes))
        for index in 0..<Store.stripeCount {
            (stripes + index).initialize(
                to: Stripe(index: index, databaseCount: databaseCount, seed: seed, source: shared.pointee.source))
        }
    }

    deinit {
        while reclaimSome() {}
        for index in 0..<Store.stripeCount { stripes[index].removeAll(to: shared.pointee.reclaimer) }
        while reclaimSome() {}
        stripes.deinitialize(count: Store.stripeCount)
        UnsafeMutableRawPointer(stripes).deallocate()
        shared.deinitialize(count: 1)
        shared.deallocate()
    }

    /// The handle through which the data path works.
    package var handle: StoreHandle {
        StoreHandle(
            stripes: stripes, shared: shared, seed: seed, databaseCount: databaseCount,
            owner: Unmanaged.passUnretained(self))
    }

    package func key(_ bytes: ByteView) -> Key { Key(bytes, seed: seed) }

    /// Has `observer` told of what happens to keys. Before the store is used by several threads.
    package func observeKeyEvents(_ observer: @escaping KeyEventObserver) { keyEventObservers.append(observer) }

    /// Whether observers are told of keys that are created or missed, which lies on the way of many commands.
    package func reportKeyEvents(created: Bool, missed: Bool) {
        shared.pointee.setReports(created: created, missed: missed)
    }

    func note(_ event: KeyEvent, _ databaseIndex: Int, _ key: ByteView) {
        for observer in keyEventObservers { observer(event, databaseIndex, key) }
    }

    /// See ``StoreHandle/lock(_:)``.
    package func lock(_ set: StripeSet) { handle.lock(set) }

    /// See ``StoreHandle/unlock(_:)``.
    package func unlock(_ set: StripeSet) { handle.unlock(set) }

    /// See ``StoreHandle/keyspace(_:nowMilliseconds:held:)``.
    package func keyspace(_ databaseIndex: Int, nowMilliseconds: Int64, held: StripeSet = StripeSet()) -> Keyspace {
        handle.keyspace(databaseIndex, nowMilliseconds: nowMilliseconds, held: held)
    }

    /// The sum of all stripes' counters. Locks one stripe at a time, but for those in `held`.
    package func statistics(held: StripeSet = StripeSet()) -> StripeStatistics {
        var sum = StripeStatistics()
        withEachStripe(held: held) { stripe in
            sum.hits &+= stripe.pointee.statistics.hits
            sum.misses &+= stripe.pointee.statistics.misses
            sum.expired &+= stripe.pointee.statistics.expired
            sum.changes &+= stripe.pointee.statistics.changes
        }
        return sum
    }

    /// The same of those that are seldom touched.
    package func rareStatistics(held: StripeSet = StripeSet()) -> RareStripeStatistics {
        var sum = RareStripeStatistics()
        withEachStripe(held: held) { stripe in
            sum.expiredMembers &+= stripe.pointee.rareStatistics.expiredMembers
            sum.evicted &+= stripe.pointee.rareStatistics.evicted
        }
        return sum
    }

    /// Sets hits, misses, expiries and evictions to 0 (CONFIG RESETSTAT); changes go on counting. Locks like
    /// ``statistics(held:)``.
    package func resetStatistics(held: StripeSet = StripeSet()) {
        withEachStripe(held: held) { stripe in
            let changes = stripe.pointee.statistics.changes
            stripe.pointee.statistics = StripeStatistics()
            stripe.pointee.statistics.changes = changes
            stripe.pointee.rareStatistics = RareStripeStatistics()
        }
    }

    /// Calls `body` with each stripe, locked; those in `held` are locked already.
    func withEachStripe(held: StripeSet, _ body: (UnsafeMutablePointer<Stripe>) -> Void) {
        for index in 0..<Store.stripeCount { withStripe(index, held: held, body) }
    }

    func withStripe(_ index: Int, held: StripeSet, _ body: (UnsafeMutablePointer<Stripe>) -> Void) {
        let stripe = stripes + index
        guard !held.contains(index) else { return body(stripe) }
        stripe.pointee.lock.lock()
        body(stripe)
        stripe.pointee.lock.unlock()
    }

    /// Walks every stripe and asserts its invariants. For tests; locks one stripe at a time.
    package func checkInvariants() {
        withEachStripe(held: StripeSet()) { stripe in
            stripe.pointee.checkInvariants()
            guard shared.pointee.snapshot == nil else { return }
            stripe.pointee.forEachTable { precondition($1.pointee.snapshot == nil, "a snapshot has left all tables") }
        }
    }
}
