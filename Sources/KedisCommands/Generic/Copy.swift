// COPY and MOVE: a value into another key or database. The stripe depends on the key alone, so its lock holds for all
// databases.

import KedisProtocol
import KedisStore
import KedisUtilities

enum CopyCommand {
    static let spec = CommandSpec(
        "COPY", summary: "Copies a value and its deadline to another key or database.", since: "6.2.0", group: .generic,
        complexity: "O(1) for strings, O(N) for a collection of N elements", arity: -3,
        flags: [.write, .denyOutOfMemory],
        keys: [.one([.readOnly, .access]), .one([.overwrite, .update], at: 2)],
        arguments: [
            .key("source"),
            .key("destination", spec: 1),
            ArgumentSpec("destination-db", .integer, token: "DB", isOptional: true),
            .token("REPLACE", optional: true),
        ],
        replies: [.integer("1 when it was copied, 0 when there is no source or the destination is taken")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try Options(call)
        let keyspace = call.keyspace
        let (source, destination) = (call.key(0), call.key(1))
        if options.databaseIndex == keyspace.databaseIndex && source.bytes == destination.bytes { throw .sameObject }
        let target = keyspace.selecting(options.databaseIndex)
        if !options.replaces, target.write(destination) != nil {
            // Looked up for the statistics and the access clock only.
            _ = keyspace.read(source)
            return reply.integer(0)
        }
        guard try storing({ () throws(StoreError) in try keyspace.copy(source, to: destination, in: target) }) else {
            return reply.integer(0)
        }
        call.effects.noteChanges(1)
        call.notified(destination, "copy_to", databaseIndex: options.databaseIndex)
        reply.integer(1)
    }

    private struct Options {
        var databaseIndex: Int
        var replaces = false

        init(_ call: borrowing CommandCall) throws(CommandError) {
            databaseIndex = call.keyspace.databaseIndex
            let arguments = call.arguments
            var index = 3
            while index < arguments.count {
                if arguments[index].equalsIgnoringCase("REPLACE") {
                    replaces = true
                } else if arguments[index].equalsIgnoringCase("DB"), index + 1 < arguments.count {
                    index += 1
                    databaseIndex = try call.databaseIndex(at: index)
                } else {
                    throw .syntax
                }
                index += 1
            }
        }
    }
}

enum MoveCommand {
    static let spec = CommandSpec(
        "MOVE", summary: "Moves a key to another database, unless it exists there.", since: "1.0.0", group: .generic,
        arity: 3, flags: [.write, .fast], keys: [.one([.readWrite, .access, .update])],
        arguments: [.key(), ArgumentSpec("db", .integer)],
        replies: [.integer("1 when it was moved, 0 when it does not exist or is there already")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let databaseIndex = try call.databaseIndex(at: 2)
        let keyspace = call.keyspace
        let key = call.key
        guard databaseIndex != keyspace.databaseIndex else { throw .sameObject }
        let target = keyspace.selecting(databaseIndex)
        // Moving counts as one access, so the look before it counts none.
        guard keyspace.peek(key) != nil else { return reply.integer(0) }
        guard target.write(key) == nil else {
            _ = keyspace.write(key)
            return reply.integer(0)
        }
        _ = try storing { () throws(StoreError) in try keyspace.move(key, to: target) }
        call.effects.noteChanges(1)
        call.notified(key, "move_from")
        call.notified(key, "move_to", databaseIndex: databaseIndex)
        reply.integer(1)
    }
}

extension CommandError {
    fileprivate static var sameObject: CommandError { .literal("ERR source and destination objects are the same") }
}
