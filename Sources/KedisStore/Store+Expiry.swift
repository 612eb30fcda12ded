// Expiry on time: the background tick that removes keys whose deadline has passed.

import Synchronization

extension Store {
    /// The earliest deadline that may be in the store, or `Int64.max`: a hint read without locks. O(stripes).
    package var earliestDeadlineMilliseconds: Int64 {
        var earliest = Int64.max
        for index in 0..<Store.stripeCount {
            earliest = min(earliest, stripes[index].earliestDeadlineMilliseconds.load(ordering: .relaxed))
        }
        return earliest
    }

    /// Removes keys that are due, at most `limit` for each stripe and lock, and returns how many were looked at in the
    /// stripe with the most. Stripes in which nothing is due are not locked. When the result reaches `limit`, more may
    /// be due: call again, so that others get the lock in between.
    package func expireDue(nowMilliseconds: Int64, limit: Int) -> Int {
        var removed = 0
        for index in 0..<Store.stripeCount {
            let hint = stripes[index].earliestDeadlineMilliseconds.load(ordering: .relaxed)
            guard hint <= nowMilliseconds else { continue }
            withStripe(index, held: StripeSet()) { stripe in
                removed = max(
                    removed, expireDue(in: stripe, index: index, nowMilliseconds: nowMilliseconds, limit: limit))
            }
        }
        return removed
    }

    private func expireDue(
        in stripe: UnsafeMutablePointer<Stripe>, index: Int, nowMilliseconds: Int64, limit: Int
    ) -> Int {
        var visited = 0
        var earliest = Int64.max
        let held = StripeSet(mask: 1 << UInt64(index))
        stripe.pointee.forEachTable { databaseIndex, table in
            let keyspace = keyspace(databaseIndex, nowMilliseconds: nowMilliseconds, held: held)
            while visited < limit {
                let count = keyspace.fireSome(min(Keyspace.fireCount, limit - visited), in: table, of: stripe)
                guard count > 0 else { break }
                visited += count
            }
            earliest = min(earliest, table.pointee.expiry.nextDueMilliseconds)
        }
        stripe.pointee.earliestDeadlineMilliseconds.store(earliest, ordering: .relaxed)
        return visited
    }
}

extension Keyspace {
    /// Entries of the wheel that are looked at together.
    fileprivate static let fireCount = 16

    /// Takes up to `limit` entries that are due and looks at their keys, whose cache misses overlap; returns how many.
    fileprivate func fireSome(
        _ limit: Int, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>
    ) -> Int {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: limit) { due in
            var count = 0
            while count < limit, let fingerprint = table.pointee.popDue(nowMilliseconds: nowMilliseconds) {
                due[count] = fingerprint
                count += 1
                table.pointee.prefetchBuckets(Table.lowestHash(of: fingerprint))
            }
            for index in 0..<count { table.pointee.prefetchCell(Table.lowestHash(of: due[index])) }
            for index in 0..<count { fire(due[index], in: table, of: stripe) }
            return count
        }
    }

    /// Looks at every key with the fingerprint of a wheel's entry that fired: its real deadline decides.
    fileprivate func fire(
        _ fingerprint: UInt32, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>
    ) {
        var due: Place?
        var later: Int64?
        table.pointee.forEachCandidate(fingerprint) { place in
            let deadline = place.cell.deadlineMilliseconds
            guard deadline != noDeadline else { return true }
            if deadline <= nowMilliseconds {
                due = place
                return false
            }
            // Another key's entry is not this one's.
            if deadline < later ?? .max || later == nil,
                Table.fingerprint(of: table.pointee.hash(ofCell: place.reference)) == fingerprint
            {
                later = deadline
            }
            return true
        }
        if let due {
            expireSlowly(due, hash: table.pointee.hash(ofCell: due.reference), in: table, of: stripe)
            // The slots have changed, and two keys may share the bits: look again.
            return fire(fingerprint, in: table, of: stripe)
        }
        // One entry for one that fired: keys that share their bits have as many as they are.
        if let later { table.pointee.schedule(later, fingerprint: fingerprint, nowMilliseconds: nowMilliseconds) }
    }
}
