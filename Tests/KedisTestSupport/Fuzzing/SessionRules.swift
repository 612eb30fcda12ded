// What may differ between the connections of Kedis and of redis-server in one step, by name. Everything else is the same
// byte for byte. Tests/differences.md has the reasons.

import KedisProtocol
import KedisUtilities

/// What one connection received in one step.
struct SessionExchange {
    var name: String
    var arguments: [[UInt8]]
    /// The commands of the transaction that EXEC ends.
    var queued: [FuzzCommand]
    /// Whether the step is this connection's own.
    var isOwn: Bool
    var rule: FuzzRule
    var identifiers: (got: [Int64], wanted: [Int64])
    /// Keys that have had a deadline which is over.
    var dueKeys: Set<String>
    /// Words of requests before tracking was turned off.
    var staleWords: Set<String>
    /// A connection waits in a blocking command.
    var isSomebodyWaiting: Bool
}

enum SessionRules {
    /// Whether a connection received the same from both.
    static func isSame(_ got: [UInt8], _ wanted: [UInt8], _ exchange: SessionExchange) -> Bool {
        if got == wanted { return true }
        let (own, other) = (SessionStream(got), SessionStream(wanted))
        return areSameMessages(own.messages, other.messages, exchange)
            && areSameInvalidations(own.invalidations, other.invalidations, exchange)
            && (own.replies == other.replies || areSameReplies(own.replies, other.replies, exchange))
    }

    // MARK: Messages

    /// `order of patterns`: one publication that matches several patterns of a client comes in any order.
    /// `consumers`: Redis 7.2 makes a consumer even when it gets nothing, and tells of it.
    private static func areSameMessages(_ got: [[UInt8]], _ wanted: [[UInt8]], _ exchange: SessionExchange) -> Bool {
        let (own, other) = (settled(got, exchange), settled(wanted, exchange))
        guard exchange.isOwn, exchange.name == "exec" else { return own == other }
        return unframed(own) == unframed(other)
    }

    /// `own messages of a transaction`: those of notifications and of PUBLISH, in any order, and in the protocol of the
    /// moment or of the end.
    private static func unframed(_ frames: [[UInt8]]) -> [[UInt8]] {
        frames.map { Array($0.dropFirst()) }.sorted { $0.lexicographicallyPrecedes($1) }
    }

    private static let newConsumer = Reply.bulk(Array("xgroup-createconsumer".utf8))
    private static let newConsumers = Reply.bulk(Array("__keyevent@0__:xgroup-createconsumer".utf8))

    /// What belongs to one publication, sorted.
    private static func settled(_ frames: [[UInt8]], _ exchange: SessionExchange) -> [[UInt8]] {
        var settled: [[UInt8]] = []
        var group: [[UInt8]] = []
        var publication: [Reply] = []
        for frame in frames {
            let own = publicationOf(frame)
            if own.contains(newConsumer) || own.contains(newConsumers) { continue }
            if own != publication {
                settled += group.sorted { $0.lexicographicallyPrecedes($1) }
                group = []
                publication = own
            }
            group.append(frame)
        }
        return settled + group.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// The channel and the text of a message.
    private static func publicationOf(_ frame: [UInt8]) -> [Reply] {
        switch decode(frame).first {
        case .push(let values)?, .array(let values)?: Array(values.suffix(2))
        default: []
        }
    }

    /// `invalidations`: the keys of one step, in any order, each once or more often, in any number of messages.
    /// `expired for its author`: with NOLOOP too Kedis tells of a key that expired under a command of the client itself.
    /// `waits run again`: who is served has changed the key as well, so the author of the push hears of it.
    /// `read before tracking ended`: whether a change of that is told when tracking is on again.
    private static func areSameInvalidations(
        _ got: [[UInt8]], _ wanted: [[UInt8]], _ exchange: SessionExchange
    ) -> Bool {
        if got == wanted { return true }
        let (own, other) = (keys(got), keys(wanted))
        let isStale = { (key: String) in exchange.staleWords.contains { key.hasSuffix(" " + $0) } }
        let isDue = { (key: String) in exchange.isOwn && exchange.dueKeys.contains { key.hasSuffix(" " + $0) } }
        return other.subtracting(own).allSatisfy(isStale)
            && own.subtracting(other).allSatisfy { isStale($0) || isDue($0) || exchange.isSomebodyWaiting }
    }

    private static func keys(_ frames: [[UInt8]]) -> Set<String> {
        Set(
            frames.flatMap { frame -> [String] in
                guard let reply = decode(frame).first else { return ["\(frame)"] }
                let elements: [Reply]
                switch reply {
                case .push(let values), .array(let values): elements = values
                default: elements = []
                }
                if elements.first == .bulk(Array("tracking-redir-broken".utf8)) { return ["a broken redirection"] }
                guard let last = elements.last else { return ["\(reply)"] }
                let kind = "\(elements.dropLast())"
                if case .array(let keys) = last { return keys.map { "\(kind) \(text($0))" } }
                return ["\(kind) \(text(last))"]
            })
    }

    private static func text(_ reply: Reply) -> String {
        if case .bulk(let bytes) = reply { String(decoding: bytes, as: UTF8.self) } else { "\(reply)" }
    }

    // MARK: Replies

    static func decode(_ bytes: [UInt8]) -> [Reply] {
        var decoder = ReplyDecoder()
        decoder.append(bytes)
        var replies: [Reply] = []
        while let reply = try? decoder.next() { replies.append(reply) }
        return replies
    }

    private static func areSameReplies(_ got: [UInt8], _ wanted: [UInt8], _ exchange: SessionExchange) -> Bool {
        let got = settledGreeting(got, exchange.identifiers.got)
        let wanted = settledGreeting(wanted, exchange.identifiers.wanted)
        if got == wanted { return true }
        let (own, other) = (decode(got), decode(wanted))
        if !exchange.isOwn, own.count == 1, other.count == 1, isEndOfGroup(own[0], other[0]) { return true }
        guard exchange.isOwn, own.count == other.count, !own.isEmpty else { return false }
        if exchange.name == "exec", isSameMixture(own, other, exchange) { return true }
        // Behind the reply there may be those of commands that waited; they are simple ones. Confirmations in a
        // transaction push its last replies behind it.
        let isMixed = exchange.name == "exec" && own.count > 1
        guard zip(own, other).dropFirst().allSatisfy({ $0 == $1 || isMixed && FuzzRule.shape.accepts($0, $1, []) })
        else {
            return false
        }
        return isSame(own[0], other[0], exchange)
    }

    /// `permissions of wrong words`: keys that redis-server finds in a request which is wrong anyway.
    private static func isWrongAnyway(_ got: Reply, _ wanted: Reply) -> Bool {
        guard case .error(let own) = got, case .error(let other) = wanted else { return false }
        return other.starts(with: Array("NOPERM this user has no permissions to access one of the keys".utf8))
            && own.starts(with: Array("ERR ".utf8))
    }

    /// `group gone`: what XREADGROUP is told that waits for a stream or a group which goes.
    private static func isEndOfGroup(_ got: Reply, _ wanted: Reply) -> Bool {
        guard case .error(let own) = got, case .error(let other) = wanted else { return false }
        let codes = ["NOGROUP", "WRONGTYPE", "UNBLOCKED"].map { Array($0.utf8) }
        return codes.contains { own.starts(with: $0) } && codes.contains { other.starts(with: $0) }
    }

    private static func isSame(_ got: Reply, _ wanted: Reply, _ exchange: SessionExchange) -> Bool {
        if got == wanted || isWrongAnyway(got, wanted) { return true }
        if exchange.name == "exec" { return isSameTransaction(got, wanted, exchange) }
        let (own, other) = (
            settled(got, exchange.name, exchange.identifiers.got),
            settled(wanted, exchange.name, exchange.identifiers.wanted)
        )
        return own == other || exchange.rule.accepts(own, other, exchange.arguments)
    }

    /// A transaction with commands that confirm each of their channels: their later confirmations push its last replies
    /// behind its array. What is whose follows from the number of channels.
    private static func isSameMixture(_ got: [Reply], _ wanted: [Reply], _ exchange: SessionExchange) -> Bool {
        guard case .array(let first)? = got.first, case .array(let firstWanted)? = wanted.first,
            first.count == firstWanted.count
        else { return false }
        var (own, other) = (first + got.dropFirst(), firstWanted + wanted.dropFirst())
        for command in exchange.queued {
            let isList = name(of: command).hasSuffix("subscribe")
            if isList, command.arguments.count < 2 { return false }
            var count = isList ? command.arguments.count - 1 : 1
            if case .error? = own.first { count = 1 }
            guard own.count >= count, other.count >= count else { return false }
            guard zip(own, other).prefix(count).allSatisfy({ isSame($0, $1, of: command, in: exchange) }) else {
                return false
            }
            own.removeFirst(count)
            other.removeFirst(count)
        }
        return own == other
    }

    private static func name(of command: FuzzCommand) -> String {
        var step = SessionStep(0, [])
        step.command = command
        return step.name
    }

    /// A reply in a transaction, under the rule of its command.
    private static func isSame(
        _ got: Reply, _ wanted: Reply, of command: FuzzCommand, in exchange: SessionExchange
    ) -> Bool {
        var inner = exchange
        inner.name = name(of: command)
        inner.arguments = command.arguments
        inner.rule = command.rule
        return inner.name != "exec" && isSame(got, wanted, inner)
    }

    /// Each reply under the rule of its command.
    private static func isSameTransaction(_ got: Reply, _ wanted: Reply, _ exchange: SessionExchange) -> Bool {
        guard case .array(let own) = got, case .array(let other) = wanted, own.count == other.count else {
            return false
        }
        // Several confirmations of one command: which reply is whose cannot be told.
        guard own.count == exchange.queued.count else {
            return zip(own, other).allSatisfy { FuzzRule.shape.accepts($0, $1, []) }
        }
        return own.indices.allSatisfy { isSame(own[$0], other[$0], of: exchange.queued[$0], in: exchange) }
    }

    /// `hello`: without the version, which is that of Redis 7.2, and with the place of the connection for its number. As
    /// bytes, for in a transaction confirmations may stand before it and count as one reply.
    private static func settledGreeting(_ bytes: [UInt8], _ identifiers: [Int64]) -> [UInt8] {
        var text = bytes
        var pairs: [(String, String)] = ["7.0.15", "7.2.4"].map { ("$\($0.utf8.count)\r\n\($0)\r\n", "$1\r\n7\r\n") }
        pairs += identifiers.enumerated().map { ("$2\r\nid\r\n:\($1)\r\n", "$2\r\nid\r\n:\(-1 - $0)\r\n") }
        for (old, new) in pairs { text.replace(Array(old.utf8), with: Array(new.utf8)) }
        return text
    }

    /// `client numbers`: each as the place of its connection.
    private static func settled(_ reply: Reply, _ name: String, _ identifiers: [Int64]) -> Reply {
        guard ["client|id", "client|getredir", "client|trackinginfo"].contains(name) else { return reply }
        switch reply {
        case .integer(let number):
            guard number > 0 else { return reply }
            let place = identifiers.firstIndex(of: number).map { "\($0)" } ?? "that has gone"
            return .simple(Array("connection \(place)".utf8))
        case .array(let elements): return .array(elements.map { settled($0, name, identifiers) })
        case .map(let entries):
            return .map(entries.map { Reply.Entry(key: $0.key, value: settled($0.value, name, identifiers)) })
        default: return reply
        }
    }

    // MARK: States

    /// The lines of CLIENT LIST as far as both mean the same: without addresses, times, sizes and numbers.
    static func states(_ reply: Reply, _ identifiers: [Int64]) -> [String] {
        let bytes: [UInt8] =
            switch reply {
            case .bulk(let bytes): bytes
            case .verbatim(_, let text): text
            default: []
            }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { line in
            let fields = line.split(separator: " ").filter { field in
                ["name=", "flags=", "db=", "sub=", "psub=", "ssub=", "multi=", "cmd=", "user=", "redir=", "resp="]
                    .contains { field.hasPrefix($0) }
            }
            return fields.map { field in
                // `no-evict`: RESET of Redis 7.2 ends it.
                if field.hasPrefix("flags=") {
                    return field == "flags=e" ? "flags=N" : "flags=" + field.dropFirst(6).filter { $0 != "e" }
                }
                guard field.hasPrefix("redir="), let number = Int64(field.dropFirst(6)), number > 0 else {
                    return String(field)
                }
                return "redir=connection \(identifiers.firstIndex(of: number).map { "\($0)" } ?? "that has gone")"
            }.joined(separator: " ")
        }
    }
}

// MARK: Differences that end a sequence

extension SessionRules {
    /// The name of a listed difference after which the two cannot be compared any more, if this may be one.
    static func listedEnd(
        _ step: SessionStep, hasSwitchedReplies: Bool, isOracleSilent: Bool, isOracleAloneClosed: Bool,
        waitsForSeveral: Bool
    ) -> String? {
        if waitsForSeveral { return "several keys ready" }
        if step.name == "exec", hasSwitchedReplies { return "reply mode in a transaction" }
        if step.name == "quit", isOracleSilent { return "quit without a reply" }
        if step.name == "acl|setuser", isOracleAloneClosed { return "subscriptions of another user" }
        return nil
    }
}
