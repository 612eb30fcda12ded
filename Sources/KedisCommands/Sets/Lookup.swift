// SCARD, SISMEMBER, SMISMEMBER, SMEMBERS, SSCAN: sets that are read.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SetCountCommand {
    static let spec = CommandSpec(
        "SCARD", summary: "Returns the number of members of a set.", since: "1.0.0", group: .set, arity: 2,
        flags: [.readOnly, .fast], keys: [.one(.readOnly)], arguments: [.key()],
        replies: [.integer("the number of members, 0 if the key does not exist")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        reply.integer(try entry.setValue(call).count)
    }
}

enum SetContainsCommand {
    static let spec = CommandSpec(
        "SISMEMBER", summary: "Tells whether something is a member of a set.", since: "1.0.0", group: .set, arity: 3,
        flags: [.readOnly, .fast], keys: [.one(.readOnly)], arguments: [.key(), ArgumentSpec("member", .string)],
        replies: [.integer("1 when it is a member, else 0")]
    ) { (call, reply) throws(CommandError) in
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        reply.integer(try entry.setValue(call).contains(call.arguments[2]) ? 1 : 0)
    }

    static let severalSpec = CommandSpec(
        "SMISMEMBER", summary: "Tells of several things whether they are members of a set.", since: "6.2.0",
        group: .set, complexity: "O(N), N being the number of members asked for", arity: -3,
        flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("member", .string, isMultiple: true)],
        replies: [.array("for each, in the order given, 1 when it is a member, else 0")]
    ) { (call, reply) throws(CommandError) in
        let arguments = call.arguments
        let set = try call.keyspace.read(call.key)?.setValue(call)
        reply.array(arguments.count - 2)
        for index in 2..<arguments.count { reply.integer(set?.contains(arguments[index]) == true ? 1 : 0) }
    }
}

enum SetMembersCommand {
    static let spec = CommandSpec(
        "SMEMBERS", summary: "Returns all members of a set.", since: "1.0.0", group: .set,
        complexity: "O(N), N being the number of members", arity: 2, flags: .readOnly,
        keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output_order"], arguments: [.key()],
        replies: [.set("the members, in no particular order")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.read(call.key) else { return reply.set(0) }
        reply.members(try entry.setValue(call))
    }
}

enum SetScanCommand {
    static let spec = CommandSpec(
        "SSCAN", summary: "Walks over the members of a set, some at each call.", since: "2.8.0", group: .set,
        complexity: "O(1) for a call, O(N) for a whole walk over N members", arity: -3, flags: .readOnly,
        keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"],
        arguments: [
            .key(), ArgumentSpec("cursor", .integer),
            ArgumentSpec("pattern", .pattern, token: "MATCH", isOptional: true),
            ArgumentSpec("count", .integer, token: "COUNT", isOptional: true),
        ],
        replies: [.array("the cursor for the next call, 0 at the end, and a list of members")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let cursor = try scanCursor(call.arguments[2])
        guard let entry = call.keyspace.read(call.key) else {
            return reply.scanStep(0, elementCount: 0, elements: .empty)
        }
        let set = try entry.setValue(call)
        let options = try ScanOptions(call, from: 3, takesType: false)
        // The cursor is known only after the walk and stands before the members.
        var members = ReplyWriter(version: reply.version)
        var count = 0
        let next = set.scan(from: cursor, count: options.count) { member in
            guard member.withBytes({ options.accepts($0) }) else { return }
            members.bulk(member)
            count &+= 1
        }
        guard !members.hasOverflowed else { throw .outOfMemory }
        reply.scanStep(next, elementCount: count, elements: members.bytes)
    }
}
