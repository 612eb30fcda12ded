// Goal: a snapshot that gets no memory for a copy of what is changed meanwhile fails as a whole and says so; the store
// is as it would be without it, the file before is as it was, and a later save works. Method: copies that are refused
// after so many were made, for each such number; collections of every form that are changed between the slices, and by
// another thread.

import KedisCommands
import KedisPersistence
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Snapshots without memory")
struct SnapshotRefusalTests {
    private static let elementCount = 1500
    private static let table = Engine.forTest().table

    private func makeEngine() -> Engine {
        Engine(store: Store(databaseCount: 2, seed: HashSeed(1, 2)), seed: 3, table: Self.table)
    }

    private static let names = ["hash", "set", "zset", "list", "stream"]

    /// Large collections of each form, with members that lie outside of their pieces, and some small keys.
    private func fill(_ session: TestSession) throws {
        for first in stride(from: 0, to: Self.elementCount, by: 100) {
            let elements = (first..<first + 100).map {
                $0 % 20 == 0 ? "long \($0) " + String(repeating: "x", count: 700) : "element \($0)"
            }
            _ = try session.call(["HSET", "hash"] + elements.flatMap { [$0, $0] })
            _ = try session.call(["SADD", "set"] + elements)
            _ = try session.call(["ZADD", "zset"] + elements.enumerated().flatMap { ["\(first + $0)", $1] })
            _ = try session.call(["RPUSH", "list"] + elements)
            for (index, element) in elements.enumerated() {
                _ = try session.call("XADD", "stream", "\(first + index + 1)-1", "field", element)
            }
            _ = try session.call("SET", "small \(first)", "value")
        }
    }

    /// Changes a piece here and there of every collection.
    private func change(_ session: TestSession, _ number: Int) throws {
        let element = "element \(number * 37 % Self.elementCount)"
        _ = try session.call("HSET", "hash", element, "changed \(number)")
        _ = try session.call("SREM", "set", element)
        _ = try session.call("ZADD", "zset", "\(number * 91 % 3000)", element)
        _ = try session.call(number % 2 == 0 ? "LPOP" : "RPUSH", "list", "1")
        _ = try session.call("LSET", "list", "\(number * 53 % 1000)", element)
        _ = try session.call("XDEL", "stream", "\(1 + number * 71 % Self.elementCount)-1")
        _ = try session.call("APPEND", "small \(number % 15 * 100)", "x")
        if number % 7 == 0 { _ = try session.call("ZREMRANGEBYRANK", "zset", "\(number)", "\(number + 60)") }
        if number % 50 == 49 { _ = try session.call("DEL", Self.names[number / 50 % 5]) }
    }

    private func contents(_ engine: Engine) -> KeyspaceSnapshot {
        KeyspaceSnapshot(of: engine.store, nowMilliseconds: 0).restarted
    }

    private func loaded(_ path: String) throws -> KeyspaceSnapshot {
        let engine = makeEngine()
        _ = try loadSnapshot(into: engine.store, from: path, nowMilliseconds: 0)
        return contents(engine)
    }

    @Test("Whichever copy is refused: the save fails, nothing else does, and the next save works")
    func everyCopy() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let path = "\(folder)/dump.rdb"
        // A second one, whose snapshots are never refused.
        var (granted, failureCount, isDone) = (0, 0, false)
        while !isDone {
            let (engine, other) = (makeEngine(), makeEngine())
            let (session, otherSession) = (TestSession(engine), TestSession(other))
            try fill(session)
            try fill(otherSession)
            _ = try saveSnapshot(of: engine.store, to: path, nowMilliseconds: 0)
            let before = try #require(TestFiles.read(path))
            let atInstant = contents(engine)
            var (number, problem): (Int, (any Error)?) = (0, nil)
            engine.store.setSnapshotAllocationCount(granted)
            do {
                _ = try saveSnapshotInBackground(
                    of: engine.store, to: path, nowMilliseconds: 0,
                    betweenSlices: {
                        for _ in 0..<3 where problem == nil && number < 120 {
                            do { try change(session, number) } catch { problem = error }
                            number += 1
                        }
                    })
                isDone = true
                #expect(try loaded(path) == atInstant)
            } catch let error as SnapshotError {
                failureCount += 1
                #expect(error == .outOfMemory(path: path), "\(granted) copies: \(error)")
                #expect(TestFiles.read(path) == before, "\(granted) copies")
            }
            engine.store.setSnapshotAllocationCount(.max)
            #expect(problem == nil)
            #expect(TestFiles.list(below: folder, suffix: "") == [path])
            engine.store.checkInvariants()
            for index in 0..<number { try change(otherSession, index) }
            #expect(contents(engine) == contents(other), "\(granted) copies")
            // Again, and it is there.
            _ = try saveSnapshotInBackground(
                of: engine.store, to: path, nowMilliseconds: 0, betweenSlices: { try? change(session, number + 1) })
            #expect(try loaded(path) == contents(other), "\(granted) copies")
            granted += 1 + granted / 6
        }
        print("snapshots without memory: \(failureCount) failed, \(granted) copies are enough")
        #expect(failureCount > 15)
    }

    @Test("A single copy that is refused, while all others are made, fails the save")
    func singleCopy() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        var failureCount = 0
        let roundCount = 8
        for round in 0..<roundCount {
            let engine = makeEngine()
            let session = TestSession(engine)
            try fill(session)
            let atInstant = contents(engine)
            let path = "\(folder)/\(round).rdb"
            var slice = 0
            do {
                _ = try saveSnapshotInBackground(
                    of: engine.store, to: path, nowMilliseconds: 0,
                    betweenSlices: {
                        // The collections are taken by this, and their first pieces copied.
                        if slice == 0 { try? change(session, round) }
                        // Of one of them others, which get no memory: elements of a hash have some for a few.
                        if slice == 0 { engine.store.setSnapshotAllocationCount(0) }
                        let (command, name) = [("HDEL", "hash"), ("ZREM", "zset")][round % 2]
                        let elements = (0..<30).map { "element \(700 + 41 * round + $0)" }
                        _ = try? session.call([command, name] + elements)
                        engine.store.setSnapshotAllocationCount(.max)
                        slice += 1
                    })
                #expect(try loaded(path) == atInstant, "round \(round)")
            } catch let error as SnapshotError {
                failureCount += 1
                #expect(error == .outOfMemory(path: path))
            }
            engine.store.checkInvariants()
        }
        #expect(failureCount > roundCount / 2)
    }

    @Test("A background save that gets no memory is reported as failed, and the next one as good")
    func reported() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let engine = makeEngine()
        let session = TestSession(engine)
        try fill(session)
        let keeper = SnapshotKeeper(store: engine.store, nowMilliseconds: 1)
        let request = SnapshotRequest(path: "\(folder)/dump.rdb")
        engine.store.setSnapshotAllocationCount(3)
        #expect(keeper.saveInBackground(request, nowMilliseconds: 2) == nil)
        keeper.waitUntilIdle()
        #expect(!keeper.status.lastAttemptSucceeded)
        #expect(keeper.status.lastError == .outOfMemory(path: request.path))
        #expect(TestFiles.list(below: folder, suffix: "") == [])
        engine.store.setSnapshotAllocationCount(.max)
        #expect(keeper.saveInBackground(request, nowMilliseconds: 3) == nil)
        keeper.waitUntilIdle()
        #expect(keeper.status.lastAttemptSucceeded && keeper.status.saveCount == 1)
        #expect(try loaded(request.path) == contents(engine))
    }

    @Test("Refused while another thread changes the same collections, all that is held is given back")
    func besideThread() throws {
        var random = RandomGenerator.forTest("snapshots without memory")
        let engine = makeEngine()
        for round in 0..<reducedWhenSanitized(30) {
            let session = TestSession(engine)
            _ = try session.call("FLUSHALL")
            try fill(session)
            let snapshot = try #require(engine.store.beginSnapshotForTest())
            engine.store.setSnapshotAllocationCount(random.next(below: 400))
            let isDone = Locked(false)
            onThreads(2) { thread in
                if thread == 0 {
                    while snapshot.next({ _, entry in
                        var copy = KeyspaceSnapshot()
                        _ = copy.add(0, entry, nowMilliseconds: 0)
                        if snapshot.isIncomplete { snapshot.abandon() }
                    }) {}
                    return isDone.withLock { $0 = true }
                }
                var number = round
                let session = TestSession(engine)
                while !isDone.withLock({ $0 }) {
                    try? change(session, number)
                    number += 1
                }
            }
            engine.store.setSnapshotAllocationCount(.max)
            engine.store.checkInvariants()
            #expect(!engine.store.handle.isPressedBySnapshot)
            let after = contents(engine)
            // Nothing is left of the one before that the next one could meet.
            let next = try #require(engine.store.beginSnapshotForTest())
            var taken = KeyspaceSnapshot()
            while next.next({ _ = taken.add($0, $1, nowMilliseconds: 0) }) {}
            #expect(!next.isIncomplete && taken.restarted == after)
        }
    }
}
