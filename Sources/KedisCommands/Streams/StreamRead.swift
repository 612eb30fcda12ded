// XREAD, XREADGROUP: what came after an ID in several streams, or what is new to a group, or waiting for that.

import KedisProtocol
import KedisStore
import KedisUtilities

enum StreamReadCommand {
    static let spec = CommandSpec(
        "XREAD", summary: "Returns the entries of streams behind given IDs, or waits for some.", since: "5.0.0",
        group: .stream, complexity: "For each stream O(N), N being the number of entries that are returned",
        arity: -4, flags: [.readOnly, .blocking, .movableKeys], keys: [keys(from: 1)],
        arguments: [count, milliseconds, streams],
        replies: [.map("the entries of each stream that has any, by its key"), .null("there are none")], handler: run
    )

    static let groupSpec = CommandSpec(
        "XREADGROUP", summary: "Returns what is new to a consumer group, or pending at a consumer, or waits for it.",
        since: "5.0.0", group: .stream,
        complexity: "For each stream O(N), N being the number of entries that are returned", arity: -7,
        flags: [.write, .blocking, .movableKeys], keys: [keys(from: 4)],
        arguments: [
            ArgumentSpec("group_consumer", .block, token: "GROUP", arguments: [
                ArgumentSpec("group", .string), ArgumentSpec("consumer", .string),
            ]),
            count, milliseconds, .token("NOACK", optional: true), streams,
        ],
        replies: [.map("the entries of each stream that has any, by its key"), .null("there are none")],
        differences: [
            "A consumer or group whose name is `STREAMS` must come right behind the command's name.",
            "A client that waits gets the usual NOGROUP or WRONGTYPE error when the stream goes, as in Redis 7.2.",
        ],
        handler: run
    )

    private static func keys(from index: Int) -> KeySpec {
        KeySpec(
            [.readOnly, .access], begin: .keyword("STREAMS", from: index), find: .range(last: -1, step: 1, limit: 2))
    }

    private static let count = ArgumentSpec("count", .integer, token: "COUNT", isOptional: true)
    private static let milliseconds = ArgumentSpec("milliseconds", .integer, token: "BLOCK", isOptional: true)
    private static let streams = ArgumentSpec("streams", .block, token: "STREAMS", arguments: [
        .key(multiple: true), ArgumentSpec("id", .string, isMultiple: true),
    ])

    private struct Options {
        var timeoutMilliseconds: Int64?
        var countMax: Int64 = 0
        /// Where group and consumer are.
        var groupIndex: Int?
        var isAcknowledged = false
        /// Where the keys and the IDs are.
        var keyIndex = 0
        var idIndex: Int { keyIndex + streamCount }
        var streamCount = 0
    }

    /// Where to read on in a stream.
    private enum Origin {
        case after(StreamID)
        /// `>` of a group.
        case new
    }

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let isGroup = call.entry.pointee.name == "XREADGROUP"
        let options = try readOptions(call, isGroup: isGroup)
        let memo = try check(&call, options)
        let start = reply.count
        var servedCount = 0
        for index in 0..<options.streamCount {
            if try serve(index, &call, options, memo, &reply) { servedCount += 1 }
            if reply.hasOverflowed { return }
        }
        if servedCount > 0 {
            if reply.version == .resp3 {
                reply.insertMapHeader(at: start, pairCount: servedCount)
            } else {
                reply.insertArrayHeader(at: start, elementCount: servedCount)
            }
            return
        }
        guard let timeoutMilliseconds = options.timeoutMilliseconds else { return reply.nullArray() }
        throw call.block(
            for: .stream, timeoutMilliseconds: timeoutMilliseconds, alsoWhenRemoved: isGroup, memo: memo)
    }

    // MARK: Arguments

    private static func readOptions(_ call: borrowing CommandCall, isGroup: Bool) throws(CommandError) -> Options {
        var options = Options()
        let arguments = call.arguments
        var index = 1
        while index < arguments.count, options.keyIndex == 0 {
            let left = arguments.count - index - 1
            let word = arguments[index]
            if word.equalsIgnoringCase("BLOCK"), left > 0 {
                index += 1
                options.timeoutMilliseconds = try call.timeoutMilliseconds(at: index)
            } else if word.equalsIgnoringCase("COUNT"), left > 0 {
                index += 1
                options.countMax = max(0, try call.integer(at: index))
            } else if word.equalsIgnoringCase("STREAMS"), left > 0 {
                try readStreams(call, &options, from: index + 1)
            } else if word.equalsIgnoringCase("GROUP"), left > 1 {
                guard isGroup else {
                    throw .literal("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
                }
                options.groupIndex = index + 1
                index += 2
            } else if word.equalsIgnoringCase("NOACK") {
                guard isGroup else {
                    throw .literal("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
                }
                options.isAcknowledged = true
            } else {
                throw .syntax
            }
            index += 1
        }
        guard options.keyIndex > 0 else { throw .syntax }
        guard !isGroup || options.groupIndex != nil else { throw .literal("ERR Missing GROUP option for XREADGROUP") }
        try checkKeys(call, options)
        return options
    }

    private static func readStreams(
        _ call: borrowing CommandCall, _ options: inout Options, from index: Int
    ) throws(CommandError) {
        let count = call.arguments.count - index
        guard count & 1 == 0 else {
            throw .literal(
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")
        }
        options.keyIndex = index
        options.streamCount = count / 2
    }

    /// The keys must be those that are locked: the plan takes the first STREAMS from argument 4 on for the option.
    private static func checkKeys(_ call: borrowing CommandCall, _ options: Options) throws(CommandError) {
        guard call.keyCount == options.streamCount, options.streamCount > 0,
            call.key(0).bytes.base == call.arguments[options.keyIndex].base
                || call.key(0).bytes == call.arguments[options.keyIndex]
        else { throw .syntax }
        for index in 0..<options.streamCount
        where call.key(index).bytes != call.arguments[options.keyIndex + index] {
            throw .syntax
        }
    }

    /// Checks all streams, groups and IDs before anything is served. What `$` stands for is returned: two numbers for
    /// each stream.
    private static func check(_ call: inout CommandCall, _ options: Options) throws(CommandError) -> [UInt64] {
        var memo = call.blockMemo
        for index in 0..<options.streamCount {
            let stream = try stream(index, call)
            if let groupIndex = options.groupIndex,
                stream?.group(named: call.arguments[groupIndex]) == nil
            {
                throw .joined(
                    "NOGROUP No such key '", streamText(call.key(index).bytes), "' or consumer group '",
                    call.printable(groupIndex), "' in XREADGROUP with GROUP option")
            }
            let text = streamText(call.arguments[options.idIndex + index])
            if text == "$" {
                guard options.groupIndex == nil else { throw meaninglessID }
                guard !call.isRunAgain else { continue }
                if memo.isEmpty { memo = [UInt64](repeating: 0, count: 2 * options.streamCount) }
                memo[2 * index] = stream?.lastID.milliseconds ?? 0
                memo[2 * index + 1] = stream?.lastID.sequence ?? 0
            } else if text == ">" {
                guard options.groupIndex != nil else {
                    throw .literal(
                        """
                        ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                        option.
                        """)
                }
            } else {
                _ = try call.streamID(at: options.idIndex + index)
            }
        }
        return memo
    }

    private static var meaninglessID: CommandError {
        .literal(
            """
            ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
            specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.
            """)
    }

    /// The stream at a key; nil when there is none. A client that waits in XREAD goes on waiting for another type; when
    /// it is run again, its keys are neither hits nor misses.
    private static func stream(_ index: Int, _ call: borrowing CommandCall) throws(CommandError) -> Stream? {
        let key = call.key(index)
        guard let entry = call.isRunAgain ? call.keyspace.peek(key) : call.keyspace.read(key) else { return nil }
        if call.isRunAgain, !call.keyspace.leavesAccessClock { call.keyspace.touch(entry) }
        if entry.type != .stream, call.isRunAgain, call.entry.pointee.name == "XREAD" { return nil }
        return try entry.streamValue()
    }

    private static func origin(
        _ index: Int, _ call: borrowing CommandCall, _ options: Options, _ memo: [UInt64]
    ) throws(CommandError) -> Origin {
        let text = streamText(call.arguments[options.idIndex + index])
        if text == ">" { return .new }
        if text == "$" {
            return .after(memo.count > 2 * index + 1 ? StreamID(memo[2 * index], memo[2 * index + 1]) : .zero)
        }
        let id = try call.streamID(at: options.idIndex + index)
        // As in Redis 7.0, the last ID of all means what `>` means.
        return id == .last && options.groupIndex != nil ? .new : .after(id)
    }

    // MARK: Serving

    /// Replies what there is in a stream; false when there is nothing.
    private static func serve(
        _ index: Int, _ call: inout CommandCall, _ options: Options, _ memo: [UInt64], _ reply: inout ReplyWriter
    ) throws(CommandError) -> Bool {
        guard let stream = try stream(index, call) else { return false }
        let origin = try origin(index, call, options, memo)
        guard let groupIndex = options.groupIndex else {
            guard case .after(let id) = origin, stream.count > 0, let next = id.next, stream.lastEntryID > id else {
                return false
            }
            begin(index, call, &reply)
            reply.streamEntries(stream, from: next, countMax: options.countMax)
            return true
        }
        return try serve(index, groupIndex, origin, &call, options, &reply)
    }

    private static func begin(_ index: Int, _ call: borrowing CommandCall, _ reply: inout ReplyWriter) {
        if reply.version == .resp2 { reply.array(2) }
        reply.bulk(call.key(index).bytes)
    }

    private static func serve(
        _ index: Int, _ groupIndex: Int, _ origin: Origin, _ call: inout CommandCall, _ options: Options,
        _ reply: inout ReplyWriter
    ) throws(CommandError) -> Bool {
        let key = call.key(index)
        guard let entry = call.keyspace.peek(key), let editor = call.keyspace.editStream(entry),
            let group = editor.stream.group(named: call.arguments[groupIndex])
        else { return false }
        defer { editor.finish() }
        let stream = editor.stream
        let hasNew = stream.count > 0 && stream.lastEntryID > group.lastID
        let consumer = try call.consumer(call.arguments[groupIndex + 1], of: group, key)
        switch origin {
        case .after(let id):
            begin(index, call, &reply)
            replyPending(
                of: consumer, group, stream, from: id.next ?? .last, options.countMax, call.nowMilliseconds, &reply)
        case .new:
            guard hasNew, let next = group.lastID.next else { return false }
            begin(index, call, &reply)
            try replyNew(of: stream, from: next, to: consumer, group, call, options, &reply)
        }
        call.effects.noteChanges(1)
        return true
    }

    /// A consumer's history: what is pending at it, delivered once more.
    private static func replyPending(
        of consumer: StreamConsumer, _ group: StreamGroup, _ stream: Stream, from first: StreamID, _ countMax: Int64,
        _ nowMilliseconds: Int64, _ reply: inout ReplyWriter
    ) {
        let start = reply.count
        var entryCount = 0
        var next = consumer.nextPendingID(from: first)
        while let id = next, countMax == 0 || Int64(entryCount) < countMax, !reply.hasOverflowed {
            if let entry = stream.find(id) {
                reply.streamEntry(entry)
                group.redeliver(id, atMilliseconds: nowMilliseconds)
            } else {
                reply.array(2)
                reply.streamID(id)
                reply.nullArray()
            }
            entryCount += 1
            next = id.next.flatMap { consumer.nextPendingID(from: $0) }
        }
        reply.insertArrayHeader(at: start, elementCount: entryCount)
    }

    private static func replyNew(
        of stream: Stream, from first: StreamID, to consumer: StreamConsumer, _ group: StreamGroup,
        _ call: borrowing CommandCall, _ options: Options, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        let start = reply.count
        let (now, countMax) = (call.nowMilliseconds, options.countMax)
        var entryCount = 0
        var failure: CommandError?
        stream.forEach(from: first) { entry in
            do throws(StoreError) {
                if !options.isAcknowledged {
                    try group.deliver(entry.id, to: consumer, deliveredMilliseconds: now, deliveryCount: 1)
                    consumer.activeMilliseconds = now
                }
            } catch {
                failure = .outOfMemory
                return false
            }
            stream.advance(group, to: entry.id)
            reply.streamEntry(entry)
            entryCount += 1
            return Int64(entryCount) != countMax && !reply.hasOverflowed
        }
        // What was delivered before memory ended is delivered.
        if let failure, entryCount == 0 { throw failure }
        reply.insertArrayHeader(at: start, elementCount: entryCount)
    }
}
