// A large set: a table of members without values (MemberTable.swift), as it is at one time.
//
// Members that are due then are not there, although they still lie in the table until the background removes them;
// ``count`` counts them, as the count of keys does. Ownership: as the table. Cost: as the table.

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

    var count: Int { members.count }

    var allocatedByteCount: Int { members.allocatedByteCount }

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
    func random(using generator: inout RandomGenerator) -> ByteView { members.random(using: &generator).member }

    // MARK: Changes

    /// Adds a member: whether it is new, or nil when memory is exhausted. One that was due is new, and stays.
    @inline(__always)
    func add(_ member: ByteView, hash: UInt64) -> Bool? {
        let place = members.locate(member, hash)
        guard place.isFound else { return members.insert(member, .empty, hash, at: place) ? true : nil }
        guard members.element(place).isDue(nowMilliseconds) else { return false }
        return members.setDeadline(member, hash, noDeadline) ? true : nil
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
        let place = members.randomPlace(using: &generator)
        body(members.element(place).member)
        members.remove(at: place)
    }
}
