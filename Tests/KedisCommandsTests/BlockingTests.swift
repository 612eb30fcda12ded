// Goal: clients that wait in blocking commands are served in their order, forgotten when they go, and cost nothing
// meanwhile. Method: sessions in process, on a clock that stands still; and redis-server beside them for random
// requests of several clients.

import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisCommands

@Suite("Blocked clients")
struct BlockingTests {
    private static func encoded(_ words: String) -> [UInt8] {
        RespRunner.encode(words.split(separator: " ").map { Array($0.utf8) })
    }

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    /// An engine that counts how often it is asked for the time: each run of a command does.
    private static func countingEngine() -> (engine: Engine, looks: Counter) {
        let looks = Counter()
        let clock = EngineClock(
            wallMicroseconds: { 1_800_000_000_000_000 },
            monotonicNanoseconds: {
                looks.value.add(1, ordering: .relaxed)
                return 1_000_000
            }
        )
        return (Engine(store: Store(seed: HashSeed(1, 2)), clock: clock, seed: 3), looks)
    }

    private final class Counter: Sendable {
        let value = Atomic<Int>(0)
        var count: Int { value.load(ordering: .relaxed) }
    }

    @Test("What follows a blocking command in its pipeline waits until that has its reply", arguments: [
        "BZPOPMIN z 0", "BZPOPMAX z 0", "BZMPOP 0 1 z MIN", "BLPOP z 0", "BRPOP z 0", "BLMPOP 0 1 z LEFT", "BLMOVE z t LEFT LEFT 0",
        "BRPOPLPUSH z t 0", "XREAD BLOCK 0 STREAMS z 0", "BZPOPMIN a z 0",
    ])
    func pipelines(words: String) throws {
        let (engine, _) = Self.countingEngine()
        let waiting = TestSession(engine), other = TestSession(engine)
        let pipeline = ["GET before", words, "SET behind 1", words].flatMap(Self.encoded)
        #expect(Self.text(waiting.send(pipeline)) == "$-1\r\n")
        #expect(waiting.isBlocked)
        #expect(Self.text(other.send(Self.encoded("EXISTS behind"))) == ":0\r\n")
        let isList = words.hasPrefix("BL") || words.hasPrefix("BR")
        let add = words.hasPrefix("X") ? "XADD z 1-1 f v" : isList ? "RPUSH z m" : "ZADD z 1 m"
        _ = other.send(Self.encoded(add))
        let replies = Self.text(waiting.collect())
        #expect(replies.contains("z") || replies.contains("m"))
        #expect(replies.hasSuffix("+OK\r\n") || words.hasPrefix("X"))
        #expect(Self.text(other.send(Self.encoded("EXISTS behind"))) == ":1\r\n")
        // The second one waits for itself, except for an entry that stays.
        #expect(waiting.isBlocked != words.hasPrefix("X"))
    }

    @Test("10,000 blocked clients cost nothing while nothing happens, and one push serves one of them")
    func tenThousandClients() throws {
        let (engine, looks) = Self.countingEngine()
        let session = TestSession(engine)
        func looksOf(_ words: String) -> Int {
            let before = looks.count
            _ = session.send(Self.encoded(words))
            return looks.count - before
        }
        let alone = looksOf("SET other value")
        let clients = (0..<10_000).map { index in
            let client = TestSession(engine)
            // Half of them at one key, half at keys of their own.
            let words = index % 2 == 0 ? "BLPOP shared 0" : "BLPOP own:\(index) shared2 0"
            #expect(client.send(Self.encoded(words)).isEmpty)
            return client
        }
        #expect(engine.waiters.blockedCount.load(ordering: .relaxed) == 10_000)
        #expect(clients.allSatisfy { $0.isBlocked })
        #expect(looksOf("SET other value") == alone)
        #expect(looksOf("RPUSH unwaited value") == alone)
        #expect(looksOf("SET shared value") == alone)
        #expect(looksOf("DEL shared") == alone)
        // A service looks at the clock twice.
        #expect(looksOf("RPUSH shared a b") == alone + 4)
        #expect(engine.waiters.blockedCount.load(ordering: .relaxed) == 9_998)
        #expect(Self.text(clients[0].collect()).hasSuffix("$1\r\na\r\n"))
        #expect(Self.text(clients[2].collect()).hasSuffix("$1\r\nb\r\n"))
        #expect(clients[4].collect().isEmpty)
    }

    @Test("A client that has gone is forgotten at once, and the next one is served")
    func goneClients() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        var first: TestSession? = TestSession(engine)
        let second = TestSession(engine)
        _ = first?.send(Self.encoded("BLPOP a b c d 0"))
        _ = second.send(Self.encoded("BLPOP c 0"))
        #expect(engine.interest.current.hasWaiters)
        first = nil
        #expect(engine.waiters.blockedCount.load(ordering: .relaxed) == 1)
        #expect(try session.call("RPUSH", "c", "x") == .integer(1))
        #expect(Self.text(second.collect()) == "*2\r\n$1\r\nc\r\n$1\r\nx\r\n")
        #expect(!engine.interest.current.hasWaiters)
        #expect(try session.call("EXISTS", "c") == .integer(0))
    }

    @Test("A client that is being killed gets nothing")
    func killedClients() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        let (first, second) = (TestSession(engine), TestSession(engine))
        guard case .integer(let identifier)? = try first.call("CLIENT", "ID") else { return }
        _ = first.send(Self.encoded("BLPOP list 0"))
        _ = second.send(Self.encoded("BLPOP list 0"))
        #expect(try session.call("CLIENT", "KILL", "ID", "\(identifier)") == .integer(1))
        #expect(try session.call("RPUSH", "list", "x") == .integer(1))
        #expect(first.collect().isEmpty)
        #expect(Self.text(second.collect()) == "*2\r\n$4\r\nlist\r\n$1\r\nx\r\n")
    }

    @Test("CLIENT REPLY OFF and SKIP drop the reply that comes later", arguments: ["OFF", "SKIP"])
    func droppedReplies(mode: String) throws {
        let engine = Engine.forTest()
        let (client, session) = (TestSession(engine), TestSession(engine))
        _ = client.send(Self.encoded("CLIENT REPLY \(mode)"))
        #expect(client.send(Self.encoded("BLPOP list 0") + Self.encoded("CLIENT REPLY ON")).isEmpty)
        #expect(client.isBlocked)
        _ = session.send(Self.encoded("RPUSH list x"))
        #expect(Self.text(client.collect()) == "+OK\r\n")
    }

    @Test("A service is a change, and its call and failure are counted")
    func counts() throws {
        let engine = Engine.forTest()
        let (client, session) = (TestSession(engine), TestSession(engine))
        let identifier = try #require(engine.table.command("BLMOVE")).pointee.identifier
        _ = client.send(Self.encoded("BLMOVE list other LEFT LEFT 0"))
        // As in Redis 7.2, a call counts when it is answered.
        #expect(engine.commandStatistics[identifier].calls == 0)
        let before = engine.store.statistics().changes
        _ = session.send(Self.encoded("RPUSH list x"))
        #expect(engine.store.statistics().changes == before + 2)
        _ = client.collect()
        #expect(engine.commandStatistics[identifier].calls == 1)
        _ = client.send(Self.encoded("BLMOVE list string LEFT LEFT 0"))
        _ = session.send(Self.encoded("SET string x") + Self.encoded("RPUSH list x"))
        #expect(Self.text(client.collect()).hasPrefix("-WRONGTYPE"))
        #expect(engine.commandStatistics[identifier].calls == 2)
        #expect(engine.commandStatistics[identifier].failed == 1)
    }

    @Test("Pipelined pushes serve after each command, not after the batch")
    func pipelines() throws {
        let engine = Engine.forTest()
        let (client, session) = (TestSession(engine), TestSession(engine))
        _ = client.send(Self.encoded("BRPOP list 0"))
        let replies = session.send(
            Self.encoded("RPUSH list a") + Self.encoded("RPUSH list b") + Self.encoded("LLEN list"))
        #expect(Self.text(replies) == ":1\r\n:1\r\n:1\r\n")
        #expect(Self.text(client.collect()) == "*2\r\n$4\r\nlist\r\n$1\r\na\r\n")
    }

    @Test("A consumer hears that its stream has gone by itself, whoever finds out", arguments: [true, false])
    func expiredStream(isFoundInBackground: Bool) throws {
        let clock = TestClock()
        let engine = Engine.forTest(clock: clock)
        let (client, other) = (TestSession(engine), TestSession(engine))
        _ = try other.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
        _ = try client.call("XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">")
        _ = try other.call("PEXPIRE", "s", "50")
        #expect(client.collect().isEmpty)
        clock.advance(microseconds: 200_000)
        if isFoundInBackground {
            _ = engine.store.expireDue(nowMilliseconds: engine.clock.wallMilliseconds, limit: 100)
        } else {
            #expect(try other.call("EXISTS", "s") == .integer(0))
        }
        // As the next tick does.
        engine.serveRemovedKeys()
        #expect(Self.text(client.collect()).hasPrefix("-NOGROUP No such key 's'"))
        #expect(!client.isBlocked)
    }

    @Test("EXPLAIN ANALYZE of a push serves, and says so; of a pop it does not wait")
    func explained() throws {
        let engine = Engine.forTest()
        let (client, session) = (TestSession(engine), TestSession(engine))
        _ = client.send(Self.encoded("BLPOP list 0"))
        let pushed = Self.text(session.send(Self.encoded("EXPLAIN ANALYZE RPUSH list x")))
        #expect(pushed.contains("clients served"))
        #expect(Self.text(client.collect()) == "*2\r\n$4\r\nlist\r\n$1\r\nx\r\n")
        let popped = Self.text(session.send(Self.encoded("EXPLAIN ANALYZE BLPOP list 0")))
        #expect(popped.contains("waiting") && popped.hasPrefix("*"))
        #expect(!session.isBlocked)
        #expect(!engine.interest.current.hasWaiters)
    }

    @Test("A change of a key that the plan does not know serves too, a moment later")
    func unplannedChanges() throws {
        // Pushes to its second argument, which lies in the stripe of the first, under the lock of that one alone.
        let spec = CommandSpec(
            "PUSHTO", summary: "", since: "", group: .list, arity: 3, flags: .write, keys: [.one(.readWrite)]
        ) { (call, reply) throws(CommandError) in
            let key = call.keyspace.key(call.arguments[2])
            _ = try call.push("x", at: .tail, of: key)
            call.changed(key, "rpush")
            reply.ok()
        }
        let engine = Engine(store: Store(seed: HashSeed(1, 2)), seed: 3, table: CommandTable(allCommandSpecs + [spec]))
        func stripe(_ name: String) -> Int { name.withBytes { engine.store.key($0).stripeIndex } }
        let planned = "planned"
        let names = (0..<10_000).map { "key:\($0)" }
        let unplanned = try #require(names.first { stripe($0) == stripe(planned) })
        let elsewhere = try #require(names.first { stripe($0) < stripe(planned) })
        let (client, session) = (TestSession(engine), TestSession(engine))
        _ = client.send(Self.encoded("BLPOP \(elsewhere) \(unplanned) 0"))
        #expect(try session.call("PUSHTO", planned, unplanned) == .simple(Array("OK".utf8)))
        #expect(Self.text(client.collect()).hasSuffix("$1\r\nx\r\n"))
        #expect(!engine.interest.current.hasWaiters)
    }

    @Test("Input of a client that waits is kept within its limit")
    func inputLimit() throws {
        let engine = Engine.forTest()
        try engine.configuration.set([("client-query-buffer-limit", "1048576")])
        let client = TestSession(engine)
        _ = client.send(Self.encoded("BLPOP list 0"))
        _ = client.send([UInt8](repeating: 0x0A, count: 1 << 20))
        #expect(!client.isClosing)
        _ = client.send([0x0A])
        #expect(client.isClosing)
    }
}

@Suite("Blocked clients against redis-server")
struct BlockingOracleTests {
    private struct Client {
        let session: TestSession
        let peer: RespPeer
        let identifier: Int64
        var isBlocked = false
    }

    /// A request that may block at the sources and fill the targets; only clients that wait for one key wait at those.
    private static func request(_ random: inout RandomGenerator) -> [String] {
        let source = "source:\(random.next(below: 3))", other = "source:\(random.next(below: 3))"
        let target = "target:\(random.next(below: 2))"
        let end = ["LEFT", "RIGHT"][random.next(below: 2)], otherEnd = ["LEFT", "RIGHT"][random.next(below: 2)]
        let value = "v\(random.next(below: 1000))"
        switch random.next(below: 16) {
        case 0...2: return [["BLPOP", "BRPOP"][random.next(below: 2)], source, "0"]
        case 3: return [["BLPOP", "BRPOP"][random.next(below: 2)], source, other, "0"]
        case 4: return [["BLPOP", "BRPOP"][random.next(below: 2)], target, "0"]
        case 5: return ["BLMOVE", source, target, end, otherEnd, "0"]
        case 6: return ["BLMOVE", source, source, end, otherEnd, "0"]
        case 7: return ["BRPOPLPUSH", source, target, "0"]
        case 8: return ["BLMPOP", "0", "2", source, other, end, "COUNT", "\(1 + random.next(below: 3))"]
        case 9...11:
            let command = ["LPUSH", "RPUSH"][random.next(below: 2)]
            return [command, source] + (0...random.next(below: 4)).map { "\(value).\($0)" }
        case 12: return ["LMOVE", target, source, end, otherEnd]
        case 13: return ["RENAME", target, source]
        case 14: return ["SET", [source, target][random.next(below: 2)], value]
        default: return ["DEL", source, target]
        }
    }

    @Test("Random requests of several clients: the same ones block, the same ones are served, with the same elements",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"))
    func random() throws {
        let server = try OracleServer()
        let observer = try server.connect()
        func ask(_ peer: RespPeer, _ words: [String]) -> RespEvent {
            peer.send(RespRunner.encode(words.map { Array($0.utf8) }))
            return peer.receive(10_000)
        }
        var random = RandomGenerator.forTest("blocked clients")
        let engine = Engine.forTest()
        var clients: [Client] = try (0..<8).map { _ in
            let peer = try server.connect()
            guard case .reply(.integer(let identifier)) = ask(peer, ["CLIENT", "ID"]) else {
                throw OracleError(description: "no number")
            }
            return Client(session: TestSession(engine), peer: peer, identifier: identifier)
        }
        var servedCount = 0
        for step in 0..<3_000 {
            let free = clients.indices.filter { !clients[$0].isBlocked }
            guard !free.isEmpty else { break }
            let index = free[random.next(below: free.count)]
            var words = Self.request(&random)
            // Somebody is left to push, to whatever the others wait for.
            if free.count <= 3, words[0].hasPrefix("B") {
                let key = ["source:0", "source:1", "source:2", "target:0", "target:1"][random.next(below: 5)]
                words = random.next(below: 8) == 0 ? ["DEL", key] : ["RPUSH", key, "x\(step)", "y\(step)"]
            }
            let reply = try clients[index].session.call(words)
            guard let reply else {
                #expect(clients[index].session.isBlocked)
                clients[index].isBlocked = true
                clients[index].peer.send(RespRunner.encode(words.map { Array($0.utf8) }))
                try waitUntilBlocked(clients[index].identifier, observer, words)
                continue
            }
            let expected = ask(clients[index].peer, words)
            #expect(.reply(reply) == expected, "step \(step): \(words)")
            for other in clients.indices where clients[other].isBlocked {
                let bytes = clients[other].session.collect()
                guard !bytes.isEmpty else { continue }
                var decoder = ReplyDecoder()
                decoder.append(bytes)
                let served = try #require(try decoder.next())
                clients[other].isBlocked = false
                servedCount += 1
                #expect(.reply(served) == clients[other].peer.receive(10_000), "step \(step): \(words)")
            }
            let waiting = clients.count { $0.isBlocked }
            try #require(try blockedCount(observer) == waiting, "step \(step): \(words)")
        }
        print("blocked clients: \(servedCount) served")
        #expect(servedCount > 300)
    }

    private func waitUntilBlocked(_ identifier: Int64, _ observer: RespPeer, _ words: [String]) throws {
        for _ in 0..<5_000 {
            observer.send(RespRunner.encode(["CLIENT", "LIST", "ID", "\(identifier)"].map { Array($0.utf8) }))
            if case .reply(let reply) = observer.receive(10_000),
                reply.respLines().contains(where: { $0.contains(" flags=b") })
            { return }
        }
        throw OracleError(description: "redis-server does not block: \(words)")
    }

    private func blockedCount(_ observer: RespPeer) throws -> Int? {
        observer.send(RespRunner.encode(["INFO", "clients"].map { Array($0.utf8) }))
        guard case .reply(.bulk(let text)) = observer.receive(10_000) else { return nil }
        let lines = String(decoding: text, as: UTF8.self).split(separator: "\r\n")
        return lines.first { $0.hasPrefix("blocked_clients:") }.flatMap { Int($0.dropFirst("blocked_clients:".count)) }
    }
}
