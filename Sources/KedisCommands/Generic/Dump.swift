// DUMP: a value as bytes that RESTORE takes, here or on another server.

import KedisFormats
import KedisProtocol
import KedisStore
import KedisUtilities

enum DumpCommand {
    static let spec = CommandSpec(
        "DUMP", summary: "Returns the value at a key as bytes for RESTORE.", since: "2.6.0", group: .generic,
        complexity: "O(1) for the lookup and O(N*M) for N elements of M bytes", arity: 2, flags: .readOnly,
        keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"], arguments: [.key()],
        replies: [.bulk("the payload"), .null("the key does not exist")],
        differences: ["The payload is of RDB version 10, but its bytes need not be those of Redis for the same value."],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.read(call.key) else { return reply.null() }
        let compresses = call.engine.configuration.boolean("rdbcompression")
        guard let payload = DumpPayload(of: entry, compressesStrings: compresses) else { throw .outOfMemory }
        reply.bulk(payload.bytes)
    }
}
