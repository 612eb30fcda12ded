// Members of a large sorted set that have deadlines: a table beside the tree, of these members alone.
//
// So deadlines cost nothing where there are none, and no leaf is larger for them. What is due is taken out of both
// before anybody looks at the set (Keyspace+Liveness.swift), because a rank counts everything before it.
//
// Ownership: the tree's. Invariants: every member of the table is one of the tree's, and has a deadline; an empty table
// is none. Cost: an element of a set with a deadline (MemberTable.swift): 30 bytes for a member of 16.

import KedisUtilities

extension SortedTree {
    /// The members with deadlines; nil while there are none.
    var deadlines: MemberTable? {
        @inline(__always) get { header.pointee.deadlines.map { MemberTable($0) } }
        nonmutating set { header.pointee.deadlines = newValue?.address }
    }

    /// No member is due before; `Int64.max` when none has a deadline.
    var earliestDeadline: Int64 { deadlines?.earliestDeadline ?? .max }

    /// How many members have a deadline.
    var deadlineCount: Int { deadlines?.count ?? 0 }

    /// Whether a member is there that is not due. O(1), or O(n) while all may be.
    func hasLive(_ nowMilliseconds: Int64) -> Bool {
        guard let table = deadlines, table.count == count else { return count > 0 }
        return table.hasLive(nowMilliseconds)
    }

    /// When a member goes, in milliseconds since 1970, or ``noDeadline``. O(1).
    func deadlineMilliseconds(of member: ByteView) -> Int64 {
        guard let table = deadlines else { return noDeadline }
        return table.find(member, table.hash(member))?.deadlineMilliseconds ?? noDeadline
    }

    /// Sets or clears (``noDeadline``) the deadline of a member that is there; false when memory is exhausted. The
    /// member is no view of the table. O(1).
    func setDeadline(_ member: ByteView, _ deadlineMilliseconds: Int64) -> Bool {
        guard deadlineMilliseconds != noDeadline else {
            forgetDeadline(of: member)
            return true
        }
        if deadlines == nil {
            deadlines = MemberTable.make(isValued: false, seed: header.pointee.seed, from: header.pointee.frame.source)
        }
        guard let table = deadlines else { return false }
        let change = table.set(member, table.hash(member), deadlineMilliseconds: deadlineMilliseconds)
        if change == .outOfMemory { dropDeadlinesIfEmpty() }
        return change != .outOfMemory
    }

    /// A member goes, or lives for ever from now on. O(1).
    @inline(__always)
    func forgetDeadline(of member: ByteView) {
        if let table = deadlines { forgetDeadlineSlowly(of: member, table) }
    }

    @inline(never)
    private func forgetDeadlineSlowly(of member: ByteView, _ table: MemberTable) {
        if table.remove(member, table.hash(member)) { dropDeadlinesIfEmpty() }
    }

    private func dropDeadlinesIfEmpty() {
        guard let table = deadlines, table.count == 0 else { return }
        table.release()
        deadlines = nil
    }

    /// Removes due members, at most about `limit`; returns how many it removed. O(limit · log n).
    func removeDue(_ nowMilliseconds: Int64, limit: Int) -> Int {
        guard let table = deadlines else { return 0 }
        let before = count
        _ = table.removeDue(nowMilliseconds, limit: limit) { element in
            let hash = hash(element.member)
            if let found = find(element.member, hash) { removeElement(found, hash) }
        }
        dropDeadlinesIfEmpty()
        return before - count
    }

    /// Traps when something does not hold.
    func checkDeadlineInvariants() {
        guard let table = deadlines else { return }
        table.checkInvariants()
        precondition(table.count > 0 && table.deadlineCount == table.count && !table.isValued)
        table.forEach { element in
            precondition(find(element.member, hash(element.member)) != nil, "a deadline is that of a member")
            return true
        }
    }
}
