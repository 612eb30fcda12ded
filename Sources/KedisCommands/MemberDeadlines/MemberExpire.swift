// HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, and the same for sets and sorted sets: give members a deadline, under a
// condition on the one that they have. A deadline that has passed removes the member.

import KedisProtocol
import KedisStore
import KedisUtilities

enum MemberExpireCommand {
    /// The four forms for a type.
    static func specs(_ family: MemberFamily) -> [CommandSpec] {
        [
            spec(family, "EXPIRE", .seconds, "a number of seconds", ArgumentSpec("seconds", .integer)),
            spec(
                family, "PEXPIRE", .milliseconds, "a number of milliseconds", ArgumentSpec("milliseconds", .integer)),
            spec(
                family, "EXPIREAT", .unixSeconds, "a time, in seconds since 1970",
                ArgumentSpec("unix-time-seconds", .unixTime)),
            spec(
                family, "PEXPIREAT", .unixMilliseconds, "a time, in milliseconds since 1970",
                ArgumentSpec("unix-time-milliseconds", .unixTime)),
        ]
    }

    private static func spec(
        _ family: MemberFamily, _ name: String, _ form: DeadlineForm, _ time: String, _ argument: ArgumentSpec
    ) -> CommandSpec {
        CommandSpec(
            family.letter + name, summary: "Lets \(family.noun)s expire \(form.isAbsolute ? "at" : "after") \(time).",
            since: family.since, group: family.group, complexity: "O(N), N being the number of \(family.noun)s given",
            arity: -6, flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .update])],
            arguments: [
                .key(), argument,
                .oneOf("condition", optional: true, [.token("NX"), .token("XX"), .token("GT"), .token("LT")]),
                family.membersArgument,
            ],
            replies: [
                .array(
                    """
                    for each \(family.noun) 1 when the deadline was set, 2 when it has passed and the \(family.noun) \
                    went, 0 when the condition forbade it, -2 when there is none
                    """)
            ],
            differences: family.differences
        ) { (call, reply) throws(CommandError) in try run(&call, &reply, family, form) }
    }

    private static func run(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, _ family: MemberFamily, _ form: DeadlineForm
    ) throws(CommandError) {
        var editor = try call.membersToEdit(family)
        let deadline = try call.memberDeadlineMilliseconds(at: 2, as: form)
        let condition = MemberDeadlineCondition(call.arguments[3])
        let countError: StaticString =
            family == .hash
            ? "ERR Parameter `numFields` should be greater than 0"
            : "ERR Parameter `numMembers` should be greater than 0"
        let members = try family.members(call, at: condition == .none ? 3 : 4, countError: countError)
        var (setCount, removedCount) = (0, 0)
        // Without memory for all, those that have got their deadline are changes.
        defer { note(&call, family, setCount, removedCount, isKeyGone: editor?.isGone ?? false) }
        reply.array(members.count)
        for index in members {
            let member = call.arguments[index]
            guard editor?.isGone == false, let current = editor?.deadlineMilliseconds(of: member) else {
                reply.integer(-2)
                continue
            }
            if !condition.allows(deadline, insteadOf: current) {
                reply.integer(0)
            } else if deadline <= call.nowMilliseconds {
                try editor?.remove(member)
                removedCount += 1
                reply.integer(2)
            } else {
                try editor?.setDeadline(member, deadline)
                setCount += 1
                reply.integer(1)
            }
        }
    }

    private static func note(
        _ call: inout CommandCall, _ family: MemberFamily, _ setCount: Int, _ removedCount: Int, isKeyGone: Bool
    ) {
        guard setCount + removedCount > 0 else { return }
        call.effects.noteChanges(setCount + removedCount)
        call.notified(call.key, removedCount > 0 ? family.removalEvent : family.expireEvent)
        if isKeyGone { call.notified(call.key, "del") }
    }
}

/// The option of HEXPIRE. A member without a deadline counts as one whose deadline never comes.
enum MemberDeadlineCondition {
    case none, onlyWithout, onlyWith, onlyLater, onlyEarlier

    init(_ option: ByteView) {
        if option.equalsIgnoringCase("NX") {
            self = .onlyWithout
        } else if option.equalsIgnoringCase("XX") {
            self = .onlyWith
        } else if option.equalsIgnoringCase("GT") {
            self = .onlyLater
        } else if option.equalsIgnoringCase("LT") {
            self = .onlyEarlier
        } else {
            self = .none
        }
    }

    func allows(_ deadline: Int64, insteadOf current: Int64) -> Bool {
        switch self {
        case .none: true
        case .onlyWithout: current == noDeadline
        case .onlyWith: current != noDeadline
        case .onlyLater: current != noDeadline && deadline > current
        case .onlyEarlier: current == noDeadline || deadline < current
        }
    }
}
