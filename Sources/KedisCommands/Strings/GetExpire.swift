// GETEX: the value of a key, whose deadline is set or taken away.

import KedisProtocol
import KedisStore
import KedisUtilities

enum GetExpireCommand {
    static let spec = CommandSpec(
        "GETEX", summary: "Returns the string at a key and sets or clears its deadline.", since: "6.2.0",
        group: .string,
        arity: -2, flags: [.write, .fast],
        keys: [
            KeySpec(
                [.readWrite, .access, .update], begin: .index(1), find: .range(last: 0, step: 1, limit: 0),
                note: "A write, because the deadline may change"
            )
        ],
        arguments: [
            .key(),
            .oneOf("expiration", optional: true, DeadlineForm.arguments() + [.token("PERSIST")]),
        ],
        replies: [.bulk("the value"), .null("the key does not exist")], handler: run
    )

    private enum Change {
        case none, persist
        case deadline(DeadlineForm, index: Int)
    }

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let change = try parse(call.arguments)
        let key = call.key
        let keyspace = call.keyspace
        guard let entry = call.keyspace.read(key) else { return reply.null() }
        let value = try entry.stringValue()
        switch change {
        case .none:
            reply.bulk(value)
        case .persist:
            reply.bulk(value)
            guard entry.deadlineMilliseconds != noDeadline else { return }
            try storing { () throws(StoreError) in try keyspace.setDeadline(entry, noDeadline) }
            call.changed(key, "persist")
        case .deadline(let form, let index):
            let deadline = try call.deadlineMilliseconds(at: index, as: form)
            reply.bulk(value)
            // A point in time may lie in the past: then the key goes at once.
            if form.isAbsolute, deadline <= call.nowMilliseconds {
                if call.keyspace.remove(key) { call.changed(key, "del") }
            } else {
                try storing { () throws(StoreError) in try keyspace.setDeadline(entry, deadline) }
                call.changed(key, "expire")
            }
        }
    }

    /// The options: one deadline, which may be repeated in the same form, or PERSIST.
    private static func parse(_ arguments: ArgumentList) throws(CommandError) -> Change {
        var change = Change.none
        var index = 2
        while index < arguments.count {
            let option = arguments[index]
            if let form = DeadlineForm(option: option), index + 1 < arguments.count {
                switch change {
                case .none: break
                case .deadline(form, _): break
                default: throw .syntax
                }
                change = .deadline(form, index: index + 1)
                index += 2
            } else if option.equalsIgnoringCase("PERSIST") {
                if case .deadline = change { throw .syntax }
                change = .persist
                index += 1
            } else {
                throw .syntax
            }
        }
        return change
    }
}
