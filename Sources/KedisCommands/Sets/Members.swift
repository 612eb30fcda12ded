// SADD, SREM, SMOVE: members that come and go.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SetAddCommand {
    static let spec = CommandSpec(
        "SADD", summary: "Adds members to a set, which is made if it does not exist.", since: "1.0.0", group: .set,
        complexity: "O(1) for each member given", arity: -3,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .insert])],
        arguments: [.key(), ArgumentSpec("member", .string, isMultiple: true)],
        replies: [.integer("how many of them were no members before")],
        history: [(version: "2.4.0", change: "Takes several members.")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        let arguments = call.arguments
        var addedCount = 0
        var index = 2
        // What was added counts even if memory is refused on the way.
        defer { note(addedCount, key, &call) }
        var editor: SetEditor?
        try call.setToEdit(key, &editor)
        if editor == nil {
            addedCount += try call.addMember(arguments[2], to: key) ? 1 : 0
            index = 3
            if index < arguments.count { try call.setToEdit(key, &editor) }
        }
        while index < arguments.count {
            let member = arguments[index]
            if try storing({ () throws(StoreError) in try editor?.add(member) == true }) { addedCount &+= 1 }
            index &+= 1
        }
        reply.integer(addedCount)
    }

    private static func note(_ addedCount: Int, _ key: Key, _ call: inout CommandCall) {
        guard addedCount > 0 else { return }
        call.effects.noteChanges(addedCount)
        call.notified(key, "sadd")
    }
}

enum SetRemoveCommand {
    static let spec = CommandSpec(
        "SREM", summary: "Removes members from a set, and the set with the last one.", since: "1.0.0", group: .set,
        complexity: "O(N), N being the number of members given", arity: -3, flags: [.write, .fast],
        keys: [.one([.readWrite, .delete])],
        arguments: [.key(), ArgumentSpec("member", .string, isMultiple: true)],
        replies: [.integer("how many of them were members")],
        history: [(version: "2.4.0", change: "Takes several members.")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        let arguments = call.arguments
        var editor: SetEditor?
        try call.setToEdit(key, &editor)
        guard editor != nil else { return reply.integer(0) }
        var removedCount = 0
        defer {
            if removedCount > 0 {
                call.effects.noteChanges(removedCount)
                call.notified(key, "srem")
                if editor?.isGone == true { call.notified(key, "del") }
            }
        }
        for index in 2..<arguments.count where editor?.isGone == false {
            let member = arguments[index]
            if try storing({ () throws(StoreError) in try editor?.remove(member) == true }) { removedCount &+= 1 }
        }
        reply.integer(removedCount)
    }
}

enum SetMoveCommand {
    static let spec = CommandSpec(
        "SMOVE", summary: "Moves a member from a set to another.", since: "1.0.0", group: .set, arity: 4,
        flags: [.write, .fast], keys: [.one([.readWrite, .access, .delete]), .one([.readWrite, .insert], at: 2)],
        arguments: [.key("source"), .key("destination", spec: 1), ArgumentSpec("member", .string)],
        replies: [.integer("1 when it was moved, 0 when it is no member of the source")], handler: run
    )

    /// The member is added before it is removed: memory may be refused for the one, and then nothing has changed.
    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (source, destination) = (call.key(0), call.key(1))
        let member = call.arguments[3]
        let target = call.keyspace.write(destination)
        let isTargetSet = target.map { $0.type == .set } ?? true
        guard let entry = call.keyspace.write(source) else { return reply.integer(0) }
        let set = try entry.setValue(call)
        guard isTargetSet else { throw .wrongType }
        guard set.contains(member) else { return reply.integer(0) }
        if source.bytes == destination.bytes { return reply.integer(1) }
        let isNew = try call.addMember(member, to: destination)
        guard var editor = try call.editableSet(source) else { return reply.integer(1) }
        do throws(CommandError) {
            _ = try storing { () throws(StoreError) in try editor.remove(member) }
        } catch {
            if isNew, var added = try call.editableSet(destination) {
                _ = try? added.remove(member)
            }
            throw error
        }
        call.changed(source, "srem")
        if editor.isGone { call.notified(source, "del") }
        if isNew { call.changed(destination, "sadd") }
        reply.integer(1)
    }
}
