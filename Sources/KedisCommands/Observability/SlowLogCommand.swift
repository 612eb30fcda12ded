// SLOWLOG: the commands that took long.

import KedisProtocol
import KedisUtilities

enum SlowLogCommand {
    static let spec = CommandSpec(
        "SLOWLOG", summary: "Groups the commands about the slow log.", since: "2.2.12", group: .server,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            CommandSpec(
                "GET", summary: "Returns the newest entries of the slow log.", since: "2.2.12", group: .server,
                complexity: "O(N), N being the number of entries that are returned", arity: -2, flags: flags,
                locks: .none, tips: ["request_policy:all_nodes", "nondeterministic_output"],
                arguments: [ArgumentSpec("count", .integer, isOptional: true)],
                replies: [
                    .array(
                        """
                        for each entry its number, when it was (seconds), how long it took (microseconds), the \
                        arguments, the client's address and name
                        """)
                ],
                history: [("4.0.0", "Entries have the client's address and name.")],
                differences: [
                    """
                    Pipelined commands of one kind share the readings of the clock where none of them is expected to \
                    take long; one of them that does is entered with how many more there were, and what follows is \
                    measured one by one.
                    """
                ],
                handler: get
            ),
            .help(since: "6.2.0", group: .server),
            CommandSpec(
                "LEN", summary: "Returns how many entries the slow log has.", since: "2.2.12", group: .server,
                arity: 2, flags: flags, locks: .none,
                tips: ["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
                replies: [.integer("the number of entries")]
            ) { (call, reply) throws(CommandError) in
                reply.integer(call.engine.observability.slowLog.count)
            },
            CommandSpec(
                "RESET", summary: "Empties the slow log.", since: "2.2.12", group: .server,
                complexity: "O(N), N being the number of entries", arity: 2, flags: flags, locks: .none,
                tips: ["request_policy:all_nodes", "response_policy:all_succeeded"], replies: [.ok]
            ) { (call, reply) throws(CommandError) in
                call.engine.observability.slowLog.reset()
                reply.ok()
            },
        ]
    )

    private static let flags: CommandFlags = [.admin, .loading, .stale]
    private static let usualCount = 10

    static func get(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count <= 3 else { throw call.subcommandSyntax }
        var count = usualCount
        if call.arguments.count == 3 {
            guard let number = parseInteger(call.arguments[2]), number >= -1 else {
                throw .literal("ERR count should be greater than or equal to -1")
            }
            count = number < 0 ? .max : Int(clamping: number)
        }
        let entries = call.engine.observability.slowLog.newest(count)
        reply.array(entries.count)
        for entry in entries { write(entry, &reply) }
    }

    private static func write(_ entry: SlowLog.Entry, _ reply: inout ReplyWriter) {
        reply.array(6)
        reply.integer(entry.identifier)
        reply.integer(entry.seconds)
        reply.integer(entry.microseconds)
        reply.array(entry.arguments.count)
        for argument in entry.arguments { argument.withUnsafeBytes { reply.bulk(ByteView($0)) } }
        reply.bulk(text: entry.address)
        entry.name.withUnsafeBytes { reply.bulk(ByteView($0)) }
    }
}
