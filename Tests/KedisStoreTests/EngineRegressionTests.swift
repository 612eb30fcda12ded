// Goal: what went wrong once in the storage engine does not go wrong again. Each test is named after the fault.

import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisStore

@Suite("Faults of the storage engine")
struct EngineRegressionTests {
    private let now: Int64 = 1_700_000_000_000

    private func makeStore(databaseCount: Int = 1) -> Store {
        Store(databaseCount: databaseCount, seed: HashSeed(systemEntropy(), systemEntropy()))
    }

    /// Names whose keys lie in the first stripe.
    private func names(_ count: Int, in store: Store, _ prefix: String = "") -> [[UInt8]] {
        var names: [[UInt8]] = []
        var index = 0
        while names.count < count {
            let name = Array("\(prefix)\(index)".utf8)
            if withKey(store, name, { $0.stripeIndex == 0 }) { names.append(name) }
            index += 1
        }
        return names
    }

    private func set(_ store: Store, _ names: [[UInt8]], byteCount: Int, database: Int = 0) throws {
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(database, nowMilliseconds: now, held: .all)
        let value = [UInt8](repeating: 0x61, count: byteCount)
        for name in names {
            try withKey(store, name) { key in
                try value.withUnsafeBytes { try keyspace.setString(key, ByteView($0)) }
            }
        }
    }

    private func remove(_ store: Store, _ names: some Sequence<[UInt8]>) {
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(0, nowMilliseconds: now, held: .all)
        for name in names { _ = withKey(store, name) { keyspace.remove($0) } }
    }

    private func flush(_ store: Store, database: Int = 0) {
        store.lock(.all)
        defer { store.unlock(.all) }
        _ = store.keyspace(database, nowMilliseconds: now, held: .all).removeAll()
    }

    private func makeSource() -> UnsafeMutablePointer<MemorySource> {
        let source = UnsafeMutablePointer<MemorySource>.allocate(capacity: 1)
        source.initialize(to: MemorySource())
        return source
    }

    private func release(_ source: UnsafeMutablePointer<MemorySource>) {
        source.deinitialize(count: 1)
        source.deallocate()
    }

    private func maintainToTheEnd(_ store: Store) {
        for _ in 0..<1_000_000 where !store.maintain(nowMilliseconds: now) { return }
        Issue.record("maintenance does not end")
    }

    // MARK: Arena

    @Test("The last slab of a size stayed resident when all its cells were gone")
    func emptySlab() throws {
        let store = makeStore()
        let many = names(1000, in: store, "a")
        let few = names(1500, in: store, "b")
        try set(store, many, byteCount: 50)
        try set(store, few, byteCount: 90)
        remove(store, many)
        maintainToTheEnd(store)
        store.purge()
        let memory = store.memoryStatistics()
        #expect(memory.freeCellByteCount < 16 << 10, "\(memory.freeCellByteCount) bytes of free cells")
        store.checkInvariants()
    }

    @Test("One slice of emptying slabs moved megabytes when cells were large")
    func largeCells() throws {
        let store = makeStore()
        let all = names(600, in: store)
        try set(store, all, byteCount: 15_000)
        remove(store, all.enumerated().filter { $0.offset % 3 != 0 }.map(\.element))
        var most: UInt64 = 0
        var before: UInt64 = 0
        for _ in 0..<100_000 {
            let hasMore = store.maintain(nowMilliseconds: now)
            let moved = store.memoryStatistics().movedCellCount
            most = max(most, moved - before)
            before = moved
            if !hasMore { break }
        }
        #expect(before > 0 && most * 15_000 <= 300_000, "\(most) of \(before) cells in one slice")
        store.checkInvariants()
    }

    // MARK: Keys

    @Test("Splitting a segment hashed megabytes when keys were long")
    func longKeys() throws {
        let store = makeStore()
        let all = names(40, in: store, String(repeating: "k", count: 2000))
        try set(store, all, byteCount: 10)
        guard let table = store.stripes[0].table(0) else { preconditionFailure("the keys have a table") }
        table.pointee.forEachSlot { bucket, slot in
            let cell = table.pointee.cell(bucket, slot)
            #expect(cell.header.isKeyOutside, "its hash is kept beside it")
            #expect(table.pointee.hash(ofCell: bucket.reference(slot)) == hashBytes(cell.key, seed: store.seed))
        }
        store.checkInvariants()
    }

    @Test("Every rank below the count is another key")
    func ranks() throws {
        let store = makeStore()
        let all = names(2000, in: store)
        try set(store, all, byteCount: 1)
        remove(store, all.dropFirst(700))
        guard let table = store.stripes[0].table(0) else { preconditionFailure("the keys have a table") }
        let found = (0..<700).map { table.pointee.placeSlowly(ofRank: $0).cell.key.bytes }
        #expect(Set(found) == Set(all.prefix(700)))
    }

    // MARK: Removed tables and blobs

    @Test("Flushing in a loop piled up tables without end")
    func flood() throws {
        let store = makeStore()
        let name = names(1, in: store)
        for _ in 0..<6000 {
            try set(store, name, byteCount: 1)
            flush(store)
        }
        #expect(store.memoryStatistics().pendingCount <= 2000)
        maintainToTheEnd(store)
        #expect(store.memoryStatistics().pendingCount == 0)
    }

    @Test("Flushing in a loop piled up tables when another database held the arena")
    func floodBesideOthers() throws {
        let store = makeStore(databaseCount: 2)
        let name = names(1, in: store)
        try set(store, name, byteCount: 1, database: 1)
        for _ in 0..<6000 {
            try set(store, name, byteCount: 1)
            flush(store)
        }
        #expect(store.memoryStatistics().pendingCount <= 2000)
        maintainToTheEnd(store)
        store.checkInvariants()
    }

    @Test("Blobs waited beyond their limit when the oldest were small")
    func pendingLimit() throws {
        let source = makeSource()
        defer { release(source) }
        let reclaimer = Reclaimer(source: source)
        let small = Reclaimer.immediateByteCountMax + 1
        for byteCount in [Int](repeating: small, count: 1000) + [400 << 20, 400 << 20, 400 << 20] {
            reclaimer.release(try #require(Blob.make(byteCount: byteCount, capacity: byteCount, from: source)))
        }
        #expect(reclaimer.figures.byteCount <= Reclaimer.pendingByteCountMax)
        #expect(reclaimer.figures.count == reclaimer.pendingCount)
        while case .blob(let blob, _) = reclaimer.takeOldest() {
            reclaimer.done(byteCount: blob.allocatedByteCount, isBlob: true)
            blob.deallocate(to: source)
        }
        #expect(reclaimer.figures.byteCount == 0 && reclaimer.pendingCount == 0)
    }

    @Test("Every slice moved all that waited")
    func reclaimerOrder() throws {
        let source = makeSource()
        defer { release(source) }
        let reclaimer = Reclaimer(source: source)
        func add(_ number: Int) throws {
            let blob = try #require(Blob.make(byteCount: 8, capacity: 8, from: source))
            blob.hash = UInt64(number)
            reclaimer.add(.blob(blob, discardedUpTo: 0))
        }
        for number in 0..<100_000 { try add(number) }
        for number in 0..<200_000 {
            // Each is looked at twice, as slices do, and others come meanwhile.
            for isLast in [false, true] {
                guard let item = reclaimer.takeOldest(), case .blob(let blob, _) = item else {
                    Issue.record("nothing waits")
                    return
                }
                #expect(blob.hash == UInt64(number))
                guard isLast else {
                    if number < 100_000 { try add(100_000 + number) }
                    reclaimer.putBack(item)
                    continue
                }
                let byteCount = item.byteCount
                blob.deallocate(to: source)
                reclaimer.done(byteCount: byteCount, isBlob: true)
            }
        }
        #expect(reclaimer.figures.byteCount == 0 && reclaimer.pendingCount == 0)
    }

    @Test("The work of slow paths was forgotten with a flushed table")
    func countersAfterFlush() throws {
        let store = makeStore()
        let all = names(3000, in: store)
        try set(store, all, byteCount: 1)
        remove(store, all.dropFirst(200))
        maintainToTheEnd(store)
        let before = (store.slowPathWork(stripeIndex: 0), store.memoryStatistics())
        #expect(before.0.cellCount > 0 && before.1.movedCellCount > 0)
        flush(store)
        let after = (store.slowPathWork(stripeIndex: 0), store.memoryStatistics())
        #expect(after.0.cellCount >= before.0.cellCount && after.0.byteCount >= before.0.byteCount)
        #expect(after.1.slowPathCellCount >= before.1.slowPathCellCount)
        #expect(after.1.movedCellCount >= before.1.movedCellCount)
        #expect(after.1.releasedSlabCount >= before.1.releasedSlabCount)
    }

    @Test("The first key of a database trapped when the system refused memory for its table")
    func refusedTable() throws {
        let store = makeStore(databaseCount: 2)
        let all = names(900, in: store)
        for limit in stride(from: 0, to: 600 << 10, by: 1100) {
            store.setMemoryByteCountMax(limit)
            for database in 0...1 {
                try? set(store, all, byteCount: 1, database: database)
                store.checkInvariants()
            }
        }
        store.setMemoryByteCountMax(.max)
        for database in 0...1 { try set(store, all, byteCount: 1, database: database) }
        store.checkInvariants()
        flush(store)
        flush(store, database: 1)
        maintainToTheEnd(store)
        #expect(store.memoryStatistics().arenaMappedByteCount == 0)
    }

    // MARK: Pages

    @Test("Spare pages of the only chunk were given back a slice a tick")
    func trimmingTheFirstChunk() throws {
        let source = UnsafeMutablePointer<MemorySource>.allocate(capacity: 1)
        source.initialize(to: MemorySource())
        defer {
            source.pointee.unmapPages()
            source.deinitialize(count: 1)
            source.deallocate()
        }
        let pages = (0..<1000).compactMap { _ in source.pointee.takePage() }
        // The first three chunks go as a whole, so that the fourth is the first; of that one page stays.
        for page in pages.prefix(16 + 64 + 256) { source.pointee.returnPage(page) }
        while source.pointee.trimPages(limit: 1000, keeping: 0) {}
        for page in pages.dropFirst(16 + 64 + 256).dropLast() { source.pointee.returnPage(page) }
        var sliceCount = 0
        while source.pointee.trimPages(limit: 64, keeping: 0) { sliceCount += 1 }
        #expect(source.pointee.sparePageCount == 0 && sliceCount > 5)
    }

    // MARK: Drawing and evicting

    @Test("A random key of a thin table was drawn without a bound on the tries")
    func thinTable() throws {
        let store = makeStore()
        let all = names(5000, in: store)
        try set(store, all, byteCount: 1)
        remove(store, all.dropFirst(3))
        var generator = testGenerator("thin table")
        let keyspace = store.keyspace(0, nowMilliseconds: now)
        var drawn: [[UInt8]: Int] = [:]
        for _ in 0..<600 {
            let isGiven = keyspace.withRandomEntry(using: &generator) { drawn[$0.key.bytes, default: 0] += 1 }
            #expect(isGiven)
        }
        #expect(drawn.count == 3 && drawn.values.allSatisfy { $0 > 130 }, "\(drawn.values)")
        for rest in [true, true, true, false] {
            #expect(store.evictOne(.allKeysLRU, sampleCount: 5, nowMilliseconds: now, using: &generator) == rest)
        }
    }

    @Test("To find the one key that may go, eviction walked the whole stripe under its lock")
    func loneCandidate() throws {
        var generator = testGenerator("lone candidate")
        for policy in EvictionPolicy.allCases where policy.isVolatile {
            let store = makeStore(databaseCount: 3)
            let all = names(4000, in: store)
            try set(store, all, byteCount: 1, database: 1)
            try withKey(store, all[1234]) { key in
                var stripes = StripeSet()
                stripes.insert(0)
                store.lock(stripes)
                defer { store.unlock(stripes) }
                let keyspace = store.keyspace(1, nowMilliseconds: now, held: stripes)
                let entry = try #require(keyspace.peek(key))
                try keyspace.setDeadline(entry, now + 5000)
            }
            let isEvicted = store.evictOne(policy, sampleCount: 5, nowMilliseconds: now, using: &generator)
            #expect(isEvicted)
            let keyspace = store.keyspace(1, nowMilliseconds: now)
            #expect(keyspace.count == 3999 && keyspace.deadlineCount == 0)
            #expect(!store.evictOne(policy, sampleCount: 5, nowMilliseconds: now, using: &generator))
            store.checkInvariants()
        }
    }
}
