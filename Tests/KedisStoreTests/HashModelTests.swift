// Goal: hashes hold what a dictionary holds, in the cell, in a table, and on the way from the one to the other.
//
// Method: random changes of a few keys, on the store and on dictionaries, from a printed seed, under several limits,
// in part with memory refused. The store's invariants, its sums of bytes among them, are checked every few steps.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Hashes")
struct HashModelTests {
    private static let limits = [
        HashLimits(), HashLimits(fieldCountMax: 0, byteCountMax: 64), HashLimits(fieldCountMax: 5, byteCountMax: 10),
        HashLimits(fieldCountMax: 100_000, byteCountMax: 100_000),
    ]

    @Test("Random changes do to a hash what they do to a dictionary", arguments: limits, [false, true])
    func model(limits: HashLimits, refuses: Bool) throws {
        let generator = testGenerator("hash model, \(limits), memory refused: \(refuses)")
        var walk = HashWalk(limits: limits, refuses: refuses, generator: generator)
        for _ in 0..<reducedWhenSanitized(6000) { try walk.step() }
        walk.compareAll()
        walk.finish()
    }

    @Test("A sample has different fields, every choice as likely, whatever the form", arguments: limits)
    func samples(limits: HashLimits) throws {
        var generator = testGenerator("hash samples")
        let store = Store(databaseCount: 1, seed: HashSeed(generator.next(), generator.next()))
        store.lock(.all)
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        let fieldCount = 40
        try withKey(store, Array("hash".utf8)) { key in
            for index in 0..<fieldCount {
                try withView(Array("\(index)".utf8)) { field in
                    guard case .hash(var editor) = keyspace.editHash(key, limits: limits) else {
                        return try keyspace.makeHash(key, limits: limits, field, field)
                    }
                    #expect(try editor.set(field, field))
                }
            }
            let hash = try #require(keyspace.peek(key)).fields(nowMilliseconds: 1000)
            for wanted in [1, 3, 20, 39] {
                var given = [Int](repeating: 0, count: fieldCount)
                let rounds = 2000
                for _ in 0..<rounds {
                    var seen: Set<[UInt8]> = []
                    hash.sample(wanted, of: fieldCount, using: &generator) { field, value in
                        #expect(bytes(field) == bytes(value))
                        seen.insert(bytes(field))
                        if let index = Int(String(decoding: bytes(field), as: UTF8.self)) { given[index] += 1 }
                        return true
                    }
                    #expect(seen.count == wanted)
                }
                // Eight standard deviations of a binomial distribution.
                let share = Double(wanted) / Double(fieldCount)
                let deviation = (Double(rounds) * share * (1 - share)).squareRoot()
                #expect(given.allSatisfy { abs(Double($0) - Double(rounds) * share) < 8 * deviation + 1 })
            }
        }
        store.unlock(.all)
    }
}

/// A store and dictionaries that undergo the same changes.
private struct HashWalk {
    private let store = Store(databaseCount: 2, seed: HashSeed(systemEntropy(), systemEntropy()))
    private let keyspace: Keyspace
    private let limits: HashLimits
    private let refuses: Bool
    private var generator: RandomGenerator
    private var model: [[UInt8]: [[UInt8]: [UInt8]]] = [:]
    private var stepCount = 0

    init(limits: HashLimits, refuses: Bool, generator: RandomGenerator) {
        self.generator = generator
        self.limits = limits
        self.refuses = refuses
        keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
    }

    private mutating func randomBytes() -> [UInt8] {
        switch generator.next(below: 12) {
        case 0...3: Array("\(Int64(truncatingIfNeeded: generator.next() >> UInt64(generator.next(below: 64))))".utf8)
        case 4...9: [UInt8](repeating: 0x78, count: generator.next(below: 30))
        case 10: [UInt8](repeating: 0x79, count: generator.next(below: 700))
        default:
            [UInt8](repeating: 0x7A, count: generator.next(below: 200) == 0 ? 2_000_000 : generator.next(below: 80))
        }
    }

    mutating func step() throws {
        stepCount += 1
        store.lock(.all)
        if refuses { store.setMemoryByteCountMax(generator.next(below: 4) == 0 ? 0 : .max) }
        let name = Array("key:\(generator.next(below: 6))".utf8)
        let field = generator.next(below: 3) == 0 ? randomBytes() : Array("f\(generator.next(below: 60))".utf8)
        switch generator.next(below: 20) {
        case 0...9: set(name, field, randomBytes())
        case 10...14: remove(name, field)
        case 15: removeKey(name)
        case 16: copy(name)
        default: compare(name)
        }
        store.setMemoryByteCountMax(.max)
        store.unlock(.all)
        if stepCount % 40 == 0 { store.checkInvariants() }
    }

    private mutating func set(_ name: [UInt8], _ field: [UInt8], _ value: [UInt8]) {
        var isNew: Bool?
        withKey(store, name) { key in
            withView(field) { field in
                withView(value) { value in
                    do throws(StoreError) {
                        switch keyspace.editHash(key, limits: limits) {
                        case .hash(var editor): isNew = try editor.set(field, value)
                        default:
                            try keyspace.makeHash(key, limits: limits, field, value)
                            isNew = true
                        }
                    } catch {}
                }
            }
        }
        guard let isNew else { return #expect(refuses) }
        #expect(isNew == (model[name]?[field] == nil))
        model[name, default: [:]][field] = value
    }

    private mutating func remove(_ name: [UInt8], _ field: [UInt8]) {
        var isRemoved: Bool?
        withKey(store, name) { key in
            withView(field) { field in
                guard case .hash(var editor) = keyspace.editHash(key, limits: limits) else { return isRemoved = false }
                let isLast = editor.value.count == 1 && editor.value.contains(field)
                do throws(StoreError) { isRemoved = try editor.remove(field) } catch {}
                if isRemoved != nil { #expect(editor.isGone == isLast) }
            }
        }
        guard let isRemoved else { return #expect(refuses) }
        #expect(isRemoved == (model[name]?[field] != nil))
        model[name]?[field] = nil
        if model[name]?.isEmpty == true { model[name] = nil }
    }

    private mutating func removeKey(_ name: [UInt8]) {
        #expect(withKey(store, name) { keyspace.remove($0) } == (model[name] != nil))
        model[name] = nil
    }

    /// A copy changes on its own.
    private mutating func copy(_ name: [UInt8]) {
        let other = name + [0x63]
        let isCopied = withKey(store, name) { source in
            withKey(store, other) { target in try? keyspace.copy(source, to: target, in: keyspace) }
        }
        guard let isCopied else { return #expect(refuses) }
        #expect(isCopied == (model[name] != nil))
        guard isCopied else { return }
        model[other] = model[name]
        compare(other)
        remove(other, Array("f1".utf8))
        compare(name)
        removeKey(other)
    }

    private func contents(_ hash: HashValue) -> [[UInt8]: [UInt8]] {
        var result: [[UInt8]: [UInt8]] = [:]
        hash.forEach { field, value in
            result[bytes(field)] = bytes(value)
            return true
        }
        return result
    }

    private func compare(_ name: [UInt8]) {
        withKey(store, name) { key in
            guard let entry = keyspace.peek(key) else { return #expect(model[name] == nil) }
            let hash = entry.fields(nowMilliseconds: 1000)
            #expect(hash.count == model[name]?.count)
            #expect(contents(hash) == model[name])
            for (field, value) in model[name] ?? [:] {
                #expect(withView(field) { hash.value(of: $0).map { bytes($0) } } == value)
            }
            #expect(withView(Array("none".utf8)) { hash.value(of: $0) == nil })
        }
    }

    func compareAll() {
        store.lock(.all)
        for name in model.keys { compare(name) }
        store.unlock(.all)
        store.checkInvariants()
    }

    func finish() {
        store.lock(.all)
        _ = keyspace.removeAll()
        store.unlock(.all)
        while store.maintain(nowMilliseconds: 1000) {}
        #expect(store.memoryStatistics().blobByteCount == 0)
    }
}
