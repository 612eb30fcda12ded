// Goal: sorted sets hold what a sorted array of scores and members holds, in the cell, as trees and on the way there.
//
// Method: random changes of a few keys, on the store and on arrays, from a printed seed; scores and members from few
// values, so that ties, moves and the same hash bits happen. Phases of growth and of removal make trees split and
// merge. Invariants are checked on the way. With little memory a refused change must leave everything as it was.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

struct ModelElement: Equatable, Comparable {
    var score: Double
    var member: [UInt8]

    static func < (left: ModelElement, right: ModelElement) -> Bool {
        left.score < right.score || (left.score == right.score && left.member.lexicographicallyPrecedes(right.member))
    }
}

@Suite("Sorted sets")
struct SortedSetModelTests {
    struct Setting: Sendable {
        var limits: SortedSetLimits
        var countMax: Int
        var scoreCount: Int
        var longMembers = false
    }

    private static let settings = [
        Setting(limits: SortedSetLimits(), countMax: 160, scoreCount: 40),
        Setting(limits: SortedSetLimits(countMax: 8, memberByteCountMax: 10), countMax: 30, scoreCount: 5),
        Setting(limits: SortedSetLimits(countMax: 100_000, memberByteCountMax: 100_000), countMax: 400, scoreCount: 9,
            longMembers: true),
        Setting(limits: SortedSetLimits(countMax: 0), countMax: 3000, scoreCount: 1),
        Setting(limits: SortedSetLimits(countMax: 0), countMax: 20_000, scoreCount: 3000),
        Setting(limits: SortedSetLimits(countMax: 0), countMax: 20_000, scoreCount: 20_000_000),
        Setting(limits: SortedSetLimits(countMax: 0), countMax: 300, scoreCount: 20, longMembers: true),
    ]

    @Test("Random changes do to a sorted set what they do to an array", arguments: 0..<settings.count)
    func model(index: Int) throws {
        let setting = Self.settings[index]
        var walk = SortedSetWalk(setting: setting, generator: .forTest("sorted set model \(index)"))
        for _ in 0..<reducedWhenSanitized(min(20_000, 4 * setting.countMax + 1500)) { try walk.step() }
        walk.compareAll()
        walk.finish()
    }

    @Test("Without memory a change fails and changes nothing", arguments: [0, 1, 2, 4, 6])
    func refused(index: Int) throws {
        var walk = SortedSetWalk(setting: Self.settings[index], generator: .forTest("sorted sets, refused \(index)"))
        walk.refusesMemory = true
        for _ in 0..<reducedWhenSanitized(3000) { try walk.step() }
        walk.compareAll()
        // Trees ask for memory all the time; a cell that grows may find all it needs in its stripe.
        if Self.settings[index].limits.countMax <= 8 { #expect(walk.refusedCount > 0) }
        walk.finish()
    }

    @Test("A leaf of short and long members is split so that either half has room")
    func mixedLengths() throws {
        var generator = RandomGenerator.forTest("short and long members")
        let store = Store(databaseCount: 1, seed: HashSeed(generator.next(), generator.next()))
        store.lock(.all)
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        try withKey(store, Array("z".utf8)) { key throws(StoreError) in
            var editor = try keyspace.makeSortedSet(key, limits: SortedSetLimits())
            let count = reducedWhenSanitized(20_000)
            for index in 0..<count {
                // 500 bytes are the longest that lie in a leaf.
                let length = generator.next(below: 4) == 0 ? 480 + generator.next(below: 21) : 8
                let member = Array("\(index)".utf8) + Array(repeating: 0x20, count: length)
                try withView(Array(member[0..<length])) { view throws(StoreError) in
                    try editor.set(view, score: Double(generator.next(below: 1000)))
                }
                if index % 1000 == 0 { editor.value.checkInvariants() }
            }
            editor.value.checkInvariants()
            #expect(editor.count == count)
            #expect(keyspace.remove(key))
        }
        store.unlock(.all)
        while store.maintain(nowMilliseconds: 1000) {}
        store.checkInvariants()
    }

    @Test("Members come in order, at either end, and go again in slices")
    func ascending() throws {
        for isAscending in [true, false] {
            let store = Store(databaseCount: 1, seed: HashSeed(systemEntropy(), systemEntropy()))
            let count = reducedWhenSanitized(20_000)
            store.lock(.all)
            let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
            try withKey(store, Array("z".utf8)) { key throws(StoreError) in
                var editor = try keyspace.makeSortedSet(key, limits: SortedSetLimits())
                for index in 0..<count {
                    let score = Double(isAscending ? index : -index)
                    try withView(Array("member:\(index)".utf8)) { view throws(StoreError) in
                        try editor.set(view, score: score)
                    }
                }
                #expect(editor.count == count)
                editor.value.checkInvariants()
                // The leaves are nearly full: about 25 bytes an element, and 13 in the index.
                let byteCount = keyspace.peek(key)?.allocatedByteCount ?? 0
                #expect(byteCount < 45 * count + 5000)
                for _ in 0..<count / 2 { try editor.remove(0..<1) }
                editor.value.checkInvariants()
                try editor.remove(10..<count / 4)
                editor.value.checkInvariants()
                #expect(keyspace.remove(key))
            }
            store.unlock(.all)
            while store.maintain(nowMilliseconds: 1000) {}
            store.checkInvariants()
        }
    }
}

private struct SortedSetWalk {
    let setting: SortedSetModelTests.Setting
    var generator: RandomGenerator
    let store: Store
    var model: [[UInt8]: [ModelElement]] = [:]
    var refusesMemory = false
    var refusedCount = 0
    private var stepCount = 0
    private var isGrowing = true

    init(setting: SortedSetModelTests.Setting, generator: RandomGenerator) {
        self.setting = setting
        self.generator = generator
        store = Store(databaseCount: 2, seed: HashSeed(self.generator.next(), self.generator.next()))
    }

    private var keyspace: Keyspace { store.keyspace(0, nowMilliseconds: 1000, held: .all) }

    private mutating func randomMember() -> [UInt8] {
        let number = generator.next(below: 2 * setting.countMax)
        if setting.longMembers, generator.next(below: 3) == 0 {
            let sizes = [127, 128, 500, 1023, 1024, 3000]
            return [UInt8](repeating: UInt8(97 + number % 26), count: sizes[number % sizes.count])
        }
        return number % 3 == 0 ? Array("\(number)".utf8) : Array("member:\(number)".utf8)
    }

    private mutating func randomScore() -> Double {
        switch generator.next(below: 40) {
        case 0: -.infinity
        case 1: .infinity
        case 2: -0.0
        case 3...9: Double(generator.next(below: setting.scoreCount)) / 7
        default: Double(generator.next(below: setting.scoreCount) - setting.scoreCount / 3)
        }
    }

    mutating func step() throws {
        stepCount += 1
        if refusesMemory { store.setMemoryByteCountMax(generator.next(below: 3) == 0 ? 0 : .max) }
        let name = Array("key\(generator.next(below: 2))".utf8)
        store.lock(.all)
        defer { store.unlock(.all) }
        let before = model[name] ?? []
        do throws(StoreError) {
            var after = before
            try change(name, &after)
            model[name] = after.isEmpty ? nil : after
        } catch {
            refusedCount += 1
            #expect(refusesMemory)
        }
        let count = model[name]?.count ?? 0
        if count >= setting.countMax { isGrowing = false }
        if count == 0 { isGrowing = true }
        compare(name)
        if count < 200 || stepCount % 1000 == 0 {
            withKey(store, name) { keyspace.peek($0)?.sortedSet.checkInvariants() }
        }
        if count < 50 || stepCount % 2000 == 0 {
            store.unlock(.all)
            store.checkInvariants()
            store.lock(.all)
        }
    }

    private mutating func change(_ name: [UInt8], _ elements: inout [ModelElement]) throws(StoreError) {
        let (member, score) = (randomMember(), randomScore())
        let choice = generator.next(below: 100)
        let (range, isAll) = (randomRange(elements.count), generator.next(below: 300) == 0)
        let source = elements
        var result = elements
        try withKey(store, name) { key throws(StoreError) in
            if choice >= 97 { return try move(key) }
            if choice == 96, !source.isEmpty { return try replace(key, Array(source[range]), &result) }
            guard var editor = keyspace.editSortedSet(key, limits: setting.limits) else {
                var made = try keyspace.makeSortedSet(key, limits: setting.limits)
                defer { if made.count == 0 { made.removeIfEmpty() } }
                try withView(member) { view throws(StoreError) in try made.set(view, score: score) }
                result = [ModelElement(score: score, member: member)]
                return
            }
            #expect(editor.count == source.count)
            if choice < (isGrowing ? 80 : 35) {
                try withView(member) { view throws(StoreError) in try editor.set(view, score: score) }
                put(member, score, &result)
            } else if choice < 90 {
                let isThere = source.firstIndex { $0.member == member }
                let picked = choice % 2 == 0 ? source[range.lowerBound].member : member
                let isRemoved = try withView(picked) { view throws(StoreError) in try editor.remove(view) }
                #expect(isRemoved == (choice % 2 == 0 || isThere != nil))
                result.removeAll { $0.member == picked }
            } else {
                let limited = isAll ? 0..<source.count
                    : range.lowerBound..<min(range.upperBound, range.lowerBound + (isGrowing ? 5 : source.count / 4 + 1))
                try editor.remove(limited)
                result.removeSubrange(limited)
            }
        }
        elements = result
    }

    private func put(_ member: [UInt8], _ score: Double, _ elements: inout [ModelElement]) {
        // A score that is equal to the old one leaves that.
        if let old = elements.firstIndex(where: { $0.member == member }) {
            if elements[old].score == score { return }
            elements.remove(at: old)
        }
        let element = ModelElement(score: score, member: member)
        var (low, high) = (0, elements.count)
        while low < high {
            let middle = (low + high) / 2
            if elements[middle] < element { low = middle + 1 } else { high = middle }
        }
        elements.insert(element, at: low)
    }

    /// Replaces the set by a part of itself, whose members are views of it.
    private func replace(_ key: Key, _ part: [ModelElement], _ result: inout [ModelElement]) throws(StoreError) {
        guard !part.isEmpty, let set = keyspace.peek(key)?.sortedSet else { return }
        var elements: [ScoredMember] = []
        let copies = UnsafeMutableRawBufferPointer.allocate(
            byteCount: part.reduce(1) { $0 + $1.member.count }, alignment: 1)
        defer { copies.deallocate() }
        var offset = 0
        set.forEach(in: 0..<set.count) { member, score in
            guard let wanted = part.first(where: { $0.member == member.withBytes { $0.bytes } }) else { return true }
            if case .bytes(let view) = member {
                elements.append(ScoredMember(view, score))
            } else {
                UnsafeMutableRawBufferPointer(rebasing: copies[offset...]).copyBytes(from: wanted.member)
                let copy = UnsafeRawBufferPointer(rebasing: copies[offset..<offset + wanted.member.count])
                elements.append(ScoredMember(ByteView(copy), score))
                offset += wanted.member.count
            }
            return true
        }
        let limits = setting.limits
        let keyspace = keyspace
        try elements.withUnsafeBufferPointer { view throws(StoreError) in
            try keyspace.replaceSortedSet(key, with: view, limits: limits)
        }
        result = part
    }

    /// Renames the key and back, or copies it to the other database and from there.
    private mutating func move(_ key: Key) throws(StoreError) {
        guard keyspace.peek(key) != nil else { return }
        let isRename = generator.next(below: 2) == 0
        try withKey(store, Array("other".utf8)) { other throws(StoreError) in
            if isRename {
                guard try keyspace.rename(key, to: other) else { return }
                // Back again, whatever the memory.
                let limited = refusesMemory
                if limited { store.setMemoryByteCountMax(.max) }
                _ = try keyspace.rename(other, to: key)
            } else {
                let target = keyspace.selecting(1)
                _ = target.remove(other)
                guard try keyspace.copy(key, to: other, in: target) else { return }
                target.peek(other)?.sortedSet.checkInvariants()
                _ = try target.copy(other, to: key, in: keyspace)
                _ = target.remove(other)
            }
        }
    }

    private mutating func randomRange(_ count: Int) -> Range<Int> {
        guard count > 0 else { return 0..<0 }
        let start = generator.next(below: count)
        return start..<start + 1 + generator.next(below: count - start)
    }

    private func read(_ set: SortedSetValue, _ range: Range<Int>, isReversed: Bool) -> [ModelElement] {
        var read: [ModelElement] = []
        let body: (StringValue, Double) -> Bool = { member, score in
            read.append(ModelElement(score: score, member: member.withBytes { $0.bytes }))
            return true
        }
        if isReversed { set.forEachReversed(in: range, body) } else { set.forEach(in: range, body) }
        return read
    }

    private mutating func compare(_ name: [UInt8]) {
        let range = randomRange(model[name]?.count ?? 0)
        let (low, high, member) = (randomScore(), randomScore(), randomMember())
        let limited = range.lowerBound..<min(range.upperBound, range.lowerBound + 200)
        let (fromExclusive, throughExclusive) = (generator.next(below: 2) == 0, generator.next(below: 2) == 0)
        withKey(store, name) { key in
            guard let expected = model[name] else { return #expect(keyspace.peek(key) == nil) }
            guard let set = keyspace.peek(key)?.sortedSet else { return #expect(Bool(false), "a set is gone") }
            #expect(set.count == expected.count)
            #expect(read(set, limited, isReversed: false) == Array(expected[limited]))
            #expect(read(set, limited, isReversed: true) == expected[limited].reversed())
            let picked = expected[range.lowerBound]
            withView(picked.member) { view in
                #expect(set.score(of: view) == picked.score)
                let (rank, score) = set.rank(of: view) ?? (-1, 0)
                #expect(rank == range.lowerBound && score == picked.score)
            }
            withView(member) { view in
                #expect(set.score(of: view) == expected.first { $0.member == member }?.score)
            }
            let found = set.ranks(
                from: ScoreBound(low, isExclusive: fromExclusive), through: ScoreBound(high, isExclusive: throughExclusive))
            let inside = expected.indices.filter {
                let score = expected[$0].score
                return (fromExclusive ? score > low : score >= low) && (throughExclusive ? score < high : score <= high)
            }
            #expect(found.count == inside.count && (inside.isEmpty || found.lowerBound == inside[0]))
            guard expected[0].score == expected[expected.count - 1].score else { return }
            withView(member) { from in
                withView(picked.member) { through in
                    let range = set.ranks(from: .exclusive(from), through: .inclusive(through))
                    let inside = expected.indices.filter {
                        member.lexicographicallyPrecedes(expected[$0].member)
                            && !picked.member.lexicographicallyPrecedes(expected[$0].member)
                    }
                    #expect(range.count == inside.count && (inside.isEmpty || range.lowerBound == inside[0]))
                }
            }
        }
    }

    mutating func compareAll() {
        store.setMemoryByteCountMax(.max)
        store.lock(.all)
        for (name, elements) in model {
            withKey(store, name) { key in
                guard let set = keyspace.peek(key)?.sortedSet else { return #expect(Bool(false), "a set is gone") }
                set.checkInvariants()
                #expect(read(set, 0..<set.count, isReversed: false) == elements)
            }
        }
        store.unlock(.all)
    }

    /// What is left goes in slices.
    mutating func finish() {
        store.lock(.all)
        for name in model.keys { withKey(store, name) { _ = keyspace.remove($0) } }
        store.unlock(.all)
        while store.maintain(nowMilliseconds: 1000) {}
        store.checkInvariants()
    }
}
