// SETBIT and GETBIT: one bit of a string.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SetBitCommand {
    static let spec = CommandSpec(
        "SETBIT", summary: "Sets or clears one bit of the string at a key, which grows with zero bits if need be.",
        since: "2.2.0", group: .bitmap, complexity: "O(1), plus the bytes by which the string grows", arity: 4,
        flags: [.write, .denyOutOfMemory], keys: [.one([.readWrite, .access, .update])],
        arguments: [.key(), ArgumentSpec("offset", .integer), ArgumentSpec("value", .integer)],
        replies: [.integer("the bit before")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let offset = try call.bitOffset(call.arguments[2])
        guard let value = parseInteger(call.arguments[3]), value & ~1 == 0 else {
            throw .literal("ERR bit is not an integer or out of range")
        }
        let (bytes, isChanged) = try call.growBits(through: offset)
        let bit: UInt8 = 0x80 >> UInt8(offset & 7)
        let byte = bytes[offset >> 3]
        let after = value == 1 ? byte | bit : byte & ~bit
        bytes[offset >> 3] = after
        if isChanged || after != byte { call.changed(call.key, "setbit") }
        reply.integer(byte & bit != 0 ? 1 : 0)
    }
}

enum GetBitCommand {
    static let spec = CommandSpec(
        "GETBIT", summary: "Returns one bit of the string at a key.", since: "2.2.0", group: .bitmap, arity: 3,
        flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("offset", .integer)],
        replies: [.integer("the bit, 0 beyond the end of the string and without a key")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let offset = try call.bitOffset(call.arguments[2])
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        let bit = try entry.stringValue().withBytes { $0.bits(at: offset, bitCount: 1) }
        reply.integer(Int64(bit))
    }
}
