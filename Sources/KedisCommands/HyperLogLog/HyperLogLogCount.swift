// PFCOUNT: how many distinct elements HyperLogLogs have seen, alone or together.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HyperLogLogCountCommand {
    static let spec = CommandSpec(
        "PFCOUNT", summary: "Estimates how many distinct elements HyperLogLogs have seen, together.", since: "2.8.9",
        group: .hyperLogLog,
        complexity: "O(1) for one key, and hardly anything while it does not change; O(N) in the number of keys",
        arity: -2, flags: [.readOnly, .mayReplicate],
        keys: [
            KeySpec(
                [.readWrite, .access], begin: .index(1), find: .range(last: -1, step: 1, limit: 0),
                note: "RW since the estimate of a single key is kept in its value")
        ],
        arguments: [.key(multiple: true)],
        replies: [.integer("the estimate, 0.81 % off on average; keys that do not exist have seen nothing")],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let cardinality = call.keyCount == 1 ? try countOne(&call) : try countAll(call)
        reply.integer(Int64(bitPattern: cardinality))
    }

    private static func countOne(_ call: inout CommandCall) throws(CommandError) -> UInt64 {
        guard let entry = call.keyspace.read(call.key) else { return 0 }
        let bytes = try entry.hyperLogLog()
        let encoding = entry.encoding
        if let cached = HyperLogLog.cachedCardinality(of: bytes) {
            if encoding != .raw { _ = try call.ownBytes(of: call.key, bytes.count) }
            return cached
        }
        guard let cardinality = HyperLogLog.cardinality(of: bytes) else { throw .damagedHyperLogLog }
        HyperLogLog.setCachedCardinality(cardinality, in: try call.ownRegisters(of: call.key, bytes.count))
        // The value's bytes are others now, but nobody is told of a change.
        call.effects.noteChanges(1)
        return cardinality
    }

    private static func countAll(_ call: borrowing CommandCall) throws(CommandError) -> UInt64 {
        try withScratch(HyperLogLog.registerCount) { memory throws(CommandError) in
            guard let registers = memory.baseAddress else { return 0 }
            registers.initialize(repeating: 0, count: HyperLogLog.registerCount)
            _ = try HyperLogLogMergeCommand.merge(call, into: registers)
            return HyperLogLog.cardinality(ofRegisters: registers)
        }
    }
}
