// GET: the value of a key. GETDEL and GETSET: the value, and the key is removed or set anew.

import KedisProtocol
import KedisStore

enum GetCommand {
    static let spec = CommandSpec(
        "GET", summary: "Returns the string at a key.", since: "1.0.0", group: .string, arity: 2,
        flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])], arguments: [.key()],
        replies: [.bulk("the value"), .null("the key does not exist")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.read(call.key) else { return reply.null() }
        reply.bulk(try entry.stringValue())
    }
}

enum GetDeleteCommand {
    static let spec = CommandSpec(
        "GETDEL", summary: "Returns the string at a key and removes the key.", since: "6.2.0", group: .string, arity: 2,
        flags: [.write, .fast], keys: [.one([.readWrite, .access, .delete])], arguments: [.key()],
        replies: [.bulk("the value that was removed"), .null("the key does not exist")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard try call.replyValue(&reply) else { return }
        let key = call.key
        if call.keyspace.remove(key) { call.changed(key, "del") }
    }
}

enum GetSetCommand {
    static let spec = CommandSpec(
        "GETSET", summary: "Sets a key to a string and returns the string that was there.", since: "1.0.0",
        group: .string, arity: 3, flags: [.write, .denyOutOfMemory, .fast],
        keys: [.one([.readWrite, .access, .update])], arguments: [.key(), ArgumentSpec("value", .string)],
        replies: [.bulk("the value before"), .null("the key did not exist")],
        deprecation: (since: "6.2.0", replacement: "`SET` with the `!GET` argument"), handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        _ = try call.replyValue(&reply)
        try SetCommand.set(&call, to: call.arguments[2])
    }
}
