// Goal: SCAN's guarantee and the fairness of RANDOMKEY hold while tables grow, shrink and are tidied up in the
// background. Random tests print their seed.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("SCAN and RANDOMKEY beside maintenance")
struct ScanMaintenanceTests {
    private func remove(_ store: Store, _ name: [UInt8]) {
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        _ = withKey(store, name) { keyspace.remove($0) }
    }

    /// The name, and a length that differs from key to key, so that cells of all classes are freed and used again.
    private func value(_ index: Int) -> [UInt8] { [UInt8](repeating: 0x76, count: index * 7 % 200) }

    private func maintain(_ store: Store, sliceCount: Int) {
        for _ in 0..<sliceCount {
            if !store.maintain(nowMilliseconds: 1000) { return }
        }
    }

    @Test(
        "A SCAN gives keys that stay exactly once while the table grows to 40 times its size or shrinks to a 40th",
        arguments: [true, false], [1, 10, 500])
    func stableKeys(grows: Bool, count: Int) throws {
        var generator = testGenerator("scan of a table that \(grows ? "grows" : "shrinks"), count \(count)")
        let store = Store(databaseCount: 1, seed: HashSeed(generator.next(), generator.next()))
        let (stableCount, churnCount) = (1500, reducedWhenSanitized(60_000))
        let stable = (0..<stableCount).map { Array("stable:\($0)".utf8) }
        let churn = (0..<churnCount).map { Array("churn:\($0)".utf8) }
        store.lock(.all)
        for (index, name) in stable.enumerated() { try put(store, name, value(index)) }
        if !grows { for (index, name) in churn.enumerated() { try put(store, name, value(index)) } }
        store.unlock(.all)
        var given: [[UInt8]: Int] = [:]
        var cursor: UInt64 = 0
        var churned = 0
        // The churn is spread over the whole scan.
        let stepCount = (grows ? stableCount : stableCount + churnCount) / count + 64
        let perStep = max(1, 2 * churnCount / stepCount)
        repeat {
            let keyspace = store.keyspace(0, nowMilliseconds: 1000)
            cursor = keyspace.scan(from: cursor, count: count) { given[$0.key.bytes, default: 0] += 1 }
            store.lock(.all)
            for index in churned..<min(churnCount, churned + perStep) {
                if grows { try put(store, churn[index], value(index)) } else { remove(store, churn[index]) }
            }
            store.unlock(.all)
            churned = min(churnCount, churned + perStep)
            maintain(store, sliceCount: 3)
        } while cursor != 0
        let isOnce = given.values.allSatisfy { $0 == 1 }
        #expect(isOnce, "a key was given twice")
        let missing = stable.filter { given[$0] == nil }
        #expect(missing.isEmpty, "\(missing.count) keys that stayed were not given")
        store.checkInvariants()
        maintain(store, sliceCount: 100_000)
        store.checkInvariants()
    }

    /// Draws from `keyCount` keys and expects each to come equally often.
    private func expectFairness(_ store: Store, keyCount: Int, _ generator: inout RandomGenerator) {
        let perKey = 10
        let keyspace = store.keyspace(0, nowMilliseconds: 1000)
        var counts: [[UInt8]: Int] = [:]
        for _ in 0..<keyCount * perKey {
            let isGiven = keyspace.withRandomEntry(using: &generator) { counts[$0.key.bytes, default: 0] += 1 }
            #expect(isGiven)
        }
        let expected = Double(perKey)
        var chiSquare = counts.values.reduce(0.0) { $0 + (Double($1) - expected) * (Double($1) - expected) / expected }
        chiSquare += Double(keyCount - counts.count) * expected
        let degrees = Double(keyCount - 1)
        // Six standard deviations: once in a billion runs.
        let limit = 6 * (2 * degrees).squareRoot()
        #expect(abs(chiSquare - degrees) < limit, "chi-square \(chiSquare) with \(degrees) degrees of freedom")
    }

    @Test("RANDOMKEY is fair over 10,000 keys: after growth, after shrinking, and in between (chi-square)")
    func fairness() throws {
        var generator = testGenerator("fairness of RANDOMKEY")
        let store = Store(databaseCount: 1, seed: HashSeed(generator.next(), generator.next()))
        let names = (0..<100_000).map { Array("k\($0)".utf8) }
        store.lock(.all)
        for index in 0..<10_000 { try put(store, names[index], value(index)) }
        store.unlock(.all)
        expectFairness(store, keyCount: 10_000, &generator)
        store.lock(.all)
        for index in 10_000..<100_000 { try put(store, names[index], value(index)) }
        for index in 10_000..<100_000 { remove(store, names[index]) }
        store.unlock(.all)
        expectFairness(store, keyCount: 10_000, &generator)
        maintain(store, sliceCount: 100_000)
        store.checkInvariants()
        expectFairness(store, keyCount: 10_000, &generator)
    }
}
