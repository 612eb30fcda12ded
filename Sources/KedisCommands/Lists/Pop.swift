// LPOP, RPOP, LMPOP: the elements at an end of a list, which are taken out.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ListPopCommand {
    static let headSpec = spec("LPOP", "head") { (call, reply) throws(CommandError) in
        try pop(&call, &reply, at: .head)
    }

    static let tailSpec = spec("RPOP", "tail") { (call, reply) throws(CommandError) in
        try pop(&call, &reply, at: .tail)
    }

    private static func spec(_ name: String, _ end: String, _ handler: @escaping CommandHandler) -> CommandSpec {
        CommandSpec(
            name, summary: "Takes elements from the \(end) of a list and returns them.", since: "1.0.0", group: .list,
            complexity: "O(N), N being the number of elements that are returned", arity: -2, flags: [.write, .fast],
            keys: [.one([.readWrite, .access, .delete])],
            arguments: [.key(), ArgumentSpec("count", .integer, isOptional: true, since: "6.2.0")],
            replies: [
                .bulk("the element"), .array("with a count: at most as many elements, the \(end) first"),
                .null("the key does not exist"),
            ],
            history: [(version: "6.2.0", change: "Takes a count.")], handler: handler
        )
    }

    @inline(__always)
    private static func pop(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, at end: ListEnd
    ) throws(CommandError) {
        guard call.arguments.count == 2 else { return try popSeveral(&call, &reply, at: end) }
        let key = call.key
        let (isHead, setting) = (end == .head, call.listSetting)
        let change: ListChange
        // What was replied before an error is taken back by whoever has called the handler.
        do { change = try call.keyspace.pop(from: key, atHead: isHead, setting: setting) { reply.bulk($0) } } catch {
            throw .outOfMemory
        }
        switch change {
        case .none: return reply.null()
        case .wrongType: throw .wrongType
        case .done(let count):
            call.changed(key, end.popEvent)
            if count == 0 { call.notified(key, "del") }
        }
    }

    private static func popSeveral(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, at end: ListEnd
    ) throws(CommandError) {
        guard call.arguments.count == 3 else { throw .wrongArity(call.entry) }
        guard let count = parseInteger(call.arguments[2]), count >= 0 else {
            throw .literal("ERR value is out of range, must be positive")
        }
        let key = call.key
        guard var editor = try call.editableList(key) else { return reply.nullArray() }
        guard count > 0 else { return reply.array(0) }
        try call.pop(count, at: end, of: key, &editor, &reply)
    }

    // MARK: LMPOP

    static let multipleSpec = CommandSpec(
        "LMPOP", summary: "Takes elements from an end of the first list that there is among several keys.",
        since: "7.0.0", group: .list,
        complexity: "O(N+M), N being the number of keys and M that of the elements that are returned", arity: -4,
        flags: [.write, .movableKeys],
        keys: [
            KeySpec(
                [.readWrite, .access, .delete], begin: .index(1), find: .count(countIndex: 0, first: 1, step: 1))
        ],
        arguments: [
            ArgumentSpec("numkeys", .integer), .key(multiple: true), ListEnd.argument("where"),
            ArgumentSpec("count", .integer, token: "COUNT", isOptional: true),
        ],
        replies: [.array("the key and the elements, the outermost first"), .null("none of the keys exists")],
        handler: popFirst
    )

    private static func popFirst(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (end, count) = try readMultiple(call, countIndex: 1)
        for index in 0..<call.keyCount {
            let key = call.keyInLoop(index)
            guard var editor = try call.editableList(key) else { continue }
            reply.array(2)
            reply.bulk(key.bytes)
            return try call.pop(count, at: end, of: key, &editor, &reply)
        }
        reply.nullArray()
    }

    /// What stands from the number of keys on: `numkeys key [key ...] LEFT | RIGHT [COUNT count]`.
    static func readMultiple(
        _ call: borrowing CommandCall, countIndex: Int
    ) throws(CommandError) -> (end: ListEnd, count: Int64) {
        let arguments = call.arguments
        guard let keyCount = parseInteger(arguments[countIndex]), keyCount > 0 else {
            throw .literal("ERR numkeys should be greater than 0")
        }
        // The keys are those of the plan, which finds none unless all that are announced are there.
        guard keyCount < Int64(arguments.count - countIndex - 1), call.keyCount == Int(keyCount) else { throw .syntax }
        let endIndex = call.keyCount + countIndex + 1
        let end = try ListEnd(arguments[endIndex])
        var count: Int64 = 1
        if arguments.count > endIndex + 1 {
            guard arguments[endIndex + 1].equalsIgnoringCase("COUNT"), arguments.count > endIndex + 2 else {
                throw .syntax
            }
            count = parseInteger(arguments[endIndex + 2]) ?? 0
            guard count > 0 else { throw .literal("ERR count should be greater than 0") }
            guard arguments.count == endIndex + 3 else { throw .syntax }
        }
        return (end, count)
    }
}
