// Goal: a transaction is one moment: nobody sees it half done, a watched key that changed stops it, and it waits for
// nobody for ever. Method: 8 threads with a session each on one engine, with sums that every order of transactions
// keeps; and sessions in process for what waits.

import KedisCommands
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

private func integer(_ reply: Reply?) -> Int64? {
    guard case .bulk(let bytes) = reply else { return nil }
    return bytes.withUnsafeBytes { parseInteger(ByteView($0)) }
}

extension TestSession {
    /// MULTI, the commands, EXEC in one piece; the reply of EXEC, nil where none could be read.
    fileprivate func transaction(_ commands: [[String]]) -> Reply? {
        let requests = [["MULTI"]] + commands + [["EXEC"]]
        var decoder = ReplyDecoder()
        decoder.append(send(requests.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) }))
        var last: Reply?
        while let reply = try? decoder.next() { last = reply }
        return last
    }
}

@Suite("Transactions")
struct TransactionTests {
    private static let threadCount = 8
    private static let accounts = (0..<24).map { "account:\($0)" }

    /// What a transaction of GETs saw, added up.
    private static func sum(seenBy session: TestSession) -> Int64? {
        guard case .array(let replies) = session.transaction(accounts.map { ["GET", $0] }) else { return nil }
        return replies.reduce(0) { $0 + (integer($1) ?? 0) }
    }

    @Test("8 threads that transfer in transactions never show a sum that is not zero")
    func transfers() {
        let engine = Engine.forTest()
        var seeds = RandomGenerator.forTest("transfers in transactions")
        let seed = seeds.next()
        let wrong = Atomic<Int>(0)
        onThreads(Self.threadCount) { thread in
            var generator = RandomGenerator(seed: seed &+ UInt64(thread))
            let session = TestSession(engine)
            for round in 0..<400 {
                let amount = "\(generator.next(below: 1000))"
                let source = Self.accounts[generator.next(below: Self.accounts.count)]
                let destination = Self.accounts[generator.next(below: Self.accounts.count)]
                let walk = [["DBSIZE"], ["KEYS", "none*"], ["RANDOMKEY"], ["SCAN", "0"]][generator.next(below: 4)]
                // Commands that lock everything beside those that lock little.
                let commands = [["INCRBY", source, amount]] + (round % 8 == 0 ? [walk] : [])
                _ = session.transaction(commands + [["DECRBY", destination, amount]])
                guard round % 4 == 0, Self.sum(seenBy: session) != 0 else { continue }
                wrong.add(1, ordering: .relaxed)
            }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
        #expect(Self.sum(seenBy: TestSession(engine)) == 0)
    }

    @Test("8 threads that count with WATCH, GET, MULTI, SET, EXEC lose no count")
    func optimisticCounting() {
        let engine = Engine.forTest()
        let succeeded = Atomic<Int>(0)
        let stopped = Atomic<Int>(0)
        onThreads(Self.threadCount) { thread in
            let session = TestSession(engine)
            for _ in 0..<300 {
                // Each thread watches a key that nobody writes, too.
                _ = try? session.call("WATCH", "counter", "own:\(thread)")
                let value = integer(try? session.call("GET", "counter")) ?? 0
                switch session.transaction([["SET", "counter", "\(value + 1)"]]) {
                case .array: succeeded.add(1, ordering: .relaxed)
                case .nullArray: stopped.add(1, ordering: .relaxed)
                default: Issue.record("EXEC answered something else")
                }
            }
        }
        let count = integer(try? TestSession(engine).call("GET", "counter")) ?? 0
        #expect(Int(count) == succeeded.load(ordering: .relaxed))
        #expect(succeeded.load(ordering: .relaxed) + stopped.load(ordering: .relaxed) == Self.threadCount * 300)
        #expect(!engine.interest.current.hasWatchers)
    }

    @Test("Clients that come and go while they watch leave nothing behind")
    func goneWatchers() throws {
        let engine = Engine.forTest()
        for _ in 0..<100 {
            let session = TestSession(engine)
            _ = try session.call("WATCH", "a", "b", "c")
            if Bool.random() { _ = try session.call("MULTI") }
        }
        #expect(!engine.interest.current.hasWatchers)
    }

    @Test("A client that waits is served after the whole transaction, of what is left then")
    func waitingClients() throws {
        let engine = Engine.forTest()
        let (waiting, other) = (TestSession(engine), TestSession(engine))
        _ = waiting.send(RespRunner.encode(["BLPOP", "list", "0"].map { Array($0.utf8) }))
        _ = other.transaction([["RPUSH", "list", "a", "b"], ["LPOP", "list"]])
        #expect(String(decoding: waiting.collect(), as: UTF8.self).hasSuffix("$1\r\nb\r\n"))
        _ = waiting.send(RespRunner.encode(["BLPOP", "list", "0"].map { Array($0.utf8) }))
        _ = other.transaction([["RPUSH", "list", "a"], ["DEL", "list"]])
        #expect(waiting.isBlocked)
        #expect(waiting.collect().isEmpty)
    }

    @Test("A transaction is bounded by the limit of the query buffer")
    func boundedTransaction() throws {
        let engine = Engine.forTest()
        try engine.configuration.set([(name: "client-query-buffer-limit", value: "1mb")])
        let session = TestSession(engine)
        _ = try session.call("MULTI")
        let value = String(repeating: "x", count: 100_000)
        var errorCount = 0
        for _ in 0..<20 {
            if case .error = try session.call("SET", "key", value) { errorCount += 1 }
        }
        // What comes after the first one is not kept, and so not refused: EXEC will.
        #expect(errorCount == 1)
        guard case .error(let text) = try session.call("EXEC") else {
            Issue.record("EXEC ran a transaction that is not whole")
            return
        }
        #expect(String(decoding: text, as: UTF8.self).hasPrefix("EXECABORT"))
        #expect(try session.call("EXISTS", "key") == .integer(0))
    }

    @Test("Commands that look at all keys run in a transaction, which holds all stripes already")
    func walkingCommands() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        _ = try session.call("MSET", "a", "1", "b", "2")
        let commands = [
            ["MEMORY", "STATS"], ["MEMORY", "DOCTOR"], ["INFO", "everything"], ["DBSIZE"], ["KEYS", "*"], ["SCAN", "0"],
            ["RANDOMKEY"], ["FLUSHDB"], ["SWAPDB", "0", "1"], ["FLUSHALL"],
        ]
        for command in commands {
            _ = try session.call("MULTI")
            _ = try session.call(command)
            guard case .array(let replies)? = try session.call("EXEC") else {
                Issue.record("\(command) has no reply in a transaction")
                continue
            }
            if case .error(let text)? = replies.first { Issue.record("\(command): \(String(decoding: text, as: UTF8.self))") }
        }
    }

    @Test("A watched hash that loses a field to its deadline has changed")
    func watchedMembers() throws {
        let clock = TestClock()
        let session = TestSession(Engine.forTest(clock: clock))
        _ = try session.call("HSET", "h", "f", "v", "g", "w")
        _ = try session.call("HPEXPIRE", "h", "50", "FIELDS", "1", "f")
        for (microseconds, reply) in [(10_000 as Int64, Reply.array([.simple(Array("PONG".utf8))])), (60_000, .nullArray)] {
            _ = try session.call("WATCH", "h")
            clock.advance(microseconds: microseconds)
            _ = try session.call("MULTI")
            _ = try session.call("PING")
            #expect(try session.call("EXEC") == reply)
        }
    }

    @Test("A client that ends itself in a transaction hears nothing of what comes behind, which is executed all the same")
    func ownEnd() throws {
        let engine = Engine.forTest()
        _ = TestSession(engine).send(pipeline("ACL SETUSER u1 reset on nopass +@all ~* &*"))
        for (last, replies) in [("ACL DELUSER u1", ":1\r\n"), ("CLIENT KILL ID $ SKIPME no", ":1\r\n")] {
            let session = TestSession(engine)
            guard case .integer(let identifier)? = try session.call("CLIENT", "ID") else { continue }
            _ = session.send(pipeline("SET n 1", "MULTI", "PING", last.replacing("$", with: "\(identifier)"), "INCR n"))
            if last.hasPrefix("ACL") {
                _ = session.send(pipeline("DISCARD", "AUTH u1 pw", "MULTI", "PING", last, "INCR n"))
            }
            #expect(String(decoding: session.send(pipeline("EXEC")), as: UTF8.self) == "*3\r\n+PONG\r\n" + replies)
            #expect(try TestSession(engine).call("GET", "n") == .bulk(Array("2".utf8)))
        }
    }

    private func pipeline(_ lines: String...) -> [UInt8] {
        lines.flatMap { RespRunner.encode($0.split(separator: " ").map { Array($0.utf8) }) }
    }
}
