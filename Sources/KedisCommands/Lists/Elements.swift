// LLEN, LINDEX, LRANGE, LSET, LTRIM: elements by their position.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ListLengthCommand {
    static let spec = CommandSpec(
        "LLEN", summary: "Returns the length of a list.", since: "1.0.0", group: .list, arity: 2,
        flags: [.readOnly, .fast], keys: [.one(.readOnly)], arguments: [.key()],
        replies: [.integer("the number of elements, 0 if the key does not exist")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        reply.integer(try entry.listValue().count)
    }
}

enum ListIndexCommand {
    static let spec = CommandSpec(
        "LINDEX", summary: "Returns the element at a position of a list.", since: "1.0.0", group: .list,
        complexity: "O(N), N being the number of packed runs before the position, but O(1) at both ends", arity: 3,
        flags: .readOnly, keys: [.one([.readOnly, .access])], arguments: [.key(), ArgumentSpec("index", .integer)],
        replies: [.bulk("the element; a negative index counts from the end"), .null("there is no such element")],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.read(call.key) else { return reply.null() }
        let list = try entry.listValue()
        guard let position = listPosition(try call.integer(at: 2), of: list.count) else { return reply.null() }
        reply.bulk(list.element(at: position))
    }
}

enum ListRangeCommand {
    static let spec = CommandSpec(
        "LRANGE", summary: "Returns the elements of a list between two positions.", since: "1.0.0", group: .list,
        complexity: "O(S+N), S being the distance of the start from the nearer end and N the length of the reply",
        arity: 4, flags: .readOnly, keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("start", .integer), ArgumentSpec("stop", .integer)],
        replies: [.array("the elements from start to stop, which is included; negative positions count from the end")],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let start = try call.integer(at: 2)
        let stop = try call.integer(at: 3)
        guard let entry = call.keyspace.read(call.key) else { return reply.array(0) }
        let list = try entry.listValue()
        reply.elements(list, in: listPositions(from: start, through: stop, of: list.count))
    }
}

enum ListSetCommand {
    static let spec = CommandSpec(
        "LSET", summary: "Replaces the element at a position of a list.", since: "1.0.0", group: .list,
        complexity: "O(N), N being the number of packed runs before the position, but O(1) at both ends", arity: 4,
        flags: [.write, .denyOutOfMemory], keys: [.one([.readWrite, .update])],
        arguments: [.key(), ArgumentSpec("index", .integer), ArgumentSpec("element", .string)], replies: [.ok],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        let element = call.arguments[3]
        guard var editor = try call.editableList(key) else { throw .noSuchKey }
        guard let position = listPosition(try call.integer(at: 2), of: editor.count) else {
            throw .literal("ERR index out of range")
        }
        try storing { () throws(StoreError) in try editor.replace(at: position, with: element) }
        call.changed(key, "lset")
        reply.ok()
    }
}

enum ListTrimCommand {
    static let spec = CommandSpec(
        "LTRIM", summary: "Removes all elements of a list that are not between two positions.", since: "1.0.0",
        group: .list, complexity: "O(N), N being the number of elements that are removed", arity: 4, flags: .write,
        keys: [.one([.readWrite, .delete])],
        arguments: [.key(), ArgumentSpec("start", .integer), ArgumentSpec("stop", .integer)], replies: [.ok],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let start = try call.integer(at: 2)
        let stop = try call.integer(at: 3)
        let key = call.key
        guard var editor = try call.editableList(key) else { return reply.ok() }
        let count = editor.count
        let kept = listPositions(from: start, through: stop, of: count)
        if kept.isEmpty {
            try call.removeElements(0..<count, of: key, &editor, event: "ltrim")
        } else {
            for range in [kept.upperBound..<count, 0..<kept.lowerBound] {
                try storing { () throws(StoreError) in try editor.remove(range) }
                call.effects.noteChanges(range.count)
            }
            call.notified(key, "ltrim")
        }
        reply.ok()
    }
}
