// A large set: a table of members without values (MemberTable.swift), as it is at one time.
//
// Members that are due then are not there, although they still lie in the table until the background removes them.
// Ownership: as the table. Cost: as the table.

import KedisUtilities

struct SetTable {
    private let members: MemberTable
    private let nowMilliseconds: Int64

    init(_ collection: Collection, nowMilliseconds: Int64) {
        members = MemberTable(collection.address)
        self.nowMilliseconds = nowMilliseconds
    }

    /// An empty one; nil when memory is exhausted.
    static func make(in keyspace: Keyspace) -> SetTable? {
        make(
            seed: keyspace.handle.seed, from: keyspace.shared.pointee.source,
            nowMilliseconds: keyspace.nowMilliseconds)
    }

    /// The same for a key that is edited.
    static func make(
        seed: HashSeed, from source: UnsafeMutablePointer<MemorySource>, nowMilliseconds: Int64
    ) -> SetTable? {
        MemberTable.make(isValued: false, seed: seed, from: source)
            .map { SetTable(Collection($0.address), nowMilliseconds: nowMilliseconds) }
    }

    var collection: Collection { Collection(members.address) }

    /// O(1); O(n) while members that were due lie there.
    var count: Int { members.liveCount(nowMilliseconds) }

    /// Whether no member is left, due ones not counted.
    var isEmpty: Bool { members.count == 0 || !members.hasLive(nowMilliseconds) }

    var allocatedByteCount: Int {
        @inline(__always) get { members.allocatedByteCount }
    }

    /// See ``MemberTable/takeRetired()``.
    func takeRetired() -> Blob? { members.takeRetired() }

    @inline(__always)
    func hash(of member: ByteView) -> UInt64 { members.hash(member) }

    @inline(__always)
    func contains(_ member: ByteView, hash: UInt64) -> Bool {
        guard let element = members.find(member, hash) else { return false }
        return !element.isDue(nowMilliseconds)
    }

    @inline(__always)
    func forEach(_ body: (ByteView) -> Bool) {
        members.forEach { element in
            if element.hasDeadline, element.isDue(nowMilliseconds) { return true }
            return body(element.member)
        }
    }

    func scan(from cursor: UInt64, count: Int, _ body: (ByteView) -> Void) -> UInt64 {
        members.scan(from: cursor, limit: count) { element in
            if !element.isDue(nowMilliseconds) { body(element.member) }
        }
    }

    /// Any member; there is one.
    func random(using generator: inout RandomGenerator) -> ByteView {
        guard let place = members.randomLivePlace(using: &generator, nowMilliseconds) else { return .empty }
        return members.element(place).member
    }

    /// When a member goes, in milliseconds since 1970, or ``noDeadline``; nil when there is no such member. O(1).
    func deadlineMilliseconds(of member: ByteView) -> Int64? {
        guard let element = members.find(member, hash(of: member)), !element.isDue(nowMilliseconds) else { return nil }
        return element.deadlineMilliseconds
    }

    /// How many members have a deadline. O(1).
    var deadlineCount: Int { members.deadlineCount }

    /// The earliest deadline, or a time before it; `Int64.max` when there is none.
    var earliestDeadline: Int64 { members.earliestDeadline }

    /// Calls `body` with the members that have a deadline until it answers false. O(n).
    func forEachDeadline(_ body: (ByteView, Int64) -> Bool) {
        members.forEach { element in
            element.hasDeadline && !element.isDue(nowMilliseconds)
                ? body(element.member, element.deadlineMilliseconds) : true
        }
    }

    // MARK: Changes

    /// Adds a member: whether it is new, or nil when memory is exhausted. One that was due is new. One that is there
    /// keeps its deadline.
    @inline(__always)
    func add(_ member: ByteView, hash: UInt64, deadlineMilliseconds: Int64 = noDeadline) -> Bool? {
        let place = members.locate(member, hash)
        guard place.isFound else {
            return members.insert(member, .empty, hash, deadlineMilliseconds, at: place) ? true : nil
        }
        guard members.element(place).isDue(nowMilliseconds) else { return false }
        return members.setDeadline(member, hash, deadlineMilliseconds) ? true : nil
    }

    /// Sets or clears (``noDeadline``) the deadline of a member that is there; false when memory is exhausted. O(1).
    func setDeadline(_ member: ByteView, _ deadlineMilliseconds: Int64) -> Bool {
        members.setDeadline(member, hash(of: member), deadlineMilliseconds)
    }

    /// Adds all members of another set; false when memory is exhausted.
    func addAll(of other: SetValue) -> Bool {
        var isDone = true
        other.forEach { value in
            isDone = value.withBytes { add($0, hash: hash(of: $0)) } != nil
            return isDone
        }
        return isDone
    }

    /// Removes a member; false when there is none.
    @inline(__always)
    func remove(_ member: ByteView, hash: UInt64) -> Bool {
        let place = members.locate(member, hash)
        guard place.isFound else { return false }
        let wasThere = !members.element(place).isDue(nowMilliseconds)
        members.remove(at: place)
        return wasThere
    }

    /// Removes any member, after `body` has seen it; there is one.
    func pop(using generator: inout RandomGenerator, _ body: (ByteView) -> Void) {
        guard let place = members.randomLivePlace(using: &generator, nowMilliseconds) else { return }
        body(members.element(place).member)
        members.remove(at: place)
    }
}
