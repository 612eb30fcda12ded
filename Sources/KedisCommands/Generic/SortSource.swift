// What SORT reads: the elements of a value, and the fields of hashes. A type that SORT knows has its case in each of
// the functions here.
//
// Borrowed: valid while the stripe is locked and until the keyspace is changed.

import KedisStore
import KedisUtilities

struct SortSource {
    private let entry: Entry
    private let nowMilliseconds: Int64

    init(_ entry: Entry, nowMilliseconds: Int64) throws(CommandError) {
        switch entry.type {
        case .list, .set, .sortedSet: self.entry = entry
        default: throw .wrongType
        }
        self.nowMilliseconds = nowMilliseconds
    }

    /// Whether the elements have no order of their own.
    var isUnordered: Bool {
        switch entry.type {
        case .set: true
        default: false
        }
    }

    var count: Int {
        switch entry.type {
        case .list: entry.list.count
        case .sortedSet: entry.sortedSet.count
        case .set: entry.set(nowMilliseconds: nowMilliseconds).count
        default: 0
        }
    }

    /// Calls `body` with the elements at the positions of a range, which count from the end when `isReversed`: then
    /// they come last to first.
    func forEach(in range: Range<Int>, isReversed: Bool, _ body: (StringValue) -> Void) {
        switch entry.type {
        case .list:
            let list = entry.list
            let each: (StringValue) -> Bool = {
                body($0)
                return true
            }
            guard isReversed else { return list.forEach(in: range, each) }
            let count = list.count
            list.forEachReversed(in: count - range.upperBound..<count - range.lowerBound, each)
        case .sortedSet:
            let set = entry.sortedSet
            let each: (StringValue, Double) -> Bool = { member, _ in
                body(member)
                return true
            }
            guard isReversed else { return set.forEach(in: range, each) }
            let count = set.count
            set.forEachReversed(in: count - range.upperBound..<count - range.lowerBound, each)
        case .set:
            var position = 0
            entry.set(nowMilliseconds: nowMilliseconds).forEach { member in
                if position >= range.lowerBound { body(member) }
                position &+= 1
                return position < range.upperBound
            }
        default: break
        }
    }
}

extension Entry {
    /// The value of a field, when this is a hash that has it.
    func sortField(_ field: ByteView, nowMilliseconds: Int64) -> StringValue? {
        switch type {
        case .hash: fields(nowMilliseconds: nowMilliseconds).value(of: field)
        default: nil
        }
    }
}
