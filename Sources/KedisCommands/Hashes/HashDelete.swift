// HDEL: fields that go.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HashDeleteCommand {
    static let spec = CommandSpec(
        "HDEL", summary: "Removes fields of a hash, the key with the last of them.", since: "2.0.0", group: .hash,
        complexity: "O(N), N being the number of fields given", arity: -3, flags: [.write, .fast],
        keys: [.one([.readWrite, .delete])],
        arguments: [.key(), ArgumentSpec("field", .string, isMultiple: true)],
        replies: [.integer("how many fields were removed")], history: [("2.4.0", "Takes several fields.")],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var editor: HashEditor?
        try call.hashToEdit(&editor)
        guard editor != nil else { return reply.integer(0) }
        let arguments = call.arguments
        var (index, removedCount) = (2, 0)
        while index < arguments.count, editor?.isGone == false {
            do {
                if try editor?.remove(arguments[index]) == true { removedCount += 1 }
            } catch {
                throw .outOfMemory
            }
            index += 1
        }
        call.noteRemovedMembers(removedCount, "hdel", isKeyGone: editor?.isGone == true)
        reply.integer(removedCount)
    }
}
