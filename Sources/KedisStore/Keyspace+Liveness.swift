// What is due goes when it is met, so that nobody ever sees it: keys, and members of collections.
//
// A key without any deadline costs one test of its header. Members that are due are removed in slices: who changes a
// hash or a set removes some, and whatever is left is passed over by those who read (HashValue, SetValue). Who only
// looks removes none: a command may hold views of members that it has read and look at the key again. Of a sorted set
// all go at once, when it is first met, as a rank counts what is before it. A collection of which nothing is left is no
// key any more.

import KedisUtilities

extension Keyspace {
    /// Due members of a hash or set that one who changes it removes.
    private static let metMemberCountMax = 256

    /// Whether the deadline of the key itself has passed.
    @inline(__always)
    func isDue(_ cell: Cell) -> Bool {
        let deadline = cell.deadlineMilliseconds
        return deadline != noDeadline && deadline <= nowMilliseconds
    }

    /// Whether the entry at a place is there now; one that is due is removed. The place of one that is there stays
    /// valid; so do views of its members, unless `isForChange`, when some that are due are removed as well.
    @inline(__always)
    func isLive(
        _ place: Place, hash: UInt64, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>,
        isForChange: Bool = false
    ) -> Bool {
        let header = place.cell.header
        guard header.hasAnyDeadline else { return true }
        guard !isDue(place.cell) else {
            expireSlowly(place, hash: hash, in: table, of: stripe)
            return false
        }
        guard header.hasMemberDeadlines else { return true }
        return hasLiveMembersSlowly(place, hash: hash, in: table, of: stripe, isForChange: isForChange)
    }

    /// Whether a cell is that of an entry that is there now; nothing is removed.
    @inline(__always)
    func isLive(_ cell: Cell) -> Bool {
        guard cell.header.hasAnyDeadline else { return true }
        if isDue(cell) { return false }
        return !cell.header.hasMemberDeadlines || cell.collection?.hasLiveMember(nowMilliseconds) ?? true
    }

    @inline(never)
    private func hasLiveMembersSlowly(
        _ place: Place, hash: UInt64, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>,
        isForChange: Bool
    ) -> Bool {
        guard place.cell.earliestMemberDeadline <= nowMilliseconds else { return true }
        let isSortedSet = place.cell.header.type == .sortedSet
        if keepsDueKeys, !isSortedSet { return isLive(place.cell) }
        if !isForChange, !isSortedSet, isLive(place.cell) { return true }
        let limit = isSortedSet ? .max : Keyspace.metMemberCountMax
        return expireMembers(at: place, hash: hash, in: table, of: stripe, limit: limit).isThere
    }

    /// Removes due members of a collection, at most about `limit`, the key with the last one. Returns whether it is
    /// there still, and how many members went. O(limit · log n).
    func expireMembers(
        at place: Place, hash: UInt64, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>,
        limit: Int
    ) -> (isThere: Bool, removedCount: Int) {
        guard let collection = place.cell.collection else { return (true, 0) }
        table.pointee.preserve(place.cell, hash: hash)
        var (removedCount, isGone) = (0, !collection.hasLiveMember(nowMilliseconds))
        if !isGone {
            let before = collection.allocatedByteCount
            removedCount = collection.removeDueMembers(nowMilliseconds, limit: limit)
            table.pointee.noteOutside(0, byteCount: collection.allocatedByteCount - before)
            while let blob = collection.takeRetired() {
                shared.pointee.reclaimer.add(.blob(blob, discardedUpTo: 0))
            }
            isGone = collection.isEmptied
        }
        if removedCount > 0 || isGone { stripe.pointee.statistics.changes &+= 1 }
        if removedCount > 0 || isGone {
            store.note(
                .membersExpired(place.cell.header.type, nowMilliseconds: nowMilliseconds), databaseIndex,
                place.cell.key)
        }
        if isGone {
            removedCount = max(removedCount, 1)
            store.note(.emptied, databaseIndex, place.cell.key)
            table.pointee.remove(place, hash: hash, to: shared.pointee.reclaimer)
        }
        stripe.pointee.rareStatistics.expiredMembers &+= UInt64(truncatingIfNeeded: removedCount)
        return (!isGone, removedCount)
    }

    /// A key whose deadline has passed goes.
    @inline(never)
    func expireSlowly(
        _ place: Place, hash: UInt64, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>
    ) {
        guard !keepsDueKeys else { return }
        store.note(.expired, databaseIndex, place.cell.key)
        table.pointee.remove(place, hash: hash, to: shared.pointee.reclaimer)
        stripe.pointee.statistics.expired &+= 1
        stripe.pointee.statistics.changes &+= 1
    }
}

extension Stripe {
    /// A member of a collection has got a deadline: sees to it that the wheel looks at the key in time.
    ///
    /// - Parameter before: the collection's earliest deadline before, or `Int64.max`.
    mutating func noteMemberDeadline(
        _ deadlineMilliseconds: Int64, before: Int64, of cell: Cell, hash: UInt64,
        in table: UnsafeMutablePointer<Table>, nowMilliseconds: Int64
    ) {
        var before = before
        if !cell.header.hasMemberDeadlines {
            cell.header.hasMemberDeadlines = true
            table.pointee.memberDeadlineKeyCount += 1
            before = .max
        }
        guard deadlineMilliseconds < before else { return }
        table.pointee.schedule(
            deadlineMilliseconds, fingerprint: Table.fingerprint(of: hash), nowMilliseconds: nowMilliseconds)
        noteDeadline(table.pointee.expiry.nextDueMilliseconds)
    }
}
