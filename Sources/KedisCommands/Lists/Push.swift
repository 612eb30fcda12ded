// LPUSH, RPUSH, LPUSHX, RPUSHX: new elements at an end of a list.

import KedisProtocol
import KedisStore

enum ListPushCommand {
    static let headSpec = spec(
        "LPUSH", "Puts elements at the head of a list, which is made if need be.", since: "1.0.0", several: "2.4.0",
        [.integer("the length of the list now")]
    ) { (call, reply) throws(CommandError) in try push(&call, &reply, at: .head, makesList: true) }

    static let tailSpec = spec(
        "RPUSH", "Puts elements at the tail of a list, which is made if need be.", since: "1.0.0", several: "2.4.0",
        [.integer("the length of the list now")]
    ) { (call, reply) throws(CommandError) in try push(&call, &reply, at: .tail, makesList: true) }

    static let headIfPresentSpec = spec(
        "LPUSHX", "Puts elements at the head of a list, if there is one.", since: "2.2.0", several: "4.0.0",
        [.integer("the length of the list now, 0 if there is none")]
    ) { (call, reply) throws(CommandError) in try push(&call, &reply, at: .head, makesList: false) }

    static let tailIfPresentSpec = spec(
        "RPUSHX", "Puts elements at the tail of a list, if there is one.", since: "2.2.0", several: "4.0.0",
        [.integer("the length of the list now, 0 if there is none")]
    ) { (call, reply) throws(CommandError) in try push(&call, &reply, at: .tail, makesList: false) }

    private static func spec(
        _ name: String, _ summary: String, since: String, several: String, _ replies: [ReplySpec],
        _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: since, group: .list, complexity: "O(1) for each element", arity: -3,
            flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .insert])],
            arguments: [.key(), ArgumentSpec("element", .string, isMultiple: true)], replies: replies,
            history: [(version: several, change: "Takes several elements.")], handler: handler
        )
    }

    @inline(__always)
    private static func push(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, at end: ListEnd, makesList: Bool
    ) throws(CommandError) {
        let key = call.key
        let arguments = call.arguments
        if !makesList, call.keyspace.peek(key) == nil { return reply.integer(0) }
        let count = arguments.count &- 2
        let length =
            count == 1
            ? try call.push(arguments[2], at: end, of: key)
            : try call.pushSeveral(count, at: end, of: key) { arguments[$0 &+ 2] }
        call.effects.noteChanges(count)
        call.notified(key, end.pushEvent)
        reply.integer(length)
    }
}
