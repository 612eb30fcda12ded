// XACK, XPENDING: what was delivered to consumers and not acknowledged.

import KedisProtocol
import KedisStore
import KedisUtilities

enum StreamAcknowledgeCommand {
    static let spec = CommandSpec(
        "XACK", summary: "Acknowledges entries: they are pending no more.", since: "5.0.0", group: .stream,
        complexity: "O(1) for each entry, but for finding it among N pending ones, which is O(log N)", arity: -4,
        flags: [.write, .fast],
        keys: [.one([.readWrite, .update])],
        arguments: [.key(), ArgumentSpec("group", .string), ArgumentSpec("id", .string, isMultiple: true)],
        replies: [.integer("how many of them were pending")]
    ) { (call, reply) throws(CommandError) in
        guard let editor = try call.readableStream(call.key),
            let group = editor.stream.group(named: call.arguments[2])
        else { return reply.integer(0) }
        for index in 3..<call.arguments.count { _ = try call.streamID(at: index) }
        defer { editor.finish() }
        var count = 0
        for index in 3..<call.arguments.count where group.acknowledge(try call.streamID(at: index)) { count += 1 }
        call.effects.noteChanges(count)
        reply.integer(count)
    }
}

enum StreamPendingCommand {
    static let spec = CommandSpec(
        "XPENDING", summary: "Returns what is pending in a consumer group: a summary, or entries.", since: "5.0.0",
        group: .stream, complexity: "O(N), N being the number of pending entries that are looked at",
        arity: -3, flags: .readOnly, keys: [.one([.readOnly, .access])], tips: ["nondeterministic_output"],
        arguments: [
            .key(), ArgumentSpec("group", .string),
            .block("filters", optional: true, [
                ArgumentSpec("min-idle-time", .integer, token: "IDLE", isOptional: true, since: "6.2.0"),
                ArgumentSpec("start", .string), ArgumentSpec("end", .string), ArgumentSpec("count", .integer),
                ArgumentSpec("consumer", .string, isOptional: true),
            ]),
        ],
        replies: [
            .array("how many there are, the first and the last ID, and the consumers with their numbers"),
            .array("with an interval: ID, consumer, milliseconds since delivery and deliveries of each entry"),
        ],
        history: [(version: "6.2.0", change: "Takes a minimal idle time, and intervals without their ends.")],
        handler: run
    )

    private struct Filter {
        var idleMilliseconds: Int64 = 0
        var first = StreamID.zero
        var last = StreamID.last
        var countMax: Int64 = 0
        var consumerIndex: Int?
    }

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let filter = try readFilter(call)
        guard let entry = call.keyspace.read(call.key),
            let group = try entry.streamValue().group(named: call.arguments[2])
        else { throw call.noSuchGroup("NOGROUP No such key '", "' or consumer group '") }
        guard let filter else { return summarise(group, &reply) }
        var consumer: StreamConsumer?
        if let index = filter.consumerIndex {
            consumer = group.consumer(named: call.arguments[index])
            if consumer == nil { return reply.array(0) }
        }
        list(group, consumer, filter, call.nowMilliseconds, &reply)
    }

    /// Nil without an interval.
    private static func readFilter(_ call: borrowing CommandCall) throws(CommandError) -> Filter? {
        let count = call.arguments.count
        guard count != 3 else { return nil }
        guard count >= 6, count <= 9 else { throw .syntax }
        var filter = Filter()
        var index = 3
        if call.arguments[3].equalsIgnoringCase("IDLE") {
            filter.idleMilliseconds = try call.integer(at: 4)
            guard count >= 8 else { throw .syntax }
            index = 5
        }
        filter.countMax = max(0, try call.integer(at: index + 2))
        filter.first = try call.streamStart(at: index)
        filter.last = try call.streamEnd(at: index + 1)
        if index + 3 < count { filter.consumerIndex = index + 3 }
        return filter
    }

    private static func summarise(_ group: StreamGroup, _ reply: inout ReplyWriter) {
        reply.array(4)
        reply.integer(group.pendingCount)
        guard let first = group.firstPending, let last = group.lastPending else {
            reply.null()
            reply.null()
            return reply.nullArray()
        }
        reply.streamID(first.id)
        reply.streamID(last.id)
        let start = reply.count
        var count = 0
        for index in 0..<group.consumerCount {
            let consumer = group.consumer(index)
            guard consumer.pendingCount > 0 else { continue }
            reply.array(2)
            reply.bulk(consumer.name)
            reply.bulk(integer: Int64(consumer.pendingCount))
            count += 1
        }
        reply.insertArrayHeader(at: start, elementCount: count)
    }

    private static func list(
        _ group: StreamGroup, _ consumer: StreamConsumer?, _ filter: Filter, _ nowMilliseconds: Int64,
        _ reply: inout ReplyWriter
    ) {
        let start = reply.count
        var count = 0
        var next: StreamID? = filter.first
        while let from = next, Int64(count) < filter.countMax, !reply.hasOverflowed {
            let found = consumer.map { $0.nextPendingID(from: from).flatMap { group.pending($0) } }
                ?? group.nextPending(from: from)
            guard let found, found.id <= filter.last else { break }
            next = found.id.next
            let elapsed = nowMilliseconds &- found.deliveredMilliseconds
            if filter.idleMilliseconds != 0, elapsed < filter.idleMilliseconds { continue }
            reply.array(4)
            reply.streamID(found.id)
            reply.bulk(found.consumer?.name ?? .empty)
            reply.integer(max(0, elapsed))
            reply.integer(Int64(bitPattern: found.deliveryCount))
            count += 1
        }
        reply.insertArrayHeader(at: start, elementCount: count)
    }
}

extension CommandCall {
    /// An error that names the key and the group, which are the first two arguments.
    func noSuchGroup(_ start: StaticString, _ middle: StaticString) -> CommandError {
        .joined(ByteView(start), printable(1), ByteView(middle), printable(2), "'")
    }
}
