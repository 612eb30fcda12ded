// ZRANDMEMBER, ZSCAN: members in no order that the caller has asked for.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SortedSetRandomCommand {
    static let spec = CommandSpec(
        "ZRANDMEMBER", summary: "Returns random members of a sorted set.", since: "6.2.0", group: .sortedSet,
        complexity: "O(N), N being the number of members that are returned, times log of the number of all", arity: -2,
        flags: .readOnly, keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"],
        arguments: [
            .key(),
            .block(
                "options", optional: true,
                [ArgumentSpec("count", .integer), .token("WITHSCORES", optional: true)]),
        ],
        replies: [
            .bulk("a member"), .array("with a count: so many different members; if it is negative, any members"),
            .null("there is no such key"),
        ],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let arguments = call.arguments
        guard arguments.count > 2 else {
            guard let entry = call.keyspace.read(call.key) else { return reply.null() }
            let set = try entry.sortedSetValue()
            return reply.bulk(set.element(atRank: call.client.pointee.random.next(below: set.count)).member)
        }
        let count = try call.integer(at: 2)
        guard count != .min else {
            throw .literal(
                "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
        }
        let isScored = arguments.count > 3
        if isScored {
            guard arguments.count == 4, arguments[3].equalsIgnoringCase("WITHSCORES") else { throw .syntax }
            guard count.magnitude <= UInt64(Int64.max / 2) else { throw .literal("ERR value is out of range") }
        }
        guard let entry = call.keyspace.read(call.key) else { return reply.array(0) }
        let set = try entry.sortedSetValue()
        let shape = ElementShape.scored(isScored, reply)
        if count < 0 {
            replyAny(0 - count, set, &call.client.pointee.random, &reply, shape)
        } else if count >= Int64(set.count) {
            reply.elements(set, in: 0..<set.count, isReversed: false, shape)
        } else {
            replyDifferent(Int(count), set, &call.client.pointee.random, &reply, shape)
        }
    }

    private static func replyAny(
        _ count: Int64, _ set: SortedSetValue, _ generator: inout RandomGenerator, _ reply: inout ReplyWriter,
        _ shape: ElementShape
    ) {
        reply.elementCount(Int(count), shape)
        for _ in 0..<count {
            let (member, score) = set.element(atRank: generator.next(below: set.count))
            reply.element(member, score, shape)
            if reply.hasOverflowed { return }
        }
    }

    /// Every choice of `count` elements is as likely as any other: each element is taken with the chance of those that
    /// are still wanted among those that are left. Where few of many are wanted, the next one is jumped to.
    private static func replyDifferent(
        _ count: Int, _ set: SortedSetValue, _ generator: inout RandomGenerator, _ reply: inout ReplyWriter,
        _ shape: ElementShape
    ) {
        reply.elementCount(count, shape)
        var (wanted, left) = (count, set.count)
        if count > 64 || left / max(1, count) < 16 {
            set.forEach(in: 0..<set.count) { member, score in
                if generator.next(below: left) < wanted {
                    reply.element(member, score, shape)
                    wanted -= 1
                }
                left -= 1
                return wanted > 0 && !reply.hasOverflowed
            }
            return
        }
        // Ranks that were drawn already are drawn again: few of many, so that this is seldom.
        var drawn: [Int] = []
        drawn.reserveCapacity(count)
        while wanted > 0 {
            let rank = generator.next(below: left)
            guard !drawn.contains(rank) else { continue }
            drawn.append(rank)
            let (member, score) = set.element(atRank: rank)
            reply.element(member, score, shape)
            wanted -= 1
        }
    }
}

enum SortedSetScanCommand {
    static let spec = CommandSpec(
        "ZSCAN", summary: "Walks over the elements of a sorted set, some at each call.", since: "2.8.0",
        group: .sortedSet, complexity: "O(1) for a call, O(N) for a whole walk over N elements", arity: -3,
        flags: .readOnly, keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"],
        arguments: [
            .key(), ArgumentSpec("cursor", .integer),
            ArgumentSpec("pattern", .pattern, token: "MATCH", isOptional: true),
            ArgumentSpec("count", .integer, token: "COUNT", isOptional: true),
        ],
        replies: [.array("the cursor for the next call, 0 at the end, and a list of members and scores")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let cursor = try scanCursor(call.arguments[2])
        guard let entry = call.keyspace.read(call.key) else {
            reply.array(2)
            reply.bulk("0")
            return reply.array(0)
        }
        let set = try entry.sortedSetValue()
        let options = try ScanOptions(call, from: 3, takesType: false)
        // The cursor is known only after the walk and stands before the elements.
        var elements = ReplyWriter(version: reply.version)
        var count = 0
        let next = set.scan(from: cursor, count: options.count) { member, score in
            guard member.withBytes({ options.accepts($0) }) else { return }
            elements.bulk(member)
            elements.scannedScore(score, isPacked: set.packedRun != nil)
            count += 2
        }
        guard !elements.hasOverflowed else { throw .outOfMemory }
        reply.array(2)
        reply.bulk(integer: Int64(clamping: next))
        reply.array(count)
        reply.raw(elements.bytes)
    }
}

extension ReplyWriter {
    /// A score as ZSCAN has it: text in both protocols, all digits where a small set keeps it as an integer.
    fileprivate mutating func scannedScore(_ score: Double, isPacked: Bool) {
        if isPacked, let integer = packedInteger(score) { return bulk(integer: integer) }
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: formattedDoubleCapacity) { text in
            guard let base = text.baseAddress else { return }
            bulk(ByteView(base: base, count: formatDouble(score, into: base)))
        }
    }
}
