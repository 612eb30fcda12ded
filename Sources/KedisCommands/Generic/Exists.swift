// EXISTS, TOUCH, TYPE: what is there, without its value.

import KedisProtocol
import KedisStore

enum ExistsCommand {
    static let spec = CommandSpec(
        "EXISTS", summary: "Counts the given keys that exist.", since: "1.0.0", group: .generic,
        complexity: "O(N) in the number of keys", arity: -2, flags: [.readOnly, .fast], keys: [.rest(.readOnly)],
        tips: ["request_policy:multi_shard", "response_policy:agg_sum"], arguments: [.key(multiple: true)],
        replies: [.integer("how many of the keys exist, a key that is named twice counted twice")],
        history: [("3.0.3", "Takes several keys.")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let keyspace = call.untouchingKeyspace
        var foundCount = 0
        for index in 0..<call.keyCount where keyspace.read(call.keyInLoop(index)) != nil { foundCount += 1 }
        reply.integer(foundCount)
    }
}

enum TouchCommand {
    static let spec = CommandSpec(
        "TOUCH", summary: "Marks keys as just used and counts those that exist.", since: "3.2.1", group: .generic,
        complexity: "O(N) in the number of keys", arity: -2, flags: [.readOnly, .fast], keys: [.rest(.readOnly)],
        tips: ["request_policy:multi_shard", "response_policy:agg_sum"], arguments: [.key(multiple: true)],
        replies: [.integer("how many of the keys exist")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let keyspace = call.untouchingKeyspace
        var foundCount = 0
        for index in 0..<call.keyCount {
            guard let entry = keyspace.read(call.keyInLoop(index)) else { continue }
            // Touching is what was asked for, once, also of a client that otherwise leaves no trace.
            call.keyspace.touch(entry)
            foundCount += 1
        }
        reply.integer(foundCount)
    }
}

enum TypeCommand {
    static let spec = CommandSpec(
        "TYPE", summary: "Names the type of the value at a key.", since: "1.0.0", group: .generic, arity: 2,
        flags: [.readOnly, .fast], keys: [.one(.readOnly)], arguments: [.key()],
        replies: [.simple("the name of the type, or none when the key does not exist")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.untouchingKeyspace.read(call.key) else { return reply.simple("none") }
        reply.simple(entry.type.name)
    }
}
