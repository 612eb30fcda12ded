// Goal: the stripe lock excludes, wakes and never hangs under contention; plans over several stripes are atomic.

import Foundation
import KedisUtilities
import Testing

@testable import KedisStore

@Suite("Stripes")
struct StripeTests {
    /// Runs `body` on eight threads and waits for all.
    private func onEightThreads(_ body: @escaping @Sendable (Int) -> Void) {
        let finished = DispatchSemaphore(value: 0)
        for index in 0..<8 {
            let thread = Thread {
                body(index)
                finished.signal()
            }
            thread.start()
        }
        for _ in 0..<8 { finished.wait() }
    }

    @Test("Eight threads count under one lock, and nothing is lost", .timeLimit(.minutes(10)))
    func contention() {
        let counter = GuardedCounter()
        onEightThreads { _ in
            for round in 0..<20_000 {
                counter.lock.lock()
                counter.value += 1
                // Held long at times, so that the others go to sleep.
                if round % 1000 == 0 { usleep(200) }
                counter.lock.unlock()
            }
        }
        #expect(counter.value == 160_000)
        #expect(counter.tryLock())
    }

    @Test("try-lock answers at once")
    func tryLock() {
        let counter = GuardedCounter()
        #expect(counter.tryLock())
        #expect(!counter.tryLock())
        counter.lock.unlock()
        #expect(counter.tryLock())
        counter.lock.unlock()
    }

    @Test("Transfers between random keys from eight threads keep the sum", .timeLimit(.minutes(10)))
    func plans() throws {
        let store = Store(databaseCount: 1, seed: HashSeed(systemEntropy(), systemEntropy()))
        let accountCount = 100
        store.lock(.all)
        for index in 0..<accountCount {
            let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
            try withKey(store, Array("a\(index)".utf8)) { try keyspace.setInteger($0, 1000) }
        }
        store.unlock(.all)
        onEightThreads { thread in
            var generator = RandomGenerator(seed: UInt64(thread))
            for _ in 0..<5000 {
                let from = Array("a\(generator.next(below: accountCount))".utf8)
                let to = Array("a\(generator.next(below: accountCount))".utf8)
                withKey(store, from) { from in withKey(store, to) { transfer(1, from: from, to: $0, in: store) } }
            }
        }
        var sum: Int64 = 0
        store.keyspace(0, nowMilliseconds: 1000).forEachEntry { entry in
            if case .integer(let value) = entry.string { sum += value }
        }
        #expect(sum == Int64(accountCount) * 1000)
        store.checkInvariants()
    }

    @Test("Writers, a scanner, the expiry tick and a saver run beside each other", .timeLimit(.minutes(10)))
    func mixture() {
        let store = Store(databaseCount: 2, seed: HashSeed(systemEntropy(), systemEntropy()))
        onEightThreads { thread in
            var generator = RandomGenerator(seed: UInt64(thread))
            for round in 0..<3000 {
                let now = Int64(1000 + round)
                switch thread {
                case 0: _ = store.keyspace(0, nowMilliseconds: now).scan(from: generator.next(), count: 50) { _ in }
                case 1: _ = store.expireDue(nowMilliseconds: now, limit: 10)
                case 2 where round % 50 == 0:
                    store.lock(.all)
                    store.keyspace(0, nowMilliseconds: now, held: .all).forEachEntry { _ in }
                    if round % 500 == 0 { _ = store.keyspace(0, nowMilliseconds: now, held: .all).removeAll() }
                    store.unlock(.all)
                default:
                    withKey(store, Array("k\(generator.next(below: 500))".utf8)) { key in
                        var stripe = StripeSet()
                        stripe.insert(key.stripeIndex)
                        store.lock(stripe)
                        let keyspace = store.keyspace(thread % 2, nowMilliseconds: now, held: stripe)
                        let deadline: DeadlineUpdate = round % 2 == 0 ? .set(now + 20) : .keep
                        if round % 7 == 0 {
                            _ = keyspace.remove(key)
                        } else {
                            try? keyspace.setInteger(key, 5, deadline: deadline)
                        }
                        store.unlock(stripe)
                    }
                }
            }
        }
        store.checkInvariants()
    }
}

private final class GuardedCounter: @unchecked Sendable {
    // Sendable: `value` is only touched under `lock`.
    let lock = StripeLock()
    var value = 0

    func tryLock() -> Bool { lock.tryLock() }
}

private func transfer(_ amount: Int64, from: Key, to: Key, in store: Store) {
    var stripes = StripeSet()
    stripes.insert(from.stripeIndex)
    stripes.insert(to.stripeIndex)
    store.lock(stripes)
    defer { store.unlock(stripes) }
    let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: stripes)
    for (key, change) in [(from, -amount), (to, amount)] {
        guard let entry = keyspace.write(key), case .integer(let value) = entry.string else { continue }
        keyspace.replaceInteger(entry, value + change)
    }
}
