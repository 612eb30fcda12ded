// Kedis in process and a redis-server, which get the same commands and whose replies are compared.
//
// A batch goes to both in one piece; equal bytes need no decoding. Random picks and removals go alone, as they are
// replayed. Used by one thread.

package import KedisCommands
import KedisProtocol
import KedisStore
import KedisUtilities

/// A command whose replies differ.
package struct FuzzMismatch {
    package var index: Int
    package var command: [[UInt8]]
    package var got: String
    package var wanted: String
}

package final class FuzzPair {
    private let server: OracleServer
    private let socket: LoopbackSocket
    private let engine: Engine
    private var session: TestSession
    private var inbox: [UInt8] = []
    private static let marker = Array("end-of-the-batch-8f3a".utf8)
    package private(set) var commandCount = 0

    package init() throws {
        server = try OracleServer()
        socket = try LoopbackSocket(port: server.port)
        engine = TestEngine.forFuzzing()
        session = TestSession(engine)
    }

    /// Whether redis-server has a command, a subcommand's name being behind a bar.
    package func isKnown(_ fullName: String) throws -> Bool {
        let replies = try askOracle([["COMMAND", "INFO", fullName].map { Array($0.utf8) }])
        guard case .array(let rows)? = replies.first, let row = rows.first else { return false }
        if case .array = row { return true }
        return false
    }

    /// Empties both, with the given directives, in the given protocol.
    package func restart(_ directives: [[String]], protocolVersion: Int) throws {
        session = TestSession(engine)
        var setup = [["HELLO", "\(protocolVersion)"], ["SELECT", "0"], ["FLUSHALL"]]
        setup += directives.map { ["CONFIG", "SET"] + $0 }
        let requests = setup.map { $0.map { Array($0.utf8) } }
        _ = try askOracle(requests)
        for request in requests { _ = session.send(RespRunner.encode(request)) }
    }

    // MARK: Running

    /// Runs commands from an empty state on; the first difference, if any. Digests are compared at the end, and every
    /// so many commands.
    package func run(_ commands: [FuzzCommand], digestEvery: Int = 25) throws -> FuzzMismatch? {
        let checks = Self.checks
        var batch: [(Int, FuzzCommand)] = []
        for (index, command) in commands.enumerated() {
            switch command.rule {
            case .randomPick, .randomRemoval:
                if let mismatch = try runBatch(batch) { return mismatch }
                batch = []
                if let mismatch = try runRandom(index, command) { return mismatch }
            default:
                batch.append((index, command))
                if (index + 1) % digestEvery == 0 {
                    batch += checks.map { (index, $0) }
                    if let mismatch = try runBatch(batch) { return mismatch }
                    batch = []
                }
            }
        }
        batch += checks.map { (commands.count - 1, $0) }
        return try runBatch(batch)
    }

    /// The digest of all data, after a walk on which redis-server removes what is due.
    private static let checks = [
        FuzzCommand(arguments: ["SCAN", "0", "COUNT", "1000"].map { Array($0.utf8) }, rule: .cursor(isPaired: false)),
        FuzzCommand(arguments: ["DEBUG", "DIGEST"].map { Array($0.utf8) }, rule: .exact),
    ]

    private func runBatch(_ batch: [(Int, FuzzCommand)]) throws -> FuzzMismatch? {
        guard !batch.isEmpty else { return nil }
        commandCount += batch.count
        var bytes: [UInt8] = []
        for (_, command) in batch { bytes += RespRunner.encode(command.arguments) }
        socket.send(bytes + RespRunner.encode([Array("ECHO".utf8), Self.marker]))
        let got = session.send(bytes)
        let wanted = try receiveBatch()
        if got == wanted { return nil }
        var (decoder, oracleDecoder) = (ReplyDecoder(), ReplyDecoder())
        decoder.append(got)
        oracleDecoder.append(wanted)
        for (index, command) in batch {
            let (own, other) = (try decoder.next(), try oracleDecoder.next())
            guard let own, let other, command.rule.accepts(own, other, command.arguments) else {
                return FuzzMismatch(
                    index: index, command: command.arguments, got: describe(own), wanted: describe(other))
            }
        }
        return nil
    }

    private func describe(_ reply: Reply?) -> String { reply.map { $0.respLines().joined(separator: "\n") } ?? "nothing" }

    /// The replies of redis-server up to the marker's.
    private func receiveBatch() throws -> [UInt8] {
        let end = Array("$\(Self.marker.count)\r\n".utf8) + Self.marker + [0x0D, 0x0A]
        var received: [UInt8] = []
        while !(received.count >= end.count && received.suffix(end.count).elementsEqual(end)) {
            switch socket.receive(timeoutMilliseconds: 30_000) {
            case .bytes(let bytes): received += bytes
            case .closed: throw OracleError(description: "redis-server closed the connection")
            case .timeout: throw OracleError(description: "redis-server does not answer")
            }
        }
        received.removeLast(end.count)
        return received
    }

    private func askOracle(_ requests: [[[UInt8]]]) throws -> [Reply] {
        socket.send(requests.flatMap { RespRunner.encode($0) } + RespRunner.encode([Array("ECHO".utf8), Self.marker]))
        var decoder = ReplyDecoder()
        decoder.append(try receiveBatch())
        var replies: [Reply] = []
        while let reply = try decoder.next() { replies.append(reply) }
        return replies
    }

    private func askKedis(_ request: [[UInt8]]) throws -> Reply? {
        var decoder = ReplyDecoder()
        decoder.append(session.send(RespRunner.encode(request)))
        return try decoder.next()
    }

    // MARK: Random picks

    private func runRandom(_ index: Int, _ command: FuzzCommand) throws -> FuzzMismatch? {
        commandCount += 1
        let got = try askKedis(command.arguments)
        if command.rule == .randomRemoval, let got { return try replayRemoval(index, command, got) }
        let wanted = try askOracle([command.arguments]).first
        guard let got, let wanted else { return FuzzMismatch(index: index, command: command.arguments, got: describe(got), wanted: describe(wanted)) }
        if got == wanted { return nil }
        let name = String(decoding: command.arguments[0], as: UTF8.self).lowercased()
        var isRight = command.rule.accepts(got, wanted, command.arguments)
        if isRight, command.arguments.count > 1 || name == "randomkey" {
            isRight = try arePresent(Self.picks(got), name, command.arguments)
        }
        if isRight { return nil }
        return FuzzMismatch(index: index, command: command.arguments, got: describe(got), wanted: describe(wanted))
    }

    /// The strings of a reply, nested ones too.
    private static func picks(_ reply: Reply) -> [[UInt8]] {
        switch reply {
        case .bulk(let bytes): [bytes]
        case .array(let elements), .set(let elements): elements.map { picks($0).first ?? [] }
        default: []
        }
    }

    /// Whether redis-server has each of the elements that Kedis picked; of pairs, the even ones are looked for.
    private func arePresent(_ picks: [[UInt8]], _ name: String, _ arguments: [[UInt8]]) throws -> Bool {
        guard !picks.isEmpty else { return true }
        let withValues = arguments.count > 3 && picks.count > 1
        let elements = withValues && picks.count.isMultiple(of: 2) && name != "srandmember"
            ? stride(from: 0, to: picks.count, by: 2).map { picks[$0] } : picks
        let requests = elements.prefix(50).map { element -> [[UInt8]] in
            switch name {
            case "randomkey": [Array("EXISTS".utf8), element]
            case "srandmember": [Array("SISMEMBER".utf8), arguments[1], element]
            case "hrandfield": [Array("HEXISTS".utf8), arguments[1], element]
            default: [Array("ZSCORE".utf8), arguments[1], element]
            }
        }
        // In RESP3, fields come with values as pairs, whose first is looked for in any case.
        return try askOracle(Array(requests)).allSatisfy { $0 != .integer(0) && $0 != .null }
    }

    /// Removes on redis-server what Kedis has removed.
    private func replayRemoval(_ index: Int, _ command: FuzzCommand, _ got: Reply) throws -> FuzzMismatch? {
        let picks = Self.picks(got)
        guard !picks.isEmpty, command.arguments.count > 1 else {
            let wanted = try askOracle([command.arguments]).first
            if wanted == got { return nil }
            return FuzzMismatch(index: index, command: command.arguments, got: describe(got), wanted: describe(wanted))
        }
        let count = try askOracle([[Array("SCARD".utf8), command.arguments[1]]]).first
        let removed = try askOracle([[Array("SREM".utf8), command.arguments[1]] + picks]).first
        guard removed == .integer(Int64(picks.count)) else {
            return FuzzMismatch(
                index: index, command: command.arguments, got: describe(got),
                wanted: "\(picks.count) members of the \(describe(count))")
        }
        return nil
    }

    /// Payloads of what redis-server holds.
    package func payloads() throws -> [[UInt8]] {
        guard case .array(let keys)? = try askOracle([[Array("KEYS".utf8), Array("*".utf8)]]).first else { return [] }
        let requests = keys.compactMap { key -> [[UInt8]]? in
            guard case .bulk(let name) = key else { return nil }
            return [Array("DUMP".utf8), name]
        }
        return try askOracle(requests).compactMap { reply in
            if case .bulk(let bytes) = reply { bytes } else { nil }
        }
    }

    /// Every value of Kedis restored on redis-server, and the other way round, has the digest that it had.
    package func comparePayloads() throws -> String? {
        guard case .array(let keys)? = try askOracle([[Array("KEYS".utf8), Array("*".utf8)]]).first else { return nil }
        for case .bulk(let key) in keys {
            let dump = [Array("DUMP".utf8), key]
            let copy = Array("restored".utf8)
            let restore = { (payload: [UInt8]) in [Array("RESTORE".utf8), copy, [0x30], payload, Array("REPLACE".utf8)] }
            let digest = [Array("DEBUG".utf8), Array("DIGEST-VALUE".utf8), key, copy]
            let persist = [Array("PERSIST".utf8), key]
            guard case .bulk(let own)? = try askKedis(dump), case .bulk(let others)? = try askOracle([dump]).first else {
                return "DUMP \(RespQuoting.quote(key)) failed"
            }
            _ = try askKedis(persist)
            let answer = try askOracle([persist, restore(own), digest])
            guard case .array(let digests)? = answer.last, digests.count == 2, digests[0] == digests[1] else {
                return "redis-server does not take \(RespQuoting.quote(own)) of \(RespQuoting.quote(key)): \(answer)"
            }
            let loaded = try askKedis(restore(others))
            guard case .array(let ownDigests)? = try askKedis(digest), ownDigests == digests else {
                return "Kedis does not take \(RespQuoting.quote(others)) of \(RespQuoting.quote(key)): \(describe(loaded))"
            }
        }
        return nil
    }

    // MARK: Shrinking

    /// The shortest part of `commands` that still makes a difference.
    package func shrink(
        _ commands: [FuzzCommand], _ directives: [[String]], protocolVersion: Int, seconds: UInt64 = 20
    ) throws -> [FuzzCommand] {
        try shortestFailing(commands, seconds: seconds) { candidate in
            try restart(directives, protocolVersion: protocolVersion)
            return try run(candidate)?.index
        }
    }
}

extension TestEngine {
    /// An engine on the real clock, as the oracle is.
    package static func forFuzzing() -> Engine {
        let configuration = Configuration()
        configuration.settle("save", "")
        configuration.settle("enable-debug-command", "yes")
        return Engine(store: Store(seed: HashSeed(1, 2)), configuration: configuration, seed: 3)
    }
}
