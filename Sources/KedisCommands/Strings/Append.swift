// APPEND and STRLEN: the end of a string.

import KedisProtocol
import KedisStore
import KedisUtilities

enum AppendCommand {
    static let spec = CommandSpec(
        "APPEND", summary: "Appends to the string at a key, which is created if need be.", since: "2.0.0",
        group: .string, complexity: "O(1) amortised, plus the length of what is appended", arity: 3,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .insert])],
        arguments: [.key(), ArgumentSpec("value", .string)], replies: [.integer("the length of the string now")],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        let added = call.arguments[2]
        var byteCount = added.count
        if let entry = call.keyspace.peek(key) {
            let before = try entry.stringValue().byteCount
            byteCount = try call.stringByteCount(before, adding: added.count)
            let keyspace = call.keyspace
            let bytes = try storing { () throws(StoreError) in try keyspace.resizeString(key, to: byteCount) }
            UnsafeMutableRawBufferPointer(rebasing: bytes[before...]).copyMemory(from: added.raw)
        } else {
            do { try call.keyspace.setString(key, added) } catch { throw .outOfMemory }
        }
        call.changed(key, "append")
        reply.integer(byteCount)
    }
}

enum StringLengthCommand {
    static let spec = CommandSpec(
        "STRLEN", summary: "Returns the length of the string at a key.", since: "2.2.0", group: .string, arity: 2,
        flags: [.readOnly, .fast], keys: [.one([.readOnly])], arguments: [.key()],
        replies: [.integer("the length in bytes, 0 if the key does not exist")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        reply.integer(try entry.stringValue().byteCount)
    }
}
