// XGROUP: consumer groups are made, moved and removed, and their consumers.

import KedisProtocol
import KedisStore
import KedisUtilities

enum StreamGroupCommand {
    static let spec = CommandSpec(
        "XGROUP", summary: "Groups the commands about consumer groups.", since: "5.0.0", group: .stream,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            subcommand(
                "CREATECONSUMER", "Makes a consumer in a group.", since: "6.2.0", arity: 5, .insert,
                arguments: [ArgumentSpec("consumername", .string)],
                replies: [.integer("1, or 0 if it is there already")], handler: createConsumer),
            subcommand(
                "CREATE", "Makes a consumer group.", arity: -5, .insert,
                arguments: [startArgument, .token("MKSTREAM", optional: true), readCountArgument], replies: [.ok],
                history: [(version: "7.0.0", change: "Takes the number of entries read.")], handler: create),
            subcommand(
                "SETID", "Sets up to where a group has read.", arity: -5, .update,
                arguments: [startArgument, readCountArgument], replies: [.ok],
                history: [(version: "7.0.0", change: "Takes the number of entries read.")], handler: setID),
            subcommand(
                "DELCONSUMER", "Removes a consumer with what is pending at it.", arity: 5, .delete,
                arguments: [ArgumentSpec("consumername", .string)],
                replies: [.integer("how many entries were pending at it")], handler: removeConsumer),
            .help(since: "5.0.0", group: .stream),
            subcommand(
                "DESTROY", "Removes a group.", arity: 4, .delete,
                complexity: "O(N), N being the number of its pending entries",
                replies: [.integer("1, or 0 if there is none")], handler: destroy),
        ]
    )

    private static let startArgument = ArgumentSpec.oneOf(
        "id", [ArgumentSpec("id", .string), .token("$", name: "new_id")])
    private static let readCountArgument = ArgumentSpec(
        "entries_read", .integer, token: "ENTRIESREAD", isOptional: true)

    private static func subcommand(
        _ name: String, _ summary: String, since: String = "5.0.0", arity: Int, _ access: KeyAccess,
        complexity: String = "O(1)", arguments: [ArgumentSpec] = [], replies: [ReplySpec],
        history: [(version: String, change: String)] = [], handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: since, group: .stream, complexity: complexity, arity: arity,
            flags: access == .insert ? [.write, .denyOutOfMemory] : .write,
            keys: [.one([.readWrite, access], at: 2)],
            arguments: [.key(), ArgumentSpec("groupname", .string)] + arguments,
            replies: replies, history: history, handler: handler
        )
    }

    // MARK: CREATE, SETID

    private struct Options {
        var makesStream = false
        var readCount = StreamGroup.unknownReadCount
    }

    private static func readOptions(_ call: borrowing CommandCall, isCreate: Bool) throws(CommandError) -> Options {
        var options = Options()
        var index = 5
        while index < call.arguments.count {
            let word = call.arguments[index]
            if isCreate, word.equalsIgnoringCase("MKSTREAM") {
                options.makesStream = true
                index += 1
            } else if word.equalsIgnoringCase("ENTRIESREAD"), index + 1 < call.arguments.count {
                options.readCount = try call.integer(at: index + 1)
                guard options.readCount >= -1 else {
                    throw .literal("ERR value for ENTRIESREAD must be positive or -1")
                }
                index += 2
            } else {
                throw call.subcommandSyntax
            }
        }
        return options
    }

    private static func create(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try readOptions(call, isCreate: true)
        let key = call.key
        let existing = try call.editableStream(key)
        guard existing != nil || options.makesStream else { throw missingKey }
        guard call.arguments.count <= 8 else { throw call.subcommandSyntax }
        let start = try start(call, existing?.stream)
        let (name, keyspace) = (call.arguments[3], call.keyspace)
        let isNew = try storing { () throws(StoreError) in
            let editor = if let existing { existing } else { try keyspace.makeStream(key) }
            defer { editor.finish() }
            guard editor.stream.group(named: name) == nil else { return false }
            do throws(StoreError) {
                try editor.stream.makeGroup(name, lastID: start, readCount: options.readCount)
            } catch {
                if existing == nil { _ = keyspace.remove(key) }
                throw error
            }
            return true
        }
        guard isNew else { throw .literal("BUSYGROUP Consumer Group name already exists") }
        if existing == nil { call.changed(key, "xgroup-create") } else { call.changedBeside(key, "xgroup-create") }
        reply.ok()
    }

    private static func setID(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try readOptions(call, isCreate: false)
        let (editor, group) = try find(call)
        guard call.arguments.count <= 7 else { throw call.subcommandSyntax }
        group.lastID = try start(call, editor.stream, isStrict: false)
        group.readCount = options.readCount
        call.changedBeside(call.key, "xgroup-setid")
        reply.ok()
    }

    /// The ID that the argument means, `$` being the last one.
    private static func start(
        _ call: borrowing CommandCall, _ stream: Stream?, isStrict: Bool = true
    ) throws(CommandError) -> StreamID {
        if streamText(call.arguments[4]) == "$" { return stream?.lastID ?? .zero }
        return try StreamIDArgument(call.arguments[4], isStrict: isStrict).id
    }

    // MARK: The others

    private static var missingKey: CommandError {
        .literal(
            """
            ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
            option to create an empty stream automatically.
            """)
    }

    /// The group that a subcommand needs.
    private static func find(_ call: borrowing CommandCall) throws(CommandError) -> (StreamEditor, StreamGroup) {
        guard let editor = try call.editableStream(call.key) else { throw missingKey }
        guard let group = editor.stream.group(named: call.arguments[3]) else { throw call.noSuchConsumerGroup }
        return (editor, group)
    }

    private static func destroy(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        guard let editor = try call.editableStream(key) else { throw missingKey }
        guard let group = editor.stream.group(named: call.arguments[3]) else { return reply.integer(0) }
        editor.stream.removeGroup(group)
        editor.finish()
        call.changedBeside(key, "xgroup-destroy")
        reply.integer(1)
    }

    private static func createConsumer(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (editor, group) = try find(call)
        defer { editor.finish() }
        guard group.consumer(named: call.arguments[4]) == nil else { return reply.integer(0) }
        _ = try call.consumer(call.arguments[4], of: group, call.key)
        reply.integer(1)
    }

    private static func removeConsumer(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (editor, group) = try find(call)
        defer { editor.finish() }
        guard let consumer = group.consumer(named: call.arguments[4]) else { return reply.integer(0) }
        let count = group.removeConsumer(consumer)
        call.changedBeside(call.key, "xgroup-delconsumer")
        reply.integer(count)
    }
}

extension CommandCall {
    var noSuchConsumerGroup: CommandError {
        .joined("NOGROUP No such consumer group '", printable(3), "' for key name '", printable(2), "'")
    }
}
