// Goal: whatever is done to a store, it holds what plain dictionaries would, its structures are whole, and a walk or
// a SCAN gives exactly the live keys. The seed is printed.

import KedisStore
import KedisUtilities
import Testing

@Suite("Store against a model")
struct StoreModelTests {
    @Test("Random operations", arguments: [(3, 6, 4000), (20, 3, 6000), (300, 1, 6000), (5000, 2, 30_000)])
    func randomOperations(keyCount: Int, databaseCount: Int, stepCount: Int) throws {
        let seed = systemEntropy()
        print("store model with \(keyCount) keys: seed \(seed)")
        var walk = ModelWalk(seed: seed, databaseCount: databaseCount, keyCount: keyCount)
        var choice = RandomGenerator(seed: seed ^ 1)
        for step in 0..<stepCount {
            try walk.step()
            if choice.next(below: 200) == 0 { walk.passTime(expires: choice.next(below: 2) == 0) }
            if step < 200 || choice.next(below: keyCount > 1000 ? 3000 : 100) == 0 { walk.compareAll() }
        }
        walk.compareAll()
    }

    @Test("The observer is told of every expired key exactly once, however it is met")
    func observer() throws {
        let seen = SeenKeys()
        let store = Store(databaseCount: 2, seed: HashSeed(1, 2)) { database, key in seen.add("\(database) \(key.text)")
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
        while store.expireDue(nowMilliseconds: 2000, limit: 7) > 0 {}
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
