// GEOADD: positions into a geo index, which is ZADD with geohashes as scores.

import KedisProtocol
import KedisStore
import KedisUtilities

enum GeoAddCommand {
    static let spec = CommandSpec(
        "GEOADD", summary: "Adds members to a geo index, or moves them.", since: "3.2.0", group: .geo,
        complexity: "O(log(N)) for each member, N being the size of the index", arity: -5,
        flags: [.write, .denyOutOfMemory], keys: [.one([.readWrite, .update])],
        arguments: [
            .key(), .oneOf("condition", optional: true, since: "6.2.0", [.token("NX"), .token("XX")]),
            .token("CH", name: "change", optional: true, since: "6.2.0"),
            .block(
                "longitude_latitude_member", multiple: true,
                [
                    ArgumentSpec("longitude", .double), ArgumentSpec("latitude", .double),
                    ArgumentSpec("member", .string),
                ]),
        ],
        replies: [.integer("the number of members added; with CH also of those moved")],
        history: [(version: "6.2.0", change: "Takes NX, XX and CH.")], handler: run
    )

    private struct Options {
        var onlyNew = false
        var onlyKnown = false
        var countsChanges = false
        /// The first longitude.
        var index = 2

        init(_ call: borrowing CommandCall) throws(CommandError) {
            while index < call.arguments.count {
                let option = call.arguments[index]
                if option.equalsIgnoringCase("NX") {
                    onlyNew = true
                } else if option.equalsIgnoringCase("XX") {
                    onlyKnown = true
                } else if option.equalsIgnoringCase("CH") {
                    countsChanges = true
                } else {
                    break
                }
                index += 1
            }
            let count = call.arguments.count - index
            guard count > 0, count % 3 == 0, !(onlyNew && onlyKnown) else { throw .syntax }
        }
    }

    /// The index, made if need be and allowed; nil when there is none.
    private static func editor(
        _ call: borrowing CommandCall, _ options: Options
    ) throws(CommandError) -> SortedSetEditor? {
        if let editor = try call.editableSortedSet(call.key) { return editor }
        guard !options.onlyKnown else { return nil }
        let (keyspace, key, limits) = (call.keyspace, call.key, call.sortedSetLimits)
        return try storing { () throws(StoreError) in try keyspace.makeSortedSet(key, limits: limits) }
    }

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try Options(call)
        // All of them are looked at before the first is added.
        for index in stride(from: options.index, to: call.arguments.count, by: 3) { _ = try call.position(at: index) }
        guard var editor = try editor(call, options) else { return reply.integer(0) }
        defer { editor.removeIfEmpty() }
        var (addedCount, movedCount) = (0, 0)
        for index in stride(from: options.index, to: call.arguments.count, by: 3) {
            let score = Geohash(try call.position(at: index)).score
            let scores = try storing { () throws(StoreError) in
                try editor.update(call.arguments[index + 2]) { known in
                    known == nil ? (options.onlyKnown ? nil : score) : (options.onlyNew ? known : score)
                }
            }
            if scores.old == nil, scores.new != nil { addedCount += 1 }
            if scores.old != nil, scores.old != scores.new { movedCount += 1 }
        }
        if addedCount + movedCount > 0 {
            call.effects.noteChanges(addedCount + movedCount)
            call.notified(call.key, "zadd")
        }
        reply.integer(options.countsChanges ? addedCount + movedCount : addedCount)
    }
}
