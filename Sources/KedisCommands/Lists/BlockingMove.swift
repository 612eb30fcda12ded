// BLMOVE, BRPOPLPUSH: as LMOVE and RPOPLPUSH, or wait for an element. The destination may be what others wait for.

import KedisProtocol
import KedisStore

enum BlockingListMoveCommand {
    static let spec = CommandSpec(
        "BLMOVE",
        summary: "Moves an element from an end of a list to an end of another list and returns it, or waits for one.",
        since: "6.2.0", group: .list, arity: 6, flags: [.write, .denyOutOfMemory, .noScript, .blocking],
        keys: ListMoveCommand.keys,
        arguments: [
            .key("source"), .key("destination", spec: 1), ListEnd.argument("wherefrom"), ListEnd.argument("whereto"),
            ArgumentSpec("timeout", .double),
        ],
        replies: replies
    ) { (call, reply) throws(CommandError) in
        let from = try ListEnd(call.arguments[3])
        let to = try ListEnd(call.arguments[4])
        try move(&call, &reply, from: from, to: to)
    }

    static let tailToHeadSpec = CommandSpec(
        "BRPOPLPUSH",
        summary: "Moves the last element of a list to the head of another list and returns it, or waits for one.",
        since: "2.2.0", group: .list, arity: 4, flags: [.write, .denyOutOfMemory, .noScript, .blocking],
        keys: ListMoveCommand.keys,
        arguments: [.key("source"), .key("destination", spec: 1), ArgumentSpec("timeout", .double)],
        replies: replies, history: BlockingListPopCommand.history,
        deprecation: (since: "6.2.0", replacement: "`BLMOVE` with the `RIGHT` and `LEFT` arguments")
    ) { (call, reply) throws(CommandError) in try move(&call, &reply, from: .tail, to: .head) }

    private static let replies: [ReplySpec] = [.bulk("the element"), .null("no element came in time")]

    private static func move(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, from: ListEnd, to: ListEnd
    ) throws(CommandError) {
        let timeoutMilliseconds = try call.timeout(at: call.arguments.count - 1)
        if try ListMoveCommand.move(&call, &reply, from: from, to: to) { return }
        throw call.block(for: .list, keys: 0..<1, timeoutMilliseconds: timeoutMilliseconds, denied: .null)
    }
}
