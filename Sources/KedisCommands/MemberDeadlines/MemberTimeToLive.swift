// HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME, HPERSIST, and the same for sets and sorted sets: ask for the deadlines of
// members, or take them away.

import KedisProtocol
import KedisStore
import KedisUtilities

enum MemberTimeToLiveCommand {
    /// The four forms for a type.
    static func specs(_ family: MemberFamily) -> [CommandSpec] {
        [
            spec(family, "TTL", "Returns how many seconds \(family.noun)s still have to live.", "the seconds left") {
                secondsUp($0 - $1)
            },
            spec(
                family, "PTTL", "Returns how many milliseconds \(family.noun)s still have to live.",
                "the milliseconds left"
            ) { $0 - $1 },
            spec(
                family, "EXPIRETIME", "Returns when \(family.noun)s expire, in seconds since 1970.",
                "its deadline in seconds since 1970"
            ) { deadline, _ in secondsUp(deadline) },
            spec(
                family, "PEXPIRETIME", "Returns when \(family.noun)s expire, in milliseconds since 1970.",
                "its deadline in milliseconds since 1970"
            ) { deadline, _ in deadline },
        ]
    }

    private static func secondsUp(_ milliseconds: Int64) -> Int64 { (milliseconds + 999) / 1000 }

    private static func spec(
        _ family: MemberFamily, _ name: String, _ summary: String, _ meaning: String,
        _ convert: @escaping @Sendable (_ deadline: Int64, _ now: Int64) -> Int64
    ) -> CommandSpec {
        CommandSpec(
            family.letter + name, summary: summary, since: family.since, group: family.group,
            complexity: "O(N), N being the number of \(family.noun)s given", arity: -5, flags: [.readOnly, .fast],
            keys: [.one([.readOnly, .access])], tips: name.hasSuffix("TTL") ? ["nondeterministic_output"] : [],
            arguments: [.key(), family.membersArgument],
            replies: [
                .array("for each \(family.noun) \(meaning), -1 when it has no deadline, -2 when there is none")
            ],
            differences: family.differences
        ) { (call, reply) throws(CommandError) in try run(&call, &reply, family, convert) }
    }

    private static func run(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, _ family: MemberFamily,
        _ convert: (Int64, Int64) -> Int64
    ) throws(CommandError) {
        let entry = call.keyspace.read(call.key)
        guard entry == nil || entry?.type == family.type else { throw .wrongType }
        let members = try family.members(call, at: 2, countError: family.countError)
        reply.array(members.count)
        for index in members {
            let member = call.arguments[index]
            switch entry.flatMap({ family.deadlineMilliseconds(of: member, in: $0, call) }) {
            case nil: reply.integer(-2)
            case noDeadline: reply.integer(-1)
            case .some(let deadline): reply.integer(convert(deadline, call.nowMilliseconds))
            }
        }
    }
}

extension MemberFamily {
    fileprivate var type: ValueType {
        switch self {
        case .hash: .hash
        case .set: .set
        case .sortedSet: .sortedSet
        }
    }

    fileprivate func deadlineMilliseconds(
        of member: ByteView, in entry: Entry, _ call: borrowing CommandCall
    ) -> Int64? {
        switch self {
        case .hash: entry.fields(nowMilliseconds: call.nowMilliseconds).deadlineMilliseconds(of: member)
        case .set: entry.set(nowMilliseconds: call.nowMilliseconds).deadlineMilliseconds(of: member)
        case .sortedSet: entry.sortedSet.deadlineMilliseconds(of: member)
        }
    }
}

enum MemberPersistCommand {
    static func spec(_ family: MemberFamily) -> CommandSpec {
        CommandSpec(
            "\(family.letter)PERSIST", summary: "Takes the deadlines of \(family.noun)s away.", since: family.since,
            group: family.group, complexity: "O(N), N being the number of \(family.noun)s given", arity: -5,
            flags: [.write, .fast], keys: [.one([.readWrite, .update])], arguments: [.key(), family.membersArgument],
            replies: [
                .array(
                    """
                    for each \(family.noun) 1 when it had a deadline, -1 when it had none, -2 when there is no such \
                    \(family.noun)
                    """)
            ],
            differences: family.differences
        ) { (call, reply) throws(CommandError) in try run(&call, &reply, family) }
    }

    private static func run(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, _ family: MemberFamily
    ) throws(CommandError) {
        var editor = try call.membersToEdit(family)
        let members = try family.members(call, at: 2, countError: family.countError)
        var hasChanged = false
        defer { if hasChanged { call.changed(call.key, family.persistEvent) } }
        reply.array(members.count)
        for index in members {
            let member = call.arguments[index]
            switch editor?.deadlineMilliseconds(of: member) {
            case nil: reply.integer(-2)
            case noDeadline: reply.integer(-1)
            case .some:
                try editor?.setDeadline(member, noDeadline)
                hasChanged = true
                reply.integer(1)
            }
        }
    }
}
