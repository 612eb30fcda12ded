// PUBSUB: what is listened to.

import KedisProtocol
import KedisStore
import KedisUtilities

enum PubSubCommand {
    static let spec = CommandSpec(
        "PUBSUB", summary: "Groups the commands about channels.", since: "2.8.0", group: .publishSubscribe,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            channelsSpec("CHANNELS", "channels", since: "2.8.0", channels),
            helpSpec,
            CommandSpec(
                "NUMPAT", summary: "Returns how many different patterns are listened to.", since: "2.8.0",
                group: .publishSubscribe, arity: 2, flags: [.publishSubscribe, .loading, .stale], locks: .none,
                replies: [.integer("the number of patterns")]
            ) { (call, reply) throws(CommandError) in
                reply.integer(call.engine.hub.patterns.count)
            },
            numbersSpec("NUMSUB", "channels", "channel", since: "2.8.0", numbers),
            channelsSpec("SHARDCHANNELS", "shard channels", since: "7.0.0", shardChannels),
            numbersSpec("SHARDNUMSUB", "shard channels", "shardchannel", since: "7.0.0", shardNumbers),
        ]
    )

    private static let helpSpec: CommandSpec = {
        var spec = CommandSpec.help(since: "6.2.0", group: .publishSubscribe)
        spec.isOfGroupCategory = false
        return spec
    }()

    private static func channelsSpec(
        _ name: String, _ what: String, since: String, _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: "Lists \(what) that are listened to.", since: since, group: .publishSubscribe,
            complexity: "O(N), N being the number of \(what)", arity: -2, flags: [.publishSubscribe, .loading, .stale],
            locks: .none, arguments: [ArgumentSpec("pattern", .pattern, isOptional: true)],
            replies: [.array("the names that match")], handler: handler
        )
    }

    private static func numbersSpec(
        _ name: String, _ what: String, _ argument: String, since: String,
        _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: "Returns how many clients listen to \(what).", since: since, group: .publishSubscribe,
            complexity: "O(N), N being the number of arguments", arity: -2,
            flags: [.publishSubscribe, .loading, .stale], locks: .none,
            arguments: [ArgumentSpec(argument, .string, isOptional: true, isMultiple: true)],
            replies: [.array("each name and its number, one after another")], handler: handler
        )
    }

    static func channels(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try list(call.engine.hub.channels, call, &reply)
    }

    static func shardChannels(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try list(call.engine.hub.shardChannels, call, &reply)
    }

    private static func list(
        _ table: TopicTable, _ call: borrowing CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        let arguments = call.arguments
        guard arguments.count <= 3 else { throw call.subcommandSyntax }
        let start = reply.count
        var count = 0
        for name in table.names {
            name.withUnsafeBytes { bytes in
                let name = ByteView(bytes)
                let isListed =
                    arguments.count == 2 || matchGlob(pattern: arguments[2], text: name, ignoringCase: false)
                guard isListed else { return }
                reply.bulk(name)
                count += 1
            }
        }
        reply.insertArrayHeader(at: start, elementCount: count)
    }

    static func numbers(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        count(call.engine.hub.channels, call, &reply)
    }

    static func shardNumbers(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        count(call.engine.hub.shardChannels, call, &reply)
    }

    private static func count(_ table: TopicTable, _ call: borrowing CommandCall, _ reply: inout ReplyWriter) {
        reply.array(2 * (call.arguments.count - 2))
        for index in 2..<call.arguments.count {
            reply.bulk(call.arguments[index])
            reply.integer(table.subscriberCount(of: call.arguments[index]))
        }
    }
}
