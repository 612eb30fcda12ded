// Goal: a client that caches what it has read hears of every change of it, once, however the change came about, and of
// nothing else; and what the server remembers is bounded. Method: sessions in one process, their pushes decoded; what is
// expected here is what redis-server 7.0.15 was seen to send for the same requests.

import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisCommands

/// The keys of the invalidations in what a session was sent, `*` for all keys, and other replies as `.`.
private func invalidations(_ bytes: [UInt8]) -> String {
    var decoder = ReplyDecoder()
    decoder.append(bytes)
    var words: [String] = []
    while let reply = try? decoder.next() {
        guard case .push(let parts) = reply, parts.first == .bulk(Array("invalidate".utf8)) else {
            words.append(".")
            continue
        }
        guard case .array(let keys)? = parts.last else {
            words.append("*")
            continue
        }
        words.append(
            keys.map { key in
                guard case .bulk(let name) = key else { return "?" }
                return String(decoding: name, as: UTF8.self)
            }.sorted().joined(separator: ","))
    }
    return words.joined(separator: " ")
}

extension TestSession {
    /// Sends commands whose words have no spaces, one a line; what came, invalidations by their keys.
    fileprivate func told(_ commands: String = "") -> String {
        let lines = commands.split(separator: "\n").map { $0.split(separator: " ").map { Array($0.utf8) } }
        return invalidations(send(lines.flatMap { RespRunner.encode($0) }))
    }
}

@Suite("Client-side caching")
struct TrackingTests {
    @Test("What was read is told once it changes, and then forgotten until it is read again")
    func defaultMode() {
        let engine = Engine.forTest()
        let (reader, other) = (TestSession(engine, version: .resp3), TestSession(engine))
        #expect(reader.told("CLIENT TRACKING ON\nGET x") == ". .")
        _ = other.told("SET x 1\nSET x 2\nSET y 1")
        #expect(reader.told() == "x")
        #expect(reader.told("MGET x y z\nTYPE l\nOBJECT ENCODING x") == ". . .")
        _ = other.told("MSET x 1 y 2\nDEL z\nRPUSH l a")
        #expect(reader.told() == "x y l")
        // Reading what is not there counts, listing keys does not.
        #expect(reader.told("GET none\nKEYS *\nSCAN 0") == ". . .")
        _ = other.told("SET none 1\nSET x 3")
        #expect(reader.told() == "none")
        // Keys are told apart by their names alone.
        #expect(reader.told("SELECT 3\nGET x") == ". .")
        _ = other.told("SET x 4")
        #expect(reader.told() == "x")
        #expect(engine.tracking.keyCount == 1, "z, which nobody has made")
    }

    @Test("A client's own changes come after the reply, and not at all with NOLOOP")
    func ownChanges() {
        let engine = Engine.forTest()
        let reader = TestSession(engine, version: .resp3)
        _ = reader.told("CLIENT TRACKING ON")
        #expect(reader.told("GET x\nSET x 1\nPING") == ". . x .")
        #expect(reader.told("GET x\nMULTI\nSET x 2\nPING\nEXEC") == ". . . . . x")
        #expect(reader.told("MULTI\nGET x\nEXEC\nSET x 3") == ". . . . x")
        #expect(reader.told("CLIENT TRACKING ON NOLOOP\nGET x\nSET x 4\nPING") == ". . . .")
        _ = TestSession(engine).told("SET x 5")
        #expect(reader.told() == "", "its own change had it forgotten")
    }

    @Test("Flushed, expired and moved keys are told as well")
    func otherChanges() {
        let clock = TestClock()
        let engine = Engine.forTest(clock: clock)
        let (reader, other) = (TestSession(engine, version: .resp3), TestSession(engine))
        _ = reader.told("CLIENT TRACKING ON")
        _ = other.told("SET e 1 PX 50\nSET s 1\nRPUSH l a")
        #expect(reader.told("GET e\nGET s\nLRANGE l 0 -1\nEXISTS k") == ". . . .")
        clock.advance(microseconds: 60_000)
        #expect(other.told("GET e\nRENAME l k") == ". .")
        #expect(Set(reader.told().split(separator: " ").flatMap { $0.split(separator: ",") }) == ["e", "l", "k"])
        _ = other.told("FLUSHDB")
        #expect(reader.told() == "*")
        #expect(reader.told("FLUSHALL") == ". *")
        // A field that goes changes its hash.
        _ = other.told("HSET h f v g w\nHPEXPIRE h 50 FIELDS 1 f")
        #expect(reader.told("HGETALL h") == ".")
        clock.advance(microseconds: 60_000)
        _ = engine.store.expireDue(nowMilliseconds: engine.clock.wallMilliseconds, limit: 100)
        #expect(reader.told() == "h")
    }

    @Test("OPTIN and OPTOUT decide for the next command, or the next transaction")
    func opting() {
        let engine = Engine.forTest()
        let (reader, other) = (TestSession(engine, version: .resp3), TestSession(engine))
        _ = reader.told("CLIENT TRACKING ON OPTIN\nGET a\nCLIENT CACHING YES\nGET b\nGET c")
        _ = other.told("MSET a 1 b 1 c 1")
        #expect(reader.told() == "b")
        _ = reader.told("CLIENT CACHING YES\nCLIENT GETNAME\nMULTI\nGET a\nGET b\nEXEC\nGET c")
        _ = other.told("MSET a 2 b 2 c 2")
        #expect(reader.told() == "a b")
        _ = reader.told("CLIENT TRACKING OFF\nCLIENT TRACKING ON OPTOUT\nCLIENT CACHING NO\nGET a\nGET b")
        _ = other.told("MSET a 3 b 3")
        #expect(reader.told() == "b")
    }

    @Test("BCAST tells of all keys with a prefix, those of one command together")
    func broadcasting() {
        let engine = Engine.forTest()
        let (reader, other) = (TestSession(engine, version: .resp3), TestSession(engine))
        _ = reader.told("CLIENT TRACKING ON BCAST PREFIX u: PREFIX o:")
        _ = other.told("MSET u:1 1 u:2 2 o:1 1 x 1")
        #expect(Set(reader.told().split(separator: " ")) == ["u:1,u:2", "o:1"])
        #expect(reader.told("GET x\nSET u:1 1") == ". .")
        #expect(reader.told() == "u:1", "as anybody's change, after all replies")
        _ = other.told("FLUSHALL")
        #expect(reader.told() == "*")
        _ = reader.told("CLIENT TRACKING OFF\nCLIENT TRACKING ON BCAST NOLOOP")
        #expect(reader.told("SET own 1\nPING") == ". .")
        _ = other.told("SET own 2")
        #expect(reader.told() == "own")
        #expect(engine.tracking.prefixes.count == 1)
        _ = reader.told("RESET")
        #expect(engine.tracking.prefixes.count == 0)
    }

    @Test("Invalidations go to another client with REDIRECT; when it is gone, this one hears so")
    func redirecting() throws {
        let engine = Engine.forTest()
        let (reader, other) = (TestSession(engine, version: .resp3), TestSession(engine))
        var listener: TestSession? = TestSession(engine)
        guard case .integer(let identifier)? = try listener?.call("CLIENT", "ID") else { return #expect(Bool(false)) }
        _ = listener?.told("SUBSCRIBE __redis__:invalidate")
        _ = reader.told("CLIENT TRACKING ON REDIRECT \(identifier)\nGET x")
        _ = other.told("SET x 1")
        let message = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nx\r\n"
        #expect(listener?.send([]) == Array(message.utf8))
        #expect(reader.told() == "")
        _ = reader.told("GET x")
        _ = other.told("FLUSHALL")
        #expect(listener?.send([]) == Array("*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n".utf8))
        listener = nil
        _ = reader.told("GET x")
        _ = other.told("SET x 2")
        #expect(reader.send([]) == Array(">2\r\n$21\r\ntracking-redir-broken\r\n:\(identifier)\r\n".utf8))
    }

    @Test("What is remembered is bounded, and what is forgotten is told to have changed")
    func bounded() throws {
        let engine = Engine.forTest()
        let reader = TestSession(engine, version: .resp3)
        _ = reader.told("CONFIG SET tracking-table-max-keys 10\nCLIENT TRACKING ON")
        var told: [String] = []
        for index in 0..<100 { told += reader.told("GET key:\(index)").split(separator: " ").map(String.init) }
        told += reader.told("PING").split(separator: " ").map(String.init)
        #expect(engine.tracking.keyCount == 10)
        #expect(Set(told.filter { $0 != "." }).count == 90)
    }

    @Test("Clients that go leave nothing behind, whoever changes what they read")
    func comingAndGoing() {
        let engine = Engine.forTest()
        let seed = RandomGenerator.forTest("tracking clients come and go")
        onThreads(4) { thread in
            var generator = seed
            for _ in 0...thread { _ = generator.next() }
            var sessions: [TestSession] = []
            let modes = ["", " BCAST", " BCAST PREFIX k", " OPTIN", " NOLOOP"]
            for _ in 0..<2_000 {
                let session = sessions.randomElement(using: &generator)
                switch generator.next(below: 6) {
                case 0:
                    sessions.append(TestSession(engine, version: .resp3))
                case 1: if !sessions.isEmpty { sessions.remove(at: generator.next(below: sessions.count)) }
                case 2: _ = session?.told("CLIENT TRACKING ON" + modes[generator.next(below: modes.count)])
                case 3: _ = session?.told("CLIENT TRACKING OFF")
                case 4: _ = session?.told("MGET k\(generator.next(below: 9)) k\(generator.next(below: 9))")
                default: _ = session?.told("SET k\(generator.next(below: 9)) v")
                }
            }
        }
        #expect(engine.tracking.clientCount == 0)
        #expect(engine.tracking.prefixes.count == 0)
        _ = engine.maintain(nanosecondsMax: 0)
        #expect(engine.tracking.keyCount == 0)
        #expect(engine.tracking.itemCount == 0)
        #expect(!engine.interest.current.hasTracking)
    }

    @Test("A read that waited counts as one that did not, and databases that change places tell nothing")
    func waitingAndSwapping() throws {
        let engine = Engine.forTest()
        let (reader, other) = (TestSession(engine, version: .resp3), TestSession(engine))
        _ = reader.told("CLIENT TRACKING ON OPTIN\nXREAD BLOCK 0 STREAMS s $")
        _ = other.told("XADD s 1-1 f v")
        #expect(!reader.collect().isEmpty)
        _ = other.told("XADD s 2-1 f v")
        #expect(reader.told() == "")
        _ = reader.told("CLIENT CACHING YES\nXREAD BLOCK 0 STREAMS s $")
        _ = other.told("XADD s 3-1 f v")
        _ = reader.collect()
        _ = other.told("XADD s 4-1 f v")
        #expect(reader.told().contains("s"))
        _ = reader.told("CLIENT CACHING YES\nGET k")
        _ = other.told("SWAPDB 0 1")
        #expect(reader.told() == "")
    }
}
