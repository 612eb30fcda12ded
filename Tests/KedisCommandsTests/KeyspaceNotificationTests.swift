// Goal: keyspace notifications tell what redis-server tells, for every command. Method: the requests of all `.resp` files
// on both, with a listener beside them; and sessions in process for what time and memory do.

import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisCommands

/// What a listener has heard while a file ran.
private final class Listener {
    private let peer: RespPeer
    private var marker = 0

    init(_ peer: RespPeer) throws {
        self.peer = peer
        for request in [["HELLO", "3"], ["CONFIG", "SET", "notify-keyspace-events", "EAmn"]] {
            peer.send(RespRunner.encode(request.map { Array($0.utf8) }))
            guard case .reply = peer.receive(10_000) else { throw OracleError(description: "no reply to \(request)") }
        }
        peer.send(RespRunner.encode(["PSUBSCRIBE", "__key*__:*"].map { Array($0.utf8) }))
        guard case .reply = peer.receive(10_000) else { throw OracleError(description: "no subscription") }
    }

    /// What has come until now, as `channel key`.
    func heard() -> [String] {
        marker += 1
        let mark = Array("mark \(marker)".utf8)
        peer.send(RespRunner.encode([Array("ECHO".utf8), mark]))
        var events: [String] = []
        while case .reply(let reply) = peer.receive(10_000), reply != .bulk(mark) {
            guard case .push(let parts) = reply, parts.count == 4, case .bulk(let channel) = parts[2],
                case .bulk(let key) = parts[3]
            else { continue }
            events.append("\(String(decoding: channel, as: UTF8.self)) \(String(decoding: key, as: UTF8.self))")
        }
        return events
    }

    func close() { peer.close() }
}

@Suite("Keyspace notifications")
struct KeyspaceNotificationTests {
    /// Files that are about connections, subscriptions or the process, or that need what the listener changes.
    private static let unsuitable: Set = [
        "client", "reset", "hello", "info", "shutdown", "debug", "config", "command", "memory", "explain", "quit",
    ]

    /// XREADGROUP makes the consumer before it waits, as Redis 7.2 does.
    private static let changedSince = ["xreadgroup"]

    private static let cases = RespCase.registered.filter {
        !unsuitable.contains($0.name) && !changedSince.contains($0.name) && $0.family != "pubsub"
    }

    /// Runs the requests that both know, and returns what was heard after each exchange that was followed by something.
    private func events(of respCase: RespCase, on target: RespTarget) throws -> [(after: String, heard: [String])] {
        var listener: Listener?
        var log: [(after: String, heard: [String])] = []
        var target = target
        let connect = target.connect
        if let renew = target.renew {
            target.renew = {
                listener = nil
                renew()
            }
        }
        target.connect = {
            if listener == nil { listener = try Listener(connect()) }
            var peer = try connect()
            var sent = ""
            peer.send = { [send = peer.send] bytes in
                sent = String(decoding: bytes.prefix(200), as: UTF8.self)
                send(bytes)
            }
            peer.receive = { [receive = peer.receive] timeout in
                let event = receive(timeout)
                if let heard = listener?.heard(), !heard.isEmpty { log.append((sent, heard)) }
                return event
            }
            return peer
        }
        var runner = RespRunner(try respCase.file.sharedWithOracle, on: target)
        try runner.run()
        return log
    }

    @Test("The requests of every file tell what redis-server tells",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"), arguments: cases)
    func sameAsOracle(respCase: RespCase) throws {
        let server = try OracleServer()
        // What time does has a test of its own: there nothing expires by itself. A member moves to its destination
        // before it leaves the source, so that nothing is lost for want of memory: then the new key comes first. SORT
        // stops at the first weight that is no number.
        let isOfInterest = { (event: String) in
            !event.contains("__:expired ") && !(respCase.name == "smove" && event.contains("__:new "))
                && !(respCase.name.hasPrefix("sort") && event.contains("__:keymiss "))
        }
        let wanted = try events(of: respCase, on: server.target(protocolVersion: 3))
        let got = try events(of: respCase, on: TestEngine.target(protocolVersion: 3))
        let wantedEvents = wanted.flatMap(\.heard).filter(isOfInterest)
        let gotEvents = got.flatMap(\.heard).filter(isOfInterest)
        guard wantedEvents != gotEvents else { return }
        let index = zip(wantedEvents, gotEvents).enumerated().first { $0.element.0 != $0.element.1 }?.offset
            ?? min(wantedEvents.count, gotEvents.count)
        Issue.record(
            """
            \(respCase): event \(index)
            expected \(wantedEvents.dropFirst(max(0, index - 2)).prefix(6))
            got      \(gotEvents.dropFirst(max(0, index - 2)).prefix(6))
            there after \(Self.request(at: index, in: wanted, isOfInterest))
            here after \(Self.request(at: index, in: got, isOfInterest))
            """)
    }

    private static func request(
        at index: Int, in log: [(after: String, heard: [String])], _ isOfInterest: (String) -> Bool
    ) -> String {
        var count = 0
        for entry in log {
            count += entry.heard.filter(isOfInterest).count
            if count > index { return entry.after.debugDescription }
        }
        return "the end"
    }

    // MARK: By themselves

    /// An engine whose events go to a session, and what it has heard since it was last asked.
    private struct Scene {
        let clock = TestClock()
        let engine: Engine
        let session: TestSession
        private let listener: TestSession

        init(_ classes: String) throws {
            engine = Engine.forTest(clock: clock)
            session = TestSession(engine)
            listener = TestSession(engine, version: .resp3)
            _ = try session.call("CONFIG", "SET", "notify-keyspace-events", classes)
            _ = try listener.call("PSUBSCRIBE", "__key*__:*")
        }

        func heard() throws -> [String] {
            var decoder = ReplyDecoder()
            decoder.append(listener.send([]))
            var events: [String] = []
            while case .push(let parts) = try decoder.next() {
                guard case .bulk(let channel) = parts[2], case .bulk(let message) = parts[3] else { continue }
                events.append("\(String(decoding: channel, as: UTF8.self)) \(String(decoding: message, as: UTF8.self))")
            }
            return events
        }
    }

    @Test("A key that is due is told when it is met, and when the background finds it")
    func expired() throws {
        let scene = try Scene("Ex")
        _ = try scene.session.call("SET", "met", "x", "PX", "10")
        _ = try scene.session.call("SET", "found", "x", "PX", "20")
        _ = try scene.session.call("SET", "overwritten", "x", "PX", "10")
        #expect(try scene.heard() == [])
        scene.clock.advance(microseconds: 10_000)
        _ = try scene.session.call("GET", "met")
        _ = try scene.session.call("SET", "overwritten", "y")
        #expect(try scene.heard() == ["__keyevent@0__:expired met", "__keyevent@0__:expired overwritten"])
        // More than a turn of the wheel.
        scene.clock.advance(microseconds: 100_000)
        _ = scene.engine.store.expireDue(nowMilliseconds: scene.engine.clock.wallMilliseconds, limit: 100)
        let found = try scene.heard()
        #expect(found == ["__keyevent@0__:expired found"])
    }

    @Test("What is set over a key that is due is a new key, and WATCH does not make it go")
    func setOverExpired() throws {
        let scene = try Scene("Exn")
        _ = try scene.session.call("SET", "a", "x", "PX", "10")
        scene.clock.advance(microseconds: 10_000)
        #expect(try scene.heard() == ["__keyevent@0__:new a"])
        _ = try scene.session.call("WATCH", "a")
        #expect(try scene.heard() == [])
        _ = try scene.session.call("SET", "a", "y")
        #expect(try scene.heard() == ["__keyevent@0__:expired a", "__keyevent@0__:new a"])
    }

    @Test("Members that are due are told, and their key when it goes with them")
    func expiredMembers() throws {
        let scene = try Scene("KEA")
        _ = try scene.session.call("HSET", "h", "a", "1", "b", "2")
        _ = try scene.session.call("HPEXPIRE", "h", "10", "FIELDS", "1", "a")
        _ = try scene.session.call("HPEXPIRE", "h", "20", "FIELDS", "1", "b")
        _ = try scene.heard()
        scene.clock.advance(microseconds: 10_000)
        #expect(try scene.session.call("HLEN", "h") == .integer(1))
        #expect(try scene.heard() == [], "who looks removes none")
        #expect(try scene.session.call("HDEL", "h", "none") == .integer(0))
        #expect(try scene.heard() == ["__keyspace@0__:h hexpired", "__keyevent@0__:hexpired h"])
        scene.clock.advance(microseconds: 10_000)
        #expect(try scene.session.call("EXISTS", "h") == .integer(0))
        #expect(
            try scene.heard() == [
                "__keyspace@0__:h hexpired", "__keyevent@0__:hexpired h", "__keyspace@0__:h del",
                "__keyevent@0__:del h",
            ])
    }

    @Test("Keys that go to make room are told")
    func evicted() throws {
        let scene = try Scene("Ee")
        for index in 0..<200 { _ = try scene.session.call("SET", "key:\(index)", String(repeating: "x", count: 1000)) }
        _ = try scene.session.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", "100kb")
        _ = try scene.session.call("SET", "another", "x")
        let heard = try scene.heard()
        #expect(heard.count > 50)
        #expect(Set(heard).count == heard.count)
        #expect(heard.allSatisfy { $0.hasPrefix("__keyevent@0__:evicted key:") || $0.hasSuffix("another") })
    }

    @Test("Databases are told apart, and classes that are not asked for are not told")
    func databasesAndClasses() throws {
        let scene = try Scene("K$")
        _ = try scene.session.call("SELECT", "5")
        _ = try scene.session.call("SET", "a", "x")
        _ = try scene.session.call("LPUSH", "l", "x")
        _ = try scene.session.call("DEL", "a")
        #expect(try scene.heard() == ["__keyspace@5__:a set"])
        _ = try scene.session.call("CONFIG", "SET", "notify-keyspace-events", "KEg")
        _ = try scene.session.call("SET", "a", "x")
        _ = try scene.session.call("DEL", "a")
        #expect(try scene.heard() == ["__keyspace@5__:a del", "__keyevent@5__:del a"])
        _ = try scene.session.call("CONFIG", "SET", "notify-keyspace-events", "")
        _ = try scene.session.call("SET", "a", "x")
        #expect(try scene.heard() == [])
        #expect(scene.engine.interest.current.isEmpty)
    }

    @Test("In a transaction and in a served blocking command, events come in the order of the changes")
    func orderOfChanges() throws {
        let scene = try Scene("EA")
        let waiting = TestSession(scene.engine)
        _ = waiting.send(RespRunner.encode(["BLMOVE", "source", "destination", "LEFT", "RIGHT", "0"].map { Array($0.utf8) }))
        _ = try scene.session.call("MULTI")
        _ = try scene.session.call("SET", "first", "x")
        _ = try scene.session.call("RPUSH", "source", "x")
        _ = try scene.session.call("SET", "last", "x")
        _ = try scene.session.call("EXEC")
        let heard = try scene.heard()
        #expect(
            heard == [
                "__keyevent@0__:set first", "__keyevent@0__:rpush source", "__keyevent@0__:set last",
                "__keyevent@0__:rpush destination", "__keyevent@0__:lpop source", "__keyevent@0__:del source",
            ])
    }

    @Test("Every event that a command notes has a class of its own")
    func everyEventHasItsClass() throws {
        var unknown: Set<String> = []
        let known = KeyspaceEventClasses.knownEvents
        for path in TestFiles.list(below: "\(TestFiles.packageRoot)/Sources/KedisCommands", suffix: ".swift") {
            let text = String(decoding: try #require(TestFiles.read(path)), as: UTF8.self)
            for match in text.matches(of: #/(?:changed|notified)\([^"\n]*"([a-z_-]+)"/#) {
                let event = String(match.1)
                if !known.contains(event) { unknown.insert(event) }
            }
        }
        #expect(unknown.isEmpty)
    }
}
