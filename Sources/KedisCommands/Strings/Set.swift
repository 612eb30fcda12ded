// SET: sets a key to a string, with conditions and a deadline.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SetCommand {
    static let spec = CommandSpec(
        "SET", summary: "Sets a key to a string, whatever was there.", since: "1.0.0", group: .string, arity: -3,
        flags: [.write, .denyOutOfMemory], keys: [.one([.readWrite, .access, .update, .variableFlags])],
        arguments: [.key(), ArgumentSpec("value", .string)], replies: [.ok], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let keyspace = call.keyspace
        let key = call.key
        let value = call.arguments[2]
        try storing { () throws(StoreError) in try keyspace.setString(key, value) }
        call.changed(key, "set")
        reply.ok()
    }
}
