// BITCOUNT and BITPOS: how many bits of a string are set, and where the first one is.

import KedisProtocol
import KedisStore
import KedisUtilities

enum BitCountCommand {
    static let spec = CommandSpec(
        "BITCOUNT", summary: "Counts the bits that are set in the string at a key, or in a part of it.", since: "2.6.0",
        group: .bitmap, complexity: "O(N), N being the bytes looked at", arity: -2, flags: [.readOnly],
        keys: [.one([.readOnly, .access])],
        arguments: [
            .key(),
            .block(
                "index", optional: true,
                [ArgumentSpec("start", .integer), ArgumentSpec("end", .integer), BitUnit.argument]),
        ],
        replies: [.integer("the number of bits that are set")],
        history: [("7.0.0", "BYTE and BIT say what the positions count in.")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        // Without a key the other arguments do not matter, as in Redis.
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        let string = try entry.stringValue()
        switch call.arguments.count {
        case 2:
            reply.integer(string.withBytes { countBits($0) })
        case 4, 5:
            let (start, end) = (try call.integer(at: 2), try call.integer(at: 3))
            // Such a range is empty whatever the unit, which is not even read then, as in Redis.
            guard !(start < 0 && end < 0 && start > end) else { return reply.integer(0) }
            let unit = call.arguments.count == 5 ? try BitUnit(call.arguments[4]) : .bytes
            guard let bits = unit.bits(from: start, through: end, ofByteCount: string.byteCount) else {
                return reply.integer(0)
            }
            reply.integer(string.withBytes { countBits($0, from: bits.first, through: bits.last) })
        default:
            throw .syntax
        }
    }
}

enum BitPositionCommand {
    static let spec = CommandSpec(
        "BITPOS", summary: "Finds the first bit that is set, or clear, in the string at a key or in a part of it.",
        since: "2.8.7", group: .bitmap, complexity: "O(N), N being the bytes looked at", arity: -3, flags: [.readOnly],
        keys: [.one([.readOnly, .access])],
        arguments: [
            .key(), ArgumentSpec("bit", .integer),
            .block(
                "index", optional: true,
                [
                    ArgumentSpec("start", .integer),
                    .block("end_index", optional: true, [ArgumentSpec("end", .integer), BitUnit.argument]),
                ]),
        ],
        replies: [
            .integer(
                """
                the position of the bit, counted from the start of the string, or -1; a clear bit that is looked for \
                without an end is found behind a string of ones
                """)
        ],
        history: [("7.0.0", "BYTE and BIT say what the positions count in.")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let bit = try call.integer(at: 2)
        guard bit & ~1 == 0 else { throw .literal("ERR The bit argument must be 1 or 0.") }
        // A key that does not exist is zeroes without an end.
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(bit == 1 ? -1 : 0) }
        let string = try entry.stringValue()
        let byteCount = string.byteCount
        let (start, end, unit) = try range(call)
        guard let bits = unit.bits(from: start, through: end ?? -1, ofByteCount: byteCount) else {
            return reply.integer(-1)
        }
        let found = string.withBytes { firstBit(isSet: bit == 1, in: $0, from: bits.first, through: bits.last) }
        // Without an end, the zeroes behind the string count.
        reply.integer(found ?? (bit == 0 && end == nil ? byteCount * 8 : -1))
    }

    /// The arguments behind the bit, in the order in which Redis complains about them.
    private static func range(
        _ call: borrowing CommandCall
    ) throws(CommandError) -> (start: Int64, end: Int64?, unit: BitUnit) {
        let arguments = call.arguments
        guard arguments.count <= 6 else { throw .syntax }
        guard arguments.count > 3 else { return (0, nil, .bytes) }
        let start = try call.integer(at: 3)
        let unit = arguments.count == 6 ? try BitUnit(arguments[5]) : .bytes
        return (start, arguments.count > 4 ? try call.integer(at: 4) : nil, unit)
    }
}
