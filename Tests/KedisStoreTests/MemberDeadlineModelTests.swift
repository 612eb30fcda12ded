// Goal: members of hashes, sets and sorted sets go on time, whoever meets them, and the background alone lets them go
// too; keys go with their last member; nothing else goes.
//
// Method: random changes of a few keys of each type, and of time, on the store and on dictionaries, from a printed
// seed. Sometimes the background works, sometimes not, so that what is due is met by reads and changes. The store's
// invariants, those of the wheels and of the index of deadlines among them, are checked on the way.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Deadlines of members")
struct MemberDeadlineModelTests {
    @Test("Random deadlines do to collections what they do to dictionaries", arguments: ValueType.withMembers, [30, 3000])
    func model(type: ValueType, memberCount: Int) throws {
        let generator = testGenerator("deadlines of members, \(type), \(memberCount)")
        var walk = DeadlineWalk(type: type, memberCount: memberCount, generator: generator)
        for _ in 0..<reducedWhenSanitized(20_000) { try walk.step() }
        walk.compareAll()
        walk.finish()
    }

    @Test("The background alone lets all members go on time, a few at a time", arguments: ValueType.withMembers)
    func background(type: ValueType) throws {
        let generator = testGenerator("members in the background, \(type)")
        var walk = DeadlineWalk(type: type, memberCount: 10_000, generator: generator)
        let count = reducedWhenSanitized(10_000)
        try walk.fill(count, deadlines: 2000..<12_000)
        walk.checkInvariants()
        for time in stride(from: Int64(2000), through: 12_100, by: 100) {
            walk.pass(to: time, byBackground: true)
            // What is due goes at most a tick late, and nothing goes early.
            #expect(walk.storedCount >= walk.filledCount(after: time))
            #expect(walk.storedCount <= walk.filledCount(after: time - 16))
        }
        #expect(walk.storedCount == 0)
        walk.finish()
    }

    @Test("All members that are due at once are a key that is gone at once", arguments: ValueType.withMembers)
    func together(type: ValueType) throws {
        let generator = testGenerator("members that go together, \(type)")
        var walk = DeadlineWalk(type: type, memberCount: 10_000, generator: generator)
        try walk.fill(reducedWhenSanitized(10_000), deadlines: 5000..<5001)
        walk.pass(to: 4999, byBackground: false)
        #expect(walk.isThere)
        walk.pass(to: 5000, byBackground: false)
        #expect(!walk.isThere)
        walk.finish()
    }
}

extension ValueType {
    fileprivate static let withMembers: [ValueType] = [.hash, .set, .sortedSet]
}

/// A store and dictionaries from members to deadlines that undergo the same changes.
private struct DeadlineWalk {
    private let store: Store
    private let type: ValueType
    private let memberCount: Int
    private var generator: RandomGenerator
    private var now: Int64 = 1000
    private var model: [String: [[UInt8]: Int64]] = [:]
    private var stepCount = 0
    private var filled: [Int64] = []

    init(type: ValueType, memberCount: Int, generator: RandomGenerator) {
        self.generator = generator
        self.type = type
        self.memberCount = memberCount
        store = Store(databaseCount: 2, seed: HashSeed(self.generator.next(), self.generator.next()))
    }

    private var keyspace: Keyspace { store.keyspace(0, nowMilliseconds: now, held: .all) }

    private func withLockedKey<Result>(_ name: String, _ body: (Key) throws -> Result) rethrows -> Result {
        store.lock(.all)
        defer { store.unlock(.all) }
        return try withKey(store, Array(name.utf8), body)
    }

    // MARK: Steps

    mutating func step() throws {
        stepCount += 1
        let name = "key\(generator.next(below: 3))"
        let member = Array("m\(generator.next(below: memberCount))".utf8)
        forgetDue()
        switch generator.next(below: 40) {
        case 0...17: try add(name, member)
        case 18...23: try setDeadline(name, member, randomDeadline())
        case 24...25: try setDeadline(name, member, noDeadline)
        case 26...29: try remove(name, member)
        case 30: try rename(name)
        case 31: try copy(name)
        case 32 where generator.next(below: 20) == 0: removeKey(name)
        case 33...36: pass(to: now + Int64(generator.next(below: 40)), byBackground: generator.next(below: 2) == 0)
        case 37 where generator.next(below: 10) == 0:
            pass(to: now + Int64(generator.next(below: 3000)), byBackground: generator.next(below: 2) == 0)
        case 38: for _ in 0..<4 { _ = store.maintain(nowMilliseconds: now) }
        default: compare(name)
        }
        if stepCount % 50 == 0 { compare(name) }
        if stepCount % (memberCount > 100 ? 1000 : 50) == 0 { checkInvariants() }
    }

    private mutating func randomDeadline() -> Int64 {
        now + 1 + Int64(generator.next(below: [10, 100, 2000, 200_000][generator.next(below: 4)]))
    }

    mutating func fill(_ count: Int, deadlines: Range<Int>) throws {
        for index in 0..<count {
            let member = Array("m\(index)".utf8)
            let deadline = Int64(deadlines.lowerBound + generator.next(below: deadlines.count))
            filled.append(deadline)
            try add("key0", member)
            try setDeadline("key0", member, deadline)
        }
    }

    mutating func pass(to time: Int64, byBackground: Bool) {
        now = time
        forgetDue()
        // In slices, as the tick does.
        while byBackground, store.expireDue(nowMilliseconds: now, limit: 20) >= 20 {}
    }

    private mutating func forgetDue() {
        for (name, members) in model {
            let live = members.filter { $0.value == noDeadline || $0.value > now }
            model[name] = live.isEmpty ? nil : live
        }
    }

    // MARK: Changes

    private mutating func add(_ name: String, _ member: [UInt8]) throws {
        let score = Double(generator.next(below: 50))
        let isNew = model[name]?[member] == nil
        try withLockedKey(name) { key in
            try withView(member) { view in try put(view, score, in: key, isNew: isNew) }
        }
        // A field that is set anew lives for ever; a member of a set that is there is left alone.
        if isNew || type == .hash { model[name, default: [:]][member] = noDeadline }
        guard type == .sortedSet else { return }
        let deadline = deadline(of: member, in: name)
        model[name]?[member] = deadline
    }

    private func put(_ member: ByteView, _ score: Double, in key: Key, isNew: Bool) throws {
        switch type {
        case .hash:
            guard case .hash(var editor) = keyspace.editHash(key, limits: HashLimits()) else {
                return try keyspace.makeHash(key, limits: HashLimits(), member, "value")
            }
            #expect(try editor.set(member, "value") == isNew)
        case .set:
            guard case .set(var editor) = keyspace.editSet(key, limits: SetLimits()) else {
                return try keyspace.makeSet(key, limits: SetLimits(), member: member)
            }
            #expect(try editor.add(member) == isNew)
        default:
            let isThere = keyspace.write(key) != nil
            var editor = try isThere ? keyspace.editSortedSet(key, limits: SortedSetLimits())
                ?? keyspace.makeSortedSet(key, limits: SortedSetLimits())
                : keyspace.makeSortedSet(key, limits: SortedSetLimits())
            let change = try editor.update(member) { _ in score }
            #expect((change.old == nil) == isNew)
        }
    }

    private mutating func setDeadline(_ name: String, _ member: [UInt8], _ deadline: Int64) throws {
        guard model[name]?[member] != nil else { return }
        try withLockedKey(name) { key in
            try withView(member) { view in
                switch type {
                case .hash:
                    guard case .hash(var editor) = keyspace.editHash(key, limits: HashLimits()) else { return lost() }
                    try editor.setDeadline(view, deadline)
                case .set:
                    guard case .set(var editor) = keyspace.editSet(key, limits: SetLimits()) else { return lost() }
                    try editor.setDeadline(view, deadline)
                default:
                    guard keyspace.write(key) != nil,
                        var editor = keyspace.editSortedSet(key, limits: SortedSetLimits())
                    else { return lost() }
                    try editor.setDeadline(view, deadline)
                }
            }
        }
        model[name]?[member] = deadline
    }

    private func lost() { Issue.record("a key is gone before its time") }

    private mutating func remove(_ name: String, _ member: [UInt8]) throws {
        let wasThere = model[name]?[member] != nil
        let isRemoved = try withLockedKey(name) { key in
            try withView(member) { view in
                switch type {
                case .hash:
                    guard case .hash(var editor) = keyspace.editHash(key, limits: HashLimits()) else { return false }
                    return try editor.remove(view)
                case .set:
                    guard case .set(var editor) = keyspace.editSet(key, limits: SetLimits()) else { return false }
                    return try editor.remove(view)
                default:
                    guard keyspace.write(key) != nil,
                        var editor = keyspace.editSortedSet(key, limits: SortedSetLimits())
                    else { return false }
                    return try editor.remove(view)
                }
            }
        }
        #expect(isRemoved == wasThere)
        model[name]?[member] = nil
        if model[name]?.isEmpty == true { model[name] = nil }
    }

    private mutating func rename(_ name: String) throws {
        let other = "key\(generator.next(below: 3))"
        let keyspace = keyspace
        let isDone = try withLockedKey(name) { source in
            try withKey(store, Array(other.utf8)) { try keyspace.rename(source, to: $0) }
        }
        #expect(isDone == (model[name] != nil))
        guard isDone, other != name else { return }
        model[other] = model[name]
        model[name] = nil
    }

    private mutating func copy(_ name: String) throws {
        let other = "copy"
        let keyspace = keyspace
        let isDone = try withLockedKey(name) { source in
            try withKey(store, Array(other.utf8)) { try keyspace.copy(source, to: $0, in: keyspace) }
        }
        #expect(isDone == (model[name] != nil))
        if isDone { model[other] = model[name] }
        compare(other)
    }

    private mutating func removeKey(_ name: String) {
        let keyspace = keyspace
        #expect(withLockedKey(name) { keyspace.remove($0) } == (model[name] != nil))
        model[name] = nil
    }

    // MARK: Comparing

    private func deadline(of member: [UInt8], in name: String) -> Int64? {
        withLockedKey(name) { key in
            withView(member) { view in keyspace.peek(key)?.sortedSet.deadlineMilliseconds(of: view) }
        }
    }

    private func contents(_ entry: Entry) -> [[UInt8]: Int64] {
        var found: [[UInt8]: Int64] = [:]
        switch entry.type {
        case .hash:
            entry.fields(nowMilliseconds: now).forEachWithDeadline { field, _, deadline in
                found[bytes(field)] = deadline
                return true
            }
        case .set:
            let set = entry.set(nowMilliseconds: now)
            set.forEach { member in
                found[bytes(member)] = withView(bytes(member)) { set.deadlineMilliseconds(of: $0) }
                return true
            }
        default:
            let set = entry.sortedSet
            set.forEach(in: 0..<set.count) { member, _ in
                found[bytes(member)] = withView(bytes(member)) { set.deadlineMilliseconds(of: $0) }
                return true
            }
        }
        return found
    }

    private func compare(_ name: String) {
        withLockedKey(name) { key in
            let expected = model[name]?.filter { $0.value == noDeadline || $0.value > now } ?? [:]
            guard let entry = keyspace.peek(key) else { return #expect(expected.isEmpty) }
            #expect(contents(entry) == expected)
            switch type {
            case .hash: #expect(entry.fields(nowMilliseconds: now).count == expected.count)
            case .set: #expect(entry.set(nowMilliseconds: now).count == expected.count)
            default: #expect(entry.sortedSet.count == expected.count)
            }
        }
    }

    func compareAll() {
        for name in model.keys { compare(name) }
        checkInvariants()
    }

    func checkInvariants() { store.checkInvariants() }

    var isThere: Bool { withLockedKey("key0") { keyspace.peek($0) != nil } }

    /// Members of the first key that lie there, looked at as if it were before all deadlines.
    var storedCount: Int {
        let early = store.keyspace(0, nowMilliseconds: 0, held: .all)
        return withLockedKey("key0") { key in
            guard let entry = early.peek(key) else { return 0 }
            switch type {
            case .hash: return entry.fields(nowMilliseconds: 0).count
            case .set: return entry.set(nowMilliseconds: 0).count
            default: return entry.sortedSet.count
            }
        }
    }

    /// How many of the members that ``fill(_:deadlines:)`` made are due after a time.
    func filledCount(after time: Int64) -> Int { filled.count { $0 > time } }

    func finish() {
        store.lock(.all)
        _ = keyspace.removeAll()
        store.unlock(.all)
        while store.maintain(nowMilliseconds: now) {}
        #expect(store.memoryStatistics().blobByteCount == 0)
        store.checkInvariants()
    }
}
