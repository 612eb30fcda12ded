// Sorted sets as handlers read them: a packed run in the cell, or a tree outside.
//
// Every range, by rank, score or member, is a range of ranks first; then its elements are walked, forwards or
// backwards, without any allocation. Costs are given for large sets; small ones are walked.

package import KedisUtilities

/// An end of a range of scores.
package struct ScoreBound: Sendable {
    package var score: Double
    /// The score itself does not belong to the range.
    package var isExclusive: Bool

    package init(_ score: Double, isExclusive: Bool = false) {
        self.score = score
        self.isExclusive = isExclusive
    }
}

/// An end of a range of members.
package enum MemberBound: Sendable {
    case lowest
    case highest
    case inclusive(ByteView)
    case exclusive(ByteView)

    /// Whether a member is not below this lower end.
    @inline(__always)
    func admitsFrom(_ member: ByteView) -> Bool {
        switch self {
        case .lowest: true
        case .highest: false
        case .inclusive(let bound): !(member < bound)
        case .exclusive(let bound): bound < member
        }
    }

    /// Whether a member is not above this upper end.
    @inline(__always)
    func admitsThrough(_ member: ByteView) -> Bool {
        switch self {
        case .lowest: false
        case .highest: true
        case .inclusive(let bound): !(bound < member)
        case .exclusive(let bound): member < bound
        }
    }
}

/// A borrowed sorted set: valid while its stripe is locked and until the keyspace is changed.
package struct SortedSetValue {
    private enum Form {
        case packed(PackedSortedSet)
        case tree(SortedTree)
    }

    private let form: Form

    init(_ cell: Cell) {
        if let collection = cell.collection {
            form = .tree(SortedTree(collection.address))
        } else {
            form = .packed(PackedSortedSet(cell.value))
        }
    }

    /// How many elements there are, 1 or more. O(1).
    package var count: Int {
        switch form {
        case .packed(let set): set.count
        case .tree(let tree): tree.count
        }
    }

    // MARK: One element

    /// The score of a member, or nil. O(log n).
    package func score(of member: ByteView) -> Double? {
        switch form {
        case .packed(let set): return set.find(member).map { set.score($0) }
        case .tree(let tree): return tree.find(member, tree.hash(member)).map { $0.leaf.score($0.index) }
        }
    }

    /// The rank of a member, from 0, and its score; or nil. O(log n).
    package func rank(of member: ByteView) -> (rank: Int, score: Double)? {
        switch form {
        case .packed(let set): set.find(member).map { ($0.index, set.score($0)) }
        case .tree(let tree): tree.rank(of: member)
        }
    }

    /// The element at a rank below ``count``. O(log n).
    package func element(atRank rank: Int) -> (member: StringValue, score: Double) {
        switch form {
        case .packed(let set):
            let element = set.element(ofRank: rank)
            return (set.member(element), set.score(element))
        case .tree(let tree):
            let place = tree.place(ofRank: rank)
            return (.bytes(place.leaf.member(place.index)), place.leaf.score(place.index))
        }
    }

    // MARK: Deadlines

    /// When a member goes, in milliseconds since 1970, or ``noDeadline``; nil when there is no such member. O(log n).
    package func deadlineMilliseconds(of member: ByteView) -> Int64? {
        switch form {
        case .packed(let set): return set.find(member).map { _ in noDeadline }
        case .tree(let tree):
            guard tree.find(member, tree.hash(member)) != nil else { return nil }
            return tree.deadlineMilliseconds(of: member)
        }
    }

    /// How many members have a deadline. O(1).
    package var deadlineCount: Int {
        guard case .tree(let tree) = form else { return 0 }
        return tree.deadlineCount
    }

    /// Calls `body` with the members that have a deadline, and it, until it answers false. O(deadlines).
    package func forEachDeadline(_ body: (ByteView, Int64) -> Bool) {
        guard case .tree(let tree) = form else { return }
        tree.deadlines?.forEach { body($0.member, $0.deadlineMilliseconds) }
    }

    // MARK: Ranges

    /// The ranks of the elements with a score in a range. O(log n).
    package func ranks(from: ScoreBound, through: ScoreBound) -> Range<Int> {
        let lower = from.isExclusive ? count(through: from.score) : count(below: from.score)
        let upper = through.isExclusive ? count(below: through.score) : count(through: through.score)
        return lower < upper ? lower..<upper : 0..<0
    }

    private func count(below score: Double) -> Int {
        switch form {
        case .packed(let set): set.firstElement { own, _ in own >= score }.index
        case .tree(let tree): tree.count(below: score)
        }
    }

    private func count(through score: Double) -> Int {
        switch form {
        case .packed(let set): set.firstElement { own, _ in own > score }.index
        case .tree(let tree): tree.count(through: score)
        }
    }

    /// The ranks of the elements with a member in a range, in a set whose scores are all the same. Where they are not,
    /// the answer is any range; in a small set that which a walk from the front (from the back when `isReversed`)
    /// finds, as in Redis. O(log n).
    package func ranks(from: MemberBound, through: MemberBound, isReversed: Bool = false) -> Range<Int> {
        let (first, last) = (element(atRank: 0).member, element(atRank: count - 1).member)
        guard last.withBytes({ from.admitsFrom($0) }), first.withBytes({ through.admitsThrough($0) }) else {
            return 0..<0
        }
        switch form {
        case .packed(let set):
            return isReversed ? SortedSetValue.ranksFromBack(set, from, through)
                : SortedSetValue.ranksFromFront(set, from, through)
        case .tree(let tree):
            let lower = tree.count { !from.admitsFrom($0) }
            let upper = tree.count { through.admitsThrough($0) }
            return lower < upper ? lower..<upper : 0..<0
        }
    }

    private static func ranksFromFront(
        _ set: PackedSortedSet, _ from: MemberBound, _ through: MemberBound
    ) -> Range<Int> {
        var element = set.firstElement { _, member in member.withBytes { from.admitsFrom($0) } }
        let lower = element.index
        while element.index < set.count, set.member(element).withBytes({ through.admitsThrough($0) }) {
            element = set.element(after: element)
        }
        return lower..<element.index
    }

    private static func ranksFromBack(
        _ set: PackedSortedSet, _ from: MemberBound, _ through: MemberBound
    ) -> Range<Int> {
        var upper = set.count
        var element = set.element(ofRank: upper)
        while upper > 0 {
            let before = set.element(before: element)
            if set.member(before).withBytes({ through.admitsThrough($0) }) { break }
            (element, upper) = (before, upper - 1)
        }
        var lower = upper
        while lower > 0 {
            element = set.element(before: element)
            guard set.member(element).withBytes({ from.admitsFrom($0) }) else { break }
            lower -= 1
        }
        return lower..<upper
    }

    // MARK: Walks

    /// Calls `body` with the elements of a range of ranks, first to last, until it answers false. O(log n + elements).
    @inline(__always)
    package func forEach(in range: Range<Int>, _ body: (StringValue, Double) -> Bool) {
        switch form {
        case .packed(let set):
            guard !range.isEmpty else { return }
            var element = set.element(ofRank: range.lowerBound)
            while element.index < range.upperBound {
                guard body(set.member(element), set.score(element)) else { return }
                element = set.element(after: element)
            }
        case .tree(let tree): tree.forEach(in: range) { member, score in body(.bytes(member), score) }
        }
    }

    /// Calls `body` with the elements of a range of ranks, last to first, until it answers false. O(log n + elements).
    @inline(__always)
    package func forEachReversed(in range: Range<Int>, _ body: (StringValue, Double) -> Bool) {
        switch form {
        case .packed(let set):
            guard !range.isEmpty else { return }
            var element = set.element(ofRank: range.upperBound)
            for _ in range {
                element = set.element(before: element)
                guard body(set.member(element), set.score(element)) else { return }
            }
        case .tree(let tree): tree.forEachReversed(in: range) { member, score in body(.bytes(member), score) }
        }
    }

    /// Calls `body` with about `count` elements, of a small set with all, and returns where to go on, 0 at the end. An
    /// element that is there all the time and keeps its score is met, if none before it are removed meanwhile.
    package func scan(from cursor: UInt64, count wanted: Int, _ body: (StringValue, Double) -> Void) -> UInt64 {
        let first: Int
        if case .packed = form { first = 0 } else { first = Int(clamping: cursor) }
        guard first < count else { return 0 }
        let end: Int
        if case .packed = form { end = count } else { end = first + min(wanted, count - first) }
        forEach(in: first..<end) { member, score in
            body(member, score)
            return true
        }
        return end < count ? UInt64(end) : 0
    }

    // MARK: Files

    /// The run of packed entries, members and scores in turn, of a small set.
    package var packedRun: ByteView? {
        if case .packed(let set) = form { set.run } else { nil }
    }

    /// Walks the set and traps when something does not hold.
    package func checkInvariants() {
        switch form {
        case .packed(let set): set.checkInvariants()
        case .tree(let tree): tree.checkInvariants()
        }
    }
}

extension Entry {
    /// The value of a sorted set.
    package var sortedSet: SortedSetValue { SortedSetValue(cell) }
}
