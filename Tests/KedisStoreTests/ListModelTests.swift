// Goal: lists hold what an array holds, in both of their forms and on the way between them.
//
// Method: random changes of a few keys, on the store and on arrays, from a printed seed; small limits make many chunks
// of few entries. After every step the store's invariants are checked, now and then everything is compared.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Lists")
struct ListModelTests {
    private static let settings = [-2, 1, 3, 8, 64, -1, -5]

    @Test("Random changes do to a list what they do to an array", arguments: settings)
    func model(setting: Int) throws {
        var walk = ListWalk(setting: setting, generator: testGenerator("list model, limit \(setting)"))
        for _ in 0..<reducedWhenSanitized(4000) { try walk.step() }
        walk.compareAll()
        walk.finish()
    }

    @Test("Packed entries: every length of string and integer is read as it was written")
    func entries() throws {
        let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
        store.lock(.all)
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        let lengths = [0, 1, 62, 63, 64, 65, 126, 127, 128, 4094, 4095, 4096, 16_382, 16_383, 16_384, 70_000]
        var values = lengths.map { [UInt8](repeating: 0x61, count: $0) }
        for bits in 0..<64 {
            for offset in [-1, 0, 1] {
                let number = Int64(truncatingIfNeeded: (1 as Int64) << Int64(bits)) &+ Int64(offset)
                values.append(Array("\(number)".utf8))
                values.append(Array("\(0 &- number)".utf8))
            }
        }
        values += ["", "-0", "01", "+1", "9223372036854775808", "-9223372036854775808", "1.5"].map { Array($0.utf8) }
        for limit in [PackLimit(setting: -2), PackLimit(setting: 1000), PackLimit(setting: -5)] {
            try withKey(store, Array("list".utf8)) { key in
                for (index, value) in values.enumerated() {
                    try withView(value) { view in
                        if index == 0 {
                            try keyspace.makeList(key, limit: limit, count: 1, atHead: false) { _ in view }
                        } else {
                            var editor = try #require(keyspace.editList(key, limit: limit))
                            try editor.push(1, atHead: false) { _ in view }
                        }
                    }
                }
                let list = try #require(keyspace.read(key)).list
                var read: [[UInt8]] = []
                list.forEach(in: 0..<list.count) { read.append(bytes($0)); return true }
                #expect(read == values)
                var backwards: [[UInt8]] = []
                list.forEachReversed(in: 0..<list.count) { backwards.append(bytes($0)); return true }
                #expect(backwards == values.reversed())
                var total = 0
                list.forEachRun { run, count in
                    #expect(packedEntryCount(run) == count)
                    total += count
                    return true
                }
                #expect(total == values.count)
                #expect(keyspace.remove(key))
            }
        }
        store.unlock(.all)
        store.checkInvariants()
    }

    @Test("Runs of foreign bytes are refused or counted, and never read past their end")
    func damagedRuns() throws {
        var generator = testGenerator("damaged runs")
        let valid: [UInt8] = [
            0x83, 0x61, 0x62, 0x63, 4, 5, 1, 0xC1, 0x00, 2, 0xF1, 0, 1, 3, 0xF4, 1, 2, 3, 4, 5, 6, 7, 8, 9,
        ]
        #expect(withView(valid) { packedEntryCount($0) } == 5)
        for _ in 0..<reducedWhenSanitized(200_000) {
            var damaged = Array(valid.prefix(generator.next(below: valid.count + 1)))
            for _ in 0..<generator.next(below: 4) where !damaged.isEmpty {
                damaged[generator.next(below: damaged.count)] = UInt8(truncatingIfNeeded: generator.next())
            }
            let count = withView(damaged) { packedEntryCount($0) }
            #expect((count ?? 0) <= damaged.count)
        }
    }
}

func bytes(_ value: StringValue) -> [UInt8] {
    switch value {
    case .integer(let integer): Array("\(integer)".utf8)
    case .bytes(let view): view.bytes
    }
}

/// A store and arrays that undergo the same changes.
struct ListWalk {
    private let store = Store(databaseCount: 2, seed: HashSeed(systemEntropy(), systemEntropy()))
    private let keyspace: Keyspace
    private let limit: PackLimit
    private var generator: RandomGenerator
    private var model: [[UInt8]: [[UInt8]]] = [:]

    init(setting: Int, generator: RandomGenerator) {
        self.generator = generator
        limit = PackLimit(setting: setting)
        keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
    }

    func finish() {
        store.lock(.all)
        _ = keyspace.removeAll()
        store.unlock(.all)
        while store.maintain(nowMilliseconds: 1000) {}
        #expect(store.memoryStatistics().blobByteCount == 0)
    }

    private mutating func randomValue() -> [UInt8] {
        switch generator.next(below: 10) {
        case 0...3: Array("\(Int64(truncatingIfNeeded: generator.next() >> UInt64(generator.next(below: 64))))".utf8)
        case 4...7: [UInt8](repeating: 0x78, count: generator.next(below: 40))
        case 8: [UInt8](repeating: 0x79, count: generator.next(below: 1000))
        default: [UInt8](repeating: 0x7A, count: generator.next(below: 20) == 0 ? 20_000 : 90)
        }
    }

    private mutating func randomRange(_ count: Int) -> Range<Int> {
        let first = generator.next(below: count + 1)
        let length = generator.next(below: 4) == 0 ? generator.next(below: count + 1) : generator.next(below: 4)
        return first..<min(count, first + length)
    }

    mutating func step() throws {
        let name = Array("key\(generator.next(below: 3))".utf8)
        var list = model[name] ?? []
        store.lock(.all)
        try withKey(store, name) { key in
            guard var editor = keyspace.editList(key, limit: limit) else {
                let values = (0..<1 + generator.next(below: 20)).map { _ in randomValue() }
                let atHead = generator.next(below: 2) == 0
                try withViews(values) { views in
                    try keyspace.makeList(key, limit: limit, count: values.count, atHead: atHead) { views[$0] }
                }
                list = atHead ? values.reversed() : values
                return
            }
            #expect(editor.count == list.count)
            switch generator.next(below: 13) {
            case 0...4:
                let values = (0..<1 + generator.next(below: 5)).map { _ in randomValue() }
                let atHead = generator.next(below: 2) == 0
                try withViews(values) { views in try editor.push(values.count, atHead: atHead) { views[$0] } }
                list = atHead ? values.reversed() + list : list + values
            case 5, 6:
                let value = randomValue()
                let position = generator.next(below: list.count + 1)
                try withView(value) { view in try editor.insert(view, at: position) }
                list.insert(value, at: position)
            case 7, 8:
                let value = randomValue()
                let position = generator.next(below: list.count)
                try withView(value) { view in try editor.replace(at: position, with: view) }
                list[position] = value
            case 9:
                let range = generator.next(below: 30) == 0 ? 0..<list.count : randomRange(list.count)
                try editor.remove(range)
                list.removeSubrange(range)
            case 10:
                let isHead = generator.next(below: 2) == 0
                let range = isHead ? 0..<1 : list.count - 1..<list.count
                try editor.remove(range)
                list.removeSubrange(range)
            case 11: try removeAll(from: &editor, &list)
            default:
                try move(key, name)
                list = model[name] ?? []
            }
        }
        model[name] = list.isEmpty ? nil : list
        compare(name)
        store.unlock(.all)
        store.checkInvariants()
    }

    /// Removes elements by what they are: some of those of a few lengths, from either end, or all of them.
    private mutating func removeAll(from editor: inout ListEditor, _ list: inout [[UInt8]]) throws {
        let (divisor, rest) = (1 + generator.next(below: 5), generator.next(below: 3))
        let limit = generator.next(below: 3) == 0 ? Int.max : 1 + generator.next(below: 8)
        let fromTail = generator.next(below: 2) == 0
        let isRemoved = { (value: [UInt8]) in value.count % divisor == rest }
        let positions = list.indices.filter { isRemoved(list[$0]) }
        let removed = Set(fromTail ? positions.suffix(limit) : positions.prefix(limit))
        let count = try editor.removeAll(limit: limit, fromTail: fromTail) { isRemoved(bytes($0)) }
        #expect(count == removed.count)
        list = list.enumerated().filter { !removed.contains($0.offset) }.map(\.element)
    }

    /// Renames the key and back, or copies it to the other database and from there.
    private mutating func move(_ key: Key, _ name: [UInt8]) throws {
        try withKey(store, Array("other".utf8)) { other throws(StoreError) in
            if generator.next(below: 2) == 0 {
                let isDone1 = try keyspace.rename(key, to: other)
                #expect(isDone1)
                let isDone2 = try keyspace.rename(other, to: key)
                #expect(isDone2)
            } else {
                let target = keyspace.selecting(1)
                let isDone3 = try keyspace.copy(key, to: other, in: target)
                #expect(isDone3)
                let isDone4 = try target.copy(other, to: key, in: keyspace)
                #expect(isDone4)
                #expect(target.remove(other))
            }
        }
    }

    private mutating func compare(_ name: [UInt8]) {
        withKey(store, name) { key in
            guard let expected = model[name] else { return #expect(keyspace.peek(key) == nil) }
            guard let entry = keyspace.peek(key) else { return #expect(Bool(false), "a list is gone") }
            let list = entry.list
            #expect(entry.type == .list && list.count == expected.count)
            let range = randomRange(expected.count)
            var read: [[UInt8]] = []
            list.forEach(in: range) { read.append(bytes($0)); return true }
            #expect(read == Array(expected[range]))
            read = []
            list.forEachReversed(in: range) { read.append(bytes($0)); return true }
            #expect(read == expected[range].reversed())
            let position = generator.next(below: expected.count)
            #expect(bytes(list.element(at: position)) == expected[position])
        }
    }

    mutating func compareAll() {
        store.lock(.all)
        defer { store.unlock(.all) }
        for name in Array(model.keys) {
            withKey(store, name) { key in
                var read: [[UInt8]] = []
                let count = model[name]?.count ?? 0
                keyspace.peek(key)?.list.forEach(in: 0..<count) { read.append(bytes($0)); return true }
                #expect(read == model[name])
            }
        }
    }
}

func withViews<Result>(_ values: [[UInt8]], _ body: ([ByteView]) throws -> Result) rethrows -> Result {
    let all = UnsafeMutableRawBufferPointer.allocate(byteCount: values.reduce(1) { $0 + $1.count }, alignment: 1)
    defer { all.deallocate() }
    var (views, offset): ([ByteView], Int) = ([], 0)
    for value in values {
        UnsafeMutableRawBufferPointer(rebasing: all[offset...]).copyBytes(from: value)
        views.append(ByteView(UnsafeRawBufferPointer(rebasing: all[offset..<offset + value.count])))
        offset += value.count
    }
    return try body(views)
}
