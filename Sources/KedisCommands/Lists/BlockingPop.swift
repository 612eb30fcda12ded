// BLPOP, BRPOP, BLMPOP: as LPOP, RPOP and LMPOP on the first list that there is, or the first that comes.

import KedisProtocol
import KedisStore

enum BlockingListPopCommand {
    static let headSpec = spec("BLPOP", "head") { (call, reply) throws(CommandError) in
        try pop(&call, &reply, at: .head)
    }

    static let tailSpec = spec("BRPOP", "tail") { (call, reply) throws(CommandError) in
        try pop(&call, &reply, at: .tail)
    }

    static let history: [(version: String, change: String)] = [("6.0.0", "The timeout may have a fraction.")]

    private static func spec(_ name: String, _ end: String, _ handler: @escaping CommandHandler) -> CommandSpec {
        CommandSpec(
            name, summary: "Takes an element from the \(end) of the first list among several keys, or waits for one.",
            since: "2.0.0", group: .list, complexity: "O(N), N being the number of keys", arity: -3,
            flags: [.write, .noScript, .blocking],
            keys: [
                KeySpec(
                    [.readWrite, .access, .delete], begin: .index(1), find: .range(last: -2, step: 1, limit: 0))
            ],
            arguments: [.key(multiple: true), ArgumentSpec("timeout", .double)],
            replies: [.array("the key and the element"), .null("no element came in time")], history: history,
            handler: handler
        )
    }

    private static func pop(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, at end: ListEnd
    ) throws(CommandError) {
        let timeoutMilliseconds = try call.timeout(at: call.arguments.count - 1)
        for index in 0..<call.keyCount {
            let key = call.key(index)
            guard try call.awaitedEntry(index, .list) != nil,
                var editor = call.keyspace.editList(key, limit: call.listLimit)
            else { continue }
            let range = end.positions(1, of: editor.count)
            reply.array(2)
            reply.bulk(key.bytes)
            reply.bulk(editor.value.element(at: range.lowerBound))
            call.writePop(of: key, at: end, count: 1)
            return try call.removeElements(range, of: key, &editor, event: end.popEvent)
        }
        throw call.block(for: .list, timeoutMilliseconds: timeoutMilliseconds)
    }

    // MARK: BLMPOP

    static let multipleSpec = CommandSpec(
        "BLMPOP", summary: "Takes elements from an end of the first list among several keys, or waits for one.",
        since: "7.0.0", group: .list,
        complexity: "O(N+M), N being the number of keys and M that of the elements that are returned", arity: -5,
        flags: [.write, .blocking, .movableKeys],
        keys: [
            KeySpec(
                [.readWrite, .access, .delete], begin: .index(2), find: .count(countIndex: 0, first: 1, step: 1))
        ],
        arguments: [
            ArgumentSpec("timeout", .double), ArgumentSpec("numkeys", .integer), .key(multiple: true),
            ListEnd.argument("where"), ArgumentSpec("count", .integer, token: "COUNT", isOptional: true),
        ],
        replies: [.array("the key and the elements, the outermost first"), .null("no list came in time")],
        handler: popFirst
    )

    private static func popFirst(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (end, count) = try ListPopCommand.readMultiple(call, countIndex: 2)
        let timeoutMilliseconds = try call.timeout(at: 1)
        for index in 0..<call.keyCount {
            let key = call.key(index)
            guard try call.awaitedEntry(index, .list) != nil,
                var editor = call.keyspace.editList(key, limit: call.listLimit)
            else { continue }
            reply.array(2)
            reply.bulk(key.bytes)
            call.writePop(of: key, at: end, count: count)
            return try call.pop(count, at: end, of: key, &editor, &reply)
        }
        throw call.block(for: .list, timeoutMilliseconds: timeoutMilliseconds)
    }
}

extension CommandCall {
    /// For the journal: which list it was that elements were taken from.
    fileprivate func writePop(of key: Key, at end: ListEnd, count: Int64) {
        scribe?.write(end == .head ? "LPOP" : "RPOP", key, databaseIndex: keyspace.databaseIndex, count: count)
    }
}
