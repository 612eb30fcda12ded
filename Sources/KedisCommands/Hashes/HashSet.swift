// HSET, HMSET, HSETNX: values of fields.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HashSetCommand {
    static let spec = CommandSpec(
        "HSET", summary: "Sets fields of a hash, which is made if need be.", since: "2.0.0", group: .hash,
        complexity: "O(1) for each field", arity: -4, flags: [.write, .denyOutOfMemory, .fast],
        keys: [.one([.readWrite, .update])], arguments: [.key(), .fieldsAndValues],
        replies: [.integer("how many of the fields are new")],
        history: [("4.0.0", "Takes several fields with their values.")]
    ) { (call, reply) throws(CommandError) in reply.integer(try set(&call)) }

    static let multipleSpec = CommandSpec(
        "HMSET", summary: "Sets fields of a hash, which is made if need be.", since: "2.0.0", group: .hash,
        complexity: "O(N), N being the number of fields given", arity: -4, flags: [.write, .denyOutOfMemory, .fast],
        keys: [.one([.readWrite, .update])], arguments: [.key(), .fieldsAndValues], replies: [.ok],
        deprecation: (since: "4.0.0", replacement: "`HSET` with multiple field-value pairs")
    ) { (call, reply) throws(CommandError) in
        _ = try set(&call)
        reply.ok()
    }

    static let ifAbsentSpec = CommandSpec(
        "HSETNX", summary: "Sets a field of a hash unless it is there.", since: "2.0.0", group: .hash, arity: 4,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .insert])],
        arguments: [.key(), ArgumentSpec("field", .string), ArgumentSpec("value", .string)],
        replies: [.integer("1 if the field was set, 0 if it was there")]
    ) { (call, reply) throws(CommandError) in
        let (field, value) = (call.arguments[2], call.arguments[3])
        var editor: HashEditor?
        try call.hashToEdit(&editor)
        if editor?.value.value(of: field) != nil { return reply.integer(0) }
        _ = try call.setField(field, value, in: &editor)
        call.changed(call.key, "hset")
        reply.integer(1)
    }

    /// Sets all fields and returns how many are new.
    @inline(__always)
    private static func set(_ call: inout CommandCall) throws(CommandError) -> Int {
        let arguments = call.arguments
        guard arguments.count % 2 == 0 else { throw .wrongArity(call.entry) }
        var editor: HashEditor?
        try call.hashToEdit(&editor)
        var index = 2
        var newCount = 0
        // Without memory for all, those that were set are changes.
        defer {
            if index > 2 {
                call.effects.noteChanges(index / 2 &- 1)
                call.notified(call.key, "hset")
            }
        }
        if editor == nil, arguments.count > 4 {
            newCount = try make(call)
            index = 2 &* newCount &+ 2
            if newCount > 0, index < arguments.count { try call.hashToEdit(&editor) }
        }
        while index < arguments.count {
            if try call.setField(arguments[index], arguments[index &+ 1], in: &editor) { newCount &+= 1 }
            index &+= 2
        }
        return newCount
    }

    /// Makes a small hash of all fields at once, or of the first of them, and returns how many.
    private static func make(_ call: borrowing CommandCall) throws(CommandError) -> Int {
        let (arguments, keyspace, key, limits) = (call.arguments, call.keyspace, call.key, call.hashLimits)
        return try storing { () throws(StoreError) in
            try keyspace.makeHash(key, limits: limits, fieldCount: arguments.count / 2 &- 1) { index in
                (arguments[2 &* index &+ 2], arguments[2 &* index &+ 3])
            }
        }
    }
}
