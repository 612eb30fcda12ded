// What happens to a store beside the operations of handlers: time, the expiry tick, eviction, maintenance, scans and
// snapshots that go on over many steps.

import KedisStore
import KedisUtilities
import Testing

extension ModelWalk {
    mutating func runBackground() {
        // What looks at every key of the model comes less often when there are many.
        if shape.keyCount > 1000, generator.next(below: 8) != 0 { return maintain() }
        switch generator.next(below: 100) {
        case 0..<10: passTime(expires: generator.next(below: 2) == 0)
        case 10..<35: maintain()
        case 35..<45: evict()
        case 45..<50: track()
        case 50..<65: compareStripe()
        default: scanOn()
        }
    }

    /// Lets time pass on both; `expires` runs the background tick, after which no due key is left.
    mutating func passTime(expires: Bool) {
        model.now += Int64(generator.next(below: generator.next(below: 50) == 0 ? 10_000_000 : 1500))
        note("time passes, \(expires ? "expired on time" : "nobody looks")")
        guard expires else { return }
        // A wheel gives an entry at most one slot, 16 ms, late.
        let tickNow = model.now + 16
        while store.expireDue(nowMilliseconds: model.now, limit: 1 + generator.next(below: 50)) > 0 {}
        model.now = tickNow
        while store.expireDue(nowMilliseconds: model.now, limit: 50) > 0 {}
        for index in model.databases.indices {
            let keyspace = store.keyspace(index, nowMilliseconds: model.now)
            let late = model.databases[index].values.count {
                $0.deadline != noDeadline && $0.deadline <= model.now - 16
            }
            let due = model.databases[index].values.count { !model.isLive($0) }
            let live = model.databases[index].count - due
            #expect(keyspace.count >= live && keyspace.count <= live + due - late, "\(history)")
            let withDeadline = model.databases[index].values.count { $0.deadline != noDeadline } - due
            let counted = keyspace.deadlineCount
            #expect(counted >= withDeadline && counted <= withDeadline + due - late, "\(history)")
        }
        model.dropDue()
    }

    private mutating func maintain() {
        let sliceCount = 1 + generator.next(below: 20)
        note("\(sliceCount) slices of maintenance")
        for _ in 0..<sliceCount {
            if !store.maintain(nowMilliseconds: model.now) { break }
        }
        if generator.next(below: 50) == 0 { store.purge() }
    }

    private mutating func track() {
        note("access tracking")
        var tracking = AccessTracking()
        tracking.countsFrequency = generator.next(below: 2) == 0
        tracking.decayMinutes = generator.next(below: 3)
        store.setAccessTracking(tracking)
    }

    /// Evicts a key: whichever the observer names leaves the model too.
    private mutating func evict() {
        let policy = EvictionPolicy.allCases[generator.next(below: EvictionPolicy.allCases.count)]
        note("evict \(policy.name)")
        model.evicted = []
        let isDone = store.evictOne(
            policy, sampleCount: 1 + generator.next(below: 10), nowMilliseconds: model.now, using: &generator)
        let candidates = model.databases.reduce(0) { sum, database in
            sum + database.values.count { model.isLive($0) && (!policy.isVolatile || $0.deadline != noDeadline) }
        }
        #expect(model.evicted.count <= 1, "\(history)")
        if policy == .noEviction {
            #expect(!isDone && model.evicted.isEmpty, "\(history)")
        } else if candidates > 0 {
            // A key that was due may have gone in its place.
            #expect(isDone, "no key was found among \(candidates)\n\(history)")
        }
        for (database, key) in model.evicted {
            let value = model.databases[database].removeValue(forKey: key)
            let isHidden = model.hidden[database].remove(key) != nil
            #expect(value != nil || isHidden, "a key was evicted that was not there\n\(history)")
            #expect(!policy.isVolatile || value?.deadline != noDeadline, "\(history)")
            evictedCount += 1
        }
        model.evicted = []
    }

    /// What a snapshot does: the entries of one stripe, while the others go on changing.
    private mutating func compareStripe() {
        let database = randomDatabase()
        let stripeIndex = generator.next(below: Store.stripeCount)
        var found: [[UInt8]: ModelValue] = [:]
        store.keyspace(database, nowMilliseconds: model.now).forEachEntry(inStripe: stripeIndex) {
            found[$0.key.bytes] = ModelValue(bytes: storedBytes($0), deadline: $0.deadlineMilliseconds)
        }
        let expected = model.databases[database].filter { key, value in
            model.isLive(value) && withKey(store, key) { $0.stripeIndex == stripeIndex }
        }
        let isEqual = found == expected
        #expect(isEqual, "stripe \(stripeIndex) holds something else\n\(history)")
    }

    /// Begins a scan or goes on with one; at its end every key that was there at all of its steps must have come.
    private mutating func scanOn() {
        if scans.count < 3 {
            let database = randomDatabase()
            scans.append(RunningScan(database: database, stable: liveKeys(of: database)))
        }
        let index = generator.next(below: scans.count)
        var scan = scans[index]
        let live = liveKeys(of: scan.database)
        scan.stable.formIntersection(live)
        note("scan \(scan.database) from \(scan.cursor)")
        let keyspace = store.keyspace(scan.database, nowMilliseconds: model.now)
        let count = generator.next(below: 20) == 0 ? 1000 : 1 + generator.next(below: 2 + shape.keyCount / 20)
        var problems: [String] = []
        scan.cursor = keyspace.scan(from: scan.cursor, count: count) { entry in
            let key = entry.key.bytes
            if !live.contains(key) { problems.append("never there: \(key.count) bytes") }
            if !scan.given.insert(key).inserted { problems.append("given twice: \(key.count) bytes") }
        }
        #expect(problems.isEmpty, "\(problems)\n\(history)")
        if scan.cursor == 0 {
            #expect(scan.stable.isSubset(of: scan.given), "a key that stayed was not given\n\(history)")
            scans.remove(at: index)
        } else {
            scans[index] = scan
        }
    }

    private func liveKeys(of database: Int) -> Set<[UInt8]> {
        Set(model.databases[database].lazy.filter { model.isLive($0.value) }.map(\.key))
    }
}
