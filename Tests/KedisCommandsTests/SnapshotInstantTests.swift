// Goal: a snapshot is the state of one instant, whatever is done while it is taken. Method: between the commands of all
// text files, and between random ones, steps of snapshots are taken; each gives every key of its first moment once, as
// it was then. What is wrong in a store afterwards its invariants tell.

import KedisCommands
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

/// Takes snapshots of a store, a step at a time, and compares them with what it was.
private final class SnapshotTaker {
    private let store: Store
    private var random: RandomGenerator
    private var snapshot: StoreSnapshot?
    private var nowMilliseconds: Int64 = 0
    private var wanted = KeyspaceSnapshot()
    private var got = KeyspaceSnapshot()
    private var twice = 0
    private var isAbandoned = false
    private(set) var count = 0

    init(_ store: Store, _ random: RandomGenerator) {
        self.store = store
        self.random = random
    }

    /// Begins one, or takes some steps, or gives it up.
    func step(nowMilliseconds: Int64, _ name: @autoclosure () -> String) {
        guard let snapshot else {
            if random.next(below: 3) > 0 { begin(nowMilliseconds) }
            return
        }
        if random.next(below: 200) == 0 {
            snapshot.abandon()
            isAbandoned = true
        }
        for _ in 0..<random.next(below: 12) where !take() { return compare(name()) }
    }

    /// Ends the one that was begun.
    func end(_ name: String) {
        guard snapshot != nil else { return }
        while take() {}
        compare(name)
    }

    private func begin(_ nowMilliseconds: Int64) {
        self.nowMilliseconds = nowMilliseconds
        wanted = KeyspaceSnapshot(of: store, nowMilliseconds: nowMilliseconds)
        (got, twice, isAbandoned) = (KeyspaceSnapshot(), 0, false)
        store.lock(.all)
        // Mostly collections of any size are read piece by piece.
        let copiedByteCountMax = random.next(below: 4) > 0 ? 0 : StoreSnapshot.copiedByteCountMax
        snapshot = store.beginSnapshot(
            nowMilliseconds: nowMilliseconds, copiedByteCountMax: copiedByteCountMax)
        #expect(store.beginSnapshot(nowMilliseconds: nowMilliseconds) == nil, "one at a time")
        store.unlock(.all)
        #expect(snapshot != nil)
    }

    private func take() -> Bool {
        snapshot?.next { database, entry in
            if !got.add(database, entry, nowMilliseconds: nowMilliseconds) { twice += 1 }
        } ?? false
    }

    private func compare(_ name: String) {
        snapshot = nil
        store.checkInvariants()
        guard !isAbandoned else { return }
        count += 1
        #expect(twice == 0, "\(name): keys came twice")
        for difference in got.differences(from: wanted) { Issue.record("\(name): \(difference)") }
    }
}

@Suite("Snapshots of an instant")
struct SnapshotInstantTests {
    @Test("The commands of every file do not show in a snapshot that was begun before them",
        arguments: RespCase.registered)
    func everyCommand(respCase: RespCase) throws {
        let random = RandomGenerator.forTest("snapshots, \(respCase)")
        var taker: SnapshotTaker?
        defer { taker?.end("\(respCase)") }
        let target = TestEngine.target(
            protocolVersion: 2,
            didProcess: { taker?.step(nowMilliseconds: $0.clock.nowMicroseconds / 1000, "\(respCase)") },
            didMake: {
                taker?.end("\(respCase)")
                taker = SnapshotTaker($0.engine.store, random)
            })
        try check(respCase, on: target)
    }

    @Test("What threads move between keys while a snapshot is taken is in it once")
    func threads() throws {
        let engine = Engine.forTest()
        let setup = TestSession(engine)
        let (accountCount, elementCount) = (3000, 5000)
        for index in 0..<accountCount { _ = try setup.call("SET", "account:\(index)", "1000") }
        for index in 0..<elementCount { _ = try setup.call("RPUSH", "list:\(index % 50)", "element \(index)") }
        var seeds = RandomGenerator.forTest("snapshots beside threads")
        let seed = seeds.next()
        let isDone = Atomic<Bool>(false)
        let wrong = Atomic<Int>(0)
        onThreads(4) { thread in
            var random = RandomGenerator(seed: seed &+ UInt64(thread))
            guard thread > 0 else {
                for _ in 0..<40 where !Self.isWhole(engine.store, accountCount, elementCount) {
                    wrong.add(1, ordering: .relaxed)
                }
                return isDone.store(true, ordering: .releasing)
            }
            let session = TestSession(engine)
            while !isDone.load(ordering: .acquiring) {
                let amount = random.next(below: 100)
                let keys = (0..<2).map { _ in "account:\(random.next(below: accountCount))" }
                let lists = (0..<2).map { _ in "list:\(random.next(below: 50))" }
                let requests = [
                    ["MULTI"], ["DECRBY", keys[0], "\(amount)"], ["INCRBY", keys[1], "\(amount)"], ["EXEC"],
                    ["LMOVE", lists[0], lists[1], "LEFT", "RIGHT"], ["MULTI"],
                    ["RENAME", lists[1], lists[1] + ":moved"], ["RENAME", lists[1] + ":moved", lists[1]], ["EXEC"],
                ]
                _ = session.send(requests.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) })
            }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
        engine.store.checkInvariants()
    }

    /// Takes a snapshot and counts what is in it.
    private static func isWhole(_ store: Store, _ accountCount: Int, _ elementCount: Int) -> Bool {
        guard let snapshot = store.beginSnapshotForTest() else { return false }
        var (accounts, sum, elements) = (0, Int64(0), 0)
        while snapshot.next({ _, entry in
            if case .integer(let amount) = entry.string, entry.type == .string {
                accounts += 1
                sum += amount
            } else if entry.type == .list {
                elements += entry.list.count
            }
        }) {}
        return accounts == accountCount && sum == Int64(accountCount) * 1000 && elements == elementCount
    }

    @Test("A snapshot that is not taken in time is given up; writers wait a second at most")
    func overrun() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        let value = String(repeating: "v", count: 1 << 20)
        for index in 0..<40 { _ = try session.call("SET", "key:\(index)", value) }
        let snapshot = try #require(engine.store.beginSnapshotForTest(waitingByteCountMax: 16 << 20))
        for index in 0..<40 { #expect(try session.call("SET", "key:\(index)", "new") == .simple(Array("OK".utf8))) }
        #expect(snapshot.isOverrun && !snapshot.isIncomplete)
        var count = 0
        while snapshot.next({ _, _ in count += 1 }) {}
        #expect(count < 40)
        engine.store.checkInvariants()
        #expect(!engine.store.isTakingSnapshot)
    }

    private static let limits: [[[String]]] = [
        [],
        [
            ["list-max-listpack-size", "3"], ["hash-max-listpack-entries", "3"], ["set-max-intset-entries", "3"],
            ["zset-max-listpack-entries", "3"], ["stream-node-max-entries", "3"], ["hll-sparse-max-bytes", "20"],
        ],
    ]

    private func request(_ random: inout RandomGenerator, _ generator: inout FuzzGenerator) -> [[UInt8]] {
        let words: [String]
        switch random.next(below: 60) {
        case 0: words = ["FLUSHALL"]
        case 1: words = ["FLUSHDB"]
        case 2, 3: words = ["SWAPDB", "\(random.next(below: 3))", "\(random.next(below: 3))"]
        case 4: words = ["MSET"] + (0..<200).flatMap { ["many:\($0)", "\(random.next(below: 1000))"] }
        case 5: words = ["DEL"] + (0..<200).map { "many:\($0)" }
        case 6: words = ["SETRANGE", "long", "\(random.next(below: 60_000))", "text"]
        case 7: words = ["SET", String(repeating: "k", count: 2000), "\(random.next(below: 1000))"]
        case 8: words = ["APPEND", String(repeating: "k", count: 2000), "more"]
        case 9: words = ["PEXPIRE", "many:\(random.next(below: 200))", "\(random.next(below: 50))"]
        default: return generator.next().arguments
        }
        return words.map { Array($0.utf8) }
    }

    @Test("Random commands do not show in snapshots; seconds from KEDIS_FUZZ_SECONDS")
    func fuzz() throws {
        var random = RandomGenerator.forTest("snapshot fuzz")
        var generator = FuzzGenerator(RandomGenerator(seed: random.next())) { _ in true }
        let start = monotonicNanoseconds()
        var (round, count) = (0, 0)
        while fuzzGoesOn(since: start) {
            round += 1
            let test = TestEngine()
            let setup = TestSession(test.engine)
            for limit in Self.limits[round % 2] {
                _ = setup.send(RespRunner.encode((["CONFIG", "SET"] + limit).map { Array($0.utf8) }))
            }
            let taker = SnapshotTaker(test.engine.store, RandomGenerator(seed: random.next()))
            for _ in 0..<400 {
                // One that blocks is left behind.
                let session = TestSession(test.engine)
                let database = random.next(below: 4) == 0 ? random.next(below: 3) : 0
                _ = session.send(RespRunner.encode(["SELECT", "\(database)"].map { Array($0.utf8) }))
                _ = session.send(RespRunner.encode(request(&random, &generator)))
                test.clock.advance(microseconds: Int64(random.next(below: 5000)))
                if random.next(below: 10) == 0 {
                    _ = test.engine.store.maintain(nowMilliseconds: test.clock.nowMicroseconds / 1000)
                }
                taker.step(nowMilliseconds: test.clock.nowMicroseconds / 1000, "round \(round)")
            }
            taker.end("round \(round)")
            count += taker.count
        }
        print("snapshot fuzz: \(count) snapshots")
        #expect(count > 0)
    }
}
