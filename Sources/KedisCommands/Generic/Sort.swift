// SORT and SORT_RO: the elements of a list, a set or a sorted set in the order of their numbers, their bytes, or of
// other keys; replied, or stored as a list.
//
// The plan names the sorted key and the destination. BY and GET with a pattern read keys that the data names: then all
// stripes are locked. Elements are views of the value, which stays as it is until they have been replied or copied; a
// key that is met and due is removed, which moves no other value. Cost: 48 bytes an element while it runs; O(N) for
// numbers, O(N log N) for elements whose first 8 bytes are the same.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SortCommand {
    static let spec: CommandSpec = {
        var spec = readOnlySpec
        spec.name = "SORT"
        spec.summary = "Sorts the elements of a list, a set or a sorted set, and may store the result."
        spec.since = "1.0.0"
        spec.flags = [.write, .denyOutOfMemory, .movableKeys]
        spec.keys.append(
            KeySpec(
                [.overwrite, .update], begin: .unknown,
                find: .byOptions { SortOptions.destinationIndex(in: $0) },
                note: "The destination follows the word STORE, which may be any argument."
            )
        )
        spec.arguments.append(ArgumentSpec("destination", .key, token: "STORE", keySpecIndex: 2, isOptional: true))
        spec.replies.append(.integer("the number of stored elements, with STORE"))
        spec.handler = { (call, reply) throws(CommandError) in try run(&call, &reply, isReadOnly: false) }
        return spec
    }()

    static let readOnlySpec: CommandSpec = {
        var spec = describedSpec
        spec.isOfGroupCategory = false
        return spec
    }()

    private static let describedSpec = CommandSpec(
        "SORT_RO", summary: "Sorts the elements of a list, a set or a sorted set without storing them.",
        since: "7.0.0", group: .generic,
        complexity: "O(N+M*log(M)) for N elements, M of them returned; O(N) without sorting", arity: -2,
        flags: [.readOnly, .movableKeys], categories: ["set", "sortedset", "list", "dangerous"],
        keys: [
            .one([.readOnly, .access]),
            KeySpec(
                [.readOnly, .access], begin: .unknown, find: .unknown,
                note: "The keys of BY and GET follow from the elements."),
        ],
        locks: .allStripesWhen { SortOptions.readsOtherKeys($0) },
        arguments: [
            .key(),
            ArgumentSpec("pattern", .pattern, token: "BY", keySpecIndex: 1, isOptional: true),
            ArgumentSpec(
                "offset_count", .block, token: "LIMIT", isOptional: true,
                arguments: [ArgumentSpec("offset", .integer), ArgumentSpec("count", .integer)]
            ),
            ArgumentSpec(
                "pattern", .pattern, token: "GET", keySpecIndex: 1, isOptional: true, isMultiple: true,
                repeatsToken: true
            ),
            .oneOf("order", optional: true, [.token("ASC"), .token("DESC")]),
            .token("ALPHA", name: "sorting", optional: true),
        ],
        replies: [.array("the elements, or what GET fetches for each")],
        differences: ["Texts are sorted by their bytes, whatever the locale."],
        handler: { (call, reply) throws(CommandError) in try run(&call, &reply, isReadOnly: true) }
    )

    private static func run(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, isReadOnly: Bool
    ) throws(CommandError) {
        var options = try SortOptions(call.arguments, isReadOnly: isReadOnly)
        let now = call.nowMilliseconds
        let source = try call.keyspace.read(call.key).map { (entry) throws(CommandError) in
            try SortSource(entry, nowMilliseconds: now)
        }
        guard let source, source.count > 0 else { return try finishEmpty(&call, &reply, options) }
        // A set has no order of its own: what is stored of it is in one that can be repeated.
        if options.keepsOrder, options.storesResult, source.isUnordered {
            options.keepsOrder = false
            options.isAlphabetic = true
            options.by = nil
        }
        let range = options.range(of: source.count)
        var vector = SortVector()
        if options.keepsOrder, !source.isUnordered {
            try vector.load(source, in: range, isReversed: options.isDescending)
            try finish(&call, &reply, options, vector, in: 0..<vector.count)
        } else {
            try vector.load(source, in: 0..<source.count, isReversed: false)
            if !options.keepsOrder { try sort(&vector, options, call) }
            try finish(&call, &reply, options, vector, in: range)
        }
    }

    private static func sort(
        _ vector: inout SortVector, _ options: SortOptions, _ call: borrowing CommandCall
    ) throws(CommandError) {
        let isSorted: Bool
        if let by = options.by {
            let keyspace = call.keyspace
            isSorted = try vector.sort(options) { element in by.value(for: element, in: keyspace) }
        } else {
            isSorted = try vector.sort(options, weight: nil)
        }
        guard isSorted else { throw .literal("ERR One or more scores can't be converted into double") }
    }

    // MARK: The result

    private static func finish(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, _ options: SortOptions, _ vector: borrowing SortVector,
        in range: Range<Int>
    ) throws(CommandError) {
        guard options.storesResult else { return write(&reply, options, vector, in: range, call.keyspace) }
        if range.isEmpty { return try finishEmpty(&call, &reply, options) }
        // Copied first: the destination may be the key that the elements are views of.
        var values = FlatStrings()
        let keyspace = call.keyspace
        forEachResult(options, vector, in: range, keyspace) { value in
            (value ?? .bytes(.empty)).withBytes { values.append($0) }
        }
        guard !values.isExhausted else { throw .outOfMemory }
        let destination = call.key(1)
        let limit = call.listLimit
        var making = keyspace
        making.isQuiet = true
        // It is overwritten, so it is not new when it is there.
        let renaming = keyspace.peek(destination) == nil ? keyspace : making
        try keyspace.withScratchKey(beside: destination) { (scratch) throws(CommandError) in
            try storing { () throws(StoreError) in
                try making.makeList(scratch, limit: limit, count: values.count, atHead: false) { values[$0] }
                _ = try renaming.rename(scratch, to: destination)
            }
        }
        call.effects.noteChanges(values.count)
        call.notified(destination, "sortstore")
        reply.integer(values.count)
    }

    private static func finishEmpty(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, _ options: SortOptions
    ) throws(CommandError) {
        guard options.storesResult else { return reply.array(0) }
        if call.keyspace.remove(call.key(1)) { call.changed(call.key(1), "del") }
        reply.integer(0)
    }

    private static func write(
        _ reply: inout ReplyWriter, _ options: SortOptions, _ vector: borrowing SortVector, in range: Range<Int>,
        _ keyspace: Keyspace
    ) {
        reply.array(range.count * max(1, options.getCount))
        if options.getCount == 0 {
            for position in range where !reply.hasOverflowed { reply.bulk(vector[position]) }
            return
        }
        forEachResult(options, vector, in: range, keyspace) { value in
            if let value { reply.bulk(value) } else { reply.null() }
        }
    }

    /// Calls `body` with each value of the result; nil is what a pattern finds nothing for.
    private static func forEachResult(
        _ options: SortOptions, _ vector: borrowing SortVector, in range: Range<Int>, _ keyspace: Keyspace,
        _ body: (StringValue?) -> Void
    ) {
        for position in range {
            let element = vector[position]
            if options.getCount == 0 { body(element) }
            options.forEachGet { pattern in body(pattern.value(for: element, in: keyspace)) }
        }
    }
}
