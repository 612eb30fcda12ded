// LPOS, LINSERT, LREM: elements by their value. Each goes over the list once.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ListPositionCommand {
    static let spec = CommandSpec(
        "LPOS", summary: "Returns the positions of elements of a list that equal a value.", since: "6.0.6",
        group: .list, complexity: "O(N), N being the number of elements that are compared", arity: -3,
        flags: .readOnly, keys: [.one([.readOnly, .access])],
        arguments: [
            .key(), ArgumentSpec("element", .string),
            ArgumentSpec("rank", .integer, token: "RANK", isOptional: true),
            ArgumentSpec("num-matches", .integer, token: "COUNT", isOptional: true),
            ArgumentSpec("len", .integer, token: "MAXLEN", isOptional: true),
        ],
        replies: [
            .integer("the position of the match"), .null("there is no match"),
            .array("with COUNT: the positions, all of them for 0, in the order of the search"),
        ],
        handler: run
    )

    private struct Options {
        /// The first match that counts, from 1 on.
        var rank: UInt64 = 1
        var isReversed = false
        /// 0 for all; nil for one that is no array.
        var matchCountMax: UInt64?
        /// How many elements are compared; 0 for all.
        var elementCountMax: Int64 = 0

        init(_ call: borrowing CommandCall) throws(CommandError) {
            let arguments = call.arguments
            var index = 3
            while index < arguments.count {
                guard index + 1 < arguments.count else { throw .syntax }
                if arguments[index].equalsIgnoringCase("RANK") {
                    try takeRank(try call.integer(at: index + 1))
                } else if arguments[index].equalsIgnoringCase("COUNT") {
                    guard let count = parseInteger(arguments[index + 1]), count >= 0 else {
                        throw .literal("ERR COUNT can't be negative")
                    }
                    matchCountMax = count.magnitude
                } else if arguments[index].equalsIgnoringCase("MAXLEN") {
                    guard let count = parseInteger(arguments[index + 1]), count >= 0 else {
                        throw .literal("ERR MAXLEN can't be negative")
                    }
                    elementCountMax = count
                } else {
                    throw .syntax
                }
                index += 2
            }
        }

        private mutating func takeRank(_ value: Int64) throws(CommandError) {
            guard value != 0 else {
                throw .literal(
                    """
                    ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative \
                    to start from the end of the list
                    """
                )
            }
            guard value != .min else {
                throw .literal(
                    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
            }
            rank = value.magnitude
            isReversed = value < 0
        }
    }

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try Options(call)
        guard let entry = call.keyspace.read(call.key) else {
            if options.matchCountMax != nil { reply.array(0) } else { reply.null() }
            return
        }
        let list = try entry.listValue()
        let start = reply.count
        let found = search(list, for: ListNeedle(call.arguments[2]), options, &reply)
        if options.matchCountMax != nil {
            reply.insertArrayHeader(at: start, elementCount: found)
        } else if found == 0 {
            reply.null()
        }
    }

    /// Replies the positions, without the header of their array, and returns their number.
    private static func search(
        _ list: ListValue, for needle: ListNeedle, _ options: Options, _ reply: inout ReplyWriter
    ) -> Int {
        let count = list.count
        let comparedCount = options.elementCountMax == 0 ? count : Int(min(options.elementCountMax, Int64(count)))
        var search = Search(needle: needle, rank: options.rank, limit: options.matchCountMax ?? 1)
        if options.isReversed {
            search.position = count - 1
            search.step = -1
            list.forEachReversed(in: count - comparedCount..<count) { search.takes($0, &reply) }
        } else {
            list.forEach(in: 0..<comparedCount) { search.takes($0, &reply) }
        }
        return search.foundCount
    }

    private struct Search {
        let needle: ListNeedle
        let rank: UInt64
        let limit: UInt64
        var position = 0
        var step = 1
        var matchCount: UInt64 = 0
        var foundCount = 0

        /// Replies the position of the element if it is wanted; false when the search is over.
        mutating func takes(_ element: StringValue, _ reply: inout ReplyWriter) -> Bool {
            defer { position &+= step }
            guard needle.equals(element) else { return true }
            matchCount &+= 1
            guard matchCount >= rank else { return true }
            reply.integer(position)
            foundCount &+= 1
            return foundCount.magnitude != limit
        }
    }
}

enum ListInsertCommand {
    static let spec = CommandSpec(
        "LINSERT", summary: "Inserts an element before or after the first one that equals a value.", since: "2.2.0",
        group: .list, complexity: "O(N), N being the number of elements before the place", arity: 5,
        flags: [.write, .denyOutOfMemory], keys: [.one([.readWrite, .insert])],
        arguments: [
            .key(), .oneOf("where", [.token("BEFORE"), .token("AFTER")]), ArgumentSpec("pivot", .string),
            ArgumentSpec("element", .string),
        ],
        replies: [.integer("the length of the list now; 0 if there is no such key, -1 if no element equals the value")],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (key, element) = (call.key, call.arguments[4])
        let isAfter = call.arguments[2].equalsIgnoringCase("AFTER")
        guard isAfter || call.arguments[2].equalsIgnoringCase("BEFORE") else { throw .syntax }
        guard var editor = try call.editableList(key) else { return reply.integer(0) }
        guard let pivot = firstPosition(of: ListNeedle(call.arguments[3]), in: editor.value) else {
            return reply.integer(-1)
        }
        let position = isAfter ? pivot + 1 : pivot
        try storing { () throws(StoreError) in try editor.insert(element, at: position) }
        call.changed(key, "linsert")
        reply.integer(editor.count)
    }

    private static func firstPosition(of needle: ListNeedle, in list: ListValue) -> Int? {
        var position = 0
        var isFound = false
        list.forEach(in: 0..<list.count) { element in
            isFound = needle.equals(element)
            if !isFound { position &+= 1 }
            return !isFound
        }
        return isFound ? position : nil
    }
}

enum ListRemoveCommand {
    static let spec = CommandSpec(
        "LREM", summary: "Removes elements that equal a value from a list.", since: "1.0.0", group: .list,
        complexity: "O(N+M), N being the length of the list and M the number of elements that are removed", arity: 4,
        flags: .write, keys: [.one([.readWrite, .delete])],
        arguments: [.key(), ArgumentSpec("count", .integer), ArgumentSpec("element", .string)],
        replies: [.integer("how many were removed: at most count from the head on, from the tail on if negative")],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        let count = try call.integer(at: 2)
        let needle = ListNeedle(call.arguments[3])
        guard var editor = try call.editableList(key) else { return reply.integer(0) }
        let elementCount = editor.count
        let removedCount = try storing { () throws(StoreError) in
            try editor.removeAll(limit: count == 0 ? .max : Int(clamping: count.magnitude), fromTail: count < 0) {
                needle.equals($0)
            }
        }
        guard removedCount > 0 else { return reply.integer(0) }
        call.effects.noteChanges(removedCount)
        call.notified(key, "lrem")
        if removedCount == elementCount { call.notified(key, "del") }
        reply.integer(removedCount)
    }
}
