// ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCOUNT, ZLEXCOUNT: what a sorted set says about members and ranges.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SortedSetCardinalityCommand {
    static let spec = CommandSpec(
        "ZCARD", summary: "Returns the number of members of a sorted set.", since: "1.2.0", group: .sortedSet, arity: 2,
        flags: [.readOnly, .fast], keys: [.one(.readOnly)], arguments: [.key()],
        replies: [.integer("the number of members, 0 if the key does not exist")]
    ) { (call, reply) throws(CommandError) in
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        reply.integer(try entry.sortedSetValue().count)
    }
}

enum SortedSetScoreCommand {
    static let spec = CommandSpec(
        "ZSCORE", summary: "Returns the score of a member of a sorted set.", since: "1.2.0", group: .sortedSet,
        complexity: "O(1)", arity: 3, flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("member", .string)],
        replies: [.bulk("the score"), .null("there is no such member")]
    ) { (call, reply) throws(CommandError) in
        guard let entry = call.keyspace.read(call.key) else { return reply.null() }
        score(of: call.arguments[2], in: try entry.sortedSetValue(), &reply)
    }

    static let multipleSpec = CommandSpec(
        "ZMSCORE", summary: "Returns the scores of several members of a sorted set.", since: "6.2.0",
        group: .sortedSet, complexity: "O(N), N being the number of members that are asked for", arity: -3,
        flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("member", .string, isMultiple: true)],
        replies: [.array("the scores in the order of the arguments, null for those that are no members")]
    ) { (call, reply) throws(CommandError) in
        let set = try call.keyspace.read(call.key)?.sortedSetValue()
        let arguments = call.arguments
        reply.array(arguments.count - 2)
        for index in 2..<arguments.count {
            if let set { score(of: arguments[index], in: set, &reply) } else { reply.null() }
        }
    }

    private static func score(of member: ByteView, in set: SortedSetValue, _ reply: inout ReplyWriter) {
        if let score = set.score(of: member) { reply.double(score) } else { reply.null() }
    }
}

enum SortedSetRankCommand {
    static let spec = spec("ZRANK", "the lowest score first") { (call, reply) throws(CommandError) in
        try rank(&call, &reply, isReversed: false)
    }

    static let reverseSpec = spec("ZREVRANK", "the highest score first") { (call, reply) throws(CommandError) in
        try rank(&call, &reply, isReversed: true)
    }

    private static func spec(_ name: String, _ order: String, _ handler: @escaping CommandHandler) -> CommandSpec {
        CommandSpec(
            name, summary: "Returns the rank of a member of a sorted set, from 0, \(order).", since: "2.0.0",
            group: .sortedSet, complexity: "O(log(N)), N being the number of members", arity: -3,
            flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])],
            arguments: [
                .key(), ArgumentSpec("member", .string),
                .token("WITHSCORE", optional: true, since: "7.2.0"),
            ],
            replies: [
                .integer("the rank"), .array("with WITHSCORE: the rank and the score"),
                .null("there is no such member"),
            ],
            handler: handler
        )
    }

    @inline(__always)
    private static func rank(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, isReversed: Bool
    ) throws(CommandError) {
        let arguments = call.arguments
        let isScored = arguments.count > 3
        if isScored {
            guard arguments.count == 4 else { throw .wrongArity(call.entry) }
            guard arguments[3].equalsIgnoringCase("WITHSCORE") else { throw .syntax }
        }
        let set = try call.keyspace.read(call.key)?.sortedSetValue()
        guard let set, let (rank, score) = set.rank(of: arguments[2]) else {
            return isScored ? reply.nullArray() : reply.null()
        }
        if isScored { reply.array(2) }
        reply.integer(isReversed ? set.count - 1 - rank : rank)
        if isScored { reply.double(score) }
    }
}

enum SortedSetCountCommand {
    static let spec = CommandSpec(
        "ZCOUNT", summary: "Returns the number of members with a score in a range.", since: "2.0.0", group: .sortedSet,
        complexity: "O(log(N)), N being the number of members", arity: 4, flags: [.readOnly, .fast],
        keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("min", .double), ArgumentSpec("max", .double)],
        replies: [.integer("the number of members")]
    ) { (call, reply) throws(CommandError) in
        let (from, through) = try call.scoreRange(from: 2, through: 3)
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        reply.integer(try entry.sortedSetValue().ranks(from: from, through: through).count)
    }

    static let membersSpec = CommandSpec(
        "ZLEXCOUNT", summary: "Returns the number of members in a range of byte strings, of a set with equal scores.",
        since: "2.8.9", group: .sortedSet, complexity: "O(log(N)), N being the number of members", arity: 4,
        flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("min", .string), ArgumentSpec("max", .string)],
        replies: [.integer("the number of members")]
    ) { (call, reply) throws(CommandError) in
        let (from, through) = try call.memberRange(from: 2, through: 3)
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        reply.integer(try entry.sortedSetValue().ranks(from: from, through: through).count)
    }
}
