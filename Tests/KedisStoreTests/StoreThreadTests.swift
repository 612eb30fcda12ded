// Goal: everything that works on a store beside the handlers - the expiry tick, eviction, maintenance, scans, a saver,
// figures - runs on other threads without harm. Meant for the thread sanitizer; the invariants are checked at the end.

import Foundation
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Store and threads")
struct StoreThreadTests {
    @Test(
        "Writers, the expiry tick, eviction, maintenance, a scanner, a saver and a reader of figures",
        .timeLimit(.minutes(10)))
    func mixture() {
        let seed = systemEntropy()
        print("threads on a store: seed \(seed)")
        let store = Store(databaseCount: 2, seed: HashSeed(seed, ~seed))
        store.observeKeyEvents { _, _, _ in }
        let finished = DispatchSemaphore(value: 0)
        let roundCount = reducedWhenSanitized(20_000)
        for index in 0..<8 {
            let thread = Thread {
                var generator = RandomGenerator(seed: seed ^ UInt64(index))
                for round in 0..<roundCount { work(index, round, store, &generator) }
                finished.signal()
            }
            thread.start()
        }
        for _ in 0..<8 { finished.wait() }
        store.checkInvariants()
        #expect(store.usedByteCount == store.memoryStatistics().usedByteCount)
    }
}

private func work(_ thread: Int, _ round: Int, _ store: Store, _ generator: inout RandomGenerator) {
    let now = Int64(1_000_000 + round)
    switch thread {
    case 0: _ = store.maintain(nowMilliseconds: now)
    case 1 where round % 20 == 0: _ = store.expireDue(nowMilliseconds: now, limit: 64)
    case 1 where round % 20 == 1:
        let policy = EvictionPolicy.allCases[generator.next(below: EvictionPolicy.allCases.count)]
        _ = store.evictOne(policy, sampleCount: 5, nowMilliseconds: now, using: &generator)
    case 2 where round % 10 == 0:
        _ = store.keyspace(0, nowMilliseconds: now).scan(from: generator.next(), count: 50) { _ in }
        _ = store.keyspace(1, nowMilliseconds: now).withRandomEntry(using: &generator) { _ in }
    case 3 where round % 100 == 0: look(store, round, now)
    case 1...3: break
    default: write(store, thread, round, now, &generator)
    }
}

/// Reads figures, saves, and at times empties or swaps databases.
private func look(_ store: Store, _ round: Int, _ now: Int64) {
    _ = store.memoryStatistics()
    _ = store.tableStatistics(databaseIndex: 0)
    _ = store.usedByteCount
    _ = store.earliestDeadlineMilliseconds
    for stripe in 0..<Store.stripeCount {
        store.keyspace(1, nowMilliseconds: now).forEachEntry(inStripe: stripe) { _ = storedBytes($0) }
    }
    guard round % 1000 == 0 else { return }
    store.lock(.all)
    let keyspace = store.keyspace(0, nowMilliseconds: now, held: .all)
    if round % 3000 == 0 { _ = keyspace.removeAll() }
    keyspace.swapDatabases(0, 1)
    store.unlock(.all)
    if round % 5000 == 0 { store.purge() }
}

private func write(
    _ store: Store, _ thread: Int, _ round: Int, _ now: Int64, _ generator: inout RandomGenerator
) {
    let byteCount = generator.next(below: 50) == 0 ? 20_000 : generator.next(below: 300)
    let value = [UInt8](repeating: 0x76, count: byteCount)
    let names = (0..<2).map { _ in Array("key:\(generator.next(below: 3000))".utf8) }
    withKey(store, names[0]) { key in
        withKey(store, names[1]) { other in
            var stripes = StripeSet()
            stripes.insert(key.stripeIndex)
            stripes.insert(other.stripeIndex)
            store.lock(stripes)
            defer { store.unlock(stripes) }
            let keyspace = store.keyspace(thread % 2, nowMilliseconds: now, held: stripes)
            switch round % 8 {
            case 0: _ = keyspace.remove(key)
            case 1: _ = try? keyspace.rename(key, to: other)
            case 2: _ = try? keyspace.copy(key, to: other, in: keyspace.selecting(1 - thread % 2))
            case 3: _ = keyspace.read(key).map(storedBytes)
            case 4: withView(value) { try? keyspace.setString(key, $0, deadline: .set(now + 30)) }
            default: withView(value) { try? keyspace.setString(key, $0) }
            }
        }
    }
}
