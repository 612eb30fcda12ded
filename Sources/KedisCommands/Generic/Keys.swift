// KEYS, RANDOMKEY, DBSIZE: reads of a whole database. They lock one stripe at a time and write keys straight into the
// reply.

import KedisProtocol
import KedisStore
import KedisUtilities

enum KeysCommand {
    static let spec = CommandSpec(
        "KEYS", summary: "Lists all keys that match a pattern.", since: "1.0.0", group: .generic,
        complexity: "O(N) in the number of keys of the database, for short keys and patterns", arity: 2,
        flags: .readOnly,
        categories: ["dangerous"], locks: .none, tips: ["request_policy:all_shards", "nondeterministic_output_order"],
        arguments: [ArgumentSpec("pattern", .pattern)], replies: [.array("the keys, in no order")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let pattern = call.arguments[1]
        let takesAll = pattern == "*"
        let start = reply.count
        var count = 0
        call.keyspace.forEachEntry { entry in
            guard takesAll || matchGlob(pattern: pattern, text: entry.key, ignoringCase: false) else { return }
            reply.bulk(entry.key)
            count += 1
        }
        reply.insertArrayHeader(at: start, elementCount: count)
    }
}

enum RandomKeyCommand {
    static let spec = CommandSpec(
        "RANDOMKEY", summary: "Returns a key chosen at random.", since: "1.0.0", group: .generic, arity: 1,
        flags: .readOnly, locks: .none, tips: ["request_policy:all_shards", "nondeterministic_output"],
        replies: [.bulk("the key"), .null("the database is empty")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let isFound = call.keyspace.withRandomEntry(using: &call.client.pointee.random) { reply.bulk($0.key) }
        if !isFound { reply.null() }
    }
}

enum DBSizeCommand {
    static let spec = CommandSpec(
        "DBSIZE", summary: "Counts the keys of the selected database.", since: "1.0.0", group: .server, arity: 1,
        flags: [.readOnly, .fast], categories: ["keyspace"], locks: .none,
        tips: ["request_policy:all_shards", "response_policy:agg_sum"], replies: [.integer("the number of keys")],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.integer(call.keyspace.count)
    }
}
