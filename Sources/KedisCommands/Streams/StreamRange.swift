// XRANGE, XREVRANGE: the entries of an interval of IDs.

import KedisProtocol
import KedisStore
import KedisUtilities

enum StreamRangeCommand {
    static let spec = spec(
        "XRANGE", "Returns the entries of a stream whose IDs lie in an interval.", ["start", "end"]
    ) { (call, reply) throws(CommandError) in try range(&call, &reply, isReversed: false) }

    static let reversedSpec = spec(
        "XREVRANGE", "Returns the entries of a stream whose IDs lie in an interval, last to first.", ["end", "start"]
    ) { (call, reply) throws(CommandError) in try range(&call, &reply, isReversed: true) }

    private static func spec(
        _ name: String, _ summary: String, _ bounds: [String], _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: "5.0.0", group: .stream,
            complexity: "O(N), N being the length of the reply; the first one is found in O(log M) among M nodes",
            arity: -4,
            flags: .readOnly, keys: [.one([.readOnly, .access])],
            arguments: [.key()] + bounds.map { ArgumentSpec($0, .string) }
                + [ArgumentSpec("count", .integer, token: "COUNT", isOptional: true)],
            replies: [.array("the entries: the ID and an array of fields and values each"), .null("COUNT is 0")],
            history: [(version: "6.2.0", change: "An interval can leave out its ends.")], handler: handler
        )
    }

    private static func range(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, isReversed: Bool
    ) throws(CommandError) {
        let first = try call.streamStart(at: isReversed ? 3 : 2)
        let last = try call.streamEnd(at: isReversed ? 2 : 3)
        var countMax: Int64?
        var index = 4
        while index < call.arguments.count {
            guard call.arguments[index].equalsIgnoringCase("COUNT"), index + 1 < call.arguments.count else {
                throw .syntax
            }
            countMax = max(0, try call.integer(at: index + 1))
            index += 2
        }
        guard let entry = call.keyspace.read(call.key) else { return reply.array(0) }
        let stream = try entry.streamValue()
        guard countMax != 0 else { return reply.nullArray() }
        reply.streamEntries(stream, from: first, through: last, countMax: countMax ?? 0, isReversed: isReversed)
    }
}
