// XCLAIM, XAUTOCLAIM: pending entries change their consumer.

import KedisProtocol
import KedisStore
import KedisUtilities

enum StreamClaimCommand {
    static let spec = CommandSpec(
        "XCLAIM", summary: "Makes pending entries another consumer's, as if they were delivered to it.",
        since: "5.0.0", group: .stream, complexity: "O(log N) for each entry, N being the number of pending ones",
        arity: -6, flags: [.write, .fast], keys: [.one([.readWrite, .update])], tips: ["nondeterministic_output"],
        arguments: [
            .key(), ArgumentSpec("group", .string), ArgumentSpec("consumer", .string),
            ArgumentSpec("min-idle-time", .string), ArgumentSpec("id", .string, isMultiple: true),
            ArgumentSpec("ms", .integer, token: "IDLE", isOptional: true),
            ArgumentSpec("unix-time-milliseconds", .unixTime, token: "TIME", isOptional: true),
            ArgumentSpec("count", .integer, token: "RETRYCOUNT", isOptional: true),
            .token("FORCE", optional: true), .token("JUSTID", optional: true),
            ArgumentSpec("id", .string, token: "LASTID", isOptional: true),
        ],
        replies: [.array("the entries that were claimed"), .array("with JUSTID: their IDs")], handler: run
    )

    struct Options {
        var idleMilliseconds: Int64
        var deliveredMilliseconds: Int64
        var deliveryCount: Int64 = -1
        var isForced = false
        var isIDOnly = false
        var lastID = StreamID.zero
        var idEndIndex = 5
    }

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        guard let editor = try call.readableStream(key), let group = editor.stream.group(named: call.arguments[2])
        else { throw call.noSuchGroup("NOGROUP No such key '", "' or consumer group '") }
        defer { editor.finish() }
        let options = try readOptions(call)
        if options.lastID > group.lastID {
            group.lastID = options.lastID
            call.effects.noteChanges(1)
        }
        let consumer = try call.consumer(call.arguments[3], of: group, key)
        let start = reply.count
        var count = 0
        for index in 5..<options.idEndIndex {
            let id = try call.streamID(at: index)
            guard let entry = editor.stream.find(id) else {
                if group.acknowledge(id) { call.effects.noteChanges(1) }
                continue
            }
            guard try claim(entry, to: consumer, group, options, call.nowMilliseconds, &reply) else { continue }
            call.effects.noteChanges(1)
            count += 1
        }
        reply.insertArrayHeader(at: start, elementCount: count)
    }

    /// Claims an entry that is there and replies it; false when it is not pending, or not long enough.
    static func claim(
        _ entry: StreamEntry, to consumer: StreamConsumer, _ group: StreamGroup, _ options: Options,
        _ nowMilliseconds: Int64, _ reply: inout ReplyWriter
    ) throws(CommandError) -> Bool {
        let pending = group.pending(entry.id)
        guard pending != nil || options.isForced else { return false }
        if let pending, options.idleMilliseconds > 0,
            nowMilliseconds &- pending.deliveredMilliseconds < options.idleMilliseconds
        {
            return false
        }
        var deliveryCount = pending?.deliveryCount ?? 1
        if options.deliveryCount >= 0 {
            deliveryCount = UInt64(options.deliveryCount)
        } else if !options.isIDOnly {
            deliveryCount &+= 1
        }
        try storing { () throws(StoreError) in
            try group.deliver(
                entry.id, to: consumer, deliveredMilliseconds: options.deliveredMilliseconds,
                deliveryCount: deliveryCount)
        }
        consumer.activeMilliseconds = nowMilliseconds
        if options.isIDOnly { reply.streamID(entry.id) } else { reply.streamEntry(entry) }
        return true
    }

    private static func integer(
        _ call: borrowing CommandCall, _ index: Int, _ error: StaticString
    ) throws(CommandError) -> Int64 {
        guard let value = parseInteger(call.arguments[index]) else { throw .literal(error) }
        return value
    }

    private static func readOptions(_ call: borrowing CommandCall) throws(CommandError) -> Options {
        let idle = try integer(call, 4, "ERR Invalid min-idle-time argument for XCLAIM")
        let now = call.nowMilliseconds
        var options = Options(idleMilliseconds: max(0, idle), deliveredMilliseconds: -1)
        let arguments = call.arguments
        while options.idEndIndex < arguments.count, (try? call.streamID(at: options.idEndIndex)) != nil {
            options.idEndIndex += 1
        }
        var index = options.idEndIndex
        while index < arguments.count {
            let word = arguments[index]
            let hasMore = index + 1 < arguments.count
            if word.equalsIgnoringCase("FORCE") {
                options.isForced = true
            } else if word.equalsIgnoringCase("JUSTID") {
                options.isIDOnly = true
            } else if word.equalsIgnoringCase("IDLE"), hasMore {
                index += 1
                options.deliveredMilliseconds =
                    now &- (try integer(call, index, "ERR Invalid IDLE option argument for XCLAIM"))
            } else if word.equalsIgnoringCase("TIME"), hasMore {
                index += 1
                options.deliveredMilliseconds = try integer(
                    call, index, "ERR Invalid TIME option argument for XCLAIM")
            } else if word.equalsIgnoringCase("RETRYCOUNT"), hasMore {
                index += 1
                options.deliveryCount = try integer(call, index, "ERR Invalid RETRYCOUNT option argument for XCLAIM")
            } else if word.equalsIgnoringCase("LASTID"), hasMore {
                index += 1
                options.lastID = try call.streamID(at: index)
            } else {
                throw .joined("ERR Unrecognized XCLAIM option '", streamText(word), "'")
            }
            index += 1
        }
        // A time that cannot be is now.
        if options.deliveredMilliseconds < 0 || options.deliveredMilliseconds > now {
            options.deliveredMilliseconds = now
        }
        return options
    }
}

enum StreamAutoClaimCommand {
    static let spec = CommandSpec(
        "XAUTOCLAIM", summary: "Claims pending entries that nobody has handled for a while, some at a time.",
        since: "6.2.0", group: .stream, complexity: "O(1) for each of COUNT", arity: -6, flags: [.write, .fast],
        keys: [.one([.readWrite, .delete])], tips: ["nondeterministic_output"],
        arguments: [
            .key(), ArgumentSpec("group", .string), ArgumentSpec("consumer", .string),
            ArgumentSpec("min-idle-time", .string), ArgumentSpec("start", .string),
            ArgumentSpec("count", .integer, token: "COUNT", isOptional: true), .token("JUSTID", optional: true),
        ],
        replies: [
            .array("where to go on, the claimed entries (with JUSTID: their IDs), and the IDs of entries that are gone")
        ],
        history: [(version: "7.0.0", change: "Tells which entries are gone, and are pending no more.")], handler: run
    )

    /// What is looked at for each one that is asked for.
    private static let attemptFactor: Int64 = 10
    private static let standardCount: Int64 = 100

    private struct Options {
        var claim: StreamClaimCommand.Options
        var first: StreamID
        var countMax: Int64
    }

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try readOptions(call)
        let key = call.key
        guard let editor = try call.readableStream(key), let group = editor.stream.group(named: call.arguments[2])
        else { throw call.noSuchGroup("NOGROUP No such key '", "' or consumer group '") }
        defer { editor.finish() }
        let consumer = try call.consumer(call.arguments[3], of: group, key)
        try claim(editor.stream, to: consumer, group, options, &call, &reply)
    }

    private static func claim(
        _ stream: Stream, to consumer: StreamConsumer, _ group: StreamGroup, _ options: Options,
        _ call: inout CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        reply.array(3)
        let start = reply.count
        var gone = FallibleArray<StreamID>()
        var (claimed, left, attempts) = (0, options.countMax, options.countMax * attemptFactor)
        var next = group.nextPending(from: options.first)
        while let pending = next, attempts > 0, left > 0, !reply.hasOverflowed {
            attempts -= 1
            if let entry = stream.find(pending.id) {
                if try StreamClaimCommand.claim(
                    entry, to: consumer, group, options.claim, call.nowMilliseconds, &reply)
                {
                    claimed += 1
                    left -= 1
                    call.effects.noteChanges(1)
                }
            } else {
                guard gone.append(pending.id) else { break }
                _ = group.acknowledge(pending.id)
                call.effects.noteChanges(1)
                left -= 1
            }
            next = pending.id.next.flatMap { group.nextPending(from: $0) }
        }
        reply.insertArrayHeader(at: start, elementCount: claimed)
        reply.insertStreamID(next?.id ?? .zero, at: start)
        reply.array(gone.count)
        for index in 0..<gone.count { reply.streamID(gone[index]) }
    }

    private static func readOptions(_ call: borrowing CommandCall) throws(CommandError) -> Options {
        guard let idle = parseInteger(call.arguments[4]) else {
            throw .literal("ERR Invalid min-idle-time argument for XAUTOCLAIM")
        }
        var options = Options(
            claim: StreamClaimCommand.Options(
                idleMilliseconds: max(0, idle), deliveredMilliseconds: call.nowMilliseconds),
            first: try call.streamStart(at: 5), countMax: standardCount)
        var index = 6
        while index < call.arguments.count {
            if call.arguments[index].equalsIgnoringCase("COUNT"), index + 1 < call.arguments.count {
                let count = parseInteger(call.arguments[index + 1]) ?? 0
                guard count >= 1, count <= Int64.max / Int64(StreamID.byteCount) else {
                    throw .literal("ERR COUNT must be > 0")
                }
                options.countMax = count
                index += 1
            } else if call.arguments[index].equalsIgnoringCase("JUSTID") {
                options.claim.isIDOnly = true
            } else {
                throw .syntax
            }
            index += 1
        }
        return options
    }
}

extension ReplyWriter {
    /// Puts an ID in front of what was written since `start`.
    fileprivate mutating func insertStreamID(_ id: StreamID, at start: Int) {
        let end = count
        streamID(id)
        rotate(from: start, movingToFront: end)
    }
}
