// HINCRBY, HINCRBYFLOAT: arithmetic on a field. Its deadline stays.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HashIncrementCommand {
    static let spec = CommandSpec(
        "HINCRBY", summary: "Adds a number to the integer of a field.", since: "2.0.0", group: .hash, arity: 4,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .access, .update])],
        arguments: [.key(), ArgumentSpec("field", .string), ArgumentSpec("increment", .integer)],
        replies: [.integer("the sum")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let field = call.arguments[2]
        let amount = try call.integer(at: 3)
        var editor: HashEditor?
        try call.hashToEdit(&editor)
        var before: Int64 = 0
        switch editor?.value.value(of: field) {
        case nil: break
        case .integer(let integer): before = integer
        case .bytes(let bytes):
            guard let integer = parseInteger(bytes) else { throw .literal("ERR hash value is not an integer") }
            before = integer
        }
        let (sum, overflow) = before.addingReportingOverflow(amount)
        guard !overflow else { throw .literal("ERR increment or decrement would overflow") }
        try StringValue.integer(sum).withBytes { (digits) throws(CommandError) in
            _ = try call.setField(field, digits, in: &editor, deadline: .keep)
        }
        call.changed(call.key, "hincrby")
        reply.integer(sum)
    }
}

enum HashIncrementByFloatCommand {
    static let spec = CommandSpec(
        "HINCRBYFLOAT", summary: "Adds a floating-point number to the number of a field.", since: "2.6.0",
        group: .hash, arity: 4, flags: [.write, .denyOutOfMemory, .fast],
        keys: [.one([.readWrite, .access, .update])],
        arguments: [.key(), ArgumentSpec("field", .string), ArgumentSpec("increment", .double)],
        replies: [.bulk("the sum, with at most 17 decimal places and no exponent")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let field = call.arguments[2]
        guard let amount = LongDouble.parse(call.arguments[3]) else { throw .notAFloat }
        guard amount.isFinite else { throw .literal("ERR value is NaN or Infinity") }
        var editor: HashEditor?
        try call.hashToEdit(&editor)
        let sum = try number(of: editor?.value.value(of: field)) + amount
        guard sum.isFinite else { throw .literal("ERR increment would produce NaN or Infinity") }
        let text = sum.formatted()
        let isStored = text.withUnsafeBytes { bytes in
            do { _ = try call.setField(field, ByteView(bytes), in: &editor, deadline: .keep) } catch { return false }
            reply.bulk(ByteView(bytes))
            return true
        }
        guard isStored else { throw .outOfMemory }
        call.changed(call.key, "hincrbyfloat")
    }

    /// The number that a value is, 0 where there is none.
    private static func number(of value: StringValue?) throws(CommandError) -> LongDouble {
        switch value {
        case nil: return LongDouble(0 as Int64)
        case .integer(let integer): return LongDouble(integer)
        case .bytes(let bytes):
            guard let number = LongDouble.parse(bytes) else { throw .literal("ERR hash value is not a float") }
            return number
        }
    }
}
