// Goal: a snapshot has a large collection as it was at its instant, whatever is done to it while it is read. Method: one
// thread reads snapshots, another sends random commands that add, change, remove, move and delete what is in one of each
// type; what the snapshot gave is compared with what there was. The thread sanitizer looks at the same.

import KedisCommands
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@Suite("Snapshots of large collections")
struct LargeCollectionSnapshotTests {
    private static let elementCount = 2000

    /// A command that changes one of the collections.
    private static func request(_ random: inout RandomGenerator) -> [String] {
        // Some lie outside of their block or leaf.
        let isLong = random.next(below: 20) == 0
        let number = random.next(below: elementCount + elementCount / 4)
        let element = isLong ? "long \(number) " + String(repeating: "x", count: 700) : "element \(number)"
        let other = "element \(random.next(below: elementCount))"
        switch random.next(below: 34) {
        case 0, 1, 2: return ["HSET", "hash", element, isLong ? element : "\(random.next(below: 1 << 40))"]
        case 3: return ["HDEL", "hash", element]
        case 4: return ["HINCRBY", "hash", "number \(number % 50)", "7"]
        case 5: return ["HPEXPIRE", "hash", "1", "FIELDS", "1", element]
        case 6, 7, 8: return ["SADD", "set", element]
        case 9: return ["SREM", "set", element, other]
        case 10: return ["SPOP", "set", "\(random.next(below: 20))"]
        case 11, 12, 13: return ["ZADD", "zset", "\(random.next(below: 3000))", element]
        case 14: return ["ZINCRBY", "zset", "\(random.next(below: 9)).25", element]
        case 15: return ["ZREM", "zset", element, other]
        case 16:
            let rank = random.next(below: elementCount)
            return ["ZREMRANGEBYRANK", "zset", "\(rank)", "\(rank + random.next(below: 100))"]
        case 17, 18: return [random.next(below: 2) == 0 ? "LPUSH" : "RPUSH", "list", element, other]
        case 19: return [random.next(below: 2) == 0 ? "LPOP" : "RPOP", "list", "\(random.next(below: 200))"]
        case 20: return ["LSET", "list", "\(number)", element]
        case 21: return ["LREM", "list", "\(random.next(below: 5) - 2)", element]
        case 22: return ["LINSERT", "list", "BEFORE", other, element]
        case 23: return ["LTRIM", "list", "\(random.next(below: 9))", "-\(1 + random.next(below: 9))"]
        case 24, 25: return ["XADD", "stream", "*", "field", element]
        case 26: return ["XDEL", "stream", "\(1 + number)-1", "\(2 + number)-1"]
        case 27: return ["XTRIM", "stream", "MAXLEN", "\(elementCount - random.next(below: 1000))"]
        case 28: return ["XREADGROUP", "GROUP", "group", "me", "COUNT", "3", "STREAMS", "stream", ">"]
        case 29: return ["COPY", names.randomElement(&random), "copy", "REPLACE"]
        case 30: return [random.next(below: 2) == 0 ? "LPOP" : "RPOP", "list"]
        case 31: return ["ZADD", "zset", "XX", "\(number).125", "element \(number)"]
        case 32: return ["RENAME", names.randomElement(&random), "moved"]
        default: return ["DEL", random.next(below: 10) == 0 ? names.randomElement(&random) : "copy"]
        }
    }

    private static let names = ["hash", "set", "zset", "list", "stream"]

    private static func send(_ requests: [[String]], _ session: TestSession) {
        _ = session.send(requests.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) })
    }

    /// Makes the collections that are not there.
    private static func fill(_ session: TestSession, hasLong: Bool = true) {
        send([["DEL"] + names + ["copy", "moved"]], session)
        for first in stride(from: 0, to: elementCount, by: 100) {
            let elements = (first..<first + 100).map {
                hasLong && $0 % 20 == 0 ? "long \($0) " + String(repeating: "x", count: 700) : "element \($0)"
            }
            let commands = [
                ["HSET", "hash"] + elements.flatMap { [$0, $0] }, ["SADD", "set"] + elements,
                ["ZADD", "zset"] + elements.enumerated().flatMap { ["\(first + $0)", $1] },
                ["RPUSH", "list"] + elements,
            ]
            send(commands, session)
            send(elements.enumerated().map { ["XADD", "stream", "\(first + $0 + 1)-1", "field", $1] }, session)
        }
        send([["XGROUP", "CREATE", "stream", "group", "0"]], session)
    }

    private static func nodes(of entry: Entry) -> [[UInt8]] {
        var nodes: [[UInt8]] = []
        entry.stream.forEachNode { _, run in
            nodes.append(run.bytes)
            return true
        }
        return nodes
    }

    /// Of all streams in a store, by their keys.
    private static func nodes(of store: Store) -> [[UInt8]: [[UInt8]]] {
        store.lock(.all)
        defer { store.unlock(.all) }
        var found: [[UInt8]: [[UInt8]]] = [:]
        store.keyspace(0, nowMilliseconds: 0, held: .all).forEachEntry {
            if $0.type == .stream { found[$0.key.bytes] = nodes(of: $0) }
        }
        return found
    }

    @Test("What is done to a large collection while a snapshot reads it does not show; seconds from KEDIS_FUZZ_SECONDS")
    func beside() throws {
        var random = RandomGenerator.forTest("snapshots of large collections")
        let start = monotonicNanoseconds()
        var count = 0
        repeat {
            let test = TestEngine()
            let setup = TestSession(test.engine)
            Self.fill(setup)
            for name in Self.names {
                let reply = try setup.call("MEMORY", "USAGE", name)
                guard case .integer(let byteCount) = reply else { continue }
                #expect(byteCount > 3 * StoreSnapshot.copiedByteCountMax / 2, "\(name) is not copied")
            }
            // The second finds what the first has left, and tables of addresses that it is done with.
            for _ in 0..<2 {
                try takeSnapshot(of: test.engine, number: count, seed: random.next())
                count += 1
            }
        } while fuzzGoesOn(since: start)
        print("large collections: \(count) snapshots")
    }

    @Test("Elements that change between those that are read do not show; seconds from KEDIS_FUZZ_SECONDS")
    func between() throws {
        var random = RandomGenerator.forTest("elements between those of a snapshot")
        let start = monotonicNanoseconds()
        var count = 0
        repeat {
            try readOneByOne(&random)
            count += 1
        } while count < 12 || fuzzGoesOn(since: start)
        print("elements one by one: \(count) snapshots")
    }

    /// A hash, a set and a sorted set, some of whose blocks have a few changes before they are read, and others many or none.
    private func readOneByOne(_ random: inout RandomGenerator) throws {
        let test = TestEngine()
        let session = TestSession(test.engine)
        // Without long ones there is nothing outside of blocks.
        let hasLong = random.next(below: 2) == 0
        Self.fill(session, hasLong: hasLong)
        let store = test.engine.store
        var wanted: [String: [[UInt8]: [UInt8]]] = [:]
        store.lock(.all)
        store.keyspace(0, nowMilliseconds: 0, held: .all).forEachEntry { entry in
            Self.forEachElement(of: entry) { wanted[Self.name(entry), default: [:]][$0] = $1 }
        }
        store.unlock(.all)
        // Without long ones the set is small enough to be copied, which is not what is tried here.
        let snapshot = try #require(store.beginSnapshotForTest(copiedByteCountMax: 0))
        var changes = RandomGenerator(seed: random.next())
        func change() {
            Self.send([Self.memberRequest(&changes, staysInBlocks: !hasLong)], session)
        }
        for _ in 0..<(1 << random.next(below: 13)) { change() }
        let interval = 1 + random.next(below: 40)
        var given: [String: [[UInt8]: [UInt8]]] = [:]
        while snapshot.next({ _, entry in
            var elements: [[UInt8]: [UInt8]] = [:]
            Self.forEachElement(of: entry) { element, value in
                if elements.updateValue(value, forKey: element) != nil { Issue.record("\(element) comes twice") }
                if changes.next(below: interval) == 0 { change() }
            }
            #expect(given.updateValue(elements, forKey: Self.name(entry)) == nil)
        }) {}
        #expect(!snapshot.isIncomplete)
        store.checkInvariants()
        for name in Self.memberNames {
            let (wanted, given) = (wanted[name] ?? [:], given[name] ?? [:])
            let wrong = Set(wanted.keys).union(given.keys).filter { wanted[$0] != given[$0] }
            #expect(wanted.count >= Self.elementCount && wrong.isEmpty, "\(name): \(wrong.count) elements")
        }
    }

    private static func name(_ entry: Entry) -> String { String(decoding: entry.key.bytes, as: UTF8.self) }

    private static let memberNames = ["hash", "set", "zset"]

    /// Of one of these.
    private static func forEachElement(of entry: Entry, _ body: ([UInt8], [UInt8]) -> Void) {
        switch entry.type {
        case .hash:
            entry.fields(nowMilliseconds: 0).forEach { field, value in
                body(field.withBytes { $0.bytes }, value.withBytes { $0.bytes })
                return true
            }
        case .set:
            entry.set(nowMilliseconds: 0).forEach { member in
                body(member.withBytes { $0.bytes }, [])
                return true
            }
        case .sortedSet:
            entry.sortedSet.forEachReversed(in: 0..<entry.sortedSet.count) { member, score in
                body(member.withBytes { $0.bytes }, Array("\(score)".utf8))
                return true
            }
        default: break
        }
    }

    /// A command that changes one of these; one that leaves all elements in their blocks, and without deadlines,
    /// if that is wanted.
    private static func memberRequest(_ random: inout RandomGenerator, staysInBlocks: Bool) -> [String] {
        while true {
            let request = request(&random)
            guard memberNames.contains(request[1]), !["RENAME", "DEL"].contains(request[0]) else { continue }
            let stays = request[0] != "HPEXPIRE" && !request.contains { $0.hasPrefix("long") }
            if stays || !staysInBlocks { return request }
        }
    }

    /// One that is read while it is changed, and compared. Of five, one is given up half-way: the first of a pair, or the
    /// second.
    private func takeSnapshot(of engine: Engine, number: Int, seed: UInt64) throws {
        let store = engine.store
        let wanted = KeyspaceSnapshot(of: store, nowMilliseconds: 0)
        let got = Locked(KeyspaceSnapshot())
        // Streams are read once: as entries, or as the bytes that files have.
        let takesNodes = number / 2 % 2 == 1
        let isGivenUp = [2, 7].contains(number % 10)
        let wantedNodes = Self.nodes(of: store)
        let gotNodes = Locked<[[UInt8]: [[UInt8]]]>([:])
        let snapshot = try #require(store.beginSnapshotForTest())
        let isDone = Atomic<Bool>(false)
        onThreads(2) { thread in
            if thread == 0 {
                while snapshot.next({ database, entry in
                    if takesNodes, entry.type == .stream {
                        return gotNodes.withLock { $0[entry.key.bytes] = Self.nodes(of: entry) }
                    }
                    got.withLock { _ = $0.add(database, entry, nowMilliseconds: 0) }
                    if isGivenUp { snapshot.abandon() }
                }) {}
                return isDone.store(true, ordering: .releasing)
            }
            var random = RandomGenerator(seed: seed)
            let session = TestSession(engine)
            for index in 0..<100_000 where !isDone.load(ordering: .acquiring) {
                // Some at once: what they will look for in several collections is loaded ahead.
                Self.send((0..<1 + random.next(below: 8)).map { _ in Self.request(&random) }, session)
                if index % 50 == 0 { _ = store.maintain(nowMilliseconds: 0) }
            }
        }
        store.checkInvariants()
        guard !isGivenUp else { return }
        #expect(!snapshot.isIncomplete)
        if takesNodes { #expect(gotNodes.withLock { $0 } == wantedNodes) }
        let rest = takesNodes ? wanted.dropping(type: "stream") : wanted
        let given = got.withLock { takesNodes ? $0.dropping(type: "stream") : $0 }
        for difference in given.differences(from: rest) {
            Issue.record("\(difference.prefix(400))")
        }
    }
}

extension [String] {
    fileprivate func randomElement(_ random: inout RandomGenerator) -> String { self[random.next(below: count)] }
}
