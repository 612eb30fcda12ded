// ZRANGE and its older forms, ZRANGESTORE: the elements of a range of ranks, scores or members.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SortedSetRangeCommand {
    /// What the ends of a range are; nil where an argument may say so.
    private enum Kind {
        case rank, score, member
    }

    // MARK: Specs

    static let spec = CommandSpec(
        "ZRANGE", summary: "Returns the elements of a sorted set in a range of ranks, scores or members.",
        since: "1.2.0", group: .sortedSet, complexity: complexity, arity: -4, flags: .readOnly,
        keys: [.one([.readOnly, .access])],
        arguments: [
            .key(), ArgumentSpec("start", .string), ArgumentSpec("stop", .string),
            .oneOf("sortby", optional: true, since: "6.2.0", [.token("BYSCORE"), .token("BYLEX")]),
            .token("REV", optional: true, since: "6.2.0"), limit(since: "6.2.0"),
            .token("WITHSCORES", optional: true),
        ],
        replies: replies, history: [("6.2.0", "Takes the options REV, BYSCORE, BYLEX and LIMIT.")]
    ) { (call, reply) throws(CommandError) in try run(&call, &reply, nil, isReversed: nil) }

    static let reverseSpec = oldSpec(
        "ZREVRANGE", "between two ranks, the highest first", since: "1.2.0",
        [ArgumentSpec("start", .integer), ArgumentSpec("stop", .integer), .token("WITHSCORES", optional: true)],
        replacement: "`ZRANGE` with the `REV` argument"
    ) { (call, reply) throws(CommandError) in try run(&call, &reply, .rank, isReversed: true) }

    static let byScoreSpec = oldSpec(
        "ZRANGEBYSCORE", "with a score in a range", since: "1.0.5",
        [
            ArgumentSpec("min", .double), ArgumentSpec("max", .double),
            .token("WITHSCORES", optional: true, since: "2.0.0"), limit(),
        ],
        history: [("2.0.0", "Takes the option WITHSCORES.")], replacement: "`ZRANGE` with the `BYSCORE` argument"
    ) { (call, reply) throws(CommandError) in try run(&call, &reply, .score, isReversed: false) }

    static let reverseByScoreSpec = oldSpec(
        "ZREVRANGEBYSCORE", "with a score in a range, the highest first", since: "2.2.0",
        [
            ArgumentSpec("max", .double), ArgumentSpec("min", .double), .token("WITHSCORES", optional: true), limit(),
        ],
        history: [("2.1.6", "The ends can be exclusive.")],
        replacement: "`ZRANGE` with the `REV` and `BYSCORE` arguments"
    ) { (call, reply) throws(CommandError) in try run(&call, &reply, .score, isReversed: true) }

    static let byMemberSpec = oldSpec(
        "ZRANGEBYLEX", "in a range of byte strings, of a set with equal scores", since: "2.8.9",
        [ArgumentSpec("min", .string), ArgumentSpec("max", .string), limit()],
        replacement: "`ZRANGE` with the `BYLEX` argument"
    ) { (call, reply) throws(CommandError) in try run(&call, &reply, .member, isReversed: false) }

    static let reverseByMemberSpec = oldSpec(
        "ZREVRANGEBYLEX", "in a range of byte strings, of a set with equal scores, the highest first", since: "2.8.9",
        [ArgumentSpec("max", .string), ArgumentSpec("min", .string), limit()],
        replacement: "`ZRANGE` with the `REV` and `BYLEX` arguments"
    ) { (call, reply) throws(CommandError) in try run(&call, &reply, .member, isReversed: true) }

    static let storeSpec = CommandSpec(
        "ZRANGESTORE", summary: "Stores the elements of a range of a sorted set in another key.", since: "6.2.0",
        group: .sortedSet,
        complexity: "O(log(N)+M), N being the number of elements and M that of those that are stored", arity: -5,
        flags: [.write, .denyOutOfMemory],
        keys: [.one([.overwrite, .update]), .one([.readOnly, .access], at: 2)],
        arguments: [
            .key("dst"), .key("src", spec: 1), ArgumentSpec("min", .string), ArgumentSpec("max", .string),
            .oneOf("sortby", optional: true, [.token("BYSCORE"), .token("BYLEX")]), .token("REV", optional: true),
            limit(),
        ],
        replies: [.integer("the number of elements that were stored")], handler: store
    )

    private static let complexity =
        "O(log(N)+M), N being the number of elements and M that of those that are returned"
    private static let replies: [ReplySpec] = [
        .array("the members in order, with WITHSCORES each followed by its score (RESP3: pairs of both)")
    ]

    private static func limit(since: String? = nil) -> ArgumentSpec {
        ArgumentSpec(
            "offset_count", .block, token: "LIMIT", isOptional: true, since: since,
            arguments: [ArgumentSpec("offset", .integer), ArgumentSpec("count", .integer)])
    }

    private static func oldSpec(
        _ name: String, _ which: String, since: String, _ arguments: [ArgumentSpec],
        history: [(version: String, change: String)] = [], replacement: String, _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: "Returns the elements of a sorted set \(which).", since: since, group: .sortedSet,
            complexity: complexity, arity: -4, flags: .readOnly, keys: [.one([.readOnly, .access])],
            arguments: [.key()] + arguments, replies: replies, history: history,
            deprecation: (since: "6.2.0", replacement: replacement), handler: handler
        )
    }

    // MARK: Arguments

    private enum Bounds {
        case ranks(Int64, Int64)
        case scores(ScoreBound, ScoreBound)
        case members(MemberBound, MemberBound)
    }

    private struct Query {
        var bounds = Bounds.ranks(0, -1)
        var isReversed = false
        var isScored = false
        private var offset: Int64 = 0
        private var limit: Int64 = -1

        /// - Parameter start: where the ends of the range are.
        init(
            _ call: borrowing CommandCall, start: Int, kind fixedKind: Kind?, isReversed fixedOrder: Bool?, stores: Bool
        ) throws(CommandError) {
            let arguments = call.arguments
            var (kind, order) = (fixedKind, fixedOrder)
            var index = start + 2
            while index < arguments.count {
                let word = arguments[index]
                if !stores, word.equalsIgnoringCase("WITHSCORES") {
                    isScored = true
                } else if word.equalsIgnoringCase("LIMIT"), index + 2 < arguments.count {
                    offset = try call.integer(at: index + 1)
                    limit = try call.integer(at: index + 2)
                    index += 2
                } else if order == nil, word.equalsIgnoringCase("REV") {
                    order = true
                } else if kind == nil, word.equalsIgnoringCase("BYLEX") {
                    kind = .member
                } else if kind == nil, word.equalsIgnoringCase("BYSCORE") {
                    kind = .score
                } else {
                    throw .syntax
                }
                index += 1
            }
            isReversed = order ?? false
            try check(kind ?? .rank)
            bounds = try Query.readBounds(call, kind ?? .rank, start, isReversed: isReversed)
        }

        private func check(_ kind: Kind) throws(CommandError) {
            if kind == .rank, limit != -1 {
                throw .literal(
                    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
            }
            if kind == .member, isScored {
                throw .literal("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
            }
        }

        private static func readBounds(
            _ call: borrowing CommandCall, _ kind: Kind, _ start: Int, isReversed: Bool
        ) throws(CommandError) -> Bounds {
            // The higher end comes first when the order is reversed, but not of ranks.
            let (from, through) = isReversed ? (start + 1, start) : (start, start + 1)
            switch kind {
            case .rank:
                let first = try call.integer(at: start)
                return .ranks(first, try call.integer(at: start + 1))
            case .score:
                let range = try call.scoreRange(from: from, through: through)
                return .scores(range.from, range.through)
            case .member:
                let range = try call.memberRange(from: from, through: through)
                return .members(range.from, range.through)
            }
        }

        /// The ranks that are asked for, in ascending order.
        func ranks(in set: SortedSetValue) -> Range<Int> {
            switch bounds {
            case .ranks(let start, let stop):
                let count = set.count
                let range = listPositions(from: start, through: stop, of: count)
                return isReversed ? count - range.upperBound..<count - range.lowerBound : range
            case .scores(let from, let through): return limited(set.ranks(from: from, through: through))
            case .members(let from, let through):
                return limited(set.ranks(from: from, through: through, isReversed: isReversed))
            }
        }

        private func limited(_ range: Range<Int>) -> Range<Int> {
            guard offset >= 0, offset < Int64(range.count) else { return 0..<0 }
            let skipped = Int(offset)
            let taken = limit < 0 ? range.count - skipped : Int(min(limit, Int64(range.count - skipped)))
            if isReversed { return range.upperBound - skipped - taken..<range.upperBound - skipped }
            return range.lowerBound + skipped..<range.lowerBound + skipped + taken
        }
    }

    // MARK: Handlers

    private static func run(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, _ kind: Kind?, isReversed: Bool?
    ) throws(CommandError) {
        let query = try Query(call, start: 2, kind: kind, isReversed: isReversed, stores: false)
        guard let entry = call.keyspace.read(call.key) else { return reply.array(0) }
        let set = try entry.sortedSetValue()
        reply.elements(
            set, in: query.ranks(in: set), isReversed: query.isReversed, .scored(query.isScored, reply))
    }

    private static func store(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let query = try Query(call, start: 3, kind: nil, isReversed: nil, stores: true)
        let destination = call.key(0)
        var elements = ScoredMembers()
        if let entry = call.keyspace.read(call.key(1)) {
            let set = try entry.sortedSetValue()
            set.forEach(in: query.ranks(in: set)) { elements.append($0, $1) }
        }
        try call.store(&elements, at: destination, event: "zrangestore")
        reply.integer(elements.count)
    }
}
