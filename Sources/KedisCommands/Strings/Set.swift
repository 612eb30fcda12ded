// SET: sets a key to a string, with conditions and a deadline.
//
// `SET key value` without options is the shortest path; options are parsed apart from it.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SetCommand {
    static let spec = CommandSpec(
        "SET", summary: "Sets a key to a string, whatever was there.", since: "1.0.0", group: .string, arity: -3,
        flags: [.write, .denyOutOfMemory],
        keys: [
            KeySpec(
                [.readWrite, .access, .update, .variableFlags], begin: .index(1),
                find: .range(last: 0, step: 1, limit: 0),
                note: "Read too, because GET returns the value before"
            )
        ],
        arguments: [
            .key(),
            ArgumentSpec("value", .string),
            .oneOf(
                "condition", optional: true, since: "2.6.12",
                [.token("NX"), .token("XX"), ArgumentSpec("comparison-value", .string, token: "IFEQ", since: "8.1.0")]
            ),
            .token("GET", optional: true, since: "6.2.0"),
            .oneOf(
                "expiration", optional: true,
                DeadlineForm.arguments(since: "2.6.12", absoluteSince: "6.2.0") + [.token("KEEPTTL", since: "6.0.0")]
            ),
        ],
        replies: [
            .ok, .null("the condition was not met, or with GET: the key did not exist"),
            .bulk("with GET: the value before"),
        ],
        history: [
            (version: "2.6.12", change: "Options `EX`, `PX`, `NX` and `XX`."),
            (version: "6.0.0", change: "Option `KEEPTTL`."),
            (version: "6.2.0", change: "Options `GET`, `EXAT` and `PXAT`."),
            (version: "7.0.0", change: "`NX` and `GET` go together."),
            (version: "8.1.0", change: "Option `IFEQ`, as Valkey has it."),
        ],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count == 3 else { return try runWithOptions(&call, &reply) }
        try set(&call, to: call.arguments[2])
        reply.ok()
    }

    /// Sets the call's first key and notes the change.
    @inline(__always)
    static func set(
        _ call: inout CommandCall, to value: ByteView, deadline: DeadlineUpdate = .clear
    ) throws(CommandError) {
        let key = call.key
        do { try call.keyspace.setString(key, value, deadline: deadline) } catch { throw .outOfMemory }
        call.changed(key, "set")
    }

    /// Sets the call's first key with a deadline, which may lie in the past: then the key is gone when it is next
    /// looked at.
    static func set(
        _ call: inout CommandCall, to value: ByteView, deadlineMilliseconds: Int64
    ) throws(CommandError) {
        try set(&call, to: value, deadline: .set(deadlineMilliseconds))
        call.notified(call.key, "expire")
    }

    // MARK: Options

    @inline(never)
    private static func runWithOptions(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try SetOptions(call.arguments)
        var deadlineMilliseconds: Int64?
        if case .at(let form, let index) = options.deadline {
            deadlineMilliseconds = try call.deadlineMilliseconds(at: index, as: form)
        }
        if options.returnsValueBefore { _ = try call.replyValue(&reply) }
        guard try options.condition.isMet(in: call) else {
            if !options.returnsValueBefore { reply.null() }
            return
        }
        if let deadlineMilliseconds {
            try set(&call, to: call.arguments[2], deadlineMilliseconds: deadlineMilliseconds)
        } else {
            var update = DeadlineUpdate.clear
            if case .keep = options.deadline { update = .keep }
            try set(&call, to: call.arguments[2], deadline: update)
        }
        if !options.returnsValueBefore { reply.ok() }
    }
}

/// The options of SET, checked against each other.
private struct SetOptions {
    enum Condition {
        case none, isAbsent, isPresent
        case equals(ByteView)
    }

    enum Deadline {
        case clear, keep
        case at(DeadlineForm, index: Int)
    }

    var condition = Condition.none
    var deadline = Deadline.clear
    var returnsValueBefore = false

    init(_ arguments: ArgumentList) throws(CommandError) {
        var index = 3
        while index < arguments.count {
            let hasValue = index + 1 < arguments.count
            if try take(arguments[index]) {
                index += 1
            } else if hasValue, try take(arguments[index], value: arguments[index + 1], at: index + 1) {
                index += 2
            } else {
                throw .syntax
            }
        }
    }

    /// Takes an option that stands alone. It may be repeated.
    private mutating func take(_ option: ByteView) throws(CommandError) -> Bool {
        if option.equalsIgnoringCase("NX") {
            switch condition {
            case .none, .isAbsent: condition = .isAbsent
            default: throw .syntax
            }
        } else if option.equalsIgnoringCase("XX") {
            switch condition {
            case .none, .isPresent: condition = .isPresent
            default: throw .syntax
            }
        } else if option.equalsIgnoringCase("GET") {
            returnsValueBefore = true
        } else if option.equalsIgnoringCase("KEEPTTL") {
            if case .at = deadline { throw .syntax }
            deadline = .keep
        } else {
            return false
        }
        return true
    }

    /// Takes an option with a value. Only a deadline of the same form may be repeated.
    private mutating func take(_ option: ByteView, value: ByteView, at index: Int) throws(CommandError) -> Bool {
        if option.equalsIgnoringCase("IFEQ") {
            guard case .none = condition else { throw .syntax }
            condition = .equals(value)
            return true
        }
        guard let form = DeadlineForm(option: option) else { return false }
        switch deadline {
        case .clear, .at(form, _): deadline = .at(form, index: index)
        default: throw .syntax
        }
        return true
    }
}

extension SetOptions.Condition {
    /// Whether the key is as the client wants it. Comparing with another type than a string is an error. What is set
    /// then counts as one access, so the look before it counts none.
    func isMet(in call: borrowing CommandCall) throws(CommandError) -> Bool {
        switch self {
        case .none: return true
        case .isAbsent: return call.keyspace.write(call.key) == nil
        case .isPresent: return call.keyspace.peek(call.key) != nil
        case .equals(let bytes):
            guard let entry = call.keyspace.peek(call.key) else { return false }
            return try entry.stringValue().equals(bytes)
        }
    }
}
