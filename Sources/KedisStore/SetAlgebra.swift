// Intersection, union and difference of sets, member by member.
//
// The sets lie under locked stripes; nothing is changed and nothing is copied, unless that saves work (SetBuilder).
// Members are given in the order of the set that is walked. Tables of one store lie in the order of the same hash, so
// that who walks one and looks its members up in another touches each of its blocks once, one after the other.

package import KedisUtilities

/// The sets of one operation. Ownership: its own memory for the handles; the sets are borrowed.
package struct SetList: ~Copyable {
    private let base: UnsafeMutablePointer<SetValue>
    private let capacity: Int
    package private(set) var count = 0

    /// Nil when memory is exhausted.
    package init?(capacity: Int) {
        let (byteCount, overflow) = capacity.multipliedReportingOverflow(by: MemoryLayout<SetValue>.stride)
        guard !overflow, let memory = allocateBuffer(byteCount: byteCount) else { return nil }
        base = memory.bindMemory(to: SetValue.self, capacity: capacity)
        self.capacity = capacity
    }

    deinit { deallocateBuffer(base) }

    package mutating func append(_ set: SetValue) {
        assert(count < capacity)
        (base + count).initialize(to: set)
        count += 1
    }

    package subscript(index: Int) -> SetValue {
        assert(index >= 0 && index < count)
        return base[index]
    }

    /// Puts the sets from `start` on in the order of their size.
    private func sort(from start: Int, isAscending: Bool) {
        var sets = UnsafeMutableBufferPointer(start: base + start, count: count - start)
        sets.sort { isAscending ? $0.count < $1.count : $0.count > $1.count }
    }

    /// Calls `body` with the members that are in all sets, until it answers false; there is a set. O(smallest · sets).
    @inline(__always)
    package mutating func intersect(_ body: (StringValue) -> Bool) {
        sort(from: 0, isAscending: true)
        let smallest = base[0]
        smallest.forEach { member in
            for index in 1..<max(1, count) where !base[index].contains(member) { return true }
            return body(member)
        }
    }

    /// Calls `body` with the members of the first set that are in none of the others, until it answers false.
    /// O(first · others).
    @inline(__always)
    package mutating func subtract(_ body: (StringValue) -> Bool) {
        // A member is most likely found in the largest.
        sort(from: 1, isAscending: false)
        base[0].forEach { member in
            for index in 1..<max(1, count) where base[index].contains(member) { return true }
            return body(member)
        }
    }

    /// Whether it is less work to remove the other sets from a copy of the first than to look its members up in them.
    package var isSubtractedByCopying: Bool {
        var memberCount = base[0].count
        let (lookups, overflow) = memberCount.multipliedReportingOverflow(by: count)
        for index in 0..<count { memberCount &+= base[index].count }
        return overflow || lookups / 2 > memberCount
    }

    /// What ``subtract(_:)`` gives, as a set. O(members of all sets).
    package func subtract(into result: inout SetBuilder) throws(StoreError) {
        try result.add(membersOf: base[0])
        for index in 1..<max(1, count) where !result.isEmpty {
            base[index].forEach { member in
                result.remove(member)
                return true
            }
        }
    }

    /// Beyond so many sets a union is built, not looked up.
    package static let unionLookupCountMax = 4

    /// Calls `body` with the members of all sets, each once, until it answers false. O(members · sets).
    @inline(__always)
    package mutating func unite(_ body: (StringValue) -> Bool) {
        sort(from: 0, isAscending: false)
        var goesOn = true
        for own in 0..<count where goesOn {
            base[own].forEach { member in
                if own > 0 {
                            for index in 0..<own where base[index].contains(member) { return true }
                }
                goesOn = body(member)
                return goesOn
            }
        }
    }

    /// What ``unite(_:)`` gives, as a set. O(members of all sets).
    package func unite(into result: inout SetBuilder) throws(StoreError) {
        for index in 0..<count { try result.add(membersOf: base[index]) }
    }
}

extension SetBuilder {
    /// Adds all members of a set.
    package mutating func add(membersOf set: SetValue) throws(StoreError) {
        var failure: StoreError?
        set.forEach { add($0, &failure) }
        if let failure { throw failure }
    }

    /// Adds what ``SetList/intersect(_:)`` gives.
    package mutating func addIntersection(of sets: inout SetList) throws(StoreError) {
        var failure: StoreError?
        sets.intersect { add($0, &failure) }
        if let failure { throw failure }
    }

    /// Adds what ``SetList/subtract(_:)`` gives.
    package mutating func addDifference(of sets: inout SetList) throws(StoreError) {
        var failure: StoreError?
        sets.subtract { add($0, &failure) }
        if let failure { throw failure }
    }

    /// Adds `sampleCount` random members of a set, all selections being as likely, and gives `body` the others.
    package mutating func addSample(
        of set: SetValue, _ sampleCount: Int, using generator: inout RandomGenerator, _ body: (StringValue) -> Void
    ) throws(StoreError) {
        var failure: StoreError?
        var (wanted, left) = (sampleCount, set.count)
        set.forEach { member in
            let isTaken = generator.next(below: left) < wanted
            left &-= 1
            guard isTaken else {
                body(member)
                return true
            }
            wanted &-= 1
            return add(member, &failure)
        }
        if let failure { throw failure }
    }

    /// Adds a member; false, and why, when memory is exhausted.
    @inline(__always)
    private mutating func add(_ member: StringValue, _ failure: inout StoreError?) -> Bool {
        do throws(StoreError) {
            _ = try add(member)
            return true
        } catch {
            failure = error
            return false
        }
    }
}
