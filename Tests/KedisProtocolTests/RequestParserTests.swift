// Goal: the server's parser gives the same requests however the bytes are cut, the errors of redis-server, and survives
// any bytes. Method: tables, every split of them, redis-server 7.0 as a second opinion.

import KedisProtocol
import KedisTestSupport
import KedisUtilities
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

private func parse(_ text: String) -> ParsedStream { RequestParserHarness.parse([bytes(text)]) }

/// A stream and its requests.
private let samples: [(wire: String, requests: [[String]])] = [
    ("*1\r\n$4\r\nPING\r\n", [["PING"]]),
    ("*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", [["ECHO", ""]]),
    ("*2\r\n$4\r\nECHO\r\n$12\r\na\r\n$3\r\nb*1\r\n\r\n", [["ECHO", "a\r\n$3\r\nb*1\r\n"]]),
    ("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$123\r\n\(String(repeating: "x", count: 123))\r\n", [["SET", "a", String(repeating: "x", count: 123)]]),
    ("*11\r\n" + String(repeating: "$1\r\na\r\n", count: 11), [Array(repeating: "a", count: 11)]),
    ("*0\r\n*1\r\n$1\r\na\r\n", [["a"]]),
    ("*-1\r\n*-9223372036854775808\r\n*1\r\n$1\r\na\r\n", [["a"]]),
    // CR and LF behind a string are not looked at, nor is what follows the CR of a header.
    ("*1\r\n$1\r\naxy*1\r?$1\r_bzz", [["a"], ["b"]]),
    ("PING\r\n", [["PING"]]),
    ("PING\nECHO a\n", [["PING"], ["ECHO", "a"]]),
    ("\r\n\n  \r\nPING\r\n", [["PING"]]),
    (" \t SET  a\t\"b c\"  \r\n", [["SET", "a", "b c"]]),
    ("SET \"\\x00\\n\\r\\t\\b\\a\\\\\\\"\\q\" '\\'\\n'\r\n", [["SET", "\0\n\r\t\u{8}\u{7}\\\"q", "'\\n"]]),
    ("ECHO \"\" ''\r\n", [["ECHO", "", ""]]),
    ("ECHO a\"b\" \"\\x4\" \"\\xg1\"\n", [["ECHO", "ab", "x4", "xg1"]]),
    ("*1\r\n$1\r\na\r\nPING\r\n*1\r\n$1\r\nb\r\n", [["a"], ["PING"], ["b"]]),
]

/// Streams that end the connection, and the text after `-ERR `.
private let failures: [(name: String, wire: String, text: String)] = [
    ("count is no number", "*a\r\n", "Protocol error: invalid multibulk length"),
    ("count is empty", "*\r\n", "Protocol error: invalid multibulk length"),
    ("count with a blank", "* 1\r\n", "Protocol error: invalid multibulk length"),
    ("count with leading zero", "*01\r\n$1\r\na\r\n", "Protocol error: invalid multibulk length"),
    ("count above the limit", "*2147483648\r\n", "Protocol error: invalid multibulk length"),
    ("count beyond 64 bits", "*99999999999999999999\r\n", "Protocol error: invalid multibulk length"),
    ("no dollar", "*1\r\n:1\r\n", "Protocol error: expected '$', got ':'"),
    ("no dollar, a letter", "*2\r\n$1\r\na\r\nx\r\n", "Protocol error: expected '$', got 'x'"),
    ("no dollar, CR", "*1\r\n\r\n", "Protocol error: expected '$', got '\r'"),
    ("negative length", "*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
    ("length is no number", "*1\r\n$a\r\n", "Protocol error: invalid bulk length"),
    ("length is empty", "*1\r\n$\r\n", "Protocol error: invalid bulk length"),
    ("length with leading zero", "*1\r\n$01\r\na\r\n", "Protocol error: invalid bulk length"),
    ("length with plus", "*1\r\n$+1\r\na\r\n", "Protocol error: invalid bulk length"),
    ("length above the limit", "*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
    ("length beyond 64 bits", "*1\r\n$99999999999999999999\r\n", "Protocol error: invalid bulk length"),
    ("double quote left open", "ECHO \"a\r\n", "Protocol error: unbalanced quotes in request"),
    ("single quote left open", "ECHO 'a\r\n", "Protocol error: unbalanced quotes in request"),
    ("text behind a quote", "ECHO \"a\"b\r\n", "Protocol error: unbalanced quotes in request"),
    ("text behind a single quote", "ECHO 'a'b\r\n", "Protocol error: unbalanced quotes in request"),
    ("inline too long", String(repeating: "a", count: 65_600), "Protocol error: too big inline request"),
    ("count line too long", "*" + String(repeating: "1", count: 65_600), "Protocol error: too big mbulk count string"),
    ("length line too long", "*1\r\n$" + String(repeating: "1", count: 65_600), "Protocol error: too big bulk count string"),
]

@Suite("The parser of requests")
struct RequestParserTests {
    @Test("Every sample is parsed whole, byte by byte and at every cut")
    func everySplit() {
        for sample in samples {
            let wire = bytes(sample.wire)
            let expected = ParsedStream(requests: sample.requests.map { $0.map(bytes) })
            for cut in 0...wire.count {
                let pieces = [Array(wire[..<cut]), Array(wire[cut...])]
                #expect(RequestParserHarness.parse(pieces) == expected, "\(sample.wire.debugDescription) cut at \(cut)")
            }
            var harness = RequestParserHarness()
            for byte in wire { harness.feed([byte]) }
            let (result, brokenPromiseCount) = (harness.result, harness.brokenPromiseCount)
            #expect(result == expected, "\(sample.wire.debugDescription) byte by byte")
            #expect(brokenPromiseCount == 0, "\(sample.wire.debugDescription): too many bytes were said to be missing")
        }
    }

    @Test("All samples behind each other are parsed at every cut")
    func everySplitOfAll() {
        let wire = samples.flatMap { bytes($0.wire) }
        let expected = ParsedStream(requests: samples.flatMap { $0.requests.map { $0.map(bytes) } })
        for cut in 0...wire.count {
            let result = RequestParserHarness.parse([Array(wire[..<cut]), Array(wire[cut...])])
            #expect(result == expected, "cut at \(cut)")
        }
    }

    @Test("An incomplete request gives nothing, and what was before it is given")
    func incomplete() {
        let wire = bytes("*2\r\n$4\r\nECHO\r\n$3\r\nfoo\r\n")
        for count in 0..<wire.count {
            let result = RequestParserHarness.parse([bytes("PING\r\n") + wire[..<count]])
            #expect(result == ParsedStream(requests: [[bytes("PING")]], pendingByteCount: count))
        }
    }

    @Test("What cannot be a request is the error that it should be, at every cut", arguments: failures.indices)
    func errors(index: Int) {
        let failure = failures[index]
        let wire = bytes("*1\r\n$4\r\nPING\r\n" + failure.wire)
        let cuts = wire.count < 100 ? Array(0...wire.count) : [0, 1, 20, 65_000, wire.count]
        for cut in cuts {
            let result = RequestParserHarness.parse([Array(wire[..<cut]), Array(wire[cut...])])
            #expect(result.requests == [[bytes("PING")]])
            #expect(result.failure.map { String(decoding: $0.text, as: UTF8.self) } == failure.text, "\(failure.name), \(cut)")
        }
    }

    @Test("The largest counts and lines that are allowed are allowed")
    func limits() {
        #expect(parse("*1048576\r\n").failure == nil)
        // redis-server 7.0 goes on to 2,147,483,647.
        #expect(parse("*1048577\r\n").failure == .invalidMultibulkLength)
        #expect(parse("*1\r\n$536870912\r\n").failure == nil)
        #expect(parse(String(repeating: "a", count: 65_000)).failure == nil)
        var limits = ParserLimits()
        limits.bulkByteCountMax = 3
        #expect(RequestParserHarness.parse([bytes("*1\r\n$3\r\nabc\r\n")], limits: limits).requests == [[bytes("abc")]])
        #expect(RequestParserHarness.parse([bytes("*1\r\n$4\r\n")], limits: limits).failure == .invalidBulkLength)
    }

    @Test("A client that has not authenticated has tighter limits, whose errors say so")
    func unauthenticated() {
        func parse(_ text: String) -> ProtocolError? {
            RequestParserHarness.parse([bytes(text)], limits: .unauthenticated, isUnauthenticated: true).failure
        }
        #expect(parse("*10\r\n") == nil)
        #expect(parse("*11\r\n") == .unauthenticatedMultibulkLength)
        #expect(parse("*1\r\n$16384\r\n") == nil)
        #expect(parse("*1\r\n$16385\r\n") == .unauthenticatedBulkLength)
    }

    @Test("Thousands of requests in one piece are all given")
    func pipeline() {
        let one = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$10\r\n0123456789\r\n"
        let result = parse(String(repeating: one, count: 10_000))
        #expect(result.requests.count == 10_000)
        #expect(result.requests.allSatisfy { $0 == [bytes("SET"), bytes("a"), bytes("0123456789")] })
    }

    @Test("Random and damaged streams give the same requests however they are cut")
    func fuzz() {
        var generator = RandomGenerator.forTest("parser fuzz")
        let alphabet = bytes("*$-0123456789\r\n\"'\\ xaPING") + [0, 255, 9]
        let seeds = samples.map { bytes($0.wire) } + failures.filter { $0.wire.count < 100 }.map { bytes($0.wire) }
        let start = monotonicNanoseconds()
        var roundCount = 0
        while fuzzGoesOn(since: start) {
            roundCount += 1
            var stream: [UInt8] = []
            for _ in 0...generator.next(below: 4) { stream += seeds[generator.next(below: seeds.count)] }
            if roundCount % 4 == 0 { stream = generator.bytes(generator.next(below: 200), of: alphabet) }
            stream = generator.mutated(stream, with: alphabet)
            var limits = ParserLimits()
            if roundCount % 3 == 0 { limits.bulkByteCountMax = 8 }
            let whole = RequestParserHarness.parse([stream], limits: limits)
            let pieces = generator.pieces(of: stream)
            let cut = RequestParserHarness.parse(pieces, limits: limits)
            guard whole == cut else {
                Issue.record("\(stream) in \(pieces.map(\.count)): \(whole) and \(cut)")
                return
            }
        }
        print("parser fuzz: \(roundCount) streams")
    }
}

@Suite("The parser and redis-server", .enabled(if: OracleServer.isUsable, "no redis-server 7.0"))
struct RequestParserOracleTests {
    @Test("redis-server answers the same errors, then closes")
    func errors() throws {
        let server = try OracleServer()
        for failure in failures {
            let peer = try server.connect()
            peer.send(bytes("*1\r\n$4\r\nPING\r\n" + failure.wire))
            #expect(peer.receive(5_000) == .reply(.simple(bytes("PONG"))), "\(failure.name)")
            // The error replies carry no line breaks.
            let text = failure.text.map { $0 == "\r" ? " " : $0 }
            #expect(peer.receive(5_000) == .reply(.error(bytes("ERR " + String(text)))), "\(failure.name)")
            #expect(peer.receive(5_000) == .closed, "\(failure.name)")
            peer.close()
        }
    }

    @Test("redis-server splits inline requests into the same arguments")
    func inline() throws {
        var generator = RandomGenerator.forTest("inline requests")
        let server = try OracleServer()
        // Without zero bytes: behind one, redis-server does not see the end of the line and waits.
        let alphabet = bytes("ab\"\"''\\\\x0f1n \t") + [0xC3]
        var peer = try server.connect()
        for _ in 0..<2_000 {
            let words = generator.bytes(generator.next(below: 14), of: alphabet)
            let line = bytes("EVAL \"return ARGV\" 0 ") + words + bytes("\r\n")
            peer.send(line)
            let ours = RequestParserHarness.parse([line])
            let theirs = peer.receive(5_000)
            if let failure = ours.failure {
                #expect(theirs == .reply(.error(bytes("ERR ") + failure.text)), "\(words)")
                peer.close()
                peer = try server.connect()
            } else {
                let arguments = ours.requests.first.map { Array($0.dropFirst(3)) } ?? []
                #expect(theirs == .reply(.array(arguments.map { .bulk($0) })), "\(words)")
                if case .reply(.error) = theirs { peer = try server.connect() }
            }
        }
    }
}
