// PING and ECHO: is anybody there.

import KedisProtocol
import KedisUtilities

enum PingCommand {
    static let spec = CommandSpec(
        "PING", summary: "Answers, to show that the connection works.", since: "1.0.0", group: .connection, arity: -1,
        flags: [.fast, .allowSubscribed], tips: ["request_policy:all_shards", "response_policy:all_succeeded"],
        arguments: [ArgumentSpec("message", .string, isOptional: true)],
        replies: [
            .simple("PONG"), .bulk("the message, if one was given"),
            .array("`pong` and the message, to clients of RESP2 that are subscribed"),
        ],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard !call.client.pointee.conditions.contains(.subscribed) else { return try answerSubscriber(call, &reply) }
        switch call.arguments.count {
        case 1: reply.simple("PONG")
        case 2: reply.bulk(call.arguments[1])
        default: throw .wrongArity(call.entry)
        }
    }

    /// In the form of a message: clients of RESP2 that are subscribed expect nothing else.
    private static func answerSubscriber(
        _ call: borrowing CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        guard call.arguments.count <= 2 else { throw .wrongArity(call.entry) }
        reply.array(2)
        reply.bulk("pong")
        reply.bulk(call.arguments.count == 2 ? call.arguments[1] : .empty)
    }
}

enum EchoCommand {
    static let spec = CommandSpec(
        "ECHO", summary: "Returns its argument.", since: "1.0.0", group: .connection, arity: 2,
        flags: [.loading, .stale, .fast], arguments: [ArgumentSpec("message", .string)],
        replies: [.bulk("the message")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.bulk(call.arguments[1])
    }
}
