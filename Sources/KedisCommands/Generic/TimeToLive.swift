// TTL, PTTL, EXPIRETIME, PEXPIRETIME, PERSIST: ask for a deadline, or take it away.

import KedisProtocol
import KedisStore

enum TTLCommand {
    static let spec = CommandSpec(
        "TTL", summary: "Returns how many seconds a key still has to live.", since: "1.0.0", group: .generic, arity: 2,
        flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"],
        arguments: [.key()], replies: replies("the rest of its life in seconds, rounded"), history: history,
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        replyDeadline(call, &reply) { deadline, now in roundedSeconds(remaining(deadline, now)) }
    }

    // MARK: Shared by the four forms

    static let history: [(version: String, change: String)] = [
        ("2.8.0", "Tells a missing key (-2) from one without deadline.")
    ]

    static func replies(_ meaning: String) -> [ReplySpec] {
        [.integer("\(meaning); -1 when it has no deadline, -2 when there is no such key")]
    }

    @inline(__always)
    static func replyDeadline(
        _ call: borrowing CommandCall, _ reply: inout ReplyWriter, _ convert: (_ deadline: Int64, _ now: Int64) -> Int64
    ) {
        guard let entry = call.untouchingKeyspace.read(call.key) else { return reply.integer(-2) }
        let deadline = entry.deadlineMilliseconds
        reply.integer(deadline == noDeadline ? -1 : convert(deadline, call.nowMilliseconds))
    }

    /// The milliseconds left: at least 0. Entries that are due are not seen, and times are after 1970.
    static func remaining(_ deadline: Int64, _ now: Int64) -> Int64 {
        let (difference, overflow) = deadline.subtractingReportingOverflow(now)
        return overflow ? .max : max(0, difference)
    }

    /// To the nearest second, halves up.
    static func roundedSeconds(_ milliseconds: Int64) -> Int64 {
        milliseconds / 1000 + (milliseconds % 1000 >= 500 ? 1 : 0)
    }
}

enum PTTLCommand {
    static let spec = CommandSpec(
        "PTTL", summary: "Returns how many milliseconds a key still has to live.", since: "2.6.0", group: .generic,
        arity: 2,
        flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"],
        arguments: [.key()], replies: TTLCommand.replies("the rest of its life in milliseconds"),
        history: TTLCommand.history, handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        TTLCommand.replyDeadline(call, &reply, TTLCommand.remaining)
    }
}

enum ExpireTimeCommand {
    static let spec = CommandSpec(
        "EXPIRETIME", summary: "Returns when a key expires, in seconds since 1970.", since: "7.0.0", group: .generic,
        arity: 2, flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])], arguments: [.key()],
        replies: TTLCommand.replies("its deadline in seconds since 1970, rounded"), handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        TTLCommand.replyDeadline(call, &reply) { deadline, _ in TTLCommand.roundedSeconds(deadline) }
    }
}

enum PExpireTimeCommand {
    static let spec = CommandSpec(
        "PEXPIRETIME", summary: "Returns when a key expires, in milliseconds since 1970.", since: "7.0.0",
        group: .generic,
        arity: 2, flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])], arguments: [.key()],
        replies: TTLCommand.replies("its deadline in milliseconds since 1970"), handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        TTLCommand.replyDeadline(call, &reply) { deadline, _ in deadline }
    }
}

enum PersistCommand {
    static let spec = CommandSpec(
        "PERSIST", summary: "Takes the deadline of a key away.", since: "2.2.0", group: .generic, arity: 2,
        flags: [.write, .fast], keys: [.one([.readWrite, .update])], arguments: [.key()],
        replies: [.integer("1 when the key had a deadline, 0 when not or when it does not exist")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.write(call.key), entry.deadlineMilliseconds != noDeadline else {
            return reply.integer(0)
        }
        let keyspace = call.keyspace
        try storing { () throws(StoreError) in try keyspace.setDeadline(entry, noDeadline) }
        call.changed(call.key, "persist")
        reply.integer(1)
    }
}
