// Goal: whatever is done to a store, it holds what plain dictionaries would, its structures are whole, and a walk or
// a SCAN gives exactly the live keys. The seed is printed.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Store against a model")
struct StoreModelTests {
    @Test(
        "Random operations",
        arguments: [
            ModelShape(keyCount: 3, databaseCount: 6),
            ModelShape(keyCount: 20, databaseCount: 3),
            ModelShape(keyCount: 300, databaseCount: 2, checkInterval: 2),
            ModelShape(
                keyCount: 20_000, databaseCount: 2, checkInterval: 500, compareInterval: 10_000, hasLargeThings: false),
        ])
    func randomOperations(shape: ModelShape) throws {
        var walk = ModelWalk(generator: .forTest("store model with \(shape)"), shape: shape)
        for _ in 0..<(shape.keyCount < 1000 ? 2000 : 30_000) { try walk.step() }
        walk.compareAll()
    }

    @Test("Random operations on stores of all shapes, for KEDIS_MODEL_SECONDS (2 when it is not set)")
    func randomOperationsForLong() throws {
        let seconds = TestFiles.environment("KEDIS_MODEL_SECONDS").flatMap { UInt64($0) } ?? 2
        let start = monotonicNanoseconds()
        var generator = testGenerator("store model for \(seconds) s")
        var (steps, walks) = (0, 0)
        while monotonicNanoseconds() - start < seconds * 1_000_000_000 {
            let keyCount = 1 + generator.next(below: 1 << (1 + generator.next(below: 14)))
            // Half of the walks look at everything all the time, the others get further.
            let isClose = generator.next(below: 2) == 0
            let shape = ModelShape(
                keyCount: keyCount, databaseCount: 1 + generator.next(below: 4),
                checkInterval: isClose ? 1 + keyCount / 100 : 100 + keyCount / 4,
                compareInterval: (isClose ? 100 : 2000) + keyCount,
                hasLargeThings: isClose && keyCount < 3000)
            let seed = generator.next()
            print("store model: \(keyCount) keys, seed of this walk \(seed)")
            var walk = ModelWalk(generator: RandomGenerator(seed: seed), shape: shape)
            for step in 0..<(isClose ? 2000 : 20_000) + 4 * keyCount {
                try walk.step()
                if step % 64 == 0, monotonicNanoseconds() - start > seconds * 1_000_000_000 { break }
            }
            walk.compareAll()
            steps += walk.stepCount
            walks += 1
        }
        print("store model: \(steps) steps in \(walks) walks")
    }

    @Test("The observer is told of every expired key exactly once, however it is met")
    func observer() throws {
        let seen = SeenKeys()
        let store = Store(databaseCount: 2, seed: HashSeed(1, 2))
        store.observeKeyEvents { event, database, key in
            if event == .expired { seen.add("\(database) \(key.text)") }
        }
        store.lock(.all)
        let keyspace = store.keyspace(1, nowMilliseconds: 1000, held: .all)
        for index in 0..<300 {
            let name = Array("k\(index)".utf8)
            try withKey(store, name) { try keyspace.setInteger($0, 1, deadline: .set(2000)) }
        }
        let later = store.keyspace(1, nowMilliseconds: 2000, held: .all)
        for index in 0..<100 {
            let name = Array("k\(index)".utf8)
            switch index % 4 {
            case 0: #expect(withKey(store, name) { later.read($0) == nil })
            case 1: #expect(withKey(store, name) { !later.remove($0) })
            case 2: try withKey(store, name) { try later.setInteger($0, 7, deadline: .keep) }
            default: _ = try withKey(store, name) { try later.resizeString($0, to: 3) }
            }
        }
        store.unlock(.all)
        // The slot of the deadlines has ended then.
        while store.expireDue(nowMilliseconds: 2016, limit: 7) > 0 {}
        #expect(seen.all.sorted() == (0..<300).map { "1 k\($0)" }.sorted())
        #expect(store.keyspace(1, nowMilliseconds: 2000).count == 50)
        #expect(
            store.keyspace(1, nowMilliseconds: 2000).deadlineCount == 0, "keep must not keep a deadline that had passed"
        )
        #expect(store.statistics().expired == 300)
        store.checkInvariants()
    }

    @Test("A deadline that is set again and again does not make the queue grow")
    func boundedQueue() throws {
        let store = Store(databaseCount: 1, seed: HashSeed(3, 4))
        let name = Array("k".utf8)
        store.lock(.all)
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        for round in 0..<100_000 {
            try withKey(store, name) { try keyspace.setInteger($0, 1, deadline: .set(Int64(1_000_000 - round))) }
            try withKey(store, name) { try keyspace.setInteger($0, 1) }
        }
        store.unlock(.all)
        #expect(store.usedByteCount < 64 << 10)
        store.checkInvariants()
    }
}

private final class SeenKeys: @unchecked Sendable {
    // Sendable: the test has one thread.
    var all: [String] = []
    func add(_ text: String) { all.append(text) }
}
