// Goal: when the system refuses memory, a change fails with an error and leaves everything as it was; what is there
// stays readable; deleting makes room. Random tests print their seed.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("A system without memory")
struct MemoryRefusalTests {
    private func value(_ index: Int, _ byteCount: Int) -> [UInt8] {
        [UInt8](repeating: UInt8(truncatingIfNeeded: 97 + index % 26), count: byteCount)
    }

    @Test(
        "A full store keeps what it has, and has room again after deletions",
        arguments: [1, 40, 700, 20_000, 2_000_000], [1 << 20, 64 << 20])
    func full(byteCount: Int, limit: Int) throws {
        let store = Store(databaseCount: 1, seed: HashSeed(systemEntropy(), systemEntropy()))
        store.setMemoryByteCountMax(limit)
        store.lock(.all)
        var stored: [Int] = []
        var refused = 0
        for index in 0..<reducedWhenSanitized(400_000) where refused < 50 {
            do throws(StoreError) {
                try put(store, Array("key:\(index)".utf8), value(index, byteCount))
                stored.append(index)
            } catch {
                refused += 1
            }
        }
        for index in stored {
            let isThere = get(store, Array("key:\(index)".utf8)) == value(index, byteCount)
            #expect(isThere)
            if !isThere { break }
        }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        #expect(keyspace.count == stored.count)
        store.unlock(.all)
        store.checkInvariants()
        guard refused > 0, stored.count > 100 else { return }
        store.lock(.all)
        for index in stored.dropFirst(stored.count / 2) {
            let isRemoved = withKey(store, Array("key:\(index)".utf8)) { keyspace.remove($0) }
            #expect(isRemoved)
        }
        store.unlock(.all)
        var sliceCount = 0
        while store.maintain(nowMilliseconds: 1000), sliceCount < 100_000 { sliceCount += 1 }
        store.lock(.all)
        for index in stored.dropFirst(stored.count * 3 / 4) {
            try put(store, Array("key:\(index)".utf8), value(index, byteCount))
        }
        store.unlock(.all)
        store.checkInvariants()
        print("\(byteCount) bytes within \(limit): \(stored.count) fit")
    }

    @Test("A refused change changes nothing, whatever it was")
    func unchanged() throws {
        var generator = testGenerator("refused changes")
        let store = Store(databaseCount: 2, seed: HashSeed(generator.next(), generator.next()))
        let sizes = [0, 1, 44, 45, 100, 511, 513, 5000, 16_383, 16_384, 40_000]
        store.lock(.all)
        defer { store.unlock(.all) }
        for index in 0..<3000 { try put(store, Array("\(index)".utf8), value(index, sizes[index % sizes.count])) }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        let used = store.usedByteCount
        store.setMemoryByteCountMax(0)
        var refused = 0
        for round in 0..<20_000 {
            let index = generator.next(below: 3000)
            let before = value(index, sizes[index % sizes.count])
            let name = Array("\(index)".utf8)
            let size = sizes[generator.next(below: sizes.count)]
            do throws(StoreError) {
                try change(round, name, size, keyspace, &generator)
                // It worked without more memory: set it back, for which there was room before.
                try put(store, name, before)
            } catch {
                refused += 1
            }
            let after = get(store, name)
            if after != before {
                // Only setting it back may have been refused: then the change is there in full.
                store.setMemoryByteCountMax(.max)
                try put(store, name, before)
                for other in 0..<2 {
                    for suffix in ["copy", "moved"] {
                        _ = withKey(store, Array(suffix.utf8)) { keyspace.selecting(other).remove($0) }
                    }
                }
                _ = withKey(store, name) { keyspace.selecting(1).remove($0) }
                store.setMemoryByteCountMax(0)
            }
        }
        print("\(refused) of 20000 changes were refused")
        store.setMemoryByteCountMax(.max)
        for index in 0..<3000 {
            let isEqual = get(store, Array("\(index)".utf8)) == value(index, sizes[index % sizes.count])
            #expect(isEqual)
        }
        #expect(store.usedByteCount < used + used / 2)
        #expect(refused > 0)
    }

    private func change(
        _ round: Int, _ name: [UInt8], _ size: Int, _ keyspace: Keyspace, _ generator: inout RandomGenerator
    ) throws(StoreError) {
        switch round % 4 {
        case 0:
            try withStoreKey(keyspace, name) { (key) throws(StoreError) in
                try withView(value(7, size)) { (view) throws(StoreError) in try keyspace.setString(key, view) }
            }
        case 1:
            try withStoreKey(keyspace, name) { (key) throws(StoreError) in
                _ = try keyspace.resizeString(key, to: size)
            }
        case 2:
            try withStoreKey(keyspace, name) { (key) throws(StoreError) in
                guard let entry = keyspace.write(key) else { return }
                try keyspace.setDeadline(entry, 1 << 50)
            }
        default:
            try withStoreKey(keyspace, name) { (key) throws(StoreError) in
                try withStoreKey(keyspace, Array("copy".utf8)) { (copy) throws(StoreError) in
                    _ = try keyspace.copy(key, to: copy, in: keyspace.selecting(generator.next(below: 2)))
                }
            }
        }
    }

    private func withStoreKey(
        _ keyspace: Keyspace, _ name: [UInt8], _ body: (Key) throws(StoreError) -> Void
    ) throws(StoreError) {
        try withView(name) { (view) throws(StoreError) in try body(keyspace.key(view)) }
    }

    @Test("Deadlines that found no memory in the wheels are entered when there is some again, and their keys go on time")
    func deadlines() throws {
        let start: Int64 = 1_700_000_000_000
        // Enough for each wheel to need pages.
        let count = 64_000
        let store = Store(databaseCount: 1, seed: HashSeed(systemEntropy(), systemEntropy()))
        store.lock(.all)
        for index in 0..<count {
            try put(store, Array("\(index)".utf8), [1], deadline: .set(start + 1_000_000_000), now: start)
        }
        store.unlock(.all)
        while store.maintain(nowMilliseconds: start) {}
        store.purge()
        store.setMemoryByteCountMax(0)
        store.lock(.all)
        // An earlier deadline needs a place of its own in the wheel.
        for index in 0..<count {
            try put(store, Array("\(index)".utf8), [1], deadline: .set(start + Int64(index % 60_000)), now: start - 1)
        }
        store.unlock(.all)
        store.checkInvariants()
        #expect(store.expireDue(nowMilliseconds: start - 1, limit: 1000) <= count)
        #expect(store.keyspace(0, nowMilliseconds: start).count == count)
        store.setMemoryByteCountMax(.max)
        var sliceCount = 0
        while store.maintain(nowMilliseconds: start - 1), sliceCount < 100_000 { sliceCount += 1 }
        #expect(sliceCount > 100 && sliceCount < 100_000)
        store.checkInvariants()
        while store.expireDue(nowMilliseconds: start + 60_050, limit: 1000) > 0 {}
        #expect(store.keyspace(0, nowMilliseconds: start + 60_050).count == 0, "keys were left to expire when met")
        store.checkInvariants()
    }

    @Test("A store is opened and closed without memory")
    func opened() {
        for limit in [0, 1, 4096, 65_536] {
            let store = Store(databaseCount: 16, seed: HashSeed(1, 2))
            store.setMemoryByteCountMax(limit)
            store.lock(.all)
            for index in 0..<200 { try? put(store, Array("\(index)".utf8), [1], deadline: .set(5000)) }
            store.unlock(.all)
            store.checkInvariants()
            while store.maintain(nowMilliseconds: 6000) {}
            while store.expireDue(nowMilliseconds: 6000, limit: 10) > 0 {}
            store.checkInvariants()
        }
    }
}
