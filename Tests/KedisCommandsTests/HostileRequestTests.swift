// Goal: what a client once could do that it must not: end the process, or make the server lie. Each test is named after
// what went wrong. Method: the requests that did it, on an engine in this process.

import KedisCommands
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Requests that did harm")
struct HostileRequestTests {
    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    private func bulk(_ reply: Reply?) -> String {
        if case .bulk(let bytes) = reply { return text(bytes) }
        return "\(String(describing: reply))"
    }

    @Test("INFO overflowed when keys in many stripes expire at the end of time")
    func infoOfDistantDeadlines() throws {
        let session = TestSession(.forTest())
        for index in 0..<200 {
            _ = try session.call("SET", "key:\(index)", "v", "PXAT", "\(Int64.max - 1)")
        }
        #expect(bulk(try session.call("INFO", "keyspace")).contains("db0:keys=200,expires=200,avg_ttl=92"))
    }

    @Test("SCAN overflowed for the largest COUNT behind a cursor in the middle of a table")
    func scanForEverything() throws {
        let session = TestSession(.forTest())
        for index in 0..<1_000 { _ = try session.call("SET", "key:\(index)", "v") }
        var generator = RandomGenerator.forTest("cursors")
        for _ in 0..<200 {
            let cursor = "\(generator.next())"
            guard case .array(let parts) = try session.call("SCAN", cursor, "COUNT", "\(Int64.max)") else {
                Issue.record("SCAN gives no array")
                return
            }
            #expect(parts.first == .bulk(Array("0".utf8)))
        }
    }

    @Test("A string as long as proto-max-bulk-len may say overflowed the sums of lengths")
    func longestStrings() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        #expect(try session.call("CONFIG", "SET", "proto-max-bulk-len", "\(Int64.max)") == .simple(Array("OK".utf8)))
        for offset in [Int64.max - 3, Int64.max - 40, Int64.max / 2] {
            let reply = try session.call("SETRANGE", "key", "\(offset)", "abc")
            #expect(reply == .error(Array("ERR string exceeds maximum allowed size (proto-max-bulk-len)".utf8)))
        }
        let reply = session.send(Array("*2\r\n$\(Int64.max)\r\nabc".utf8))
        #expect(text(reply) == "-ERR Protocol error: invalid bulk length\r\n")
        #expect(session.isClosing)
    }

    @Test("An error without a blank put its line end, or any length of it, into INFO errorstats")
    func errorWithoutCode() throws {
        let engine = TestEngine().engine
        let session = TestSession(engine)
        _ = try session.call("DEBUG", "ERROR", "ALONE")
        _ = try session.call("DEBUG", "ERROR", String(repeating: "x", count: 1_000) + " y")
        _ = try session.call("DEBUG", "ERROR", "CODE and text")
        #expect(engine.statistics.errorCounts.map(\.code) == ["CODE", "ERR"])
        #expect(engine.statistics.errorCounts.map(\.count) == [1, 2])
    }

    @Test("An error that passed the limit of a client's output was looked for where nothing was any more")
    func errorBeyondOutputLimit() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        _ = try session.call("CONFIG", "SET", "client-output-buffer-limit", "normal 1000 0 0")
        _ = try session.call("SET", "key", String(repeating: "v", count: 960))
        let requests = [["GET", "key"], ["INCR", "key"], ["INCR", "key"], ["GET", "key"]]
        let replies = session.send(requests.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) })
        #expect(replies.isEmpty)
        #expect(session.isClosing)
    }

    @Test("A vertical tab ended an argument of an inline request, which it does not in Redis")
    func inlineVerticalTab() {
        let session = TestSession(.forTest())
        #expect(text(session.send(Array("ECHO \u{B}\u{C}a\u{B}b\u{C}\r\n".utf8))) == "$4\r\na\u{B}b\u{C}\r\n")
    }

    @Test("CONFIG GET answered a directive twice that was asked for in two cases")
    func configurationInTwoCases() throws {
        let reply = try TestSession(.forTest()).call("CONFIG", "GET", "TIMEOUT", "timeout", "t?meout")
        #expect(reply == .array([.bulk(Array("TIMEOUT".utf8)), .bulk(Array("0".utf8))]))
    }

    @Test("A key outlived its deadline for the commands behind a slow one in the same read")
    func expiryInsideOneRead() throws {
        let session = TestSession(TestEngine().engine)
        let requests = [
            ["SET", "key", "v", "PX", "100"], ["SET", "other", "v"], ["DEBUG", "SLEEP", "0.2"], ["GET", "key"],
            ["PEXPIRE", "other", "100"], ["PTTL", "other"],
        ]
        let replies = session.send(requests.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) })
        #expect(text(replies) == "+OK\r\n+OK\r\n+OK\r\n$-1\r\n:1\r\n:100\r\n")
    }

    @Test("Lines of HTTP end the connection before anything behind them is executed", arguments: ["POST / HTTP/1.1", "Host: x"])
    func browser(line: String) throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        #expect(session.send(Array("\(line)\r\nSET hacked 1\r\n".utf8)) == [])
        #expect(session.isClosing)
        #expect(try TestSession(engine).call("EXISTS", "hacked") == .integer(0))
    }

    @Test("A count beyond all bounds ends with the client's output limit")
    func endlessCounts() throws {
        let engine = Engine.forTest()
        try engine.configuration.set([(name: "client-output-buffer-limit", value: "normal 64kb 0 0")])
        let filler = TestSession(engine)
        _ = try filler.call("HSET", "h", "f", "v")
        _ = try filler.call("SADD", "s", "m")
        _ = try filler.call("ZADD", "z", "1", "m")
        let count = "-4611686018427387904"
        for command in [["HRANDFIELD", "h", count], ["SRANDMEMBER", "s", count], ["ZRANDMEMBER", "z", count]] {
            let session = TestSession(engine)
            _ = try session.call(command)
            #expect(session.isClosing, "\(command)")
        }
    }

    @Test("An error that is longer than the output limit ends a client that waited")
    func errorBeyondLimit() throws {
        let engine = Engine.forTest()
        try engine.configuration.set([(name: "client-output-buffer-limit", value: "normal 1500 0 0")])
        let (waiting, other) = (TestSession(engine), TestSession(engine))
        let key = String(repeating: "k", count: 2000)
        _ = try other.call("XGROUP", "CREATE", key, "g", "$", "MKSTREAM")
        _ = try waiting.call("XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", key, ">")
        #expect(waiting.isBlocked)
        _ = try other.call("XGROUP", "DESTROY", key, "g")
        _ = waiting.collect()
        #expect(waiting.isClosing)
    }

    @Test("Members that are due while a command holds others stay where they are")
    func dueMembersWhileOthersAreHeld() throws {
        let clock = TestClock()
        let engine = Engine.forTest(clock: clock)
        let session = TestSession(engine)
        let members = (0..<3000).map { "member:\($0)" }
        _ = try session.call(["SADD", "s"] + members)
        _ = try session.call(["SPEXPIRE", "s", "50", "MEMBERS", "2400"] + members[0..<2400])
        clock.advance(microseconds: 60_000)
        #expect(try session.call("ZUNIONSTORE", "s", "1", "s") == .integer(600))
        guard case .array(let stored)? = try session.call("ZRANGE", "s", "0", "-1") else { return }
        let expected = Set(members[2400...].map { Reply.bulk(Array($0.utf8)).description })
        #expect(Set(stored.map(\.description)) == expected)
    }
}
