// RESTORE: a value from the bytes of DUMP.
//
// A damaged payload leaves what is at the key alone: a value that replaces another is loaded under a scratch key of the
// same stripe, which nobody sees as the stripe is locked, and renamed when it is whole.

import KedisFormats
import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

enum RestoreCommand {
    static let spec = CommandSpec(
        "RESTORE", summary: "Makes a key with a value that DUMP returned.", since: "2.6.0", group: .generic,
        complexity: "O(1) for the key and O(N*M) for N elements of M bytes; O(N*M*log(N)) for sorted sets",
        arity: -4, flags: [.write, .denyOutOfMemory], categories: ["dangerous"], keys: [.one([.overwrite, .update])],
        arguments: [
            .key(),
            ArgumentSpec("ttl", .integer),
            ArgumentSpec("serialized-value", .string),
            .token("REPLACE", optional: true, since: "3.0.0"),
            .token("ABSTTL", optional: true, since: "5.0.0"),
            ArgumentSpec("seconds", .integer, token: "IDLETIME", isOptional: true, since: "5.0.0"),
            ArgumentSpec("frequency", .integer, token: "FREQ", isOptional: true, since: "5.0.0"),
        ],
        replies: [.ok],
        history: [
            ("3.0.0", "`REPLACE` came."), ("5.0.0", "`ABSTTL` came."), ("5.0.0", "`IDLETIME` and `FREQ` came."),
        ],
        handler: run
    )

    /// What the servers of a cluster send each other.
    static let askingSpec: CommandSpec = {
        var spec = Self.spec
        spec.name = "RESTORE-ASKING"
        spec.summary = "As RESTORE; for the servers of a cluster."
        spec.since = "3.0.0"
        spec.group = .server
        spec.flags.insert(.asking)
        spec.categories.append("keyspace")
        return spec
    }()

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try Options(call)
        let keyspace = call.keyspace
        let key = call.key
        if !options.replaces, keyspace.write(key) != nil {
            throw .literal("BUSYKEY Target key name already exists.")
        }
        let deadline = try options.deadlineMilliseconds(call)
        let payload = call.arguments[3]
        guard DumpPayload.isGenuine(payload) else { throw .literal("ERR DUMP payload version or checksum are wrong") }
        call.engine.statistics.payloadsChecked.add(1, ordering: .relaxed)
        var isDue = deadline.map { $0 <= call.nowMilliseconds } ?? false
        let wasThere = keyspace.peek(key) != nil
        if wasThere {
            try replace(key, with: payload, isDue: &isDue, call)
        } else {
            var making = keyspace
            making.isQuiet = true
            if try !load(payload, as: key, in: making, call) { isDue = true }
            if isDue { _ = keyspace.remove(key) } else { keyspace.reportCreated(key) }
        }
        if isDue {
            if wasThere { call.changed(key, "del") }
        } else {
            try finish(key, deadline, options, call)
            call.changed(key, "restore")
        }
        reply.ok()
    }

    /// Loads the payload under a key that is not there; nothing is left when it is damaged. False when it is gone
    /// already, as all its members are due.
    private static func load(
        _ payload: ByteView, as key: Key, in keyspace: Keyspace, _ call: borrowing CommandCall
    ) throws(CommandError) -> Bool {
        var reader = RDBReader(payload: payload)
        do {
            let value = try reader.readPayloadValue()
            let limits = call.engine.configuration.loadLimits
            try reader.load(value, as: key, in: keyspace, limits: limits)
            try reader.loadPayloadMemberDeadlines(as: key, in: keyspace, limits: limits)
        } catch {
            _ = keyspace.remove(key)
            if case .outOfMemory = error.reason { throw .outOfMemory }
            throw .literal("ERR Bad data format")
        }
        if keyspace.peek(key) != nil { return true }
        // A value without elements would be a key that commands take for none.
        guard reader.hasMemberDeadlines else { throw .literal("ERR Bad data format") }
        return false
    }

    private static func replace(
        _ key: Key, with payload: ByteView, isDue: inout Bool, _ call: borrowing CommandCall
    ) throws(CommandError) {
        let keyspace = call.keyspace
        try keyspace.withScratchKey(beside: key) { (scratch) throws(CommandError) in
            var making = keyspace
            making.isQuiet = true
            if try !load(payload, as: scratch, in: making, call) { isDue = true }
            if isDue {
                _ = keyspace.remove(key)
            } else {
                _ = try storing { () throws(StoreError) in try keyspace.rename(scratch, to: key) }
            }
        }
    }

    /// Sets the deadline and the access clock of the new value.
    private static func finish(
        _ key: Key, _ deadline: Int64?, _ options: Options, _ call: borrowing CommandCall
    ) throws(CommandError) {
        let keyspace = call.keyspace
        if let deadline, let made = keyspace.peek(key) {
            do {
                try keyspace.setDeadline(made, deadline)
            } catch {
                _ = keyspace.remove(key)
                throw .outOfMemory
            }
        }
        guard let made = keyspace.peek(key) else { return }
        keyspace.setAccess(made, idleSeconds: options.idleSeconds, frequency: options.frequency)
    }

    private struct Options {
        var replaces = false
        var isAbsolute = false
        var idleSeconds: Int64?
        var frequency: UInt8?

        init(_ call: borrowing CommandCall) throws(CommandError) {
            let arguments = call.arguments
            var index = 4
            while index < arguments.count {
                let hasNext = index + 1 < arguments.count
                if arguments[index].equalsIgnoringCase("REPLACE") {
                    replaces = true
                } else if arguments[index].equalsIgnoringCase("ABSTTL") {
                    isAbsolute = true
                } else if arguments[index].equalsIgnoringCase("IDLETIME"), hasNext, frequency == nil {
                    index += 1
                    let seconds = try call.integer(at: index)
                    guard seconds >= 0 else { throw .literal("ERR Invalid IDLETIME value, must be >= 0") }
                    idleSeconds = seconds
                } else if arguments[index].equalsIgnoringCase("FREQ"), hasNext, idleSeconds == nil {
                    index += 1
                    guard let value = UInt8(exactly: try call.integer(at: index)) else {
                        throw .literal("ERR Invalid FREQ value, must be >= 0 and <= 255")
                    }
                    frequency = value
                } else {
                    throw .syntax
                }
                index += 1
            }
        }

        /// Nil for a key that stays.
        func deadlineMilliseconds(_ call: borrowing CommandCall) throws(CommandError) -> Int64? {
            let time = try call.integer(at: 2)
            guard time >= 0 else { throw .literal("ERR Invalid TTL value, must be >= 0") }
            if time == 0 { return nil }
            // A time beyond all times has passed, as in Redis.
            return isAbsolute ? time : time &+ call.nowMilliseconds
        }
    }
}
