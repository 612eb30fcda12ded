// GET: the value of a key.

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
