// Eviction: one key at a time goes, the best of a sample and of what earlier samples left (EvictionPool.swift).
//
// Keys are spread over stripes by their hash, so the best of a stripe is nearly the best of all. The stripe is the
// fuller of two drawn at random, which keeps them even. Where few keys have a deadline and only those may go, the
// timing wheel says which they are; a walk over the tables is the last resort.

package import KedisUtilities

extension Store {
    /// Removes the key that `policy` finds best among at least `sampleCount` candidates; false when there is none.
    /// Locks by itself: call it without any stripe held. O(samples), as long as there are candidates to be met.
    package func evictOne(
        _ policy: EvictionPolicy, sampleCount: Int, nowMilliseconds: Int64, using generator: inout RandomGenerator
    ) -> Bool {
        guard policy != .noEviction else { return false }
        for _ in 0..<4 {
            let first = generator.next(below: Store.stripeCount)
            let second = generator.next(below: Store.stripeCount)
            let isFirstFuller =
                stripes[first].usedByteCount.pointee.current >= stripes[second].usedByteCount.pointee.current
            let index = isFirstFuller ? first : second
            if evict(inStripe: index, policy, sampleCount, nowMilliseconds, &generator) { return true }
        }
        // Few stripes have candidates: each is asked.
        let first = generator.next(below: Store.stripeCount)
        for offset in 0..<Store.stripeCount {
            let index = (first + offset) % Store.stripeCount
            if evict(inStripe: index, policy, sampleCount, nowMilliseconds, &generator) { return true }
        }
        for offset in 0..<Store.stripeCount {
            var walk = EvictionWalk(
                stripeIndex: (first + offset) % Store.stripeCount,
                start: generator.next() & ~Table.stripeMask)
            while !walk.isAtEnd {
                if evict(on: &walk, policy, sampleCount, nowMilliseconds, &generator) { return true }
            }
        }
        return false
    }

    private func evict(
        inStripe index: Int, _ policy: EvictionPolicy, _ sampleCount: Int, _ nowMilliseconds: Int64,
        _ generator: inout RandomGenerator
    ) -> Bool {
        var isEvicted = false
        withStripe(index, held: StripeSet()) { stripe in
            let evictor = Evictor(
                store: self, stripe: stripe, policy: policy, sampleCount: sampleCount, nowMilliseconds: nowMilliseconds)
            isEvicted = evictor.evict(using: &generator)
        }
        return isEvicted
    }

    /// A slice of a walk, under the lock.
    private func evict(
        on walk: inout EvictionWalk, _ policy: EvictionPolicy, _ sampleCount: Int, _ nowMilliseconds: Int64,
        _ generator: inout RandomGenerator
    ) -> Bool {
        var isEvicted = false
        withStripe(walk.stripeIndex, held: StripeSet()) { stripe in
            let evictor = Evictor(
                store: self, stripe: stripe, policy: policy, sampleCount: sampleCount, nowMilliseconds: nowMilliseconds)
            isEvicted = evictor.evict(on: &walk, using: &generator)
        }
        return isEvicted
    }
}

/// A walk over a stripe in search of candidates: from a random threshold to the end of each table, then all of each.
private struct EvictionWalk {
    let stripeIndex: Int
    private let start: UInt64
    private var isSecondRound = false
    private(set) var databaseIndex = 0
    /// Without the stripe's bits.
    private(set) var threshold: UInt64
    private(set) var isAtEnd = false

    init(stripeIndex: Int, start: UInt64) {
        self.stripeIndex = stripeIndex
        self.start = start
        threshold = start
    }

    /// Goes on at a threshold of the same table or, for nil, at the next table.
    mutating func goOn(at next: UInt64?, databaseCount: Int) {
        if let next {
            threshold = next & ~Table.stripeMask
            return
        }
        databaseIndex += 1
        if databaseIndex == databaseCount {
            isAtEnd = isSecondRound
            isSecondRound = true
            databaseIndex = 0
        }
        threshold = isSecondRound ? 0 : start
    }
}

/// The eviction of one key from a stripe, which is locked.
private struct Evictor {
    let store: Store
    let stripe: UnsafeMutablePointer<Stripe>
    let policy: EvictionPolicy
    let sampleCount: Int
    let nowMilliseconds: Int64

    /// Draws of a bucket, or of a block of the wheel, in one sample.
    private static let drawCountMax = 8

    func evict(using generator: inout RandomGenerator) -> Bool {
        stripe.pointee.evictionPool.prepare(for: policy)
        for _ in 0..<4 {
            sample(using: &generator)
            if removeBest() { return true }
        }
        return false
    }

    private func removeBest() -> Bool {
        while let candidate = stripe.pointee.evictionPool.takeBest() {
            if remove(candidate) { return true }
        }
        return false
    }

    private func hasCandidates(_ table: UnsafeMutablePointer<Table>) -> Bool {
        (policy.isVolatile ? table.pointee.deadlineCount : table.pointee.count) > 0
    }

    private func sample(using generator: inout RandomGenerator) {
        stripe.pointee.forEachTable { databaseIndex, table in
            guard hasCandidates(table) else { return }
            var found = 0
            // Buckets come whole, so more are looked at than were asked for, for the same cache misses.
            for _ in 0..<Self.drawCountMax where found < 2 * max(1, sampleCount) {
                guard let bucket = table.pointee.randomBucket(using: &generator) else { break }
                Bucket.forEachSlot(bucket.taken) { slot in
                    let place = Place(bucket: bucket, slot: slot, cell: table.pointee.cell(bucket, slot))
                    found += offer(place, databaseIndex, table, using: &generator)
                }
            }
            guard policy.isVolatile else { return }
            for _ in 0..<Self.drawCountMax where found < max(1, sampleCount) {
                table.pointee.expiry.forEachInRandomBlock(using: &generator) { fingerprint, generator in
                    table.pointee.forEachCandidate(fingerprint) { place in
                        found += offer(place, databaseIndex, table, using: &generator)
                        return true
                    }
                }
            }
        }
    }

    /// Looks for candidates in a slice of a walk: they are few.
    func evict(on walk: inout EvictionWalk, using generator: inout RandomGenerator) -> Bool {
        guard let table = tableWithCandidates(on: &walk) else { return false }
        var found = 0
        var budget = Table.ScanBudget(keyCount: 500, homeCount: 2000)
        let threshold = table.pointee.stripeBits | walk.threshold
        let next = table.pointee.scan(from: threshold, budget: &budget) { cell, hash in
            guard found < Self.drawCountMax, let place = table.pointee.place(of: Entry(cell: cell, hash: hash))
            else { return }
            found += offer(place, walk.databaseIndex, table, using: &generator)
        }
        walk.goOn(at: next, databaseCount: store.databaseCount)
        return removeBest()
    }

    private func tableWithCandidates(on walk: inout EvictionWalk) -> UnsafeMutablePointer<Table>? {
        while !walk.isAtEnd {
            if let table = stripe.pointee.table(walk.databaseIndex), hasCandidates(table) { return table }
            walk.goOn(at: nil, databaseCount: store.databaseCount)
        }
        return nil
    }

    /// Offers a key to the pool; 1 when it is a candidate, else 0.
    private func offer(
        _ place: Place, _ databaseIndex: Int, _ table: UnsafeMutablePointer<Table>,
        using generator: inout RandomGenerator
    ) -> Int {
        let header = place.cell.header
        guard header.hasDeadline || !policy.isVolatile else { return 0 }
        stripe.pointee.evictionPool.offer(
            EvictionPool.Candidate(
                databaseIndex: databaseIndex, hash: table.pointee.hash(ofCell: place.reference),
                reference: place.reference, accessClock: header.accessClock,
                score: score(place.cell, using: &generator)))
        return 1
    }

    private func score(_ cell: Cell, using generator: inout RandomGenerator) -> Int64 {
        let clock = cell.header.accessClock
        switch policy {
        case .noEviction: return 0
        case .allKeysLRU, .volatileLRU:
            // The time of the last use, negative: it stays comparable while time goes on.
            let idle = Int64(AccessClock.idleSeconds(clock, nowMilliseconds: nowMilliseconds))
            return idle - nowMilliseconds / 1000
        case .allKeysLFU, .volatileLFU:
            let decayMinutes = UInt32(clamping: store.shared.pointee.tracking.decayMinutes)
            let counter = AccessClock.frequency(clock, decayMinutes: decayMinutes, nowMilliseconds: nowMilliseconds)
            return 255 - Int64(counter)
        case .allKeysRandom, .volatileRandom: return Int64(truncatingIfNeeded: generator.next() >> 1)
        case .volatileTTL: return ~cell.deadlineMilliseconds
        }
    }

    /// Removes a candidate when it is still there as it was seen.
    private func remove(_ candidate: EvictionPool.Candidate) -> Bool {
        guard let table = stripe.pointee.table(candidate.databaseIndex),
            let place = table.pointee.firstPlace(of: candidate.hash, where: { $0.reference == candidate.reference }),
            place.cell.header.accessClock == candidate.accessClock,
            place.cell.header.hasDeadline || !policy.isVolatile,
            table.pointee.hash(ofCell: place.reference) == candidate.hash
        else { return false }
        store.note(.evicted, candidate.databaseIndex, place.cell.key)
        table.pointee.remove(place, hash: candidate.hash, to: store.shared.pointee.reclaimer)
        stripe.pointee.rareStatistics.evicted &+= 1
        stripe.pointee.statistics.changes &+= 1
        return true
    }
}
