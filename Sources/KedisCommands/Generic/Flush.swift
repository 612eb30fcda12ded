// FLUSHDB, FLUSHALL, SWAPDB: whole databases at one instant, so all stripes are locked.

import KedisProtocol
import KedisStore
import KedisUtilities

enum FlushDBCommand {
    static let spec = CommandSpec(
        "FLUSHDB", summary: "Removes all keys of the selected database.", since: "1.0.0", group: .server,
        complexity: "O(N) in the number of keys of the database", arity: -1, flags: .write,
        categories: ["keyspace", "dangerous"], locks: .allStripes,
        tips: ["request_policy:all_shards", "response_policy:all_succeeded"], arguments: [mode], replies: [.ok],
        history: history, handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try checkMode(call.arguments)
        call.effects.noteChanges(call.keyspace.removeAll())
        call.databaseChanged(call.keyspace.databaseIndex, isFlushed: true)
        reply.ok()
    }

    // MARK: Shared with FLUSHALL

    static let mode = ArgumentSpec.oneOf(
        "async", optional: true, [.token("ASYNC", since: "4.0.0"), .token("SYNC", since: "6.2.0")]
    )
    static let history: [(version: String, change: String)] = [
        ("4.0.0", "Takes the mode ASYNC."), ("6.2.0", "Takes the mode SYNC."),
    ]

    /// Both modes empty the databases at once; they could differ only in when memory is given back.
    static func checkMode(_ arguments: ArgumentList) throws(CommandError) {
        guard arguments.count > 1 else { return }
        guard arguments.count == 2, arguments[1].equalsIgnoringCase("ASYNC") || arguments[1].equalsIgnoringCase("SYNC")
        else {
            throw .syntax
        }
    }
}

enum FlushAllCommand {
    static let spec = CommandSpec(
        "FLUSHALL", summary: "Removes all keys of all databases.", since: "1.0.0", group: .server,
        complexity: "O(N) in the number of keys of all databases", arity: -1, flags: .write,
        categories: ["keyspace", "dangerous"], locks: .allStripes,
        tips: ["request_policy:all_shards", "response_policy:all_succeeded"], arguments: [FlushDBCommand.mode],
        replies: [.ok], history: FlushDBCommand.history, handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try FlushDBCommand.checkMode(call.arguments)
        var removedCount = 0
        for index in 0..<call.engine.store.databaseCount { removedCount += call.keyspace.selecting(index).removeAll() }
        call.effects.noteChanges(removedCount)
        call.databaseChanged(nil, isFlushed: true)
        reply.ok()
    }
}

enum SwapDBCommand {
    static let spec = CommandSpec(
        "SWAPDB", summary: "Exchanges the contents of two databases.", since: "4.0.0", group: .server,
        complexity: "O(N) in the number of clients that watch or wait for keys of the two", arity: 3,
        flags: [.write, .fast],
        categories: ["keyspace", "dangerous"], locks: .allStripes,
        arguments: [ArgumentSpec("index1", .integer), ArgumentSpec("index2", .integer)], replies: [.ok], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let first = parseIndex(call.arguments[1]) else { throw .literal("ERR invalid first DB index") }
        guard let second = parseIndex(call.arguments[2]) else { throw .literal("ERR invalid second DB index") }
        let indices = 0..<call.engine.store.databaseCount
        guard indices.contains(first), indices.contains(second) else { throw .invalidDatabaseIndex }
        if first != second {
            call.keyspace.swapDatabases(first, second)
            call.databaseChanged(first, isFlushed: false)
            call.databaseChanged(second, isFlushed: false)
        }
        call.effects.noteChanges(1)
        reply.ok()
    }

    private static func parseIndex(_ argument: ByteView) -> Int? {
        parseInteger(argument).flatMap { Int32(exactly: $0) }.map { Int($0) }
    }
}
