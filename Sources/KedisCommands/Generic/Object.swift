// OBJECT: how a value is stored and when it was used, without a trace on its access clock.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ObjectCommand {
    static let spec = CommandSpec(
        "OBJECT", summary: "Groups the commands that look behind a value.", since: "2.2.3", group: .generic,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            subcommand(
                "IDLETIME", "Returns how many seconds ago a key was last used.", since: "2.2.3", "the seconds", idleTime
            ),
            subcommand(
                "FREQ", "Returns the access frequency of a key, on a logarithmic scale.", since: "4.0.0",
                "the counter, 0 to 255", frequency),
            .help(since: "6.2.0", group: .generic),
            encodingSpec,
            subcommand(
                "REFCOUNT", "Returns how many references a value has.", since: "2.2.3", "the count", referenceCount),
        ]
    )

    private static var encodingSpec: CommandSpec {
        var spec = subcommand(
            "ENCODING", "Names the form in which a value is stored.", since: "2.2.3", "", encoding
        )
        spec.replies = [.bulk("the name of the encoding"), .null("the key does not exist")]
        return spec
    }

    private static func subcommand(
        _ name: String, _ summary: String, since: String, _ meaning: String, _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: since, group: .generic, arity: 3, flags: .readOnly,
            keys: [.one(.readOnly, at: 2)], tips: ["nondeterministic_output"], arguments: [.key()],
            replies: [.integer(meaning), .null("the key does not exist")], handler: handler
        )
    }

    private static func encoding(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.quietKeyspace.read(call.key) else { return reply.null() }
        reply.bulk(ByteView(entry.encoding.name))
    }

    private static func referenceCount(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.quietKeyspace.read(call.key) else { return reply.null() }
        reply.integer(referenceCount(of: entry))
    }

    private static func idleTime(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.quietKeyspace.read(call.key) else { return reply.null() }
        guard !call.engine.configuration.evictionPolicy.countsFrequency else {
            throw .literal(
                """
                ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                between policies at runtime LRU and LFU data will take some time to adjust.
                """
            )
        }
        reply.integer(idleSeconds(of: entry, nowMilliseconds: call.nowMilliseconds))
    }

    private static func frequency(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.quietKeyspace.read(call.key) else { return reply.null() }
        guard !call.engine.configuration.evictionPolicy.countsFrequency else {
            return reply.integer(call.keyspace.accessFrequency(entry))
        }
        throw .literal(
            """
            ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
            between policies at runtime LRU and LFU data will take some time to adjust.
            """
        )
    }

    /// What Redis answers, where the integers below 10,000 are shared objects: nothing is shared or counted here.
    static func referenceCount(of entry: Entry) -> Int {
        if entry.type == .string, case .integer(let value) = entry.string, value >= 0, value < 10_000 {
            return Int(Int32.max)
        }
        return 1
    }

    static func idleSeconds(of entry: Entry, nowMilliseconds: Int64) -> Int64 {
        entry.idleSeconds(nowMilliseconds: nowMilliseconds)
    }
}
