// SCAN: a walk over a database in steps.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ScanCommand {
    static let spec = CommandSpec(
        "SCAN", summary: "Walks over the keys of a database, some at each call.", since: "2.8.0", group: .generic,
        complexity: "O(1) for a call, O(N) for a whole walk over N keys", arity: -2, flags: .readOnly, locks: .none,
        tips: ["nondeterministic_output", "request_policy:special"],
        arguments: [
            ArgumentSpec("cursor", .integer),
            ArgumentSpec("pattern", .pattern, token: "MATCH", isOptional: true),
            ArgumentSpec("count", .integer, token: "COUNT", isOptional: true),
            ArgumentSpec("type", .string, token: "TYPE", isOptional: true, since: "6.0.0"),
        ],
        replies: [.array("the cursor for the next call, 0 at the end, and a list of keys")],
        history: [("6.0.0", "Takes the option TYPE.")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let cursor = try parseCursor(call.arguments[1])
        let options = try ScanOptions(call)
        // The cursor is known only after the walk and stands before the keys.
        var keys = ReplyWriter(version: reply.version)
        var count = 0
        let next = call.keyspace.scan(from: cursor, count: options.count) { entry in
            guard options.accept(entry) else { return }
            keys.bulk(entry.key)
            count += 1
        }
        guard !keys.hasOverflowed else { throw .outOfMemory }
        reply.array(2)
        replyCursor(next, &reply)
        reply.array(count)
        reply.raw(keys.bytes)
    }

    /// A cursor as C's `strtoul` reads it, which Redis uses: digits with an optional sign; no bytes at all are 0.
    static func parseCursor(_ argument: ByteView) throws(CommandError) -> UInt64 {
        var digits = argument[0..<(argument.firstIndex(of: 0) ?? argument.count)]
        if digits.isEmpty { return 0 }
        let isNegative = digits[0] == 0x2D
        if isNegative || digits[0] == 0x2B { digits = digits[1..<digits.count] }
        guard let magnitude = parseUnsignedInteger(digits) else { throw .literal("ERR invalid cursor") }
        return isNegative ? 0 &- magnitude : magnitude
    }

    private static func replyCursor(_ cursor: UInt64, _ reply: inout ReplyWriter) {
        // Cursors of the store have 48 bits.
        reply.bulk(integer: Int64(clamping: cursor))
    }
}

/// What SCAN and its relatives are told behind the cursor.
struct ScanOptions {
    private(set) var count = 10
    private var pattern: ByteView?
    private var type: ByteView?

    /// - Parameter start: where they begin.
    init(_ call: borrowing CommandCall, from start: Int = 2, allowsType: Bool = true) throws(CommandError) {
        let arguments = call.arguments
        var index = start
        while index < arguments.count {
            guard index + 1 < arguments.count else { throw .syntax }
            let value = arguments[index + 1]
            if arguments[index].equalsIgnoringCase("COUNT") {
                let number = try call.integer(at: index + 1)
                guard number >= 1 else { throw .syntax }
                count = Int(number)
            } else if arguments[index].equalsIgnoringCase("MATCH") {
                pattern = value == "*" ? nil : value
            } else if allowsType, arguments[index].equalsIgnoringCase("TYPE") {
                type = value
            } else {
                throw .syntax
            }
            index += 2
        }
    }

    func accept(_ name: ByteView) -> Bool {
        guard let pattern else { return true }
        return matchGlob(pattern: pattern, text: name, ignoringCase: false)
    }

    func accept(_ entry: Entry) -> Bool {
        guard accept(entry.key) else { return false }
        if let type, !ByteView(entry.type.name).equalsIgnoringCase(type) { return false }
        return true
    }
}
