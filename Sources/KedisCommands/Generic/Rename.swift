// RENAME and RENAMENX: a value and its deadline under another key.

import KedisProtocol
import KedisStore

enum RenameCommand {
    static let spec = CommandSpec(
        "RENAME", summary: "Gives a value another key, replacing what is there.", since: "1.0.0", group: .generic,
        arity: 3,
        flags: .write, keys: [.one([.readWrite, .access, .delete]), .one([.overwrite, .update], at: 2)],
        arguments: [.key(), .key("newkey", spec: 1)], replies: [.ok], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        _ = try rename(&call, replaces: true)
        reply.ok()
    }

    /// Renames; false when the new key is there (itself included) and must not be replaced.
    static func rename(_ call: inout CommandCall, replaces: Bool) throws(CommandError) -> Bool {
        let keyspace = call.keyspace
        let (source, destination) = (call.key(0), call.key(1))
        // Renaming counts as one access, so the look before it counts none.
        guard keyspace.peek(source) != nil else { throw .noSuchKey }
        if source.bytes == destination.bytes || !replaces && keyspace.write(destination) != nil {
            _ = keyspace.write(source)
            return false
        }
        _ = try storing { () throws(StoreError) in try keyspace.rename(source, to: destination) }
        call.effects.noteChanges(1)
        call.notified(source, "rename_from")
        call.notified(destination, "rename_to")
        return true
    }
}

enum RenameNXCommand {
    static let spec = CommandSpec(
        "RENAMENX", summary: "Gives a value another key, unless that key exists.", since: "1.0.0", group: .generic,
        arity: 3,
        flags: [.write, .fast], keys: [.one([.readWrite, .access, .delete]), .one([.overwrite, .insert], at: 2)],
        arguments: [.key(), .key("newkey", spec: 1)],
        replies: [.integer("1 when it was renamed, 0 when the new key exists")],
        history: [("3.2.0", "The same name twice is no error any more.")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.integer(try RenameCommand.rename(&call, replaces: false) ? 1 : 0)
    }
}
