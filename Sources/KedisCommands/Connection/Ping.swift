// PING and ECHO: is anybody there.

import KedisProtocol

enum PingCommand {
    static let spec = CommandSpec(
        "PING", summary: "Answers, to show that the connection works.", since: "1.0.0", group: .connection, arity: -1,
        flags: .fast, tips: ["request_policy:all_shards", "response_policy:all_succeeded"],
        arguments: [ArgumentSpec("message", .string, isOptional: true)],
        replies: [.simple("PONG"), .bulk("the message, if one was given")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        switch call.arguments.count {
        case 1: reply.simple("PONG")
        case 2: reply.bulk(call.arguments[1])
        default: throw .wrongArity(call.entry)
        }
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
