// Goal: the extremes work: empty and huge keys and values, many stores in one process, memory that comes back.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Limits of a store")
struct StoreLimitTests {
    private func maintain(_ store: Store) {
        for _ in 0..<100_000 {
            if !store.maintain(nowMilliseconds: 1000) { return }
        }
        Issue.record("maintenance does not end")
    }

    @Test("A value of 512 MB is stored, read, resized, copied, replaced by one byte, and its memory comes back")
    func hugeValue() throws {
        let byteCount = isSanitized ? 64 << 20 : 512 << 20
        let store = Store(databaseCount: 1, seed: HashSeed(systemEntropy(), systemEntropy()))
        let empty = store.usedByteCount
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        store.lock(.all)
        let value = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 64)
        defer { value.deallocate() }
        value.initializeMemory(as: UInt8.self, repeating: 0x78)
        value[byteCount - 1] = 0x79
        try withKey(store, Array("huge".utf8)) { try keyspace.setString($0, ByteView(UnsafeRawBufferPointer(value))) }
        #expect(store.usedByteCount > byteCount)
        try withKey(store, Array("huge".utf8)) { huge in
            guard case .bytes(let bytes)? = keyspace.read(huge)?.string else {
                Issue.record("no value")
                return
            }
            #expect(bytes.count == byteCount && bytes.base[0] == 0x78 && bytes.base[byteCount - 1] == 0x79)
            let isRenamed = try withKey(store, Array("other".utf8)) { try keyspace.rename(huge, to: $0) }
            #expect(isRenamed)
        }
        try withKey(store, Array("other".utf8)) { key in
            let room = try keyspace.resizeString(key, to: byteCount - 1)
            #expect(room.count == byteCount - 1 && room[byteCount - 2] == 0x78)
            try [UInt8(0x61)].withUnsafeBytes { try keyspace.setString(key, ByteView($0)) }
        }
        #expect(get(store, Array("other".utf8)) == [0x61])
        #expect(store.usedByteCount < empty + (1 << 20), "removed bytes are not used bytes")
        store.unlock(.all)
        store.checkInvariants()
        maintain(store)
        let statistics = store.memoryStatistics()
        #expect(statistics.pendingByteCount == 0 && statistics.blobByteCount == 0)
        #expect(statistics.usedByteCount == store.usedByteCount)
        store.checkInvariants()
    }

    @Test(
        "Keys and values of every size around a limit",
        arguments: [
            0, 1, 7, 8, 9, 44, 45, 127, 128, 511, 512, 513, 4095, 4096, 16_383, 16_384, 16_385, 65_536, 1 << 20,
        ])
    func sizes(keyByteCount: Int) throws {
        let store = Store(databaseCount: 1, seed: HashSeed(systemEntropy(), systemEntropy()))
        let key = [UInt8](repeating: 0x6B, count: keyByteCount)
        let other = key + [0x6C]
        for byteCount in [0, 1, 8, 44, 45, 511, 512, 513, 16_383, 16_384, 16_385, 70_000] {
            let value = [UInt8](repeating: 0x76, count: byteCount)
            for deadline in [DeadlineUpdate.clear, .set(5000), .keep, .set(.max)] {
                store.lock(.all)
                try put(store, key, value, deadline: deadline)
                try put(store, other, value + [1])
                #expect(get(store, key) == value && get(store, other) == value + [1])
                store.unlock(.all)
                store.checkInvariants()
            }
        }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        store.lock(.all)
        let isRemoved = withKey(store, key) { keyspace.remove($0) } && withKey(store, other) { keyspace.remove($0) }
        #expect(isRemoved && keyspace.count == 0)
        store.unlock(.all)
        maintain(store)
        store.checkInvariants()
    }

    @Test("100 stores are open in one process with a few keys each, and stay small")
    func manyStores() throws {
        let stores = (0..<100).map { _ in Store(databaseCount: 16, seed: HashSeed(systemEntropy(), systemEntropy())) }
        let empty = stores[0].usedByteCount
        for (index, store) in stores.enumerated() {
            store.lock(.all)
            for key in 0..<5 { try put(store, Array("k\(key)".utf8), Array("\(index):\(key)".utf8)) }
            store.unlock(.all)
        }
        for (index, store) in stores.enumerated() {
            store.lock(.all)
            for key in 0..<5 { #expect(get(store, Array("k\(key)".utf8)) == Array("\(index):\(key)".utf8)) }
            store.unlock(.all)
            store.checkInvariants()
        }
        let each = stores.map(\.usedByteCount).max() ?? 0
        let mapped = stores.reduce(0) { $0 + $1.memoryStatistics().arenaMappedByteCount } / stores.count
        print("a store: \(empty) bytes empty, \(each) with five keys; its arenas have mapped \(mapped)")
        #expect(empty < 64 << 10 && each < 128 << 10)
        #expect(mapped < 2 << 20)
    }

    @Test("Deleting everything, key by key or at once, leaves almost no used bytes", arguments: [true, false])
    func emptied(atOnce: Bool) throws {
        let store = Store(databaseCount: 2, seed: HashSeed(systemEntropy(), systemEntropy()))
        let empty = store.usedByteCount
        let count = reducedWhenSanitized(100_000)
        let names = (0..<count).map { Array("key:\($0)".utf8) }
        store.lock(.all)
        for (index, name) in names.enumerated() {
            let value = [UInt8](repeating: 0x76, count: index % 100)
            try put(store, name, value, deadline: index % 2 == 0 ? .clear : .set(1_000_000))
        }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        if atOnce {
            #expect(keyspace.removeAll() == count)
        } else {
            for name in names { _ = withKey(store, name) { keyspace.remove($0) } }
        }
        store.unlock(.all)
        #expect(keyspace.selecting(1).databaseIndex == 1)
        maintain(store)
        store.checkInvariants()
        #expect(store.keyspace(0, nowMilliseconds: 1000).count == 0)
        let statistics = store.memoryStatistics()
        print("emptied \(atOnce ? "at once" : "key by key"): \(statistics)")
        #expect(statistics.cellByteCount == 0 && statistics.pendingByteCount == 0)
        // A slab for each class in use and a spare one may stay in each stripe.
        #expect(statistics.arenaResidentByteCount < 16 << 20)
        // Stale entries of the wheels may stay until their time has come.
        #expect(store.usedByteCount < empty + (1 << 20))
    }
}
