// XINFO: what a stream, its groups and its consumers are like.

import KedisProtocol
import KedisStore
import KedisUtilities

enum StreamInfoCommand {
    static let spec = CommandSpec(
        "XINFO", summary: "Groups the commands that describe streams.", since: "5.0.0", group: .stream,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            subcommand(
                "STREAM", "Describes a stream.", arity: -3,
                arguments: [
                    ArgumentSpec("full", .block, token: "FULL", isOptional: true, arguments: [
                        ArgumentSpec("count", .integer, token: "COUNT", isOptional: true)
                    ])
                ],
                replies: [.map("facts by name")],
                history: [
                    (version: "6.0.0", change: "Describes everything with `FULL`."),
                    (
                        version: "7.0.0",
                        change: "Tells of deleted and added entries, the first ID, entries read and lag."
                    ),
                ],
                handler: stream),
            subcommand(
                "CONSUMERS", "Describes the consumers of a group.", arity: 4, tips: ["nondeterministic_output"],
                arguments: [ArgumentSpec("groupname", .string)], replies: [.array("a map of facts for each")],
                handler: consumers),
            subcommand(
                "GROUPS", "Describes the consumer groups of a stream.", arity: 3,
                replies: [.array("a map of facts for each")],
                history: [(version: "7.0.0", change: "Tells entries read and lag.")], handler: groups),
            .help(since: "5.0.0", group: .stream),
        ]
    )

    private static func subcommand(
        _ name: String, _ summary: String, arity: Int, tips: [String] = [], arguments: [ArgumentSpec] = [],
        replies: [ReplySpec], history: [(version: String, change: String)] = [], handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: "5.0.0", group: .stream, arity: arity, flags: .readOnly,
            keys: [.one([.readOnly, .access], at: 2)], tips: tips, arguments: [.key()] + arguments, replies: replies,
            history: history, handler: handler
        )
    }

    private static func find(_ call: borrowing CommandCall) throws(CommandError) -> Stream {
        guard let entry = call.keyspace.read(call.key) else { throw .noSuchKey }
        return try entry.streamValue()
    }

    // MARK: CONSUMERS, GROUPS

    private static func consumers(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let group = try find(call).group(named: call.arguments[3]) else { throw call.noSuchConsumerGroup }
        let now = call.nowMilliseconds
        reply.array(group.consumerCount)
        for index in 0..<group.consumerCount {
            let consumer = group.consumer(index)
            let active = consumer.activeMilliseconds
            reply.map(4)
            reply.bulk("name")
            reply.bulk(consumer.name)
            reply.bulk("pending")
            reply.integer(consumer.pendingCount)
            reply.bulk("idle")
            reply.integer(max(0, now &- consumer.seenMilliseconds))
            reply.bulk("inactive")
            reply.integer(active == -1 ? -1 : max(0, now &- active))
        }
    }

    private static func groups(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let stream = try find(call)
        reply.array(stream.groupCount)
        for index in 0..<stream.groupCount {
            let group = stream.group(index)
            reply.map(6)
            reply.bulk("name")
            reply.bulk(group.name)
            reply.bulk("consumers")
            reply.integer(group.consumerCount)
            reply.bulk("pending")
            reply.integer(group.pendingCount)
            reply.bulk("last-delivered-id")
            reply.streamID(group.lastID)
            progress(of: group, in: stream, &reply)
        }
    }

    private static func progress(of group: StreamGroup, in stream: Stream, _ reply: inout ReplyWriter) {
        reply.bulk("entries-read")
        if group.readCount == StreamGroup.unknownReadCount { reply.null() } else { reply.integer(group.readCount) }
        reply.bulk("lag")
        if let lag = stream.lag(of: group) { reply.integer(lag) } else { reply.null() }
    }

    // MARK: STREAM

    private static func stream(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let stream = try find(call)
        let fullCount = try readOptions(call)
        reply.map(fullCount == nil ? 10 : 9)
        reply.bulk("length")
        reply.integer(stream.count)
        reply.bulk("radix-tree-keys")
        reply.integer(stream.nodeCount)
        reply.bulk("radix-tree-nodes")
        reply.integer(stream.radixNodeCount)
        reply.bulk("last-generated-id")
        reply.streamID(stream.lastID)
        reply.bulk("max-deleted-entry-id")
        reply.streamID(stream.maxDeletedID)
        reply.bulk("entries-added")
        reply.integer(Int64(bitPattern: stream.addedCount))
        reply.bulk("recorded-first-entry-id")
        reply.streamID(stream.firstID)
        if let fullCount {
            describe(stream, countMax: fullCount, &reply)
        } else {
            summarise(stream, &reply)
        }
    }

    /// How many entries FULL shows of each kind, 0 for all; nil without it.
    private static func readOptions(_ call: borrowing CommandCall) throws(CommandError) -> Int64? {
        let count = call.arguments.count
        guard count > 3 else { return nil }
        guard count == 4 || count == 6, call.arguments[3].equalsIgnoringCase("FULL") else {
            throw call.subcommandSyntax
        }
        guard count == 6 else { return 10 }
        guard call.arguments[4].equalsIgnoringCase("COUNT") else { throw call.subcommandSyntax }
        let shown = try call.integer(at: 5)
        return shown < 0 ? 10 : shown
    }

    private static func summarise(_ stream: Stream, _ reply: inout ReplyWriter) {
        reply.bulk("groups")
        reply.integer(stream.groupCount)
        reply.bulk("first-entry")
        guard stream.count > 0 else {
            reply.null()
            reply.bulk("last-entry")
            return reply.null()
        }
        stream.forEach { entry in
            reply.streamEntry(entry)
            return false
        }
        reply.bulk("last-entry")
        stream.forEachReversed { entry in
            reply.streamEntry(entry)
            return false
        }
    }

    private static func describe(_ stream: Stream, countMax: Int64, _ reply: inout ReplyWriter) {
        reply.bulk("entries")
        reply.streamEntries(stream, countMax: countMax)
        reply.bulk("groups")
        reply.array(stream.groupCount)
        for index in 0..<stream.groupCount {
            let group = stream.group(index)
            reply.map(7)
            reply.bulk("name")
            reply.bulk(group.name)
            reply.bulk("last-delivered-id")
            reply.streamID(group.lastID)
            progress(of: group, in: stream, &reply)
            reply.bulk("pel-count")
            reply.integer(group.pendingCount)
            reply.bulk("pending")
            pending(of: group, countMax: countMax, &reply)
            reply.bulk("consumers")
            reply.array(group.consumerCount)
            for index in 0..<group.consumerCount { describe(group.consumer(index), of: group, countMax, &reply) }
        }
    }

    private static func pending(of group: StreamGroup, countMax: Int64, _ reply: inout ReplyWriter) {
        let shown = countMax == 0 ? group.pendingCount : Int(min(countMax, Int64(group.pendingCount)))
        reply.array(shown)
        var left = shown
        guard left > 0 else { return }
        group.forEachPending { pending in
            reply.array(4)
            reply.streamID(pending.id)
            reply.bulk(pending.consumer?.name ?? .empty)
            reply.integer(pending.deliveredMilliseconds)
            reply.integer(Int64(bitPattern: pending.deliveryCount))
            left -= 1
            return left > 0
        }
    }

    private static func describe(
        _ consumer: StreamConsumer, of group: StreamGroup, _ countMax: Int64, _ reply: inout ReplyWriter
    ) {
        reply.map(5)
        reply.bulk("name")
        reply.bulk(consumer.name)
        reply.bulk("seen-time")
        reply.integer(consumer.seenMilliseconds)
        reply.bulk("active-time")
        reply.integer(consumer.activeMilliseconds)
        reply.bulk("pel-count")
        reply.integer(consumer.pendingCount)
        reply.bulk("pending")
        let shown = countMax == 0 ? consumer.pendingCount : Int(min(countMax, Int64(consumer.pendingCount)))
        reply.array(shown)
        var next = consumer.nextPendingID(from: .zero)
        for _ in 0..<shown {
            guard let id = next, let pending = group.pending(id) else { return }
            reply.array(3)
            reply.streamID(id)
            reply.integer(pending.deliveredMilliseconds)
            reply.integer(Int64(bitPattern: pending.deliveryCount))
            next = id.next.flatMap { consumer.nextPendingID(from: $0) }
        }
    }
}
