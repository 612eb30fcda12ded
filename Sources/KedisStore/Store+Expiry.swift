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

    /// Removes keys that are due, at most `limit` for each stripe and lock, and returns how many. Stripes in which
    /// nothing is due are not locked. When the result reaches `limit`, more may be due: call again, so that others get
    /// the lock in between.
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
        for databaseIndex in 0..<databaseCount {
            guard let table = stripe.pointee.table(databaseIndex) else { continue }
            let keyspace = keyspace(
                databaseIndex, nowMilliseconds: nowMilliseconds, held: StripeSet(mask: 1 << UInt64(index))
            )
            while visited < limit, let due = table.pointee.expiryQueue.popDue(at: nowMilliseconds) {
                visited += 1
                keyspace.fire(due, in: table, of: stripe)
            }
            earliest = min(earliest, table.pointee.expiryQueue.earliestMilliseconds)
        }
        stripe.pointee.earliestDeadlineMilliseconds.store(earliest, ordering: .relaxed)
        return visited
    }
}

extension Keyspace {
    /// Looks at every key with the hash of a queue entry that fired: its real deadline decides.
    fileprivate func fire(
        _ due: ExpiryQueue.Entry, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>
    ) {
        guard let slots = table.pointee.slots else { return }
        var index = table.pointee.home(of: due.hash)
        while let address = slots[index].cell {
            let deadline = Cell(address).header.pointee.deadlineMilliseconds
            guard slots[index].hash == due.hash, deadline != noDeadline else {
                index = (index + 1) & table.pointee.mask
                continue
            }
            if deadline <= nowMilliseconds {
                // The gap is closed by later keys, and the table may shrink: look again from the home.
                expireSlowly(at: index, in: table, of: stripe)
                return fire(due, in: table, of: stripe)
            }
            _ = table.pointee.expiryQueue.push(deadlineMilliseconds: deadline, hash: due.hash)
            index = (index + 1) & table.pointee.mask
        }
    }
}
