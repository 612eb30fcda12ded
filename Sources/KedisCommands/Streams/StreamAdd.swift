// XADD, XTRIM, XDEL, XLEN, XSETID: a stream's entries come and go.

import KedisProtocol
import KedisStore
import KedisUtilities

/// The trimming options of XADD and XTRIM as COMMAND DOCS has them.
private func trimArgument(isOptional: Bool) -> ArgumentSpec {
    .block("trim", optional: isOptional, [
        .oneOf("strategy", [.token("MAXLEN"), .token("MINID", since: "6.2.0")]),
        .oneOf("operator", optional: true, [.token("=", name: "equal"), .token("~", name: "approximately")]),
        ArgumentSpec("threshold", .string),
        ArgumentSpec("count", .integer, token: "LIMIT", isOptional: true, since: "6.2.0"),
    ])
}

enum StreamAddCommand {
    static let spec: CommandSpec = {
        var key = KeySpec.one([.readWrite, .update])
        key.note = "UPDATE instead of INSERT because of the optional trimming feature"
        return CommandSpec(
            "XADD", summary: "Appends an entry to a stream, which is made if need be.", since: "5.0.0", group: .stream,
            complexity: "O(1), and O(N) when trimming, N being the number of entries that go", arity: -5,
            flags: [.write, .denyOutOfMemory, .fast], keys: [key], tips: ["nondeterministic_output"],
            arguments: [
                .key(), .token("NOMKSTREAM", optional: true, since: "6.2.0"), trimArgument(isOptional: true),
                .oneOf("id_or_auto", [.token("*", name: "auto_id"), ArgumentSpec("id", .string)]),
                .block(
                    "field_value", multiple: true, [ArgumentSpec("field", .string), ArgumentSpec("value", .string)]),
            ],
            replies: [.bulk("the ID of the entry"), .null("with NOMKSTREAM: the key does not exist")],
            history: [
                (version: "6.2.0", change: "Can leave a missing stream alone, trim by ID, and limit trimming."),
                (version: "7.0.0", change: "Takes the milliseconds of an ID alone."),
            ],
            handler: run
        )
    }()

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try StreamAddOptions(call, isAdd: true)
        let first = options.idIndex + 1
        let pieceCount = call.arguments.count - first
        guard pieceCount >= 2, pieceCount & 1 == 0 else { throw .wrongArity(call.entry) }
        if let id = options.id, id.hasSequence, id.id == .zero {
            throw .literal("ERR The ID specified in XADD must be greater than 0-0")
        }
        let key = call.key
        let existing = try call.editableStream(key)
        if existing == nil, !options.makesStream { return reply.null() }
        let id = try newID(options.id, after: existing?.stream.lastID ?? .zero, call.nowMilliseconds)
        let arguments = call.arguments
        var byteCount = 0
        for index in 0..<pieceCount { byteCount &+= arguments[first &+ index].count }
        guard byteCount <= Stream.entryByteCountMax else { throw .literal("ERR Elements are too large to be stored") }
        try add(id, pieceCount, from: first, to: existing, options, &call)
        reply.streamID(id)
    }

    private static func newID(
        _ argument: StreamIDArgument?, after last: StreamID, _ nowMilliseconds: Int64
    ) throws(CommandError) -> StreamID {
        guard last != .last else {
            throw .literal("ERR The stream has exhausted the last possible ID, unable to add more items")
        }
        var id: StreamID?
        if let argument {
            let continues = !argument.hasSequence && argument.id.milliseconds == last.milliseconds
            if continues {
                id = last.sequence < .max ? StreamID(last.milliseconds, last.sequence + 1) : nil
            } else {
                id = argument.id
            }
        } else {
            let now = StreamID(UInt64(clamping: nowMilliseconds), 0)
            id = now.milliseconds > last.milliseconds ? now : last.next
        }
        guard let id, id > last else {
            throw .literal("ERR The ID specified in XADD is equal or smaller than the target stream top item")
        }
        return id
    }

    private static func add(
        _ id: StreamID, _ pieceCount: Int, from first: Int, to existing: StreamEditor?, _ options: StreamAddOptions,
        _ call: inout CommandCall
    ) throws(CommandError) {
        let key = call.key
        let (arguments, limit, keyspace) = (call.arguments, call.streamLimit, call.keyspace)
        try storing { () throws(StoreError) in
            let editor = if let existing { existing } else { try keyspace.makeStream(key) }
            defer { editor.finish() }
            do throws(StoreError) {
                try editor.stream.append(id, fieldCount: pieceCount / 2, limit: limit) { arguments[first &+ $0] }
            } catch {
                if existing == nil { _ = keyspace.remove(key) }
                throw error
            }
        }
        call.changed(key, "xadd")
        guard options.trim != nil, let editor = try call.editableStream(key) else { return }
        let count = options.trim(editor.stream)
        if options.isApproximate, let scribe = call.scribe {
            // How much goes depends on how the entries lie together.
            scribe.write("XADD", key, databaseIndex: call.keyspace.databaseIndex, id: id, arguments, from: first)
            scribe.writeTrim(key, databaseIndex: call.keyspace.databaseIndex, countMax: editor.stream.count)
        }
        editor.finish()
        if count > 0 { call.notified(key, "xtrim") }
    }
}

enum StreamTrimCommand {
    static let spec = CommandSpec(
        "XTRIM", summary: "Removes the oldest entries of a stream.", since: "5.0.0", group: .stream,
        complexity: "O(N), N being the number of entries that go, mostly by the hundred", arity: -4, flags: .write,
        keys: [.one([.readWrite, .delete])], tips: ["nondeterministic_output"],
        arguments: [.key(), trimArgument(isOptional: false)], replies: [.integer("how many entries were removed")],
        history: [(version: "6.2.0", change: "Can trim by ID, and limit the work.")]
    ) { (call, reply) throws(CommandError) in
        let options = try StreamAddOptions(call, isAdd: false)
        let key = call.key
        guard let editor = try call.editableStream(key) else { return reply.integer(0) }
        let count = options.trim(editor.stream)
        if options.isApproximate {
            call.scribe?.writeTrim(key, databaseIndex: call.keyspace.databaseIndex, countMax: editor.stream.count)
        }
        editor.finish()
        if count > 0 {
            call.notified(key, "xtrim")
            call.effects.noteChanges(count)
        }
        reply.integer(count)
    }
}

enum StreamDeleteCommand {
    static let spec = CommandSpec(
        "XDEL", summary: "Removes entries of a stream by their IDs.", since: "5.0.0", group: .stream,
        complexity: "O(1) for each entry, but for finding its node among N, which is O(log N)", arity: -3,
        flags: [.write, .fast],
        keys: [.one([.readWrite, .delete])], arguments: [.key(), ArgumentSpec("id", .string, isMultiple: true)],
        replies: [.integer("how many of them were there")]
    ) { (call, reply) throws(CommandError) in
        let key = call.key
        guard let editor = try call.editableStream(key) else { return reply.integer(0) }
        // All are read before the first goes.
        for index in 2..<call.arguments.count { _ = try call.streamID(at: index) }
        var count = 0
        defer { editor.finish() }
        for index in 2..<call.arguments.count {
            let id = try call.streamID(at: index)
            if try storing({ () throws(StoreError) in try editor.stream.delete(id) }) { count += 1 }
        }
        if count > 0 {
            call.notified(key, "xdel")
            call.effects.noteChanges(count)
        }
        reply.integer(count)
    }
}

enum StreamLengthCommand {
    static let spec = CommandSpec(
        "XLEN", summary: "Returns how many entries a stream has.", since: "5.0.0", group: .stream, arity: 2,
        flags: [.readOnly, .fast], keys: [.one(.readOnly)], arguments: [.key()],
        replies: [.integer("the number of entries, 0 if the key does not exist")]
    ) { (call, reply) throws(CommandError) in
        guard let entry = call.keyspace.read(call.key) else { return reply.integer(0) }
        reply.integer(try entry.streamValue().count)
    }
}

enum StreamSetIDCommand {
    static let spec = CommandSpec(
        "XSETID", summary: "Sets what a stream knows of its past: for replication.", since: "5.0.0", group: .stream,
        arity: -3, flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .update])],
        arguments: [
            .key(), ArgumentSpec("last-id", .string),
            ArgumentSpec("entries_added", .integer, token: "ENTRIESADDED", isOptional: true, since: "7.0.0"),
            ArgumentSpec("max_deleted_entry_id", .string, token: "MAXDELETEDID", isOptional: true, since: "7.0.0"),
        ],
        replies: [.ok],
        history: [(version: "7.0.0", change: "Sets how many entries there were and the greatest that was deleted.")],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let id = try call.streamID(at: 2)
        let (addedCount, maxDeletedID) = try readOptions(call, id)
        let key = call.key
        guard let entry = call.keyspace.write(key) else { throw .noSuchKey }
        let stream = try entry.streamValue()
        if stream.count > 0 {
            guard id >= stream.lastEntryID else {
                throw .literal("ERR The ID specified in XSETID is smaller than the target stream top item")
            }
            if let addedCount, Int64(stream.count) > addedCount {
                throw .literal("ERR The entries_added specified in XSETID is smaller than the target stream length")
            }
        }
        stream.lastID = id
        if let addedCount { stream.addedCount = UInt64(addedCount) }
        if maxDeletedID != .zero { stream.maxDeletedID = maxDeletedID }
        call.changedBeside(key, "xsetid")
        reply.ok()
    }

    private static func readOptions(
        _ call: borrowing CommandCall, _ id: StreamID
    ) throws(CommandError) -> (addedCount: Int64?, maxDeletedID: StreamID) {
        var (addedCount, maxDeletedID) = (Int64?.none, StreamID.zero)
        var index = 3
        while index < call.arguments.count {
            guard index + 1 < call.arguments.count else { throw .syntax }
            if call.arguments[index].equalsIgnoringCase("ENTRIESADDED") {
                let count = try call.integer(at: index + 1)
                guard count >= 0 else { throw .literal("ERR entries_added must be positive") }
                addedCount = count
            } else if call.arguments[index].equalsIgnoringCase("MAXDELETEDID") {
                maxDeletedID = try call.streamID(at: index + 1)
                guard id >= maxDeletedID else {
                    throw .literal(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
                }
            } else {
                throw .syntax
            }
            index += 2
        }
        return (addedCount, maxDeletedID)
    }
}
