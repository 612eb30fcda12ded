// WAIT and WAITAOF: until so many replicas, or files, have what the client has written. There are no replicas, so who
// wants more than none waits for the timeout; the only file is the journal.

import KedisProtocol
import KedisStore
import KedisUtilities

enum WaitCommand {
    /// Of the group of commands on keys, and about none.
    static let specs = [spec, fileSpec].map { spec in
        var spec = spec
        spec.isOfGroupCategory = false
        return spec
    }

    private static let spec = CommandSpec(
        "WAIT", summary: "Waits until replicas have what this connection has written.", since: "3.0.0",
        group: .generic, arity: 3, flags: [.noScript], categories: ["connection"],
        tips: ["request_policy:all_shards", "response_policy:agg_min"],
        arguments: [ArgumentSpec("numreplicas", .integer), ArgumentSpec("timeout", .integer)],
        replies: [.integer("how many replicas have it: 0, as there are none")]
    ) { (call, reply) throws(CommandError) in
        let replicaCount = try call.integer(at: 1)
        let timeout = try call.timeoutMilliseconds(at: 2)
        guard replicaCount > 0 else { return reply.integer(0) }
        throw call.block(for: .string, timeoutMilliseconds: timeout, denied: .zero)
    }

    private static let fileSpec = CommandSpec(
        "WAITAOF", summary: "Waits until append-only files have what this connection has written.", since: "7.2.0",
        group: .generic, arity: 4, flags: [.noScript], categories: ["connection"],
        tips: ["request_policy:all_shards", "response_policy:agg_min"],
        arguments: [
            ArgumentSpec("numlocal", .integer), ArgumentSpec("numreplicas", .integer),
            ArgumentSpec("timeout", .integer),
        ],
        replies: [.array("how many files have it: here 1 or 0, at replicas 0, as there are none")]
    ) { (call, reply) throws(CommandError) in
        let localCount = try call.integer(at: 1)
        guard 0...1 ~= localCount else { throw .literal("ERR value is out of range, value must between 0 and 1") }
        let replicaCount = try call.integer(at: 2)
        guard replicaCount >= 0 else { throw .literal("ERR value is out of range, must be positive") }
        let timeout = try call.timeoutMilliseconds(at: 3)
        let engine = call.engine
        guard engine.interest.current.hasJournal else {
            guard localCount == 0 else {
                throw JournalPort.noJournal
            }
            guard replicaCount > 0 else { return reply.reply(.fileCounts(local: 0)) }
            throw call.block(for: .string, timeoutMilliseconds: timeout, denied: .fileCounts(local: 0))
        }
        // All that anybody has written until now: the client's own is before the last of it.
        let sequence = engine.journal.appendedSequence
        let count = engine.journal.durableSequence >= sequence ? 1 : 0
        guard count < localCount || replicaCount > 0 else { return reply.reply(.fileCounts(local: count)) }
        throw call.block(
            for: .string, timeoutMilliseconds: timeout, denied: .fileCounts(local: count),
            durability: AwaitedDurability(sequence: sequence, isEnough: replicaCount == 0))
    }
}
