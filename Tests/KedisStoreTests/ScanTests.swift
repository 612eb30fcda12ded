// Goal: SCAN gives every key that stays exactly once while the table grows and shrinks under it; any cursor is
// harmless; a random entry is every entry equally often.

import KedisStore
import KedisUtilities
import Testing

@Suite("SCAN and random entries")
struct ScanTests {
    private func put(_ name: String, into store: Store) throws {
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        try withKey(store, Array(name.utf8)) { try keyspace.setInteger($0, 1) }
    }

    private func remove(_ name: String, from store: Store) {
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        _ = withKey(store, Array(name.utf8)) { keyspace.remove($0) }
    }

    @Test(
        "Keys that stay are given exactly once, others at most once, while thousands come and go",
        arguments: [1, 10, 100, 1000])
    func stableKeys(count: Int) throws {
        var generator = testGenerator("scan with count \(count)")
        for _ in 0..<6 {
            let store = Store(databaseCount: 1, seed: HashSeed(generator.next(), generator.next()))
            let stableCount = 1 + generator.next(below: 700)
            store.lock(.all)
            for index in 0..<stableCount { try put("stable:\(index)", into: store) }
            var churning = 0
            var given: [[UInt8]: Int] = [:]
            var cursor: UInt64 = 0
            repeat {
                let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
                cursor = keyspace.scan(from: cursor, count: count) { given[$0.key.bytes, default: 0] += 1 }
                // Names of the churn never come back, so that each may be given once at most.
                let isGrowing = generator.next(below: 2) == 0
                for _ in 0..<generator.next(below: count * 20 + 50) where isGrowing {
                    try put("churn:\(churning)", into: store)
                    churning += 1
                }
                if !isGrowing {
                    for index in max(0, churning - 30_000)..<churning { remove("churn:\(index)", from: store) }
                }
            } while cursor != 0 && churning < 100_000
            while cursor != 0 {
                cursor = store.keyspace(0, nowMilliseconds: 1000, held: .all)
                    .scan(from: cursor, count: 1000) { given[$0.key.bytes, default: 0] += 1 }
            }
            store.unlock(.all)
            #expect(given.values.allSatisfy { $0 == 1 }, "a key was given twice")
            let stable = given.keys.filter { $0.starts(with: Array("stable:".utf8)) }
            #expect(stable.count == stableCount, "a key that stayed was not given")
            store.checkInvariants()
        }
    }

    @Test("A step gives about as many keys as it was asked for")
    func stepSize() throws {
        let store = Store(databaseCount: 1, seed: HashSeed(5, 6))
        store.lock(.all)
        for index in 0..<20_000 { try put("k\(index)", into: store) }
        store.unlock(.all)
        var cursor: UInt64 = 0
        var steps = 0
        repeat {
            var given = 0
            cursor = store.keyspace(0, nowMilliseconds: 1000).scan(from: cursor, count: 10) { _ in given += 1 }
            #expect(given <= 60)
            steps += 1
        } while cursor != 0
        #expect(steps > 500 && steps < 4000)
    }

    @Test("Any number is a cursor")
    func anyCursor() throws {
        var generator = testGenerator("random cursors")
        let store = Store(databaseCount: 1, seed: HashSeed(5, 6))
        store.lock(.all)
        for index in 0..<1000 { try put("k\(index)", into: store) }
        store.unlock(.all)
        let keyspace = store.keyspace(0, nowMilliseconds: 1000)
        var cursors: [UInt64] = [0, 1, .max, .max - 1, 1 << 47, 1 << 48, 1 << 63]
        for _ in 0..<2000 { cursors.append(generator.next() >> UInt64(generator.next(below: 64))) }
        for cursor in cursors {
            var given = 0
            let next = keyspace.scan(from: cursor, count: 10) { _ in given += 1 }
            #expect(next == 0 || next > cursor & (1 << 48 - 1), "a scan goes forward")
        }
    }

    @Test("Each of some keys is drawn equally often (chi-square)", arguments: [2, 7, 200])
    func randomEntries(keyCount: Int) throws {
        var generator = testGenerator("random entries of \(keyCount)")
        let store = Store(databaseCount: 1, seed: HashSeed(generator.next(), generator.next()))
        store.lock(.all)
        // The tables have grown and shrunk before.
        for index in 0..<3000 { try put("k\(index)", into: store) }
        for index in keyCount..<3000 { remove("k\(index)", from: store) }
        store.unlock(.all)
        let keyspace = store.keyspace(0, nowMilliseconds: 1000)
        let drawCount = keyCount * 300
        var counts: [[UInt8]: Int] = [:]
        for _ in 0..<drawCount {
            #expect(keyspace.withRandomEntry(using: &generator) { counts[$0.key.bytes, default: 0] += 1 })
        }
        #expect(counts.count == keyCount)
        let chiSquare = counts.values.reduce(0.0) { $0 + Double(($1 - 300) * ($1 - 300)) / 300 }
        let degrees = Double(keyCount - 1)
        #expect(chiSquare < degrees + 6 * (2 * degrees).squareRoot() + 20)
    }

    @Test("No entry, or only due ones: none is drawn")
    func noEntries() throws {
        var generator = testGenerator("no entries")
        let store = Store(databaseCount: 1, seed: HashSeed(5, 6))
        #expect(!store.keyspace(0, nowMilliseconds: 1000).withRandomEntry(using: &generator) { _ in })
        store.lock(.all)
        try put("k", into: store)
        store.unlock(.all)
        #expect(store.keyspace(0, nowMilliseconds: 1000).withRandomEntry(using: &generator) { _ in })
    }
}
