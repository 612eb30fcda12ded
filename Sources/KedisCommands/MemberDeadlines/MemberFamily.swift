// Deadlines of single members: the same commands for hashes, sets and sorted sets, and what they share.
//
//      HEXPIRE  key seconds [NX | XX | GT | LT] FIELDS  numfields  field  [field …]      since Redis 7.4
//      SEXPIRE  key seconds [NX | XX | GT | LT] MEMBERS nummembers member [member …]     since Redis 8.12
//      ZEXPIRE  key seconds [NX | XX | GT | LT] MEMBERS nummembers member [member …]     as Garnet has it
//
// A member with a deadline goes on time, as a key does: KedisStore/Keyspace+Liveness.swift. A collection with one lies
// outside of its cell.

import KedisProtocol
import KedisStore
import KedisUtilities

/// A type whose members can have deadlines, and how its commands are spelled.
enum MemberFamily: CaseIterable {
    case hash, set, sortedSet

    /// What the names of its commands begin with.
    var letter: String {
        switch self {
        case .hash: "H"
        case .set: "S"
        case .sortedSet: "Z"
        }
    }

    var token: ByteView { self == .hash ? "FIELDS" : "MEMBERS" }

    var noun: String { self == .hash ? "field" : "member" }

    var group: CommandGroup {
        switch self {
        case .hash: .hash
        case .set: .set
        case .sortedSet: .sortedSet
        }
    }

    var since: String { self == .hash ? "7.4.0" : "8.12.0" }

    var differences: [String] {
        guard self == .sortedSet else { return [] }
        return ["Redis has no such command. Name and arguments are Garnet's, replies those for sets."]
    }

    /// The event of members that go.
    var removalEvent: StaticString {
        switch self {
        case .hash: "hdel"
        case .set: "srem"
        case .sortedSet: "zrem"
        }
    }

    var expireEvent: StaticString {
        switch self {
        case .hash: "hexpire"
        case .set: "sexpire"
        case .sortedSet: "zexpire"
        }
    }

    var persistEvent: StaticString {
        switch self {
        case .hash: "hpersist"
        case .set: "spersist"
        case .sortedSet: "zpersist"
        }
    }

    /// The argument that names the members, behind its token and their number.
    var membersArgument: ArgumentSpec {
        ArgumentSpec(
            "\(noun)s", .block, token: token.text,
            arguments: [ArgumentSpec("num\(noun)s", .integer), ArgumentSpec(noun, .string, isMultiple: true)])
    }

    /// The indices of the members, whose token is expected at `index`.
    func members(
        _ call: borrowing CommandCall, at index: Int, countError: StaticString
    ) throws(CommandError) -> Range<Int> {
        guard index + 1 < call.arguments.count, call.arguments[index].equalsIgnoringCase(token) else {
            throw .joined(
                "ERR Mandatory argument ", token, " is missing or not at the right position")
        }
        guard let count = parseInteger(call.arguments[index + 1]), count > 0 else { throw .literal(countError) }
        let range = index + 2..<call.arguments.count
        guard count == range.count else {
            let name: StaticString = self == .hash ? "numfields" : "nummembers"
            throw .joined("ERR The `", ByteView(name), "` parameter must match the number of arguments")
        }
        return range
    }

    /// The error of a number of members that is none, or not above 0.
    var countError: StaticString {
        self == .hash
            ? "ERR Number of fields must be a positive integer" : "ERR Number of members must be a positive integer"
    }
}

/// Deadlines of members reach to the year 4199, as in Redis.
let memberDeadlineMax: Int64 = (1 << 46) - 1

extension CommandCall {
    /// The deadline that the argument at `index` asks for, in milliseconds since 1970, for a member. It may lie in the
    /// past.
    func memberDeadlineMilliseconds(at index: Int, as form: DeadlineForm) throws(CommandError) -> Int64 {
        var deadline = try integer(at: index)
        guard deadline >= 0 else { throw .literal("ERR invalid expire time, must be >= 0") }
        if form.isInSeconds {
            guard deadline <= memberDeadlineMax / 1000 else { throw .invalidExpireTime(self) }
            deadline *= 1000
        }
        let base = form.isAbsolute ? 0 : nowMilliseconds
        guard deadline <= memberDeadlineMax - base else { throw .invalidExpireTime(self) }
        return deadline + base
    }

    /// The collection at the call's key, looked up for a change of its members; nil when there is none.
    func membersToEdit(_ family: MemberFamily) throws(CommandError) -> MemberEditor? {
        switch family {
        case .hash:
            var editor: HashEditor?
            try hashToEdit(&editor)
            return editor.map { .hash($0) }
        case .set:
            var editor: SetEditor?
            try setToEdit(key, &editor)
            return editor.map { .set($0) }
        case .sortedSet:
            return try editableSortedSet(key).map { .sortedSet($0) }
        }
    }

    /// Members went: as many changes, one event, and `del` when the key went with them.
    mutating func noteRemovedMembers(_ count: Int, _ event: StaticString, isKeyGone: Bool) {
        if count > 0 {
            effects.noteChanges(count)
            notified(key, event)
        }
        if isKeyGone { notified(key, "del") }
    }
}

/// A collection whose members are changed, whatever its type.
enum MemberEditor {
    case hash(HashEditor)
    case set(SetEditor)
    case sortedSet(SortedSetEditor)

    /// The last member went, and the key with it.
    var isGone: Bool {
        switch self {
        case .hash(let editor): editor.isGone
        case .set(let editor): editor.isGone
        case .sortedSet(let editor): editor.isGone
        }
    }

    /// When a member goes, or ``noDeadline``; nil when there is no such member.
    func deadlineMilliseconds(of member: ByteView) -> Int64? {
        switch self {
        case .hash(let editor): editor.value.deadlineMilliseconds(of: member)
        case .set(let editor): editor.value.deadlineMilliseconds(of: member)
        case .sortedSet(let editor): editor.value.deadlineMilliseconds(of: member)
        }
    }

    /// Sets or clears (``noDeadline``) the deadline of a member that is there.
    mutating func setDeadline(_ member: ByteView, _ deadlineMilliseconds: Int64) throws(CommandError) {
        switch self {
        case .hash(var editor):
            try storing { () throws(StoreError) in try editor.setDeadline(member, deadlineMilliseconds) }
            self = .hash(editor)
        case .set(var editor):
            try storing { () throws(StoreError) in try editor.setDeadline(member, deadlineMilliseconds) }
            self = .set(editor)
        case .sortedSet(var editor):
            try storing { () throws(StoreError) in try editor.setDeadline(member, deadlineMilliseconds) }
            self = .sortedSet(editor)
        }
    }

    /// Removes a member, the key with the last of them.
    mutating func remove(_ member: ByteView) throws(CommandError) {
        switch self {
        case .hash(var editor):
            _ = try storing { () throws(StoreError) in try editor.remove(member) }
            self = .hash(editor)
        case .set(var editor):
            _ = try storing { () throws(StoreError) in try editor.remove(member) }
            self = .set(editor)
        case .sortedSet(var editor):
            _ = try storing { () throws(StoreError) in try editor.remove(member) }
            self = .sortedSet(editor)
        }
    }
}
