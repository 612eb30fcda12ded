// DEL and UNLINK: remove keys.

import KedisProtocol
import KedisStore

enum DelCommand {
    static let spec = CommandSpec(
        "DEL", summary: "Removes keys, whatever they hold.", since: "1.0.0", group: .generic,
        complexity: "O(N) in the number of keys, plus O(M) for each collection of M elements", arity: -2, flags: .write,
        keys: [.rest([.remove, .delete])], tips: ["request_policy:multi_shard", "response_policy:agg_sum"],
        arguments: [.key(multiple: true)], replies: [.integer("how many of the keys were there")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var removedCount = 0
        for index in 0..<call.keyCount where call.keyspace.remove(call.keyInLoop(index)) {
            call.changed(call.key(index), "del")
            removedCount += 1
        }
        reply.integer(removedCount)
    }
}

enum UnlinkCommand {
    static let spec = CommandSpec(
        "UNLINK", summary: "Removes keys; memory of big values is given back later.", since: "4.0.0", group: .generic,
        complexity: "O(1) for each key", arity: -2, flags: [.write, .fast], keys: [.rest([.remove, .delete])],
        tips: ["request_policy:multi_shard", "response_policy:agg_sum"], arguments: [.key(multiple: true)],
        replies: [.integer("how many of the keys were there")], handler: DelCommand.run
    )
}
