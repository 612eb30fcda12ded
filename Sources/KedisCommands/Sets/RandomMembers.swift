// SRANDMEMBER, SPOP: members by chance, each being as likely as the others.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SetRandomCommand {
    static let spec = CommandSpec(
        "SRANDMEMBER", summary: "Returns random members of a set.", since: "1.0.0", group: .set,
        complexity: "Without a count O(1), else O(N), N being the number of members returned", arity: -2,
        flags: .readOnly, keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"],
        arguments: [.key(), ArgumentSpec("count", .integer, isOptional: true, since: "2.6.0")],
        replies: [
            .bulk("a member"),
            .array("with a count: at most as many different ones; if negative exactly as many, which may be the same"),
            .null("the key does not exist"),
        ],
        history: [(version: "2.6.0", change: "Takes a count.")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count == 2 else { return try several(&call, &reply) }
        guard let entry = call.keyspace.read(call.key) else { return reply.null() }
        reply.bulk(try entry.setValue(call).random(using: &call.client.pointee.random))
    }

    private static func several(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count == 3 else { throw .syntax }
        let wanted = try call.integer(at: 2)
        guard wanted > Int64.min else {
            throw .literal(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
        }
        guard let entry = call.keyspace.read(call.key) else { return reply.array(0) }
        let set = try entry.setValue(call)
        if wanted < 0 {
            reply.array(Int(-wanted))
            var left = -wanted
            while left > 0, !reply.hasOverflowed {
                reply.bulk(set.random(using: &call.client.pointee.random))
                left &-= 1
            }
            return
        }
        let start = reply.count
        var count = 0
        let isDone = reply.sample(of: set, Int(wanted), using: &call.client.pointee.random, &count)
        guard isDone else {
            reply.truncate(to: start)
            throw .outOfMemory
        }
        reply.insertArrayHeader(at: start, elementCount: count)
    }
}

extension ReplyWriter {
    /// Members of a set, `wanted` different ones or all of them, without a header; false when memory is exhausted.
    fileprivate mutating func sample(
        of set: SetValue, _ wanted: Int, using generator: inout RandomGenerator, _ memberCount: inout Int
    ) -> Bool {
        if wanted == 0 { return true }
        if wanted < set.count {
            return set.sample(wanted, using: &generator) { member in
                bulk(member)
                memberCount &+= 1
                return !hasOverflowed
            }
        }
        set.forEach { member in
            bulk(member)
            memberCount &+= 1
            return !hasOverflowed
        }
        return true
    }
}

enum SetPopCommand {
    static let spec = CommandSpec(
        "SPOP", summary: "Takes random members out of a set and returns them.", since: "1.0.0", group: .set,
        complexity: "Without a count O(1), else O(N), N being the number of members returned", arity: -2,
        flags: [.write, .fast],
        keys: [.one([.readWrite, .access, .delete])], tips: ["nondeterministic_output"],
        arguments: [.key(), ArgumentSpec("count", .integer, isOptional: true, since: "3.2.0")],
        replies: [
            .bulk("the member"), .set("with a count: at most as many members"), .null("the key does not exist"),
        ],
        history: [(version: "3.2.0", change: "Takes a count.")], elements: .random, handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count == 2 else { return try popSeveral(&call, &reply) }
        let key = call.key
        var editor: SetEditor?
        try call.setToEdit(key, &editor)
        guard editor != nil else { return reply.null() }
        try pop(&call, &editor, &reply)
        call.changed(key, "spop")
        if editor?.isGone == true { call.notified(key, "del") }
    }

    private static func pop(
        _ call: inout CommandCall, _ editor: inout SetEditor?, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        let start = reply.count
        do throws(StoreError) {
            let (scribe, key, databaseIndex) = (call.scribe, call.key, call.keyspace.databaseIndex)
            try editor?.pop(using: &call.client.pointee.random) { member in
                reply.bulk(member)
                scribe?.write("SREM", key, databaseIndex: databaseIndex, member)
            }
        } catch {
            reply.truncate(to: start)
            throw .outOfMemory
        }
    }

    private static func popSeveral(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count == 3 else { throw .syntax }
        guard let given = parseInteger(call.arguments[2]), given >= 0 else {
            throw .literal("ERR value is out of range, must be positive")
        }
        let key = call.key
        var editor = try call.editableSet(key)
        guard given > 0, let set = editor?.value else { return reply.set(0) }
        let count = set.count
        let wanted = Int(min(given, Int64(count)))
        if wanted == count {
            reply.members(set)
            _ = call.keyspace.remove(key)
            call.scribe?.write("DEL", key, databaseIndex: call.keyspace.databaseIndex)
            return note(wanted, &call, isGone: true)
        }
        if set.isLarge, (count - wanted) * keepingFactor <= wanted {
            return try keepFew(count - wanted, of: set, &call, &reply)
        }
        reply.set(wanted)
        var left = wanted
        while left > 0, editor?.isGone == false, !reply.hasOverflowed {
            do throws(CommandError) {
                try pop(&call, &editor, &reply)
            } catch {
                // Those before are gone, whatever the reply is.
                if left < wanted { note(wanted &- left, &call, isGone: editor?.isGone == true) }
                throw error
            }
            left &-= 1
        }
        note(wanted, &call, isGone: editor?.isGone == true)
    }

    /// Keeping a few members of many costs about so many times as much each as popping one does.
    private static let keepingFactor = 5

    /// Pops all but a few members: those become a set of their own, and the old one goes in the background.
    private static func keepFew(
        _ keptCount: Int, of set: SetValue, _ call: inout CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        let keyspace = call.keyspace
        guard var kept = SetBuilder(for: keyspace, limits: call.engine.configuration.setLimits) else {
            throw .outOfMemory
        }
        let start = reply.count
        let poppedCount = set.count - keptCount
        reply.set(poppedCount)
        do throws(StoreError) {
            let (scribe, key, databaseIndex) = (call.scribe, call.key, keyspace.databaseIndex)
            try kept.addSample(of: set, keptCount, using: &call.client.pointee.random) { member in
                reply.bulk(member)
                scribe?.write("SREM", key, databaseIndex: databaseIndex, member)
            }
            try keyspace.setSet(call.key, to: kept, deadline: .keep)
        } catch {
            reply.truncate(to: start)
            throw .outOfMemory
        }
        note(poppedCount, &call, isGone: false)
    }

    private static func note(_ count: Int, _ call: inout CommandCall, isGone: Bool) {
        call.effects.noteChanges(count)
        call.notified(call.key, "spop")
        if isGone { call.notified(call.key, "del") }
    }
}
