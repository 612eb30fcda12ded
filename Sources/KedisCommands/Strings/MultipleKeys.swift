// MGET, MSET, MSETNX: several keys at one instant, since all their stripes are locked.

import KedisProtocol
import KedisStore
import KedisUtilities

enum MultipleGetCommand {
    static let spec = CommandSpec(
        "MGET", summary: "Returns the strings at several keys.", since: "1.0.0", group: .string,
        complexity: "O(N), N being the number of keys", arity: -2, flags: [.readOnly, .fast],
        keys: [.rest([.readOnly, .access])], tips: ["request_policy:multi_shard"], arguments: [.key(multiple: true)],
        replies: [.array("for each key its value, or null if there is none or it is no string")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.array(call.keyCount)
        for index in 0..<call.keyCount {
            if let entry = call.keyspace.read(call.keyInLoop(index)), entry.type == .string {
                reply.bulk(entry.string)
            } else {
                reply.null()
            }
        }
    }
}

enum MultipleSetCommand {
    static let spec = CommandSpec(
        "MSET", summary: "Sets several keys to strings, whatever was there.", since: "1.0.1", group: .string,
        complexity: "O(N), N being the number of keys", arity: -3, flags: [.write, .denyOutOfMemory],
        keys: [.rest([.overwrite, .update], step: 2)],
        tips: ["request_policy:multi_shard", "response_policy:all_succeeded"], arguments: [pairs], replies: [.ok],
        handler: run
    )

    static let pairs = ArgumentSpec.block("key_value", multiple: true, [.key(), ArgumentSpec("value", .string)])

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try checkPairs(call)
        try setAll(&call)
        reply.ok()
    }

    /// Every key has a value.
    static func checkPairs(_ call: borrowing CommandCall) throws(CommandError) {
        guard call.arguments.count % 2 == 1 else { throw .wrongArity(call.entry) }
    }

    /// Sets every key to the argument behind it.
    static func setAll(_ call: inout CommandCall) throws(CommandError) {
        for index in 0..<call.keyCount {
            let key = call.keyInLoop(index)
            do { try call.keyspace.setString(key, call.arguments[2 * index + 2]) } catch { throw .outOfMemory }
            call.changed(key, "set")
        }
    }
}

enum MultipleSetIfAbsentCommand {
    static let spec = CommandSpec(
        "MSETNX", summary: "Sets several keys to strings unless one of them exists.", since: "1.0.1", group: .string,
        complexity: "O(N), N being the number of keys", arity: -3, flags: [.write, .denyOutOfMemory],
        keys: [.rest([.overwrite, .insert], step: 2)],
        tips: ["request_policy:multi_shard", "response_policy:agg_min"], arguments: [MultipleSetCommand.pairs],
        replies: [.integer("1 if all keys were set, 0 if none was")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try MultipleSetCommand.checkPairs(call)
        for index in 0..<call.keyCount where call.keyspace.write(call.key(index)) != nil {
            return reply.integer(0)
        }
        try MultipleSetCommand.setAll(&call)
        reply.integer(1)
    }
}
