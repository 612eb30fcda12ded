// HGETEX, HGETDEL: values of fields, whose deadlines are set or taken away, or which go.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HashGetExpireCommand {
    static let spec = CommandSpec(
        "HGETEX", summary: "Returns the values of fields of a hash, and sets or clears their deadlines.",
        since: "8.0.0", group: .hash, complexity: "O(N), N being the number of fields given", arity: -5,
        flags: [.write, .fast],
        keys: [
            KeySpec(
                [.readWrite, .access, .update], begin: .index(1), find: .range(last: 0, step: 1, limit: 0),
                note: "A write, because deadlines may change"
            )
        ],
        arguments: [
            .key(), .oneOf("expiration", optional: true, DeadlineForm.arguments() + [.token("PERSIST")]),
            MemberFamily.hash.membersArgument,
        ],
        replies: [.array("the value of each field, null where there is none")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var editor: HashEditor?
        try call.hashToEdit(&editor)
        var (index, deadline) = (2, Int64?.none)
        if let form = DeadlineForm(option: call.arguments[2]) {
            deadline = try call.memberDeadlineMilliseconds(at: 3, as: form)
            index = 4
        } else if call.arguments[2].equalsIgnoringCase("PERSIST") {
            (deadline, index) = (noDeadline, 3)
        }
        let fields = try MemberFamily.hash.members(call, at: index, countError: MemberFamily.hash.countError)
        let isPast = deadline.map { $0 != noDeadline && $0 <= call.nowMilliseconds } ?? false
        var changeCount = 0
        defer {
            if changeCount > 0 {
                call.noteRemovedMembers(
                    changeCount, isPast ? "hdel" : deadline == noDeadline ? "hpersist" : "hexpire",
                    isKeyGone: editor?.isGone ?? false)
            }
        }
        reply.array(fields.count)
        for index in fields {
            let field = call.arguments[index]
            guard editor?.isGone == false, let value = editor?.value.value(of: field) else {
                reply.null()
                continue
            }
            reply.bulk(value)
            guard let deadline else { continue }
            if isPast {
                _ = try storing { () throws(StoreError) in try editor?.remove(field) }
            } else if deadline != noDeadline || editor?.value.deadlineMilliseconds(of: field) != noDeadline {
                try storing { () throws(StoreError) in try editor?.setDeadline(field, deadline) }
            } else {
                continue
            }
            changeCount += 1
        }
    }
}

enum HashGetDeleteCommand {
    static let spec = CommandSpec(
        "HGETDEL", summary: "Returns the values of fields of a hash, and removes them.", since: "8.0.0", group: .hash,
        complexity: "O(N), N being the number of fields given", arity: -5, flags: [.write, .fast],
        keys: [.one([.readWrite, .access, .delete])], arguments: [.key(), MemberFamily.hash.membersArgument],
        replies: [.array("the value of each field, null where there is none")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var editor: HashEditor?
        try call.hashToEdit(&editor)
        let fields = try MemberFamily.hash.members(call, at: 2, countError: MemberFamily.hash.countError)
        var removedCount = 0
        defer { call.noteRemovedMembers(removedCount, "hdel", isKeyGone: removedCount > 0 && editor?.isGone == true) }
        reply.array(fields.count)
        for index in fields {
            let field = call.arguments[index]
            guard editor?.isGone == false, let value = editor?.value.value(of: field) else {
                reply.null()
                continue
            }
            reply.bulk(value)
            _ = try storing { () throws(StoreError) in try editor?.remove(field) }
            removedCount += 1
        }
    }
}
