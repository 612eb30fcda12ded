// EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT: give a key a deadline, under conditions on the one that it has.
//
// Every form becomes one absolute deadline in milliseconds since 1970. One that has passed removes the key.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ExpireCommand {
    static let spec = CommandSpec(
        "EXPIRE", summary: "Lets a key expire after a number of seconds.", since: "1.0.0", group: .generic, arity: -3,
        flags: [.write, .fast], keys: [.one([.readWrite, .update])],
        arguments: [.key(), ArgumentSpec("seconds", .integer), condition], replies: replies, history: history,
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try setDeadline(&call, &reply, unitMilliseconds: 1000, baseMilliseconds: call.nowMilliseconds)
    }

    // MARK: Shared by the four forms

    static let condition = ArgumentSpec(
        "condition", .oneOf, isOptional: true, since: "7.0.0",
        arguments: [.token("NX"), .token("XX"), .token("GT"), .token("LT")]
    )
    static let replies: [ReplySpec] = [
        .integer("1 when the deadline was set, 0 when the key does not exist or a condition forbade it")
    ]
    static let history: [(version: String, change: String)] = [("7.0.0", "Takes the conditions NX, XX, GT and LT.")]

    static func setDeadline(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, unitMilliseconds: Int64, baseMilliseconds: Int64
    ) throws(CommandError) {
        let conditions = try DeadlineConditions(call.arguments)
        let (duration, isTooLong) = try call.integer(at: 2).multipliedReportingOverflow(by: unitMilliseconds)
        let (deadline, isTooLate) = duration.addingReportingOverflow(baseMilliseconds)
        guard !isTooLong, !isTooLate else { throw .invalidExpireTime(call) }
        let keyspace = call.keyspace
        guard let entry = keyspace.write(call.key), conditions.allow(deadline, insteadOf: entry.deadlineMilliseconds)
        else {
            return reply.integer(0)
        }
        if deadline <= call.nowMilliseconds {
            _ = keyspace.remove(call.key)
            call.changed(call.key, "del")
        } else {
            try storing { () throws(StoreError) in try keyspace.setDeadline(entry, deadline) }
            call.changed(call.key, "expire")
        }
        reply.integer(1)
    }
}

enum PExpireCommand {
    static let spec = CommandSpec(
        "PEXPIRE", summary: "Lets a key expire after a number of milliseconds.", since: "2.6.0", group: .generic,
        arity: -3,
        flags: [.write, .fast], keys: [.one([.readWrite, .update])],
        arguments: [.key(), ArgumentSpec("milliseconds", .integer), ExpireCommand.condition],
        replies: ExpireCommand.replies,
        history: ExpireCommand.history, handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try ExpireCommand.setDeadline(&call, &reply, unitMilliseconds: 1, baseMilliseconds: call.nowMilliseconds)
    }
}

enum ExpireAtCommand {
    static let spec = CommandSpec(
        "EXPIREAT", summary: "Lets a key expire at a time, in seconds since 1970.", since: "1.2.0", group: .generic,
        arity: -3, flags: [.write, .fast], keys: [.one([.readWrite, .update])],
        arguments: [.key(), ArgumentSpec("unix-time-seconds", .unixTime), ExpireCommand.condition],
        replies: ExpireCommand.replies, history: ExpireCommand.history, handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try ExpireCommand.setDeadline(&call, &reply, unitMilliseconds: 1000, baseMilliseconds: 0)
    }
}

enum PExpireAtCommand {
    static let spec = CommandSpec(
        "PEXPIREAT", summary: "Lets a key expire at a time, in milliseconds since 1970.", since: "2.6.0",
        group: .generic,
        arity: -3, flags: [.write, .fast], keys: [.one([.readWrite, .update])],
        arguments: [.key(), ArgumentSpec("unix-time-milliseconds", .unixTime), ExpireCommand.condition],
        replies: ExpireCommand.replies, history: ExpireCommand.history, handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try ExpireCommand.setDeadline(&call, &reply, unitMilliseconds: 1, baseMilliseconds: 0)
    }
}

/// The options of EXPIRE: each one that was given must hold. A key without a deadline counts as one that never comes.
private struct DeadlineConditions {
    private var requiresNone = false
    private var requiresOne = false
    private var requiresLater = false
    private var requiresEarlier = false

    init(_ arguments: ArgumentList) throws(CommandError) {
        for index in 3..<max(3, arguments.count) {
            let option = arguments[index]
            if option.equalsIgnoringCase("NX") {
                requiresNone = true
            } else if option.equalsIgnoringCase("XX") {
                requiresOne = true
            } else if option.equalsIgnoringCase("GT") {
                requiresLater = true
            } else if option.equalsIgnoringCase("LT") {
                requiresEarlier = true
            } else {
                throw DeadlineConditions.unsupported(option)
            }
        }
        if requiresNone && (requiresOne || requiresLater || requiresEarlier) {
            throw .literal("ERR NX and XX, GT or LT options at the same time are not compatible")
        }
        if requiresLater && requiresEarlier {
            throw .literal("ERR GT and LT options at the same time are not compatible")
        }
    }

    @inline(never)
    private static func unsupported(_ option: ByteView) -> CommandError {
        .joined("ERR Unsupported option ", option[0..<(option.firstIndex(of: 0) ?? option.count)])
    }

    func allow(_ deadline: Int64, insteadOf current: Int64) -> Bool {
        let hasDeadline = current != noDeadline
        if requiresNone && hasDeadline { return false }
        if requiresOne && !hasDeadline { return false }
        if requiresLater && (!hasDeadline || deadline <= current) { return false }
        if requiresEarlier && hasDeadline && deadline >= current { return false }
        return true
    }
}
