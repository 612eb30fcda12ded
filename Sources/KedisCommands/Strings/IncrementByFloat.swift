// INCRBYFLOAT: arithmetic on a string that is a decimal number, with the width of C's long double.

import KedisProtocol
import KedisStore
import KedisUtilities

enum IncrementByFloatCommand {
    static let spec = CommandSpec(
        "INCRBYFLOAT", summary: "Adds a floating-point number to the number at a key.", since: "2.6.0", group: .string,
        arity: 3, flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .access, .update])],
        arguments: [.key(), ArgumentSpec("increment", .double)],
        replies: [.bulk("the sum, with at most 17 decimal places and no exponent")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        let before = try number(at: key, in: call.keyspace)
        guard let amount = LongDouble.parse(call.arguments[2]) else { throw .notAFloat }
        let sum = before + amount
        guard sum.isFinite else { throw .literal("ERR increment would produce NaN or Infinity") }
        let keyspace = call.keyspace
        let isStored = sum.formatted().withUnsafeBytes { bytes in
            reply.bulk(ByteView(bytes))
            do { try keyspace.setText(key, ByteView(bytes), deadline: .keep) } catch { return false }
            return true
        }
        guard isStored else { throw .outOfMemory }
        call.changed(key, "incrbyfloat")
    }

    /// The key's number, 0 where there is none.
    private static func number(at key: Key, in keyspace: Keyspace) throws(CommandError) -> LongDouble {
        guard let entry = keyspace.peek(key) else { return LongDouble(0 as Int64) }
        switch try entry.stringValue() {
        case .integer(let integer): return LongDouble(integer)
        case .bytes(let bytes):
            guard let number = LongDouble.parse(bytes) else { throw .notAFloat }
            return number
        }
    }
}
