// Goal: sets hold what a mathematical set holds, in all of their forms and on the way between them.
//
// Method: random changes of a few keys, on the store and on Swift's sets, from a printed seed; small limits make each
// form frequent. After every step the store's invariants are checked and the changed set is compared; the algebra, the
// draws and the scans are compared with what Swift's sets say.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Sets")
struct SetModelTests {
    private static let limits = [
        SetLimits(), SetLimits(integerCountMax: 0, packedCountMax: 0), SetLimits(integerCountMax: 8, packedCountMax: 20),
        SetLimits(integerCountMax: 5000, packedCountMax: 5000, packedByteCountMax: 30_000),
        SetLimits(integerCountMax: 0, packedCountMax: 3, packedByteCountMax: 5),
    ]

    @Test("Random changes do to a set what they do to a mathematical one", arguments: limits)
    func model(limits: SetLimits) throws {
        var walk = SetWalk(limits, testGenerator("set model \(limits)"))
        for _ in 0..<reducedWhenSanitized(600) { try walk.step() }
        walk.finish()
    }

    @Test("Integers of every width are kept in order, whatever the order in which they come")
    func integers() throws {
        var generator = testGenerator("sets of integers")
        for _ in 0..<reducedWhenSanitized(300) {
            var walk = SetWalk(SetLimits(integerCountMax: 100), generator)
            var expected: Set<Int64> = []
            for _ in 0..<generator.next(below: 100) {
                let value = Int64(truncatingIfNeeded: generator.next()) >> Int64(generator.next(below: 64))
                expected.insert(value)
                try walk.add("integers", Array("\(value)".utf8))
            }
            #expect(walk.members("integers") == Set(expected.map { Array("\($0)".utf8) }))
            #expect(expected.isEmpty || walk.encoding("integers") == .integerSet)
            generator = walk.generator
            walk.finish()
        }
    }

    @Test("A member is drawn as often as any other, alone and among several, from every form")
    func draws() throws {
        for (count, limits) in [(50, SetLimits()), (50, SetLimits(integerCountMax: 0)), (50, SetLimits(integerCountMax: 0, packedCountMax: 0))] {
            var walk = SetWalk(limits, testGenerator("draws from a set, \(limits)"))
            for index in 0..<count { try walk.add("drawn", Array("\(index)".utf8)) }
            let rounds = reducedWhenSanitized(3_000)
            for sampleCount in [1, 10, 30] {
                let drawn = try walk.draws("drawn", sampleCount, rounds: rounds)
                let expected = Double(rounds * sampleCount) / Double(count)
                #expect(drawn.count == count)
                for (_, times) in drawn { #expect(abs(Double(times) - expected) < 8 * expected.squareRoot()) }
            }
            walk.finish()
        }
    }

    @Test("Without memory a change says so and changes nothing")
    func refusal() throws {
        var walk = SetWalk(SetLimits(), testGenerator("sets without memory"))
        try walk.refuse()
        walk.finish()
    }
}

/// A store and sets that undergo the same changes.
struct SetWalk {
    private let store = Store(databaseCount: 2, seed: HashSeed(systemEntropy(), systemEntropy()))
    private let keyspace: Keyspace
    private let limits: SetLimits
    private(set) var generator: RandomGenerator
    private var model: [String: Set<[UInt8]>] = [:]

    init(_ limits: SetLimits, _ generator: RandomGenerator) {
        self.generator = generator
        self.limits = limits
        keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
    }

    func finish() {
        store.lock(.all)
        _ = keyspace.removeAll()
        store.unlock(.all)
        while store.maintain(nowMilliseconds: 1000) {}
        #expect(store.memoryStatistics().blobByteCount == 0)
    }

    private mutating func randomMember() -> [UInt8] {
        switch generator.next(below: 12) {
        case 0...6: Array("\(Int64(generator.next(below: 40)) - 20)".utf8)
        case 7: Array("\(Int64(truncatingIfNeeded: generator.next()) >> Int64(generator.next(below: 64)))".utf8)
        case 8...10: Array("member\(generator.next(below: 300))".utf8)
        default: [UInt8](repeating: 0x7A, count: [0, 62, 63, 64, 65, 127, 4096, 20_000][generator.next(below: 8)])
        }
    }

    mutating func step() throws {
        let name = "key\(generator.next(below: 3))"
        switch generator.next(below: 20) {
        case 0...8: try add(name, randomMember())
        case 9: for _ in 0..<generator.next(below: 60) { try add(name, randomMember()) }
        case 10...13: try remove(name, generator.next(below: 2) == 0 ? randomMember() : model[name]?.randomElement() ?? [])
        case 14: for _ in 0..<generator.next(below: 60) { try remove(name, model[name]?.randomElement() ?? []) }
        case 15: try pop(name)
        case 16: try combine(name)
        case 17: try move(name)
        case 18: scan(name)
        default: try remove(name, randomMember())
        }
        compare(name)
        store.checkInvariants()
    }

    // MARK: Changes

    mutating func add(_ name: String, _ member: [UInt8]) throws {
        let isNew = model[name, default: []].insert(member).inserted
        try withLockedKey(name) { key in
            try withView(member) { view in
                guard case .set(var editor) = keyspace.editSet(key, limits: limits) else {
                    #expect(isNew)
                    return try keyspace.makeSet(key, limits: limits, member: view)
                }
                let isAdded = try editor.add(view)
                #expect(isAdded == isNew)
            }
        }
    }

    private mutating func remove(_ name: String, _ member: [UInt8]) throws {
        let wasThere = model[name]?.remove(member) != nil
        let isEmpty = model[name]?.isEmpty ?? true
        if isEmpty { model[name] = nil }
        try withLockedKey(name) { key in
            guard case .set(var editor) = keyspace.editSet(key, limits: limits) else { return #expect(!wasThere) }
            try withView(member) { view in
                let isRemoved = try editor.remove(view)
                #expect(isRemoved == wasThere)
                #expect(editor.isGone == isEmpty)
            }
        }
    }

    private mutating func pop(_ name: String) throws {
        var drawn: [UInt8]?
        try withLockedKey(name) { key in
            guard case .set(var editor) = keyspace.editSet(key, limits: limits) else { return }
            try editor.pop(using: &generator) { drawn = bytes($0) }
        }
        guard let drawn else { return #expect(model[name] == nil) }
        #expect(model[name]?.remove(drawn) != nil)
        if model[name]?.isEmpty == true { model[name] = nil }
    }

    /// Makes a set of the results of three others, itself maybe among them.
    private mutating func combine(_ name: String) throws {
        let names = (0..<1 + generator.next(below: 3)).map { _ in "key\(generator.next(below: 3))" }
        let sources = names.compactMap { model[$0] }
        guard sources.count == names.count, var sets = SetList(capacity: names.count) else { return }
        let operation = generator.next(below: 5)
        var expected = sources[0]
        store.lock(.all)
        defer { store.unlock(.all) }
        for name in names {
            withKey(store, Array(name.utf8)) { key in
                if let entry = keyspace.peek(key) { sets.append(entry.set(nowMilliseconds: 1000)) }
            }
        }
        var given: [[UInt8]] = []
        guard var built = SetBuilder(for: keyspace, limits: limits) else { throw StoreError.outOfMemory }
        let give = { (value: StringValue) -> Bool in
            given.append(bytes(value))
            return true
        }
        switch operation {
        case 0:
            for source in sources.dropFirst() { expected.formIntersection(source) }
            sets.intersect(give)
            try built.addIntersection(of: &sets)
        case 1, 2:
            for source in sources.dropFirst() { expected.formUnion(source) }
            sets.unite(give)
            try sets.unite(into: &built)
        default:
            for source in sources.dropFirst() { expected.subtract(source) }
            sets.subtract(give)
            if operation == 3 { try sets.subtract(into: &built) } else { try built.addDifference(of: &sets) }
        }
        #expect(given.count == expected.count && Set(given) == expected)
        #expect(built.count == expected.count)
        guard !expected.isEmpty else { return }
        var result: SetBuilder? = built
        try withKey(store, Array(name.utf8)) { key throws(StoreError) in
            guard let made = result.take() else { return }
            try keyspace.setSet(key, to: made, deadline: .clear)
        }
        model[name] = expected
    }

    /// Renames the key and back, or copies it to the other database and from there.
    private mutating func move(_ name: String) throws {
        guard model[name] != nil else { return }
        let isRename = generator.next(below: 2) == 0
        try withLockedKey(name) { key in
            try withKey(store, Array("other".utf8)) { other throws(StoreError) in
                let target = isRename ? keyspace : keyspace.selecting(1)
                let isThere = isRename ? try keyspace.rename(key, to: other) : try keyspace.copy(key, to: other, in: target)
                let isBack = isRename ? try keyspace.rename(other, to: key) : try target.copy(other, to: key, in: keyspace)
                #expect(isThere && isBack)
                if !isRename { #expect(target.remove(other)) }
            }
        }
    }

    // MARK: Comparing

    func members(_ name: String) -> Set<[UInt8]> {
        var found: Set<[UInt8]> = []
        var count = 0
        withLockedKey(name) { key in
            keyspace.peek(key)?.set(nowMilliseconds: 1000).forEach { member in
                found.insert(bytes(member))
                count += 1
                return true
            }
        }
        #expect(count == found.count)
        return found
    }

    func encoding(_ name: String) -> ValueEncoding? { withLockedKey(name) { keyspace.peek($0)?.encoding } }

    private mutating func compare(_ name: String) {
        let expected = model[name] ?? []
        #expect(members(name) == expected)
        let probe = randomMember()
        withLockedKey(name) { key in
            guard let entry = keyspace.peek(key) else { return #expect(expected.isEmpty) }
            let set = entry.set(nowMilliseconds: 1000)
            #expect(entry.type == .set && set.count == expected.count)
            withView(probe) { #expect(set.contains($0) == expected.contains(probe)) }
        }
    }

    private mutating func scan(_ name: String) {
        let step = 1 + generator.next(below: 20)
        withLockedKey(name) { key in
            guard let set = keyspace.peek(key)?.set(nowMilliseconds: 1000) else { return }
            var found: Set<[UInt8]> = []
            var cursor: UInt64 = 0
            repeat { cursor = set.scan(from: cursor, count: step) { found.insert(bytes($0)) } } while cursor != 0
            #expect(found == model[name])
        }
    }

    /// How often each member is drawn in samples of so many.
    mutating func draws(_ name: String, _ sampleCount: Int, rounds: Int) throws -> [[UInt8]: Int] {
        var times: [[UInt8]: Int] = [:]
        withLockedKey(name) { key in
            guard let set = keyspace.peek(key)?.set(nowMilliseconds: 1000) else { return }
            for _ in 0..<rounds {
                if sampleCount == 1 {
                    times[bytes(set.random(using: &generator)), default: 0] += 1
                    continue
                }
                var sample: Set<[UInt8]> = []
                let isDone = set.sample(sampleCount, using: &generator) { sample.insert(bytes($0)).inserted }
                #expect(isDone && sample.count == sampleCount)
                for member in sample { times[member, default: 0] += 1 }
            }
        }
        return times
    }

    mutating func refuse() throws {
        for index in 0..<128 { try add("full", Array("member\(index)".utf8)) }
        let free = store.memoryStatistics()
        store.setMemoryByteCountMax(0)
        defer { store.setMemoryByteCountMax(.max) }
        withLockedKey("full") { key in
            guard case .set(var editor) = keyspace.editSet(key, limits: limits) else { return #expect(Bool(false)) }
            #expect(throws: StoreError.outOfMemory) { try withView(Array("one more".utf8)) { _ = try editor.add($0) } }
        }
        #expect(members("full") == model["full"])
        #expect(store.memoryStatistics().blobByteCount == free.blobByteCount)
        store.checkInvariants()
    }

    private func withLockedKey<Result>(_ name: String, _ body: (Key) throws -> Result) rethrows -> Result {
        store.lock(.all)
        defer { store.unlock(.all) }
        return try withKey(store, Array(name.utf8), body)
    }
}
