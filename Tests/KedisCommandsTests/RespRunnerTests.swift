// The runner of the text tests is a tool that must be able to fail: canned replies, right and wrong ones.

import KedisTestSupport
import Testing

@Suite("The runner of text tests")
struct RespRunnerTests {
    /// A connection that answers the runner's own requests and takes the rest from `replies`, in order.
    private static func target(_ replies: [String], protocolVersion: Int, closesAfter: Int = .max) -> RespTarget {
        RespTarget(name: "canned", protocolVersion: protocolVersion, connect: {
            var rest = replies[...]
            var count = 0
            return .inProcess { bytes in
                let request = String(decoding: bytes, as: UTF8.self)
                if request.contains("FLUSHALL") { return (Array("+OK\r\n".utf8), false) }
                if request.contains("HELLO") { return (Array("%0\r\n".utf8), false) }
                if request.contains("end of file") { return (Array("$11\r\nend of file\r\n".utf8), false) }
                count += 1
                return (Array((rest.popFirst() ?? "").utf8), count >= closesAfter)
            }
        }, sleep: { _ in })
    }

    private static func mismatches(
        _ text: String, _ replies: [String], protocolVersion: Int = 2, closesAfter: Int = .max
    ) throws -> Int {
        let file = try RespFile(path: "x", text: "# command: X\n" + text)
        let target = target(replies, protocolVersion: protocolVersion, closesAfter: closesAfter)
        return try RespRunner.run(file, on: target).count
    }

    @Test("Each kind of expectation takes its reply in its protocol and no other", arguments: [
        ("+OK", "+OK\r\n", 2, true), ("+OK", "$2\r\nOK\r\n", 2, false), ("-ERR a", "-ERR a\r\n", 2, true),
        ("-ERR a", "-ERR ab\r\n", 2, false), ("-~ ERR *", "-ERR ab\r\n", 2, true), ("-~ ERR ?", "-ERR ab\r\n", 2, false),
        ("-\"ERR a \"", "-ERR a \r\n", 2, true), (":1", ":1\r\n", 2, true), (":1", ":2\r\n", 2, false),
        (":1..3", ":3\r\n", 2, true), (":1..3", ":4\r\n", 2, false), (":?", ":-9\r\n", 2, true),
        (":?", "+1\r\n", 2, false), ("$ \"a\\x00\"", "$2\r\na\0\r\n", 2, true), ("$ \"a\"", "$1\r\nb\r\n", 2, false),
        ("$~ \"a*c\"", "$3\r\nabc\r\n", 2, true), ("$~ \"a*c\"", "$3\r\nabd\r\n", 2, false),
        ("_", "$-1\r\n", 2, true), ("_", "*-1\r\n", 2, false), ("_*", "*-1\r\n", 2, true), ("_*", "_\r\n", 3, true),
        ("_", "$0\r\n\r\n", 2, false), ("#t", ":1\r\n", 2, true), ("#t", "#t\r\n", 3, true), ("#t", ":1\r\n", 3, false),
        ("#f", "#t\r\n", 3, false), (",1.5", ",1.5\r\n", 3, true), (",1.5", "$3\r\n1.5\r\n", 2, true),
        (",1.5", "$3\r\n1.5\r\n", 3, false), ("= \"a\"", "=5\r\ntxt:a\r\n", 3, true), ("= \"a\"", "$1\r\na\r\n", 2, true),
        ("= \"a\"", "$1\r\na\r\n", 3, false), ("*0", "*0\r\n", 2, true), ("*0", "*1\r\n:1\r\n", 2, false),
        ("?", "*1\r\n:1\r\n", 2, true), ("*?", "*1\r\n:1\r\n", 2, true), ("*?", ":1\r\n", 2, false),
    ])
    func kinds(expected: String, reply: String, protocolVersion: Int, matches: Bool) throws {
        let count = try Self.mismatches("> GET a\n< \(expected)", [reply], protocolVersion: protocolVersion)
        #expect((count == 0) == matches)
    }

    @Test("Collections: in order, in any order, at least", arguments: [
        ("*2\n< :1\n< :2", "*2\r\n:1\r\n:2\r\n", 2, true), ("*2\n< :1\n< :2", "*2\r\n:2\r\n:1\r\n", 2, false),
        ("*unordered 2\n< :1\n< :2", "*2\r\n:2\r\n:1\r\n", 2, true),
        ("*unordered 2\n< :1\n< :1", "*2\r\n:2\r\n:1\r\n", 2, false),
        // The pattern that takes anything must not take the reply that the other one needs.
        ("*unordered 2\n< :?\n< :1", "*2\r\n:1\r\n:2\r\n", 2, true),
        ("*unordered 2\n< :1\n< :2", "*3\r\n:2\r\n:1\r\n:3\r\n", 2, false),
        ("*has 1\n< :3", "*3\r\n:2\r\n:1\r\n:3\r\n", 2, true), ("*has 1\n< :4", "*3\r\n:2\r\n:1\r\n:3\r\n", 2, false),
        ("%2\n< +a\n< :1\n< +b\n< :2", "*4\r\n+b\r\n:2\r\n+a\r\n:1\r\n", 2, true),
        ("%2\n< +a\n< :1\n< +b\n< :2", "%2\r\n+b\r\n:2\r\n+a\r\n:1\r\n", 3, true),
        ("%2\n< +a\n< :1\n< +b\n< :2", "%2\r\n+b\r\n:1\r\n+a\r\n:2\r\n", 3, false),
        ("%2\n< +a\n< :1\n< +b\n< :2", "*4\r\n+b\r\n:2\r\n+a\r\n:1\r\n", 3, false),
        ("%has 1\n< +a\n< :1", "%2\r\n+b\r\n:2\r\n+a\r\n:1\r\n", 3, true),
        ("%1\n< +a\n< :1", "*3\r\n+a\r\n:1\r\n:2\r\n", 2, false),
        ("~2\n< +a\n< +b", "~2\r\n+b\r\n+a\r\n", 3, true), ("~2\n< +a\n< +b", "*2\r\n+b\r\n+a\r\n", 2, true),
        ("~2\n< +a\n< +b", "*2\r\n+b\r\n+a\r\n", 3, false), (">1\n< +a", ">1\r\n+a\r\n", 3, true),
        ("*1\n< *1\n<   :7", "*1\r\n*1\r\n:7\r\n", 2, true), ("*1\n< *1\n<   :7", "*1\r\n*1\r\n:8\r\n", 2, false),
    ])
    func collections(expected: String, reply: String, protocolVersion: Int, matches: Bool) throws {
        let count = try Self.mismatches("> GET a\n< \(expected)", [reply], protocolVersion: protocolVersion)
        #expect((count == 0) == matches)
    }

    @Test("A missing reply, one too many and a broken one are seen")
    func outOfStep() throws {
        #expect(try Self.mismatches("> GET a\n< :1", [""]) > 0)
        #expect(try Self.mismatches("> GET a\n< :1", [":1\r\n:2\r\n"]) > 0)
        #expect(try Self.mismatches("> GET a\n< nothing", [":1\r\n"]) > 0)
        #expect(try Self.mismatches("> GET a\n< nothing", [""]) == 0)
        #expect(try Self.mismatches("> GET a\n< :1\n< :2", [":1\r\n:2\r\n"]) == 0)
        #expect(try Self.mismatches("> GET a\n< :1", ["what\r\n"]) > 0)
    }

    @Test("A closed connection is expected or a mistake")
    func closing() throws {
        #expect(try Self.mismatches("> QUIT\n< +OK\n! closes", ["+OK\r\n"], closesAfter: 1) == 0)
        #expect(try Self.mismatches("> QUIT\n< +OK\n! closes", ["+OK\r\n"]) > 0)
        #expect(try Self.mismatches("> QUIT\n< +OK", ["+OK\r\n"], closesAfter: 1) > 0)
    }

    @Test("Directives keep requests from those who should not get them")
    func scopes() throws {
        let text = "! resp3\n> A\n< :3\n! resp2\n> A\n< :2\n! oracle-only why\n> A\n< :4\n! kedis-only why\n> A\n< :5"
        #expect(try Self.mismatches(text, [":2\r\n", ":5\r\n"], protocolVersion: 2) == 0)
        #expect(try Self.mismatches(text, [":3\r\n", ":5\r\n"], protocolVersion: 3) == 0)
        var oracle = Self.target([":2\r\n", ":4\r\n"], protocolVersion: 2)
        oracle.isOracle = true
        #expect(try RespRunner.run(RespFile(path: "x", text: "# command: X\n" + text), on: oracle).isEmpty)
    }
}
