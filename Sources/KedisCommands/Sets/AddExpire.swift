// SADDEX: members with a deadline, or under a condition.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SetAddExpireCommand {
    static let spec = CommandSpec(
        "SADDEX", summary: "Adds members to a set, and says until when they stay.", since: "8.12.0", group: .set,
        complexity: "O(N), N being the number of members given", arity: -5, flags: [.write, .denyOutOfMemory, .fast],
        keys: [.one([.readWrite, .update])], arguments: MemberSetOptions.arguments(.set),
        replies: [.integer("1 if all members were added, or got their deadline, 0 if the condition forbade it")],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try MemberSetOptions(call, .set)
        var editor = try call.editableSet(call.key)
        guard options.allows(call, .set, contains: { editor?.value.contains($0) ?? false }) else {
            return reply.integer(0)
        }
        reply.integer(1)
        guard !options.isPast(call.nowMilliseconds) else { return try remove(&call, options, editor) }
        var doneCount = 0
        // Without memory for all, those that were added are changes.
        defer {
            if doneCount > 0 {
                call.effects.noteChanges(doneCount)
                call.notified(call.key, "sadd")
                if case .set = options.update { call.notified(call.key, "sexpire") }
            }
        }
        for index in options.members {
            let member = call.arguments[index]
            if editor == nil {
                _ = try call.addMember(member, to: call.key)
                editor = try call.editableSet(call.key)
            } else {
                _ = try storing { () throws(StoreError) in try editor?.add(member) }
            }
            switch options.update {
            case .keep: break
            case .clear: try storing { () throws(StoreError) in try editor?.setDeadline(member, noDeadline) }
            case .set(let deadline): try storing { () throws(StoreError) in try editor?.setDeadline(member, deadline) }
            }
            doneCount += 1
        }
    }

    /// A deadline that has passed: the members are added and gone at once.
    private static func remove(
        _ call: inout CommandCall, _ options: MemberSetOptions, _ found: SetEditor?
    ) throws(CommandError) {
        var editor = found
        for index in options.members where editor?.isGone == false {
            let member = call.arguments[index]
            _ = try storing { () throws(StoreError) in try editor?.remove(member) }
        }
        call.effects.noteChanges(options.members.count)
        call.notified(call.key, "sadd")
        call.notified(call.key, "srem")
        if editor?.isGone ?? true { call.notified(call.key, "del") }
    }
}
