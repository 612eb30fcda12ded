// HRANDFIELD: fields by chance.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HashRandomFieldCommand {
    static let spec = CommandSpec(
        "HRANDFIELD", summary: "Returns fields of a hash by chance.", since: "6.2.0", group: .hash,
        complexity: "O(N), N being the number of fields returned", arity: -2, flags: .readOnly,
        keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"],
        arguments: [
            .key(),
            .block(
                "options", optional: true,
                [ArgumentSpec("count", .integer), .token("WITHVALUES", optional: true)]),
        ],
        replies: [
            .bulk("a field, without a count"), .null("the key does not exist, without a count"),
            .array("different fields, or with a negative count that many draws; with their values where asked for"),
        ],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count > 2 else {
            guard let hash = try call.hashToRead(), hash.count > 0 else { return reply.null() }
            return hash.random(using: &call.client.pointee.random) { field, _ in reply.bulk(field) }
        }
        let count = try call.integer(at: 2)
        guard count != .min else {
            throw .literal(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
        }
        var withValues = false
        if call.arguments.count > 3 {
            guard call.arguments.count == 4, call.arguments[3].equalsIgnoringCase("WITHVALUES") else { throw .syntax }
            withValues = true
            guard abs(count) <= Int64.max / 2 else { throw .literal("ERR value is out of range") }
        }
        guard let hash = try call.hashToRead(), count != 0 else { return reply.array(0) }
        choose(count, of: hash, withValues: withValues, &call, &reply)
    }

    private static func choose(
        _ count: Int64, of hash: HashValue, withValues: Bool, _ call: inout CommandCall, _ reply: inout ReplyWriter
    ) {
        let fieldCount = hash.count
        let chosenCount = fieldCount == 0 ? 0 : count < 0 ? Int(-count) : min(Int(count), fieldCount)
        let isNested = withValues && reply.version == .resp3
        reply.array(withValues && !isNested ? 2 * chosenCount : chosenCount)
        guard chosenCount > 0 else { return }
        func give(_ field: StringValue, _ value: StringValue, _ reply: inout ReplyWriter) -> Bool {
            if isNested { reply.array(2) }
            reply.bulk(field)
            if withValues { reply.bulk(value) }
            return !reply.hasOverflowed
        }
        if count < 0 {
            var left = chosenCount
            while left > 0, !reply.hasOverflowed {
                hash.random(using: &call.client.pointee.random) { _ = give($0, $1, &reply) }
                left -= 1
            }
        } else if chosenCount == fieldCount {
            hash.forEach { give($0, $1, &reply) }
        } else {
            hash.sample(chosenCount, of: fieldCount, using: &call.client.pointee.random) { give($0, $1, &reply) }
        }
    }
}
