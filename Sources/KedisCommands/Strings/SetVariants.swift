// SETNX, SETEX, PSETEX: what SET does with one of its options, from before it had any.

import KedisProtocol
import KedisStore

enum SetIfAbsentCommand {
    static let spec = CommandSpec(
        "SETNX", summary: "Sets a key to a string unless the key exists.", since: "1.0.0", group: .string, arity: 3,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.overwrite, .insert])],
        arguments: [.key(), ArgumentSpec("value", .string)],
        replies: [.integer("1 if the key was set, 0 if it existed")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.keyspace.write(call.key) == nil else { return reply.integer(0) }
        try SetCommand.set(&call, to: call.arguments[2])
        reply.integer(1)
    }
}

enum SetSecondsCommand {
    static let spec = CommandSpec(
        "SETEX", summary: "Sets a key to a string that expires after some seconds.", since: "2.0.0", group: .string,
        arity: 4, flags: [.write, .denyOutOfMemory], keys: [.one([.overwrite, .update])],
        arguments: [.key(), ArgumentSpec("seconds", .integer), ArgumentSpec("value", .string)], replies: [.ok],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let deadline = try call.deadlineMilliseconds(at: 2, as: .seconds)
        try SetCommand.set(&call, to: call.arguments[3], deadlineMilliseconds: deadline)
        reply.ok()
    }
}

enum SetMillisecondsCommand {
    static let spec = CommandSpec(
        "PSETEX", summary: "Sets a key to a string that expires after some milliseconds.", since: "2.6.0",
        group: .string, arity: 4, flags: [.write, .denyOutOfMemory], keys: [.one([.overwrite, .update])],
        arguments: [.key(), ArgumentSpec("milliseconds", .integer), ArgumentSpec("value", .string)], replies: [.ok],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let deadline = try call.deadlineMilliseconds(at: 2, as: .milliseconds)
        try SetCommand.set(&call, to: call.arguments[3], deadlineMilliseconds: deadline)
        reply.ok()
    }
}
