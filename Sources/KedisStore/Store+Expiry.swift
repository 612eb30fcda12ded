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

    /// Takes up to `limit` entries that are due and looks at their keys, whose cache misses overlap; returns how much
    /// that was: entries, and members that went.
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
            let reach = table.pointee.cellReach
            for index in 0..<count { table.pointee.prefetchCell(Table.lowestHash(of: due[index]), reach: reach) }
            var work = count
            for index in 0..<count { work += fire(due[index], in: table, of: stripe) }
            return work
        }
    }

    /// Members that one entry of the wheel lets go; the next one follows at once.
    private static let firedMemberCountMax = 64

    /// Looks at every key with the fingerprint of a wheel's entry that fired: its real deadline, or the earliest of its
    /// members, decides. Returns how many members went.
    fileprivate func fire(
        _ fingerprint: UInt32, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>
    ) -> Int {
        var removedCount = 0
        while true {
            let found = candidates(fingerprint, in: table)
            guard let due = found.due else {
                if let place = found.forgotten { forgetMembers(place, in: table) }
                // One entry for one that fired: keys that share their bits have as many as they are.
                if let later = found.later {
                    table.pointee.schedule(later, fingerprint: fingerprint, nowMilliseconds: nowMilliseconds)
                }
                return removedCount
            }
            // The slots have changed afterwards, and two keys may share the bits: then it is looked again.
            let hash = table.pointee.hash(ofCell: due.reference)
            guard !isDue(due.cell) else {
                expireSlowly(due, hash: hash, in: table, of: stripe)
                continue
            }
            let limit = Keyspace.firedMemberCountMax
            let outcome = expireMembers(at: due, hash: hash, in: table, of: stripe, limit: limit)
            removedCount += outcome.removedCount
            if outcome.isThere, due.cell.earliestMemberDeadline <= nowMilliseconds {
                table.pointee.schedule(nowMilliseconds, fingerprint: fingerprint, nowMilliseconds: nowMilliseconds)
                return removedCount
            }
        }
    }

    /// What an entry of the wheel may mean: a key that is due, or has due members; else the earliest deadline of the
    /// keys that have its bits, and one of them that the wheel need not look at any more.
    private func candidates(
        _ fingerprint: UInt32, in table: UnsafeMutablePointer<Table>
    ) -> (due: Place?, later: Int64?, forgotten: Place?) {
        var (due, later, forgotten) = (Place?.none, Int64?.none, Place?.none)
        table.pointee.forEachCandidate(fingerprint) { place in
            let header = place.cell.header
            guard header.hasAnyDeadline else { return true }
            let ofMembers = header.hasMemberDeadlines ? place.cell.earliestMemberDeadline : .max
            let deadline = header.hasDeadline ? min(place.cell.deadlineMilliseconds, ofMembers) : ofMembers
            if deadline <= nowMilliseconds {
                due = place
                return false
            }
            // Another key's entry is not this one's.
            guard Table.fingerprint(of: table.pointee.hash(ofCell: place.reference)) == fingerprint else { return true }
            if header.hasDeadline || ofMembers < .max, deadline < later ?? .max || later == nil { later = deadline }
            if header.hasMemberDeadlines, ofMembers == .max { forgotten = place }
            return true
        }
        return (due, later, forgotten)
    }

    /// No member of the key has a deadline any more.
    private func forgetMembers(_ place: Place, in table: UnsafeMutablePointer<Table>) {
        place.cell.header.hasMemberDeadlines = false
        table.pointee.memberDeadlineKeyCount -= 1
    }
}
