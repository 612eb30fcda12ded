// SCAN: a walk over a database in steps.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ScanCommand {
    static let spec = CommandSpec(
        "SCAN", summary: "Walks over the keys of a database, some at each call.", since: "2.8.0", group: .generic,
        complexity: "O(1) for a call, O(N) for a whole walk over N keys", arity: -2, flags: .readOnly, locks: .none,
        tips: ["nondeterministic_output", "request_policy:special"],
        arguments: [
            ArgumentSpec("cursor", .integer),
            ArgumentSpec("pattern", .pattern, token: "MATCH", isOptional: true),
            ArgumentSpec("count", .integer, token: "COUNT", isOptional: true),
            ArgumentSpec("type", .string, token: "TYPE", isOptional: true, since: "6.0.0"),
        ],
        replies: [.array("the cursor for the next call, 0 at the end, and a list of keys")],
        history: [("6.0.0", "Takes the option TYPE.")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let cursor = try scanCursor(call.arguments[1])
        let options = try ScanOptions(call, from: 2, takesType: true)
        // The cursor is known only after the walk and stands before the keys.
        var keys = ReplyWriter(version: reply.version)
        var count = 0
        let next = call.keyspace.scan(from: cursor, count: options.count) { entry in
            guard options.accepts(entry.key), options.accepts(entry.type) else { return }
            keys.bulk(entry.key)
            count += 1
        }
        guard !keys.hasOverflowed else { throw .outOfMemory }
        reply.scanStep(next, elementCount: count, elements: keys.bytes)
    }
}
