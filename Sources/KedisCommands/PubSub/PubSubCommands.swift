// SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and their opposites; PUBLISH and SPUBLISH. How messages go: MessageHub.swift.

import KedisProtocol
import KedisStore
import KedisUtilities

let publishSubscribeCommands: [CommandSpec] = [
    SubscribeCommand.subscribe,
    SubscribeCommand.unsubscribe,
    SubscribeCommand.patternSubscribe,
    SubscribeCommand.patternUnsubscribe,
    SubscribeCommand.shardSubscribe,
    SubscribeCommand.shardUnsubscribe,
    PublishCommand.publish,
    PublishCommand.shardPublish,
    PubSubCommand.spec,
]

enum SubscribeCommand {
    private static let flags: CommandFlags = [
        .publishSubscribe, .noScript, .loading, .stale, .allowSubscribed, .repliesWithPush,
    ]
    /// No keys, but what cluster clients choose the node by.
    private static let shardChannels = KeySpec.rest(.notKey)
    private static let confirmations = ReplySpec.array("for each: the kind, the name, how many there are now")

    static let subscribe = CommandSpec(
        "SUBSCRIBE", summary: "Listens to what is published on channels.", since: "2.0.0", group: .publishSubscribe,
        complexity: "O(N), N being the number of channels", arity: -2, flags: flags, locks: .none,
        arguments: [ArgumentSpec("channel", .string, isMultiple: true)], replies: [confirmations]
    ) { (call, reply) throws(CommandError) in
        try subscribe(.channel, "subscribe", &call, &reply)
    }

    static let unsubscribe = CommandSpec(
        "UNSUBSCRIBE", summary: "Stops listening to channels, or to all of them.", since: "2.0.0",
        group: .publishSubscribe, complexity: "O(N), N being the number of channels", arity: -1, flags: flags,
        locks: .none, arguments: [ArgumentSpec("channel", .string, isOptional: true, isMultiple: true)],
        replies: [confirmations]
    ) { (call, reply) throws(CommandError) in
        unsubscribe(.channel, "unsubscribe", &call, &reply)
    }

    static let patternSubscribe = CommandSpec(
        "PSUBSCRIBE", summary: "Listens to all channels that match patterns.", since: "2.0.0",
        group: .publishSubscribe, complexity: "O(N), N being the number of patterns", arity: -2, flags: flags,
        locks: .none, arguments: [.block("pattern", multiple: true, [ArgumentSpec("pattern", .pattern)])],
        replies: [confirmations]
    ) { (call, reply) throws(CommandError) in
        try subscribe(.pattern, "psubscribe", &call, &reply)
    }

    static let patternUnsubscribe = CommandSpec(
        "PUNSUBSCRIBE", summary: "Stops listening to patterns, or to all of them.", since: "2.0.0",
        group: .publishSubscribe, complexity: "O(N+M), N being the number of patterns and M that of all patterns",
        arity: -1, flags: flags,
        locks: .none, arguments: [ArgumentSpec("pattern", .pattern, isOptional: true, isMultiple: true)],
        replies: [confirmations]
    ) { (call, reply) throws(CommandError) in
        unsubscribe(.pattern, "punsubscribe", &call, &reply)
    }

    static let shardSubscribe = CommandSpec(
        "SSUBSCRIBE", summary: "Listens to what is published on shard channels.", since: "7.0.0",
        group: .publishSubscribe, complexity: "O(N), N being the number of channels", arity: -2, flags: flags,
        keys: [shardChannels], locks: .none, arguments: [ArgumentSpec("shardchannel", .string, isMultiple: true)],
        replies: [confirmations]
    ) { (call, reply) throws(CommandError) in
        // Unlike the others, even in a transaction: each of its commands has one reply.
        guard !call.client.pointee.deniesBlocking else {
            throw .literal("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client")
        }
        try subscribe(.shardChannel, "ssubscribe", &call, &reply)
    }

    static let shardUnsubscribe = CommandSpec(
        "SUNSUBSCRIBE", summary: "Stops listening to shard channels, or to all of them.", since: "7.0.0",
        group: .publishSubscribe, complexity: "O(N), N being the number of channels", arity: -1, flags: flags,
        keys: [shardChannels], locks: .none,
        arguments: [ArgumentSpec("shardchannel", .string, isOptional: true, isMultiple: true)],
        replies: [confirmations]
    ) { (call, reply) throws(CommandError) in
        unsubscribe(.shardChannel, "sunsubscribe", &call, &reply)
    }

    private static func subscribe(
        _ kind: TopicKind, _ word: StaticString, _ call: inout CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        try call.needMessages()
        let subscriptions = call.client.pointee.subscriptions ?? Subscriptions(call.engine.hub)
        call.client.pointee.subscriptions = subscriptions
        for index in 1..<call.arguments.count {
            let name = call.arguments[index]
            subscriptions.add(kind, name, call.clientRecord)
            confirm(word, name, subscriptions.sharedCount(with: kind), &reply)
        }
        call.client.pointee.noteSubscriptions()
    }

    private static func unsubscribe(
        _ kind: TopicKind, _ word: StaticString, _ call: inout CommandCall, _ reply: inout ReplyWriter
    ) {
        let subscriptions = call.client.pointee.subscriptions
        let names: [[UInt8]] =
            call.arguments.count > 1
            ? (1..<call.arguments.count).map { call.arguments[$0].bytes } : subscriptions?.names(of: kind) ?? []
        for name in names {
            subscriptions?.remove(kind, name)
            name.withUnsafeBytes { confirm(word, ByteView($0), subscriptions?.sharedCount(with: kind) ?? 0, &reply) }
        }
        if names.isEmpty { confirm(word, nil, subscriptions?.sharedCount(with: kind) ?? 0, &reply) }
        call.client.pointee.noteSubscriptions()
    }

    private static func confirm(_ word: StaticString, _ name: ByteView?, _ count: Int, _ reply: inout ReplyWriter) {
        reply.push(3)
        reply.bulk(ByteView(word))
        if let name { reply.bulk(name) } else { reply.null() }
        reply.integer(count)
    }
}

extension CommandCall {
    /// Refuses what makes messages for a client that they cannot reach.
    func needMessages() throws(CommandError) {
        guard !client.pointee.takesMessages else { return }
        throw .literal("ERR no messages reach this connection: a program listens with KedisDatabase.messages")
    }
}

extension Subscriptions {
    /// The number that confirmations tell: channels and patterns are counted together, shard channels alone.
    fileprivate func sharedCount(with kind: TopicKind) -> Int {
        kind == .shardChannel ? count(of: kind) : count(of: .channel) + count(of: .pattern)
    }
}

enum PublishCommand {
    static let publish = CommandSpec(
        "PUBLISH", summary: "Sends a message to all who listen to a channel.", since: "2.0.0",
        group: .publishSubscribe,
        complexity: "O(N+M), N being the clients that get it and M the patterns that may match",
        arity: 3, flags: [.publishSubscribe, .loading, .stale, .fast, .mayReplicate], locks: .none,
        arguments: [ArgumentSpec("channel", .string), ArgumentSpec("message", .string)],
        replies: [.integer("how many clients get it")]
    ) { (call, reply) throws(CommandError) in
        try publish(.channel, &call, &reply)
    }

    static let shardPublish = CommandSpec(
        "SPUBLISH", summary: "Sends a message to all who listen to a shard channel.", since: "7.0.0",
        group: .publishSubscribe, complexity: "O(N), N being the clients that get it", arity: 3,
        flags: [.publishSubscribe, .loading, .stale, .fast, .mayReplicate], keys: [.one(.notKey)], locks: .none,
        arguments: [ArgumentSpec("shardchannel", .string), ArgumentSpec("message", .string)],
        replies: [.integer("how many clients get it")]
    ) { (call, reply) throws(CommandError) in
        try publish(.shardChannel, &call, &reply)
    }

    private static func publish(
        _ kind: TopicKind, _ call: inout CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        var bells: [Postbox] = []
        let count = call.engine.hub.publish(
            call.arguments[2], to: call.arguments[1], kind: kind, from: call.client, bells: &bells)
        for postbox in bells { postbox.ring() }
        guard let count else { throw .outOfMemory }
        reply.integer(count)
    }
}
