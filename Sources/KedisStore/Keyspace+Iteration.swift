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
            let earliest = table.pointee.expiryQueue.earliestMilliseconds
            guard table.pointee.deadlineCount > 0, earliest != .max else { return }
            let (remaining, overflow) = earliest.subtractingReportingOverflow(nowMilliseconds)
            sum += Double(overflow ? 0 : max(0, remaining) / 2)
            samples += 1
        }
        return samples == 0 ? 0 : Int64(sum / samples)
    }

    /// Calls `body` with every live entry. O(n).
    package func forEachEntry(_ body: (Entry) -> Void) {
        for index in 0..<Store.stripeCount { forEachEntry(inStripe: index, body) }
    }

    /// Calls `body` with every live entry of one stripe. O(n / stripes).
    package func forEachEntry(inStripe stripeIndex: Int, _ body: (Entry) -> Void) {
        store.withStripe(stripeIndex, held: held) { stripe in
            guard let table = stripe.pointee.table(databaseIndex) else { return }
            table.pointee.forEachSlot { give(table, $0, to: body) }
        }
    }

    /// One step of SCAN: calls `body` with the live entries between `cursor` and the returned cursor, about `count` of
    /// them; 0 starts and 0 ends. Every key that is there from the first step to the last is given exactly once, keys
    /// that come or go meanwhile at most once. Any number is a valid cursor. O(count).
    package func scan(from cursor: UInt64, count: Int, _ body: (Entry) -> Void) -> UInt64 {
        var lower = cursor << 16
        var visited = 0
        let budget = max(1, count)
        var stripeIndex = Int(truncatingIfNeeded: lower >> 58)
        while stripeIndex < Store.stripeCount {
            var next: UInt64?
            store.withStripe(stripeIndex, held: held) { stripe in
                next = scanStripe(stripe, from: lower, budget: budget, visited: &visited, body)
            }
            if let next {
                if visited >= budget { return next >> 16 }
                lower = next
            } else {
                stripeIndex += 1
                lower = UInt64(truncatingIfNeeded: stripeIndex) << 58
                if visited >= budget { return lower >> 16 }
            }
        }
        return 0
    }

    private func scanStripe(
        _ stripe: UnsafeMutablePointer<Stripe>, from lower: UInt64, budget: Int, visited: inout Int,
        _ body: (Entry) -> Void
    ) -> UInt64? {
        guard let table = stripe.pointee.table(databaseIndex) else { return nil }
        return table.pointee.scan(from: lower, budget: max(1, budget - visited)) { index in
            visited += 1
            give(table, index, to: body)
        }
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
                let slot = table.pointee.randomSlot(using: &generator)
                give(table, slot) { entry in
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
    private func give(_ table: UnsafeMutablePointer<Table>, _ index: Int, to body: (Entry) -> Void) {
        let cell = table.pointee.cell(at: index)
        let deadline = cell.header.pointee.deadlineMilliseconds
        guard deadline == noDeadline || deadline > nowMilliseconds else { return }
        body(Entry(cell: cell, hash: table.pointee.slots.unsafelyUnwrapped[index].hash))
    }
}

extension Table {
    /// A slot that holds a key, every one equally likely: slots are drawn until one is taken. The table is not empty.
    func randomSlot(using generator: inout RandomGenerator) -> Int {
        precondition(count > 0)
        while true {
            let index = Int(truncatingIfNeeded: generator.next(below: UInt64(truncatingIfNeeded: slotCount)))
            if slots.unsafelyUnwrapped[index].cell != nil { return index }
        }
    }
}
