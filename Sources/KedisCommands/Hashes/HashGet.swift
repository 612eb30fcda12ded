// HGET, HMGET, HGETALL, HKEYS, HVALS, HLEN, HSTRLEN, HEXISTS: what hashes hold.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HashGetCommand {
    static let spec = CommandSpec(
        "HGET", summary: "Returns the value of a field of a hash.", since: "2.0.0", group: .hash, arity: 3,
        flags: [.readOnly, .fast], keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("field", .string)],
        replies: [.bulk("the value"), .null("there is no such field")]
    ) { (call, reply) throws(CommandError) in
        guard let value = try call.hashToRead()?.value(of: call.arguments[2]) else { return reply.null() }
        reply.bulk(value)
    }

    static let multipleSpec = CommandSpec(
        "HMGET", summary: "Returns the values of fields of a hash.", since: "2.0.0", group: .hash,
        complexity: "O(N), N being the number of fields given", arity: -3, flags: [.readOnly, .fast],
        keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("field", .string, isMultiple: true)],
        replies: [.array("the value of each field, null where there is none")]
    ) { (call, reply) throws(CommandError) in
        let hash = try call.hashToRead()
        let arguments = call.arguments
        reply.array(arguments.count - 2)
        for index in 2..<arguments.count {
            if let value = hash?.value(of: arguments[index]) { reply.bulk(value) } else { reply.null() }
        }
    }
}

enum HashGetAllCommand {
    static let spec = spec(
        "HGETALL", "Returns all fields of a hash with their values.", .map("the fields and their values")
    ) { (call, reply) throws(CommandError) in
        guard let hash = try call.hashToRead() else { return reply.map(0) }
        reply.map(hash.count)
        hash.forEach { field, value in
            reply.bulk(field)
            reply.bulk(value)
            return !reply.hasOverflowed
        }
    }

    static let fieldsSpec = spec(
        "HKEYS", "Returns all fields of a hash.", .array("the fields")
    ) { (call, reply) throws(CommandError) in
        guard let hash = try call.hashToRead() else { return reply.array(0) }
        reply.array(hash.count)
        hash.forEach { field, _ in
            reply.bulk(field)
            return !reply.hasOverflowed
        }
    }

    static let valuesSpec = spec(
        "HVALS", "Returns the values of all fields of a hash.", .array("the values")
    ) { (call, reply) throws(CommandError) in
        guard let hash = try call.hashToRead() else { return reply.array(0) }
        reply.array(hash.count)
        hash.forEach { _, value in
            reply.bulk(value)
            return !reply.hasOverflowed
        }
    }

    private static func spec(
        _ name: String, _ summary: String, _ shape: ReplySpec, _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: "2.0.0", group: .hash, complexity: "O(N), N being the number of fields",
            arity: 2, flags: .readOnly, keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output_order"],
            arguments: [.key()], replies: [shape], handler: handler
        )
    }
}

enum HashLengthCommand {
    static let spec = CommandSpec(
        "HLEN", summary: "Returns how many fields a hash has.", since: "2.0.0", group: .hash, arity: 2,
        flags: [.readOnly, .fast], keys: [.one(.readOnly)], arguments: [.key()],
        replies: [.integer("the number of fields, 0 if the key does not exist")]
    ) { (call, reply) throws(CommandError) in reply.integer(try call.hashToRead()?.count ?? 0) }
}

enum HashValueLengthCommand {
    static let spec = CommandSpec(
        "HSTRLEN", summary: "Returns the length of the value of a field.", since: "3.2.0", group: .hash, arity: 3,
        flags: [.readOnly, .fast], keys: [.one(.readOnly)], arguments: [.key(), ArgumentSpec("field", .string)],
        replies: [.integer("the bytes, 0 if there is no such field")]
    ) { (call, reply) throws(CommandError) in
        reply.integer(try call.hashToRead()?.value(of: call.arguments[2])?.byteCount ?? 0)
    }
}

enum HashExistsCommand {
    static let spec = CommandSpec(
        "HEXISTS", summary: "Tells whether a hash has a field.", since: "2.0.0", group: .hash, arity: 3,
        flags: [.readOnly, .fast], keys: [.one(.readOnly)], arguments: [.key(), ArgumentSpec("field", .string)],
        replies: [.integer("1 if the field is there, else 0")]
    ) { (call, reply) throws(CommandError) in
        reply.integer(try call.hashToRead()?.value(of: call.arguments[2]) == nil ? 0 : 1)
    }
}
