// Walks over a whole database: KEYS, SCAN, RANDOMKEY, DBSIZE, snapshots. One stripe at a time is locked, except for
// those held.
//
// Views passed to `body` are valid during the call; `body` must not change the keyspace.

package import KedisUtilities

extension Keyspace {
    /// The number of keys, those that are due but not yet removed among them. O(stripes).
    package var count: Int {
        var sum = 0
        forEachTable { sum += $0.pointee.count }
        return sum
    }

    /// The number of keys that have a deadline. O(stripes).
    package var deadlineCount: Int {
        var sum = 0
        forEachTable { sum += $0.pointee.deadlineCount }
        return sum
    }

    /// The mean time to live of the keys with a deadline, in milliseconds, from a sample; 0 without any. O(stripes).
    package var averageTimeToLiveMilliseconds: Int64 {
        // Doubles, because 64 deadlines at the end of time do not fit one sum of integers.
        var sum = 0.0
        var samples = 0.0
        forEachTable { table in
            guard table.pointee.deadlineCount > 0 else { return }
            table.pointee.forEachDeadlineInSample { deadline in
                let (remaining, overflow) = deadline.subtractingReportingOverflow(nowMilliseconds)
                sum += Double(overflow ? 0 : max(0, remaining))
                samples += 1
            }
        }
        return samples == 0 ? 0 : Int64(exactly: (sum / samples).rounded()) ?? .max
    }

    /// Calls `body` with every live entry. O(n).
    package func forEachEntry(_ body: (Entry) -> Void) {
        for index in 0..<Store.stripeCount { forEachEntry(inStripe: index, body) }
    }

    /// Calls `body` with every live entry of one stripe, which is unlocked in between unless it is held: what comes or
    /// goes meanwhile may be given or not. O(n / stripes).
    package func forEachEntry(inStripe stripeIndex: Int, _ body: (Entry) -> Void) {
        guard !held.contains(stripeIndex) else { return forEachEntry(inHeldStripe: stripeIndex, body) }
        var lower: UInt64? = UInt64(truncatingIfNeeded: stripeIndex) << 58
        while let threshold = lower {
            var budget = Keyspace.walkSlice
            lower = scan(stripeIndex, from: threshold, budget: &budget, body)
        }
    }

    private func forEachEntry(inHeldStripe stripeIndex: Int, _ body: (Entry) -> Void) {
        guard let table = stripes[stripeIndex].table(databaseIndex) else { return }
        table.pointee.forEachSlot { bucket, slot in
            give(table.pointee.cell(bucket, slot), hash: table.pointee.hash(ofCell: bucket.reference(slot)), to: body)
        }
    }

    /// What a walk looks at before it gives the lock to others.
    private static let walkSlice = Table.ScanBudget(keyCount: 1000, homeCount: 2000)

    /// One slice of a walk over a stripe; nil at its end, else the threshold to go on from.
    private func scan(
        _ stripeIndex: Int, from threshold: UInt64, budget: inout Table.ScanBudget, _ body: (Entry) -> Void
    ) -> UInt64? {
        var next: UInt64?
        store.withStripe(stripeIndex, held: held) { stripe in
            guard let table = stripe.pointee.table(databaseIndex) else { return }
            next = table.pointee.scan(from: threshold, budget: &budget) { give($0, hash: $1, to: body) }
        }
        return next
    }

    /// One step of SCAN: calls `body` with the live entries between `cursor` and the returned cursor, about `count` of
    /// them; 0 starts and 0 ends. Every key that is there from the first step to the last is given exactly once, keys
    /// that come or go meanwhile at most once. Any number is a valid cursor. O(count).
    package func scan(from cursor: UInt64, count: Int, _ body: (Entry) -> Void) -> UInt64 {
        var lower = cursor << 16
        let wanted = max(1, count)
        // Homes without keys cost little, but a scan of a nearly empty table must end too.
        var budget = Table.ScanBudget(keyCount: wanted, homeCount: min(wanted, 1 << 20) * 20 + 2000)
        var stripeIndex = Int(truncatingIfNeeded: lower >> 58)
        while stripeIndex < Store.stripeCount {
            let granted = Table.ScanBudget(
                keyCount: min(budget.keyCount, Keyspace.walkSlice.keyCount),
                homeCount: min(budget.homeCount, Keyspace.walkSlice.homeCount))
            var rest = granted
            if let next = scan(stripeIndex, from: lower, budget: &rest, body) {
                lower = next
            } else {
                stripeIndex += 1
                lower = UInt64(truncatingIfNeeded: stripeIndex) << 58
            }
            budget.keyCount -= granted.keyCount - rest.keyCount
            budget.homeCount -= granted.homeCount - rest.homeCount
            if budget.isSpent { return lower >> 16 }
        }
        return 0
    }

    /// Calls `body` with a live entry chosen at random, every entry equally likely; false when there is none (or only
    /// expired ones were met). O(stripes) plus O(1) expected.
    package func withRandomEntry(using generator: inout RandomGenerator, _ body: (Entry) -> Void) -> Bool {
        for _ in 0..<100 {
            let total = count
            guard total > 0 else { return false }
            if pick(generator.next(below: UInt64(truncatingIfNeeded: total)), using: &generator, body) { return true }
        }
        return false
    }

    /// Gives a random entry of the stripe in which the `rank`-th key lies; false when it changed meanwhile or was due.
    private func pick(_ rank: UInt64, using generator: inout RandomGenerator, _ body: (Entry) -> Void) -> Bool {
        var rest = Int(truncatingIfNeeded: rank)
        for index in 0..<Store.stripeCount {
            var isHere = false
            var isGiven = false
            store.withStripe(index, held: held) { stripe in
                guard let table = stripe.pointee.table(databaseIndex) else { return }
                guard rest < table.pointee.count else { return rest -= table.pointee.count }
                isHere = true
                let place = table.pointee.randomPlace(using: &generator)
                give(place.cell, hash: table.pointee.hash(ofCell: place.reference)) { entry in
                    body(entry)
                    isGiven = true
                }
            }
            if isHere { return isGiven }
        }
        return false
    }

    private func forEachTable(_ body: (UnsafeMutablePointer<Table>) -> Void) {
        store.withEachStripe(held: held) { stripe in
            if let table = stripe.pointee.table(databaseIndex) { body(table) }
        }
    }

    @inline(__always)
    private func give(_ cell: Cell, hash: UInt64, to body: (Entry) -> Void) {
        if isLive(cell) { body(Entry(cell: cell, hash: hash)) }
    }
}

extension Table {
    /// Calls `body` with up to 16 deadlines from the first buckets that have any.
    fileprivate func forEachDeadlineInSample(_ body: (Int64) -> Void) {
        var given = 0
        var budget = ScanBudget(keyCount: 256, homeCount: 256)
        _ = scan(from: stripeBits, budget: &budget) { cell, _ in
            guard given < 16, cell.header.hasDeadline else { return }
            given += 1
            body(cell.deadlineMilliseconds)
        }
    }
}
