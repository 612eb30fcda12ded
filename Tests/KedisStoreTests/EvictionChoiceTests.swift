// Goal: eviction takes the keys that its policy says, from all of a store, and only as many as it is asked for.
// Random tests print their seed.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Choice of keys to evict")
struct EvictionChoiceTests {
    private let start: Int64 = 1_700_000_000_000
    private let count = 4000

    /// Evicts a quarter of the keys `0..<count`, one by one, and returns which.
    private func evictQuarter(
        _ policy: EvictionPolicy, sampleCount: Int, label: String, prepare: (Store) throws -> Void
    ) throws -> Set<Int> {
        var generator = testGenerator("\(policy.name) with \(sampleCount) samples: \(label)")
        let named = EvictedNames()
        let store = Store(databaseCount: 1, seed: HashSeed(generator.next(), generator.next()))
        store.observeKeyEvents { event, _, key in if event == .evicted { named.names.append(key.text) } }
        try prepare(store)
        let now = start + 100_000
        let before = store.keyspace(0, nowMilliseconds: now).count
        let usedBefore = store.usedByteCount
        for _ in 0..<count / 4 {
            let isDone = store.evictOne(
                policy, sampleCount: sampleCount, nowMilliseconds: now, using: &generator)
            #expect(isDone)
        }
        #expect(named.names.count == count / 4 && Set(named.names).count == count / 4)
        #expect(store.keyspace(0, nowMilliseconds: now).count == before - count / 4)
        #expect(store.rareStatistics().evicted == UInt64(count / 4))
        #expect(store.usedByteCount < usedBefore, "the used bytes fall at once")
        store.checkInvariants()
        return Set(named.names.compactMap { Int($0) })
    }

    private func fill(_ store: Store, deadline: (Int) -> DeadlineUpdate = { _ in .clear }, at time: (Int) -> Int64)
        throws
    {
        store.lock(.all)
        for index in 0..<count {
            try put(store, Array("\(index)".utf8), [0x76], deadline: deadline(index), now: time(index))
        }
        store.unlock(.all)
    }

    @Test("LRU takes what was not used for longest", arguments: [5, 10])
    func leastRecentlyUsed(sampleCount: Int) throws {
        for policy in [EvictionPolicy.allKeysLRU, .volatileLRU] {
            let evicted = try evictQuarter(policy, sampleCount: sampleCount, label: "idle keys") { store in
                try fill(store, deadline: { _ in .set(.max - 1) }, at: { start + Int64($0) * 10 })
            }
            // The oldest quarter would be the best choice.
            let good = evicted.count { $0 < count / 4 }
            let fair = evicted.count { $0 < count / 2 }
            print("\(policy.name): \(good) of \(evicted.count) are of the oldest quarter, \(fair) of the older half")
            #expect(good > evicted.count * 6 / 10 && fair > evicted.count * 9 / 10)
        }
    }

    @Test("LFU takes what is used least often", arguments: [EvictionPolicy.allKeysLFU, .volatileLFU])
    func leastFrequentlyUsed(policy: EvictionPolicy) throws {
        let evicted = try evictQuarter(policy, sampleCount: 10, label: "rarely used keys") { store in
            var tracking = AccessTracking()
            tracking.countsFrequency = true
            tracking.logFactor = 1
            store.setAccessTracking(tracking)
            try fill(store, deadline: { _ in .set(.max - 1) }, at: { _ in start })
            store.lock(.all)
            let keyspace = store.keyspace(0, nowMilliseconds: start, held: .all)
            // Two thirds are used 50 times.
            for index in 0..<count where index % 3 != 0 {
                for _ in 0..<50 { withKey(store, Array("\(index)".utf8)) { _ = keyspace.read($0) } }
            }
            store.unlock(.all)
        }
        let rare = evicted.count { $0 % 3 == 0 }
        print("\(policy.name): \(rare) of \(evicted.count) are rarely used")
        // The rare ones are a third of all and three quarters of them go, so the last ones are hard to find.
        #expect(rare > evicted.count * 8 / 10)
    }

    @Test("TTL takes what would go soonest")
    func timeToLive() throws {
        let evicted = try evictQuarter(.volatileTTL, sampleCount: 10, label: "short lives") { store in
            try fill(store, deadline: { .set(start + 200_000 + Int64($0) * 1000) }, at: { _ in start })
        }
        let good = evicted.count { $0 < count / 4 }
        print("volatile-ttl: \(good) of \(evicted.count) are of the quarter with the shortest lives")
        #expect(good > evicted.count * 6 / 10)
    }

    @Test("Random takes any key", arguments: [EvictionPolicy.allKeysRandom, .volatileRandom])
    func random(policy: EvictionPolicy) throws {
        let evicted = try evictQuarter(policy, sampleCount: 5, label: "any") { store in
            try fill(store, deadline: { _ in .set(.max - 1) }, at: { start + Int64($0) * 10 })
        }
        let old = evicted.count { $0 < count / 2 }
        #expect(abs(old - evicted.count / 2) < evicted.count / 6)
    }

    @Test(
        "Volatile policies find the few keys with a deadline, take no other, and say when there is none",
        arguments: [EvictionPolicy.volatileLRU, .volatileLFU, .volatileRandom, .volatileTTL])
    func fewCandidates(policy: EvictionPolicy) throws {
        var generator = testGenerator("few candidates for \(policy.name)")
        let named = EvictedNames()
        let store = Store(databaseCount: 3, seed: HashSeed(generator.next(), generator.next()))
        store.observeKeyEvents { event, _, key in if event == .evicted { named.names.append(key.text) } }
        try fill(store, deadline: { $0 % 400 == 0 ? .set(start + 1_000_000) : .clear }, at: { _ in start })
        while store.evictOne(policy, sampleCount: 5, nowMilliseconds: start, using: &generator) {
            #expect(named.names.count <= 10)
        }
        #expect(Set(named.names) == Set((0..<10).map { "\($0 * 400)" }))
        #expect(store.keyspace(0, nowMilliseconds: start).count == count - 10)
        for policy in EvictionPolicy.allCases where !policy.isVolatile && policy != .noEviction {
            #expect(store.evictOne(policy, sampleCount: 5, nowMilliseconds: start, using: &generator))
        }
        #expect(!store.evictOne(.noEviction, sampleCount: 5, nowMilliseconds: start, using: &generator))
        store.checkInvariants()
    }

    @Test("Eviction empties a store to the last key", arguments: EvictionPolicy.allCases.filter { $0 != .noEviction })
    func toTheLast(policy: EvictionPolicy) throws {
        var generator = testGenerator("evicting all by \(policy.name)")
        let store = Store(databaseCount: 1, seed: HashSeed(generator.next(), generator.next()))
        try fill(store, deadline: { .set(start + 1_000_000 + Int64($0)) }, at: { _ in start })
        var evicted = 0
        while store.evictOne(policy, sampleCount: 5, nowMilliseconds: start, using: &generator) { evicted += 1 }
        #expect(evicted == count)
        #expect(store.keyspace(0, nowMilliseconds: start).count == 0)
        store.checkInvariants()
    }
}

private final class EvictedNames: @unchecked Sendable {
    // Sendable: the tests have one thread each.
    var names: [String] = []
}
