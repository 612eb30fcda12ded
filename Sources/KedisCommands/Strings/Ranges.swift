// GETRANGE, SUBSTR, SETRANGE: a part of a string.

import KedisProtocol
import KedisStore
import KedisUtilities

enum GetRangeCommand {
    static let spec = CommandSpec(
        "GETRANGE", summary: "Returns a part of the string at a key.", since: "2.4.0", group: .string,
        complexity: "O(N), N being the length of the reply", arity: 4, flags: [.readOnly],
        keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("start", .integer), ArgumentSpec("end", .integer)],
        replies: [.bulk("the bytes from start to end, which is included; negative positions count from the end")],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let start = try call.integer(at: 2)
        let end = try call.integer(at: 3)
        guard let entry = call.keyspace.read(call.key) else { return reply.bulk("") }
        try entry.stringValue().withBytes { bytes in
            reply.bulk(bytes[range(from: start, through: end, of: bytes.count)])
        }
    }

    /// The positions from `start` to `end`, both counted from the end when negative, clamped to a string's bytes.
    private static func range(from start: Int64, through end: Int64, of byteCount: Int) -> Range<Int> {
        let count = Int64(byteCount)
        guard count > 0, !(start < 0 && end < 0 && start > end) else { return 0..<0 }
        let first = max(0, start < 0 ? count + start : start)
        let last = min(count - 1, max(0, end < 0 ? count + end : end))
        return first <= last ? Int(first)..<Int(last) + 1 : 0..<0
    }
}

enum SubstringCommand {
    static let spec = CommandSpec(
        "SUBSTR", summary: "Returns a part of the string at a key: the old name of GETRANGE.", since: "1.0.0",
        group: .string, complexity: "O(N), N being the length of the reply", arity: 4, flags: [.readOnly],
        keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("start", .integer), ArgumentSpec("end", .integer)],
        replies: [.bulk("the bytes from start to end, which is included; negative positions count from the end")],
        deprecation: (since: "2.0.0", replacement: "`GETRANGE`"), handler: GetRangeCommand.run
    )
}

enum SetRangeCommand {
    static let spec = CommandSpec(
        "SETRANGE", summary: "Overwrites a part of the string at a key, which grows with zero bytes if need be.",
        since: "2.2.0", group: .string, complexity: "O(N), N being the bytes written, the gap before them included",
        arity: 4, flags: [.write, .denyOutOfMemory], keys: [.one([.readWrite, .update])],
        arguments: [.key(), ArgumentSpec("offset", .integer), ArgumentSpec("value", .string)],
        replies: [.integer("the length of the string now")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        let offset = Int(clamping: try call.integer(at: 2))
        guard offset >= 0 else { throw .literal("ERR offset is out of range") }
        let value = call.arguments[3]
        let entry = call.keyspace.peek(key)
        let before = try entry?.stringValue().byteCount ?? 0
        guard value.count > 0 else {
            if let entry { call.keyspace.touch(entry) }
            return reply.integer(before)
        }
        let byteCount = max(before, try call.stringByteCount(offset, adding: value.count))
        let keyspace = call.keyspace
        let bytes = try storing { () throws(StoreError) in try keyspace.resizeString(key, to: byteCount) }
        UnsafeMutableRawBufferPointer(rebasing: bytes[offset...]).copyMemory(from: value.raw)
        call.changed(key, "setrange")
        reply.integer(byteCount)
    }
}
