// HSCAN: a walk over a hash in steps.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HashScanCommand {
    static let spec = CommandSpec(
        "HSCAN", summary: "Walks over the fields of a hash, some at each call.", since: "2.8.0", group: .hash,
        complexity: "O(1) for a call, O(N) for a whole walk over N fields", arity: -3, flags: .readOnly,
        keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"],
        arguments: [
            .key(), ArgumentSpec("cursor", .integer),
            ArgumentSpec("pattern", .pattern, token: "MATCH", isOptional: true),
            ArgumentSpec("count", .integer, token: "COUNT", isOptional: true),
        ],
        replies: [.array("the cursor for the next call, 0 at the end, and a list of fields and values in turn")],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let cursor = try scanCursor(call.arguments[2])
        guard let hash = try call.hashToRead() else {
            reply.array(2)
            reply.bulk("0")
            return reply.array(0)
        }
        let options = try ScanOptions(call, from: 3, takesType: false)
        // The cursor is known only after the walk and stands before the fields.
        var elements = ReplyWriter(version: reply.version)
        var count = 0
        let next = hash.scan(from: cursor, limit: options.count) { field, value in
            guard !elements.hasOverflowed, field.withBytes({ options.accepts($0) }) else { return }
            elements.bulk(field)
            elements.bulk(value)
            count += 2
        }
        guard !elements.hasOverflowed else { throw .outOfMemory }
        reply.scanStep(next, elementCount: count, elements: elements.bytes)
    }
}
