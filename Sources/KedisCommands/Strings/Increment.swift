// INCR, DECR, INCRBY, DECRBY: arithmetic on a string that is a decimal Int64.

import KedisProtocol
import KedisStore
import KedisUtilities

enum IncrementCommand {
    static let spec = CommandSpec(
        "INCR", summary: "Adds one to the integer at a key.", since: "1.0.0", group: .string, arity: 2,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .access, .update])], arguments: [.key()],
        replies: [.integer("the sum")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try add(1, &call, &reply)
    }

    /// Adds `amount` to the key's integer, 0 where there is none; the deadline stays.
    static func add(_ amount: Int64, _ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        let entry = call.keyspace.write(key)
        var before: Int64 = 0
        var isInteger = false
        switch try entry?.stringValue() {
        case nil: break
        case .integer(let integer):
            before = integer
            isInteger = true
        case .bytes(let bytes):
            guard let integer = parseInteger(bytes) else { throw .notAnInteger }
            before = integer
        }
        let (sum, overflow) = before.addingReportingOverflow(amount)
        guard !overflow else { throw .literal("ERR increment or decrement would overflow") }
        if let entry, isInteger {
            call.keyspace.replaceInteger(entry, sum)
        } else {
            do { try call.keyspace.setInteger(key, sum, deadline: .keep) } catch { throw .outOfMemory }
        }
        call.changed(key, "incrby")
        reply.integer(sum)
    }
}

enum DecrementCommand {
    static let spec = CommandSpec(
        "DECR", summary: "Subtracts one from the integer at a key.", since: "1.0.0", group: .string, arity: 2,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .access, .update])], arguments: [.key()],
        replies: [.integer("the difference")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try IncrementCommand.add(-1, &call, &reply)
    }
}

enum IncrementByCommand {
    static let spec = CommandSpec(
        "INCRBY", summary: "Adds a number to the integer at a key.", since: "1.0.0", group: .string, arity: 3,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .access, .update])],
        arguments: [.key(), ArgumentSpec("increment", .integer)], replies: [.integer("the sum")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try IncrementCommand.add(try call.integer(at: 2), &call, &reply)
    }
}

enum DecrementByCommand {
    static let spec = CommandSpec(
        "DECRBY", summary: "Subtracts a number from the integer at a key.", since: "1.0.0", group: .string, arity: 3,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .access, .update])],
        arguments: [.key(), ArgumentSpec("decrement", .integer)], replies: [.integer("the difference")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let amount = try call.integer(at: 2)
        guard amount != .min else { throw .literal("ERR decrement would overflow") }
        try IncrementCommand.add(-amount, &call, &reply)
    }
}
