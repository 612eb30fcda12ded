// HSETEX: fields with a deadline, or under a condition.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HashSetExpireCommand {
    static let spec = CommandSpec(
        "HSETEX", summary: "Sets fields of a hash, and until when they stay.", since: "8.0.0", group: .hash,
        complexity: "O(N), N being the number of fields given", arity: -6, flags: [.write, .denyOutOfMemory, .fast],
        keys: [.one([.readWrite, .update])], arguments: MemberSetOptions.arguments(.hash),
        replies: [.integer("1 if all fields were set, 0 if the condition forbade it")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try MemberSetOptions(call, .hash)
        var editor: HashEditor?
        try call.hashToEdit(&editor)
        guard options.allows(call, .hash, contains: { editor?.value.contains($0) ?? false }) else {
            return reply.integer(0)
        }
        reply.integer(1)
        guard !options.isPast(call.nowMilliseconds) else { return try remove(&call, options, editor) }
        var setCount = 0
        // Without memory for all, those that were set are changes.
        defer {
            if setCount > 0 {
                call.effects.noteChanges(setCount)
                call.notified(call.key, "hset")
                if case .set = options.update { call.notified(call.key, "hexpire") }
            }
        }
        for index in stride(from: options.members.lowerBound, to: options.members.upperBound, by: 2) {
            let (field, value) = (call.arguments[index], call.arguments[index + 1])
            _ = try call.setField(field, value, in: &editor, deadline: options.update)
            setCount += 1
        }
    }

    /// A deadline that has passed: the fields are set and gone at once.
    private static func remove(
        _ call: inout CommandCall, _ options: MemberSetOptions, _ found: HashEditor?
    ) throws(CommandError) {
        var editor = found
        for index in stride(from: options.members.lowerBound, to: options.members.upperBound, by: 2)
        where editor?.isGone == false {
            let field = call.arguments[index]
            _ = try storing { () throws(StoreError) in try editor?.remove(field) }
        }
        call.effects.noteChanges(options.members.count / 2)
        call.notified(call.key, "hset")
        call.notified(call.key, "hdel")
        if editor?.isGone ?? true { call.notified(call.key, "del") }
    }
}
