// Goal: streams are read in all the forms that Redis since 5.0 wrote, come back as they were written, and damage in
// them is an error, never a trap or a read outside.

import KedisFormats
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("RDB: streams")
struct RDBStreamTests {
    private let store = Store(databaseCount: 1, seed: HashSeed(1, 2))

    private var keyspace: Keyspace { store.keyspace(0, nowMilliseconds: 1000, held: .all) }

    private func withKey<Result>(_ name: StaticString, _ body: (Key) throws -> Result) rethrows -> Result {
        try body(store.key(ByteView(name)))
    }

    /// A stream of several nodes with deleted entries, groups, consumers and pending entries.
    private func makeStream(_ key: Key) throws {
        let editor = try keyspace.makeStream(key)
        defer { editor.finish() }
        let stream = editor.stream
        let names: [ByteView] = ["field", "1", "other", "-70000", "third", "text"]
        for index in 1...40 {
            try stream.append(
                StreamID(UInt64(index / 3 + 1), UInt64(index)), fieldCount: 1 + index % 7 / 5,
                limit: StreamNodeLimit(byteCountMax: 4096, entryCountMax: 9)
            ) { names[($0 + index % 5 / 4 * 2) % names.count] }
        }
        for id in [StreamID(1, 1), StreamID(4, 10), StreamID(14, 40)] { _ = try stream.delete(id) }
        for groupName in ["first", "second"] as [ByteView] {
            let group = try stream.makeGroup(
                groupName, lastID: StreamID(5, 13), readCount: groupName == "first" ? 12 : -1)
            for (index, consumerName) in (["alice", "bob", "12"] as [ByteView]).enumerated() {
                let consumer = try group.makeConsumer(consumerName, seenMilliseconds: 700 + Int64(index))
                for sequence in 0..<10 {
                    try group.deliver(
                        StreamID(3, UInt64(index + 3 * sequence)), to: consumer,
                        deliveredMilliseconds: Int64(900 + sequence), deliveryCount: UInt64(sequence))
                }
            }
        }
    }

    private func payload(_ key: Key) throws -> [UInt8] {
        let entry = try #require(keyspace.peek(key))
        guard let payload = DumpPayload(of: entry, compressesStrings: false) else { throw StoreError.outOfMemory }
        return payload.bytes.bytes
    }

    /// Loads what a payload says under `key`.
    private func load(_ bytes: [UInt8], _ key: Key) throws {
        try bytes.withUnsafeBytes { raw in
            var reader = RDBReader(payload: ByteView(raw))
            let value = try reader.readPayloadValue()
            try reader.load(value, as: key, in: keyspace, limits: LoadLimits())
        }
    }

    @Test("A stream is read as it was written")
    func roundTrip() throws {
        store.lock(.all)
        try withKey("a") { a in
            try makeStream(a)
            try withKey("b") { b in
                try load(try payload(a), b)
                let (one, two) = (try #require(keyspace.peek(a)), try #require(keyspace.peek(b)))
                #expect(StreamSnapshot.reply(one.stream) == StreamSnapshot.reply(two.stream))
                #expect(try payload(a) == payload(b))
            }
        }
        store.unlock(.all)
        store.checkInvariants()
    }

    @Test("The forms of Redis 5 and 7.2 are read", arguments: [15, 21] as [UInt8])
    func otherForms(type: UInt8) throws {
        // Two entries, 5-1 and 5-2 with the field a; a group with one consumer that has 5-1.
        let run: [UInt8] = [
            2, 1, 0, 1, 1, 1, 0x81, 0x61, 2, 0, 1,
            2, 1, 0, 1, 0, 1, 7, 1, 4, 1,
            2, 1, 0, 1, 1, 1, 8, 1, 4, 1,
        ]
        let listpack = [UInt8(run.count + 7), 0, 0, 0, 15, 0] + run + [0xFF]
        let id: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1]
        let time: [UInt8] = [9, 0, 0, 0, 0, 0, 0, 0]
        var bytes: [UInt8] = [type, 1, 16] + id + [UInt8(listpack.count)] + listpack + [2, 5, 2]
        if type == 21 { bytes += [5, 1, 0, 0, 2] }
        bytes += [1, 1, 0x67, 5, 1]
        if type == 21 { bytes += [1] }
        bytes += [1] + id + time + [3, 1, 1, 0x63] + time
        if type == 21 { bytes += [8, 0, 0, 0, 0, 0, 0, 0] }
        bytes += [1] + id
        store.lock(.all)
        try withKey("k") { key in
            try load(bytes, key)
            let stream = try #require(keyspace.peek(key)).stream
            #expect(stream.count == 2 && stream.firstID == StreamID(5, 1) && stream.lastID == StreamID(5, 2))
            #expect(stream.addedCount == 2)
            let group = try #require(stream.group(named: "g"))
            #expect(group.readCount == 1 && group.lastID == StreamID(5, 1))
            let pending = try #require(group.pending(StreamID(5, 1)))
            #expect(pending.deliveryCount == 3 && pending.deliveredMilliseconds == 9)
            let consumer = try #require(pending.consumer)
            #expect(consumer.name == "c" && consumer.seenMilliseconds == 9)
            #expect(consumer.activeMilliseconds == (type == 21 ? 8 : 9))
            // Each byte on its own: errors, no traps.
            for cut in 1..<bytes.count {
                #expect(throws: RDBError.self) { try withKey("cut") { try load(Array(bytes[..<cut]), $0) } }
                _ = withKey("cut") { keyspace.remove($0) }
            }
        }
        store.unlock(.all)
        store.checkInvariants()
    }

    @Test("A dump that redis-server 7.0.15 wrote with a stream is read to its end")
    func dump() throws {
        let dump = try readDump(RDBFixtures.stream)
        #expect(dump.entries.count == 1 && dump.byteCount == RDBFixtures.stream.count)
    }

    @Test("Damage is an error or another sane stream")
    func damage() throws {
        var generator = RandomGenerator.forTest("damaged streams")
        store.lock(.all)
        let whole = try withKey("a") { key in
            try makeStream(key)
            return try payload(key)
        }
        var loadedCount = 0
        for round in 0..<reducedWhenSanitized(20_000) {
            var bytes = whole
            for _ in 0..<1 + generator.next(below: 3) {
                bytes[1 + generator.next(below: bytes.count - 11)] = UInt8(truncatingIfNeeded: generator.next())
            }
            withKey("b") { key in
                let isLoaded = (try? load(bytes, key)) != nil
                if isLoaded { loadedCount += 1 }
                // What was refused may be there in part: its owner removes it.
                if !isLoaded { _ = keyspace.remove(key) }
                if isLoaded, round % 8 == 0 {
                    store.unlock(.all)
                    store.checkInvariants()
                    store.lock(.all)
                }
                _ = keyspace.remove(key)
            }
        }
        print("damaged streams: \(loadedCount) were sane")
        store.unlock(.all)
        store.checkInvariants()
        store.lock(.all)
        _ = keyspace.removeAll()
        store.unlock(.all)
        while store.maintain(nowMilliseconds: 1000) {}
        #expect(store.memoryStatistics().blobByteCount == 0)
    }
}
