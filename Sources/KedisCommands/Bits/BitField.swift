// BITFIELD and BITFIELD_RO: integers of any width at any bit of a string.

import KedisProtocol
import KedisStore
import KedisUtilities

enum BitFieldCommand {
    static let spec = CommandSpec(
        "BITFIELD", summary: "Reads, writes and adds to integers of any width within the string at a key.",
        since: "3.2.0", group: .bitmap, complexity: "O(1) for each operation", arity: -2,
        flags: [.write, .denyOutOfMemory],
        keys: [
            KeySpec(
                [.readWrite, .access, .update, .variableFlags], begin: .index(1),
                find: .range(last: 0, step: 1, limit: 0), note: "with GET alone the key is only read")
        ],
        arguments: [
            .key(),
            ArgumentSpec(
                "operation", .oneOf, isOptional: true, isMultiple: true,
                arguments: [
                    ArgumentSpec("encoding_offset", .block, token: "GET", arguments: encodingAndOffset),
                    .block("write", [overflow, .oneOf("write_operation", writes)]),
                ]),
        ],
        replies: [
            .array(
                """
                for each GET the integer, for each SET the one before, for each INCRBY the one after; null where \
                OVERFLOW FAIL left it as it was
                """)
        ],
        differences: [
            "An offset `#n` whose product does not fit 64 bits is an error; in Redis it wraps around.",
            "SET with OVERFLOW SAT saturates a number that is too low at the lowest; in Redis some of the lowest "
                + "64-bit numbers saturate at the highest.",
        ],
        handler: run
    )

    static let encodingAndOffset = [ArgumentSpec("encoding", .string), ArgumentSpec("offset", .integer)]

    private static let overflow = ArgumentSpec(
        "wrap_sat_fail", .oneOf, token: "OVERFLOW", isOptional: true,
        arguments: [.token("WRAP"), .token("SAT"), .token("FAIL")])

    private static let writes = [
        ArgumentSpec(
            "encoding_offset_value", .block, token: "SET",
            arguments: encodingAndOffset + [ArgumentSpec("value", .integer)]),
        ArgumentSpec(
            "encoding_offset_increment", .block, token: "INCRBY",
            arguments: encodingAndOffset + [ArgumentSpec("increment", .integer)]),
    ]

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try runAll(&call, &reply, isReadOnly: false)
    }

    /// All operations are read before the first is executed, then once more one by one: errors come before changes, and
    /// nothing is allocated for them.
    static func runAll(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, isReadOnly: Bool
    ) throws(CommandError) {
        var count = 0
        var lastBit: Int?
        var reader = BitFieldReader()
        while let operation = try reader.next(call) {
            count += 1
            guard operation.kind != .get else { continue }
            lastBit = max(lastBit ?? 0, operation.offset + operation.field.bitCount - 1)
        }
        guard let lastBit else { return try read(call, &reply, count) }
        guard !isReadOnly else { throw .literal("ERR BITFIELD_RO only supports the GET subcommand") }
        let (bytes, isChanged) = try call.growBits(through: lastBit)
        reply.array(count)
        var changeCount = 0
        reader = BitFieldReader()
        while let operation = try reader.next(call) {
            let hasWritten = execute(operation, on: bytes, &reply)
            if let hasWritten, isChanged || hasWritten { changeCount += 1 }
        }
        if changeCount > 0 {
            call.changed(call.key, "setbit")
            call.effects.noteChanges(changeCount - 1)
        } else if isChanged {
            // Every write failed, but the string is longer now, or new. So it is in Redis, which does not count it;
            // here it counts as a change, so that it is saved.
            call.effects.noteChanges(1)
        }
    }

    /// Operations that are all GET.
    private static func read(
        _ call: borrowing CommandCall, _ reply: inout ReplyWriter, _ count: Int
    ) throws(CommandError) {
        let string = try call.keyspace.read(call.key)?.stringValue() ?? .bytes(.empty)
        reply.array(count)
        var reader = BitFieldReader()
        while let operation = try reader.next(call) {
            reply.integer(string.withBytes { operation.field.value(in: $0, at: operation.offset) })
        }
    }

    /// Replies to one operation; nil when it wrote nothing, else whether the field has another value now.
    private static func execute(
        _ operation: BitFieldOperation, on bytes: UnsafeMutableRawBufferPointer, _ reply: inout ReplyWriter
    ) -> Bool? {
        let field = operation.field
        let before = field.value(in: ByteView(UnsafeRawBufferPointer(bytes)), at: operation.offset)
        if operation.kind == .get {
            reply.integer(before)
            return nil
        }
        guard let after = operation.result(before: before) else {
            reply.null()
            return nil
        }
        bytes.setBits(UInt64(bitPattern: after), at: operation.offset, bitCount: field.bitCount)
        reply.integer(operation.kind == .set ? before : after)
        return after != before
    }
}

enum BitFieldReadOnlyCommand {
    static let spec = CommandSpec(
        "BITFIELD_RO", summary: "Reads integers of any width within the string at a key.", since: "6.0.0",
        group: .bitmap, complexity: "O(1) for each operation", arity: -2, flags: [.readOnly, .fast],
        keys: [.one([.readOnly, .access])],
        arguments: [
            .key(),
            ArgumentSpec(
                "encoding_offset", .block, token: "GET", isOptional: true, isMultiple: true, repeatsToken: true,
                arguments: BitFieldCommand.encodingAndOffset),
        ],
        replies: [.array("for each GET the integer")],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try BitFieldCommand.runAll(&call, &reply, isReadOnly: true)
    }
}
