// ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX: members that go.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SortedSetRemoveCommand {
    static let spec = CommandSpec(
        "ZREM", summary: "Removes members from a sorted set.", since: "1.2.0", group: .sortedSet,
        complexity: "O(M*log(N)), M being the number of members to be removed and N that of the set", arity: -3,
        flags: [.write, .fast], keys: [.one([.readWrite, .delete])],
        arguments: [.key(), ArgumentSpec("member", .string, isMultiple: true)],
        replies: [.integer("the number of members that were removed")],
        history: [("2.4.0", "Takes several members.")], handler: run
    )

    static let byRankSpec = rangeSpec(
        "ZREMRANGEBYRANK", "Removes the members between two ranks.", since: "2.0.0",
        [ArgumentSpec("start", .integer), ArgumentSpec("stop", .integer)]
    ) { (call, reply) throws(CommandError) in
        let start = try call.integer(at: 2)
        let stop = try call.integer(at: 3)
        try removeRange(&call, &reply, event: "zremrangebyrank") { set in
            listPositions(from: start, through: stop, of: set.count)
        }
    }

    static let byScoreSpec = rangeSpec(
        "ZREMRANGEBYSCORE", "Removes the members with a score in a range.", since: "1.2.0",
        [ArgumentSpec("min", .double), ArgumentSpec("max", .double)]
    ) { (call, reply) throws(CommandError) in
        let (from, through) = try call.scoreRange(from: 2, through: 3)
        try removeRange(&call, &reply, event: "zremrangebyscore") { $0.ranks(from: from, through: through) }
    }

    static let byMemberSpec = rangeSpec(
        "ZREMRANGEBYLEX", "Removes the members in a range of byte strings, of a set with equal scores.",
        since: "2.8.9", [ArgumentSpec("min", .string), ArgumentSpec("max", .string)]
    ) { (call, reply) throws(CommandError) in
        let (from, through) = try call.memberRange(from: 2, through: 3)
        try removeRange(&call, &reply, event: "zremrangebylex") { $0.ranks(from: from, through: through) }
    }

    private static func rangeSpec(
        _ name: String, _ summary: String, since: String, _ bounds: [ArgumentSpec], _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: since, group: .sortedSet,
            complexity: "O(log(N)+M), N being the number of members and M that of those that are removed", arity: 4,
            flags: .write, keys: [.one([.readWrite, .delete])], arguments: [.key()] + bounds,
            replies: [.integer("the number of members that were removed")], handler: handler
        )
    }

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        guard var editor = try call.editableSortedSet(key) else { return reply.integer(0) }
        let arguments = call.arguments
        var removedCount = 0
        for index in 2..<arguments.count where !editor.isGone {
            if try storing({ () throws(StoreError) in try editor.remove(arguments[index]) }) { removedCount += 1 }
        }
        call.noteRemovedMembers(removedCount, "zrem", isKeyGone: editor.isGone)
        reply.integer(removedCount)
    }

    private static func removeRange(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, event: StaticString,
        ranks: (SortedSetValue) -> Range<Int>
    ) throws(CommandError) {
        let key = call.key
        guard var editor = try call.editableSortedSet(key) else { return reply.integer(0) }
        let range = ranks(editor.value)
        if !range.isEmpty { try call.removeElements(range, of: key, &editor, event: event) }
        reply.integer(range.count)
    }
}
