// ZPOPMIN, ZPOPMAX, ZMPOP and their blocking forms: the elements at an end of a sorted set, which are taken out.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SortedSetPopCommand {
    static let lowestSpec = spec("ZPOPMIN", "lowest", .lowest) { (call, reply) throws(CommandError) in
        try pop(&call, &reply, at: .lowest)
    }

    static let highestSpec = spec("ZPOPMAX", "highest", .highest) { (call, reply) throws(CommandError) in
        try pop(&call, &reply, at: .highest)
    }

    private static func spec(
        _ name: String, _ end: String, _ elements: ElementPlan, _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: "Takes the elements with the \(end) scores out of a sorted set and returns them.",
            since: "5.0.0", group: .sortedSet,
            complexity: "O(log(N)*M), N being the number of elements and M that of those that are taken", arity: -2,
            flags: [.write, .fast], keys: [.one([.readWrite, .access, .delete])],
            arguments: [.key(), ArgumentSpec("count", .integer, isOptional: true)],
            replies: [.array("the members with their scores, the \(end) first (RESP3 with a count: in pairs)")],
            elements: elements, handler: handler
        )
    }

    private static func pop(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, at end: SortedSetEnd
    ) throws(CommandError) {
        let arguments = call.arguments
        guard arguments.count <= 3 else { throw .syntax }
        var count: Int64 = 1
        if arguments.count == 3 {
            guard let number = parseInteger(arguments[2]), number >= 0 else {
                throw .literal("ERR value is out of range, must be positive")
            }
            count = number
        }
        let key = call.key
        guard var editor = try call.editableSortedSet(key), count > 0 else { return reply.array(0) }
        try call.pop(count, at: end, of: key, &editor, &reply, .scored(true, reply, isFlat: arguments.count == 2))
    }

    // MARK: ZMPOP

    static let multipleSpec = CommandSpec(
        "ZMPOP", summary: "Takes elements from an end of the first sorted set that there is among several keys.",
        since: "7.0.0", group: .sortedSet, complexity: multipleComplexity, arity: -4, flags: [.write, .movableKeys],
        keys: [
            KeySpec(
                [.readWrite, .access, .delete], begin: .index(1), find: .count(countIndex: 0, first: 1, step: 1))
        ],
        arguments: multipleArguments, replies: multipleReplies, handler: popFirst
    )

    static let multipleComplexity = """
        O(K) + O(M*log(N)), K being the number of keys, N that of the elements of the set and M that of those that are \
        taken
        """
    static let multipleArguments: [ArgumentSpec] = [
        ArgumentSpec("numkeys", .integer), .key(multiple: true), SortedSetEnd.argument,
        ArgumentSpec("count", .integer, token: "COUNT", isOptional: true),
    ]
    static let multipleReplies: [ReplySpec] = [
        .array("the key, and pairs of members and scores, the outermost first"), .null("there is no sorted set"),
    ]

    private static func popFirst(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (end, count) = try readMultiple(call, countIndex: 1)
        for index in 0..<call.keyCount {
            let key = call.keyInLoop(index)
            guard var editor = try call.editableSortedSet(key) else { continue }
            reply.array(2)
            reply.bulk(key.bytes)
            return try call.pop(count, at: end, of: key, &editor, &reply, .pairs)
        }
        reply.nullArray()
    }

    /// What stands from the number of keys on: `numkeys key [key ...] MIN | MAX [COUNT count]`.
    static func readMultiple(
        _ call: borrowing CommandCall, countIndex: Int
    ) throws(CommandError) -> (end: SortedSetEnd, count: Int64) {
        let arguments = call.arguments
        guard let keyCount = parseInteger(arguments[countIndex]), keyCount > 0 else {
            throw .literal("ERR numkeys should be greater than 0")
        }
        // The keys are those of the plan, which finds none unless all that are announced are there.
        guard keyCount < Int64(arguments.count - countIndex - 1), call.keyCount == Int(keyCount) else { throw .syntax }
        let endIndex = call.keyCount + countIndex + 1
        let end = try SortedSetEnd(arguments[endIndex])
        guard arguments.count > endIndex + 1 else { return (end, 1) }
        guard arguments[endIndex + 1].equalsIgnoringCase("COUNT"), arguments.count > endIndex + 2 else {
            throw .syntax
        }
        guard let count = parseInteger(arguments[endIndex + 2]), count > 0 else {
            throw .literal("ERR count should be greater than 0")
        }
        guard arguments.count == endIndex + 3 else { throw .syntax }
        return (end, count)
    }
}

extension ElementShape {
    /// The shape of scored elements that RESP3 has flat too, when `isFlat`.
    static func scored(_ isScored: Bool, _ reply: borrowing ReplyWriter, isFlat: Bool) -> ElementShape {
        isFlat ? .flat : scored(isScored, reply)
    }
}

extension CommandCall {
    /// Replies at most `count` elements as an array, the outermost first, and removes them. The key is there.
    mutating func pop(
        _ count: Int64, at end: SortedSetEnd, of key: Key, _ editor: inout SortedSetEditor,
        _ reply: inout ReplyWriter, _ shape: ElementShape
    ) throws(CommandError) {
        let range = end.ranks(Int(min(count, Int64(editor.count))), of: editor.count)
        reply.elements(editor.value, in: range, isReversed: end == .highest, shape)
        try removeElements(range, of: key, &editor, event: end.popEvent)
    }
}

enum SortedSetBlockingPopCommand {
    static let lowestSpec = spec("BZPOPMIN", "lowest") { (call, reply) throws(CommandError) in
        try pop(&call, &reply, at: .lowest)
    }

    static let highestSpec = spec("BZPOPMAX", "highest") { (call, reply) throws(CommandError) in
        try pop(&call, &reply, at: .highest)
    }

    private static func spec(_ name: String, _ end: String, _ handler: @escaping CommandHandler) -> CommandSpec {
        CommandSpec(
            name,
            summary: "Takes the element with the \(end) score of the first sorted set among several, or waits for one.",
            since: "5.0.0", group: .sortedSet, complexity: "O(log(N)), N being the number of elements", arity: -3,
            flags: [.write, .noScript, .blocking, .fast],
            keys: [
                KeySpec(
                    [.readWrite, .access, .delete], begin: .index(1), find: .range(last: -2, step: 1, limit: 0))
            ],
            arguments: [.key(multiple: true), ArgumentSpec("timeout", .double)],
            replies: [.array("the key, the member and its score"), .null("no element came in time")],
            history: [("6.0.0", "The timeout may have a fraction.")], handler: handler
        )
    }

    private static func pop(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, at end: SortedSetEnd
    ) throws(CommandError) {
        let timeoutMilliseconds = try call.timeout(at: call.arguments.count - 1)
        for index in 0..<call.keyCount {
            let key = call.key(index)
            guard try call.awaitedEntry(index, .sortedSet) != nil,
                var editor = call.keyspace.editSortedSet(key, limits: call.sortedSetLimits)
            else { continue }
            let range = end.ranks(1, of: editor.count)
            let (member, score) = editor.value.element(atRank: range.lowerBound)
            reply.array(3)
            reply.bulk(key.bytes)
            reply.bulk(member)
            reply.double(score)
            call.writePop(of: key, at: end, count: 1)
            return try call.removeElements(range, of: key, &editor, event: end.popEvent)
        }
        throw call.block(for: .sortedSet, timeoutMilliseconds: timeoutMilliseconds)
    }

    // MARK: BZMPOP

    static let multipleSpec = CommandSpec(
        "BZMPOP", summary: "Takes elements from an end of the first sorted set among several keys, or waits for one.",
        since: "7.0.0", group: .sortedSet, complexity: SortedSetPopCommand.multipleComplexity, arity: -5,
        flags: [.write, .blocking, .movableKeys],
        keys: [
            KeySpec(
                [.readWrite, .access, .delete], begin: .index(2), find: .count(countIndex: 0, first: 1, step: 1))
        ],
        arguments: [ArgumentSpec("timeout", .double)] + SortedSetPopCommand.multipleArguments,
        replies: SortedSetPopCommand.multipleReplies, handler: popFirst
    )

    private static func popFirst(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (end, count) = try SortedSetPopCommand.readMultiple(call, countIndex: 2)
        let timeoutMilliseconds = try call.timeout(at: 1)
        for index in 0..<call.keyCount {
            let key = call.key(index)
            guard try call.awaitedEntry(index, .sortedSet) != nil,
                var editor = call.keyspace.editSortedSet(key, limits: call.sortedSetLimits)
            else { continue }
            reply.array(2)
            reply.bulk(key.bytes)
            call.writePop(of: key, at: end, count: count)
            return try call.pop(count, at: end, of: key, &editor, &reply, .pairs)
        }
        throw call.block(for: .sortedSet, timeoutMilliseconds: timeoutMilliseconds)
    }
}

extension CommandCall {
    /// For the journal: which sorted set it was that elements were taken from.
    fileprivate func writePop(of key: Key, at end: SortedSetEnd, count: Int64) {
        let name: StaticString = end == .lowest ? "ZPOPMIN" : "ZPOPMAX"
        scribe?.write(name, key, databaseIndex: keyspace.databaseIndex, count: count)
    }
}
