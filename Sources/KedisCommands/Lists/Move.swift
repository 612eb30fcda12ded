// LMOVE, RPOPLPUSH: an element from an end of a list to an end of another or the same one.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ListMoveCommand {
    static let spec = CommandSpec(
        "LMOVE", summary: "Moves an element from an end of a list to an end of another list, and returns it.",
        since: "6.2.0", group: .list, arity: 5, flags: [.write, .denyOutOfMemory], keys: keys,
        arguments: [
            .key("source"), .key("destination", spec: 1), ListEnd.argument("wherefrom"), ListEnd.argument("whereto"),
        ],
        replies: replies, handler: run
    )

    static let tailToHeadSpec = CommandSpec(
        "RPOPLPUSH", summary: "Moves the last element of a list to the head of another list, and returns it.",
        since: "1.2.0", group: .list, arity: 3, flags: [.write, .denyOutOfMemory], keys: keys,
        arguments: [.key("source"), .key("destination", spec: 1)], replies: replies,
        deprecation: (since: "6.2.0", replacement: "`LMOVE` with the `RIGHT` and `LEFT` arguments")
    ) { (call, reply) throws(CommandError) in
        if try !move(&call, &reply, from: .tail, to: .head) { reply.null() }
    }

    static let keys: [KeySpec] = [
        .one([.readWrite, .access, .delete]), .one([.readWrite, .insert], at: 2),
    ]
    private static let replies: [ReplySpec] = [.bulk("the element"), .null("the source does not exist")]

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let from = try ListEnd(call.arguments[3])
        let to = try ListEnd(call.arguments[4])
        if try !move(&call, &reply, from: from, to: to) { reply.null() }
    }

    /// False, and nothing is replied, when there is no source.
    ///
    /// The element is pushed before it is popped: memory may be refused for the push, and then nothing has changed.
    /// The list that is source and destination at once never gets empty on the way, so that its deadline stays.
    static func move(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, from: ListEnd, to: ListEnd
    ) throws(CommandError) -> Bool {
        let (source, destination) = (call.key(0), call.key(1))
        guard let entry = call.keyspace.write(source) else { return false }
        guard entry.type == .list else { throw .wrongType }
        if let target = call.keyspace.write(destination), target.type != .list { throw .wrongType }
        // Looked up again: a destination that was due is gone now, which changed the keyspace.
        guard let list = try call.keyspace.peek(source)?.listValue() else { return false }
        let element = list.element(at: from.positions(1, of: list.count).lowerBound)
        reply.bulk(element)
        try push(element, at: to, of: destination, call)
        guard var editor = call.keyspace.editList(source, limit: call.listLimit) else { return true }
        call.notified(destination, to.pushEvent)
        do throws(CommandError) {
            try call.removeElements(from.positions(1, of: editor.count), of: source, &editor, event: from.popEvent)
        } catch {
            if var pushed = call.keyspace.editList(destination, limit: call.listLimit) {
                try? pushed.remove(to.positions(1, of: pushed.count))
            }
            throw error
        }
        return true
    }

    /// Pushes a copy: the list that the element lies in may be the one that changes.
    private static func push(
        _ element: StringValue, at end: ListEnd, of key: Key, _ call: borrowing CommandCall
    ) throws(CommandError) {
        let isDone = element.withBytes { bytes in
            withUnsafeTemporaryAllocation(byteCount: max(1, bytes.count), alignment: 1) { copy in
                copy.copyMemory(from: bytes.raw)
                let copied = ByteView(UnsafeRawBufferPointer(rebasing: copy[0..<bytes.count]))
                do throws(CommandError) {
                    _ = try call.pushSeveral(1, at: end, of: key) { _ in copied }
                    return true
                } catch {
                    return false
                }
            }
        }
        guard isDone else { throw .outOfMemory }
    }
}
