// Goal: keys go on time, with their memory, however many are due at once; whoever counts them agrees.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Expiry on time")
struct ExpiryTests {
    private let start: Int64 = 1_700_000_000_003

    /// A store with keys whose deadlines `deadline` says, filled a second before the first of them.
    private func filledStore(_ count: Int, expired: ExpiryCounter, deadline: (Int) -> Int64) throws -> Store {
        let store = Store(databaseCount: 1, seed: HashSeed(systemEntropy(), systemEntropy()))
        store.observeKeyEvents { event, _, _ in if event == .expired { expired.count += 1 } }
        store.lock(.all)
        for index in 0..<count {
            try put(store, Array("key:\(index)".utf8), [0x76], deadline: .set(deadline(index)), now: start - 1000)
        }
        store.unlock(.all)
        return store
    }

    /// One tick of the background: slices until nothing is due. Returns how many slices there were.
    private func tick(_ store: Store, at now: Int64, limit: Int) -> Int {
        var sliceCount = 0
        while store.expireDue(nowMilliseconds: now, limit: limit) > 0, sliceCount < 1_000_000 { sliceCount += 1 }
        return sliceCount
    }

    private func expectEmpty(_ store: Store, _ count: Int, _ expired: ExpiryCounter, at now: Int64, from full: Int) {
        let keyspace = store.keyspace(0, nowMilliseconds: now)
        #expect(keyspace.count == 0 && keyspace.deadlineCount == 0)
        #expect(expired.count == count && store.statistics().expired == UInt64(count))
        #expect(store.earliestDeadlineMilliseconds == .max)
        for _ in 0..<100_000 {
            if !store.maintain(nowMilliseconds: now) { break }
        }
        print("used bytes: \(full) full, \(store.usedByteCount) after expiry")
        #expect(store.usedByteCount < full / 50 + (256 << 10), "memory has not come back")
        store.checkInvariants()
    }

    @Test("1 M keys due evenly within a second are gone at most 100 ms late, with ticks of 10 ms")
    func evenly() throws {
        let count = reducedWhenSanitized(1_000_000)
        let expired = ExpiryCounter()
        let start = start
        let store = try filledStore(count, expired: expired) { start + Int64($0) * 1000 / Int64(count) }
        let full = store.usedByteCount
        var latest = 0
        for now in stride(from: start, through: start + 1100, by: 10) {
            _ = tick(store, at: now, limit: 64)
            let keyspace = store.keyspace(0, nowMilliseconds: now)
            // The keys that are due by now, and that may still be there because they are hardly late.
            let due = min(count, max(0, Int(now - start + 1) * count / 1000))
            let late = min(count, max(0, Int(now - start - 100) * count / 1000))
            #expect(expired.count <= due, "a key went too early")
            #expect(expired.count >= late, "a key went more than 100 ms late")
            #expect(keyspace.count == count - expired.count)
            latest = max(latest, due - expired.count)
            if (now - start) % 200 == 0 { store.checkInvariants() }
        }
        print("at most \(latest) of \(count) keys were due and still there after a tick")
        // 16 ms of a slot and a rounding.
        #expect(latest <= count * 18 / 1000)
        expectEmpty(store, count, expired, at: start + 1100, from: full)
    }

    @Test("1 M keys due in one millisecond go in slices of about 64 keys a stripe")
    func atOnce() throws {
        let count = reducedWhenSanitized(1_000_000)
        let expired = ExpiryCounter()
        let start = start
        let store = try filledStore(count, expired: expired) { _ in start }
        let full = store.usedByteCount
        #expect(tick(store, at: start - 1, limit: 64) <= count / 1000)
        #expect(expired.count == 0)
        var now = start
        var largest = 0
        while expired.count < count, now < start + 100 {
            let before = expired.count
            // While a slice waits for the next one, keys that are due are hidden from everybody.
            if store.expireDue(nowMilliseconds: now, limit: 64) == 0 { now += 10 }
            largest = max(largest, expired.count - before)
            if before % 100_000 == 0 {
                let keyspace = store.keyspace(0, nowMilliseconds: now)
                var seen = 0
                keyspace.forEachEntry { _ in seen += 1 }
                #expect(seen == 0)
                #expect(keyspace.count == count - expired.count)
            }
        }
        // The wheel's 32 bits name more than one key at times.
        #expect(largest <= 64 * Store.stripeCount * 5 / 4)
        _ = tick(store, at: now + 20, limit: 64)
        expectEmpty(store, count, expired, at: now + 20, from: full)
    }

    @Test("A deadline that moves to later, or goes, or whose key goes, costs nothing at the old time and is kept")
    func moved() throws {
        let count = 10_000
        let expired = ExpiryCounter()
        let start = start
        let store = try filledStore(count, expired: expired) { start + Int64($0 % 100) }
        store.lock(.all)
        for index in 0..<count {
            let name = Array("key:\(index)".utf8)
            let keyspace = store.keyspace(0, nowMilliseconds: start - 500, held: .all)
            switch index % 4 {
            case 0: try put(store, name, [1], deadline: .set(start + 90_000 + Int64(index)), now: start - 500)
            case 1: try put(store, name, [1], deadline: .clear, now: start - 500)
            case 2: _ = withKey(store, name) { keyspace.remove($0) }
            default: break
            }
        }
        store.unlock(.all)
        _ = tick(store, at: start + 200, limit: 64)
        #expect(expired.count == count / 4)
        #expect(store.keyspace(0, nowMilliseconds: start + 200).count == count / 2)
        #expect(store.keyspace(0, nowMilliseconds: start + 200).deadlineCount == count / 4)
        store.checkInvariants()
        _ = tick(store, at: start + 90_000 + Int64(count) + 20, limit: 64)
        #expect(expired.count == count / 2)
        #expect(store.keyspace(0, nowMilliseconds: start + 200_000).count == count / 4)
        store.checkInvariants()
    }

    @Test("A deadline at the end of time, set after an earlier one, stays known when the earlier one comes")
    func endOfTime() throws {
        let expired = ExpiryCounter()
        let start = start
        let store = try filledStore(100, expired: expired) { start + Int64($0) }
        store.lock(.all)
        for index in 0..<100 {
            let name = Array("key:\(index)".utf8)
            try put(store, name, [1], deadline: .set(.max - Int64(index % 2)), now: start - 500)
        }
        store.unlock(.all)
        _ = tick(store, at: start + 1000, limit: 64)
        #expect(expired.count == 0 && store.earliestDeadlineMilliseconds > start + 1000)
        store.checkInvariants()
        _ = tick(store, at: .max, limit: 64)
        #expect(expired.count == 100)
        store.checkInvariants()
    }

    @Test("The clock goes back: keys wait for their deadline, new ones go on time")
    func clockBack() throws {
        let expired = ExpiryCounter()
        let start = start
        let store = try filledStore(1000, expired: expired) { start + Int64($0) * 100 }
        _ = tick(store, at: start + 50_000, limit: 64)
        let before = expired.count
        #expect(before >= 499 && before <= 501)
        let back = start - 3_600_000
        #expect(tick(store, at: back, limit: 64) < 1000)
        store.lock(.all)
        try put(store, Array("new".utf8), [1], deadline: .set(back + 20), now: back)
        store.unlock(.all)
        _ = tick(store, at: back + 19, limit: 64)
        #expect(expired.count == before)
        _ = tick(store, at: back + 40, limit: 64)
        #expect(expired.count == before + 1)
        #expect(store.keyspace(0, nowMilliseconds: back + 40).count == 1000 - before)
        store.checkInvariants()
        _ = tick(store, at: start + 100_100, limit: 64)
        #expect(expired.count == 1001)
        store.checkInvariants()
    }
}

private final class ExpiryCounter: @unchecked Sendable {
    // Sendable: the tests have one thread each.
    var count = 0
}
