// Goal: any user may execute any request here if and only if it may on redis-server 7.0.15. Method: random rules go to
// ACL SETUSER of both, then random requests to ACL DRYRUN; all replies are compared byte by byte. Every other time the
// user that is asked there is one made from the line that ACL LIST shows here, or the other way round: lines mean the same.
//
//      KEDIS_ACL_PAIRS=1000000 swift test --filter AccessProperty        so many pairs of rules and a request

import KedisCommands
import KedisProtocol
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Access control against redis-server")
struct AccessPropertyTests {
    /// How many requests are tried with each user.
    private static let requestCount = 25

    @Test("Any user may do here exactly what it may do on redis-server",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"))
    func permissions() throws {
        let pairCount = TestFiles.environment("KEDIS_ACL_PAIRS").flatMap { Int($0) } ?? 20_000
        let servers = try AccessServers()
        var generator = AccessGenerator(.forTest("access control"), names: try servers.commonNames())
        // The first rules may be refused.
        _ = try servers.ask([["ACL", "SETUSER", "u"].map { Array($0.utf8) }])
        var counts = Counts()
        var (differenceCount, isCopied) = (0, false)
        while counts.total < pairCount, differenceCount < 5 {
            // A line tells `allkeys` and a pattern that matches all keys alike, but other rules may not follow on both.
            let rules = generator.rules(beginAnew: isCopied)
            let setting = [["ACL", "SETUSER", "u"].map { Array($0.utf8) } + rules]
            let replies = try servers.ask(setting)
            guard replies.kedis == replies.oracle else {
                record(rules, [], replies.kedis.first, replies.oracle.first)
                differenceCount += 1
                continue
            }
            let exchange = generator.random.next(below: 3)
            if case .error? = replies.kedis.first {} else { isCopied = false }
            if exchange != 0 { isCopied = true }
            if exchange == 1 { try servers.copy("u", fromOracle: false) }
            if exchange == 2 { try servers.copy("u", fromOracle: true) }
            let requests = (0..<Self.requestCount).map { _ in generator.request() }
            let tries = try servers.ask(requests.map { ["ACL", "DRYRUN", "u"].map { Array($0.utf8) } + $0 })
            for (index, request) in requests.enumerated() {
                let (got, wanted) = (tries.kedis[index], tries.oracle[index])
                counts.note(wanted)
                guard got != wanted, !servers.isRefusedAnyway(request, got), !isExempt(request) else { continue }
                record(try servers.line("u"), request, got, wanted)
                differenceCount += 1
            }
        }
        print("access control: \(counts)")
        // Otherwise the rules and requests do not meet, and the test shows nothing.
        for count in [counts.allowed, counts.command, counts.key] { #expect(count * 12 > counts.total, "\(counts)") }
        #expect(counts.channel * 200 > counts.total, "\(counts)")
    }

    /// redis-server finds no key in PFMERGE without a source and lets everybody write it; here the permission is needed.
    private func isExempt(_ request: [[UInt8]]) -> Bool {
        let name = request.first.map { String(decoding: $0, as: UTF8.self).lowercased() }
        return name == "pfmerge" && request.count == 2
    }

    private func record(_ rules: [[UInt8]], _ request: [[UInt8]], _ got: Reply?, _ wanted: Reply?) {
        let quote = { (words: [[UInt8]]) in words.map { RespQuoting.quote($0) }.joined(separator: " ") }
        Issue.record(
            """
            rules:   \(quote(rules))
            request: \(quote(request))
            Kedis:        \(got.map { $0.respLines().joined(separator: " ") } ?? "nothing")
            redis-server: \(wanted.map { $0.respLines().joined(separator: " ") } ?? "nothing")
            """)
    }

    private struct Counts: CustomStringConvertible {
        var total = 0, allowed = 0, command = 0, key = 0, channel = 0, error = 0

        mutating func note(_ reply: Reply) {
            total += 1
            switch reply {
            case .simple: allowed += 1
            case .bulk(let bytes):
                let text = String(decoding: bytes, as: UTF8.self)
                if text.hasSuffix("command") { command += 1 }
                if text.hasSuffix("key") { key += 1 }
                if text.hasSuffix("channel") { channel += 1 }
            default: error += 1
            }
        }

        var description: String {
            """
            \(total) pairs: \(allowed) allowed, \(command) denied for the command, \(key) for a key, \(channel) for a \
            channel, \(error) errors
            """
        }
    }
}

/// Kedis in process and a redis-server, asked the same.
private final class AccessServers {
    private let server: OracleServer
    private let socket: LoopbackSocket
    private let session: TestSession
    private let engine = TestEngine()
    private var names: Set<String> = []

    init() throws {
        server = try OracleServer()
        socket = try LoopbackSocket(port: server.port)
        session = TestSession(engine.engine)
    }

    /// The full names of the commands that both have, containers without their subcommands too.
    func commonNames() throws -> [String] {
        let own = engine.engine.table.entries.map { $0.pointee.fullName.text }.filter { $0 != "explain" }
        let rows = try askOracle(own.map { ["COMMAND", "INFO", $0].map { Array($0.utf8) } })
        let common = zip(own, rows).compactMap { (name, row) -> String? in
            if case .array(let entries) = row, case .array? = entries.first { return name }
            return nil
        }
        names = Set(common)
        return common
    }

    func ask(_ requests: [[[UInt8]]]) throws -> (kedis: [Reply], oracle: [Reply]) {
        (try askKedis(requests), try askOracle(requests))
    }

    /// Whether Kedis allows a request only because its words are wrong, so that the command touches no key.
    func isRefusedAnyway(_ request: [[UInt8]], _ got: Reply) -> Bool {
        guard case .simple = got else { return false }
        var decoder = ReplyDecoder()
        decoder.append(TestSession(TestEngine().engine).send(RespRunner.encode(request)))
        guard case .error(let bytes)? = try? decoder.next() else { return false }
        let text = String(decoding: bytes, as: UTF8.self)
        return ["syntax", "integer", "float", "out of range", "should be", "must be", "numkeys", "unsupported"]
            .contains { text.contains($0) }
    }

    private func askKedis(_ requests: [[[UInt8]]]) throws -> [Reply] {
        var decoder = ReplyDecoder()
        decoder.append(session.send(requests.flatMap { RespRunner.encode($0) }))
        var replies: [Reply] = []
        while let reply = try decoder.next() { replies.append(reply) }
        return try checked(replies, requests.count)
    }

    private func askOracle(_ requests: [[[UInt8]]]) throws -> [Reply] {
        socket.send(requests.flatMap { RespRunner.encode($0) })
        var decoder = ReplyDecoder()
        var replies: [Reply] = []
        while replies.count < requests.count {
            guard case .bytes(let bytes) = socket.receive(timeoutMilliseconds: 30_000) else { break }
            decoder.append(bytes)
            while let reply = try decoder.next() { replies.append(reply) }
        }
        return try checked(replies, requests.count)
    }

    private func checked(_ replies: [Reply], _ count: Int) throws -> [Reply] {
        guard replies.count == count else {
            throw OracleError(description: "\(replies.count) replies to \(count) requests")
        }
        return replies
    }

    /// The rules of a user as Kedis lists them.
    func line(_ name: String) throws -> [[UInt8]] {
        try Self.rules(of: name, in: askKedis([["ACL", "LIST"].map { Array($0.utf8) }]))
    }

    private static func rules(of name: String, in replies: [Reply]) throws -> [[UInt8]] {
        guard case .array(let lines)? = replies.first else { throw OracleError(description: "no list of users") }
        for case .bulk(let line) in lines {
            let words = line.split(separator: 0x20, omittingEmptySubsequences: false).map(Array.init)
            if words.count > 2, words[1] == Array(name.utf8) { return Array(words[2...]) }
        }
        throw OracleError(description: "\(name) is not listed")
    }

    private func rewritten(_ rule: [UInt8]) -> [UInt8] { rule.dropLast(2) + Array("%RW~*".utf8) }

    /// Forgets rules about commands that only one side has.
    private func leaveOutUncommon(_ rules: inout [[UInt8]]) {
        for index in rules.indices.reversed() {
            var text = String(decoding: rules[index], as: UTF8.self)
            let isLast = text.hasSuffix(")")
            if isLast { text.removeLast() }
            guard let sign = text.first, sign == "+" || sign == "-", text.dropFirst().first != "@" else { continue }
            let words = text.dropFirst().split(separator: "|").map(String.init)
            let isContainer = words.count > 1 && names.contains { $0.hasPrefix(words[0] + "|") }
            guard !names.contains(isContainer ? words.joined(separator: "|") : words[0]) else { continue }
            rules.remove(at: index)
            if isLast { rules[index - 1].append(UInt8(ascii: ")")) }
        }
    }

    /// Makes the user of one side anew from the line that the other side lists.
    func copy(_ name: String, fromOracle: Bool) throws {
        let list = [["ACL", "LIST"].map { Array($0.utf8) }]
        var rules = try Self.rules(of: name, in: fromOracle ? askOracle(list) : askKedis(list))
        leaveOutUncommon(&rules)
        // redis-server tells a pattern for all keys like `allkeys`, behind which it takes no other pattern.
        let allKeys = Array("~*".utf8)
        if fromOracle { rules = rules.map { $0 == allKeys || $0.dropFirst() == allKeys[...] ? rewritten($0) : $0 } }
        let requests = [
            ["ACL", "DELUSER", name].map { Array($0.utf8) }, ["ACL", "SETUSER", name].map { Array($0.utf8) } + rules,
        ]
        let replies = try fromOracle ? askKedis(requests) : askOracle(requests)
        guard replies.last == .simple(Array("OK".utf8)) else {
            let text = rules.map { RespQuoting.quote($0) }.joined(separator: " ")
            throw OracleError(description: "\(replies.last.map { "\($0)" } ?? ""): \(text)")
        }
    }
}
