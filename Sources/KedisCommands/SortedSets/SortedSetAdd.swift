// ZADD, ZINCRBY: members and their scores.

import KedisProtocol
import KedisStore
import KedisUtilities

enum SortedSetAddCommand {
    static let spec = CommandSpec(
        "ZADD", summary: "Adds members to a sorted set, or changes their scores.", since: "1.2.0", group: .sortedSet,
        complexity: "O(log(N)) for each member, N being the number of members of the set", arity: -4,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .update])],
        arguments: [
            .key(), .oneOf("condition", optional: true, since: "3.0.2", [.token("NX"), .token("XX")]),
            .oneOf("comparison", optional: true, since: "6.2.0", [.token("GT"), .token("LT")]),
            .token("CH", name: "change", optional: true, since: "3.0.2"),
            .token("INCR", name: "increment", optional: true, since: "3.0.2"),
            .block("score_member", multiple: true, [ArgumentSpec("score", .double), ArgumentSpec("member", .string)]),
        ],
        replies: [
            .integer("the number of members that were added, with CH also of those whose score has changed"),
            .bulk("with INCR: the new score"), .null("with INCR: a condition did not hold"),
        ],
        history: [
            ("2.4.0", "Takes several members."), ("3.0.2", "Takes the options XX, NX, CH and INCR."),
            ("6.2.0", "Takes the options GT and LT."),
        ]
    ) { (call, reply) throws(CommandError) in try add(&call, &reply, isIncrement: false) }

    static let incrementSpec = CommandSpec(
        "ZINCRBY", summary: "Adds to the score of a member, which is made if need be.", since: "1.2.0",
        group: .sortedSet, complexity: "O(log(N)), N being the number of members of the set", arity: 4,
        flags: [.write, .denyOutOfMemory, .fast], keys: [.one([.readWrite, .access, .update])],
        arguments: [.key(), ArgumentSpec("increment", .integer), ArgumentSpec("member", .string)],
        replies: [.bulk("the new score")]
    ) { (call, reply) throws(CommandError) in try add(&call, &reply, isIncrement: true) }

    private struct Options {
        var onlyNew = false
        var onlyExisting = false
        var onlyGreater = false
        var onlyLess = false
        var countsChanges = false
        var isIncrement: Bool
        /// Where the first score is.
        var start = 2

        init(_ call: borrowing CommandCall, isIncrement: Bool) throws(CommandError) {
            self.isIncrement = isIncrement
            let arguments = call.arguments
            while start < arguments.count, read(arguments[start]) { start += 1 }
            let count = arguments.count - start
            guard count > 0, count % 2 == 0 else { throw .syntax }
            if onlyNew, onlyExisting {
                throw .literal("ERR XX and NX options at the same time are not compatible")
            }
            if (onlyGreater && onlyNew) || (onlyLess && onlyNew) || (onlyGreater && onlyLess) {
                throw .literal("ERR GT, LT, and/or NX options at the same time are not compatible")
            }
            if self.isIncrement, count > 2 {
                throw .literal("ERR INCR option supports a single increment-element pair")
            }
        }

        private mutating func read(_ option: ByteView) -> Bool {
            guard option.count == 2 || option.count == 4 else { return false }
            if option.equalsIgnoringCase("NX") {
                onlyNew = true
            } else if option.equalsIgnoringCase("XX") {
                onlyExisting = true
            } else if option.equalsIgnoringCase("CH") {
                countsChanges = true
            } else if option.equalsIgnoringCase("INCR") {
                isIncrement = true
            } else if option.equalsIgnoringCase("GT") {
                onlyGreater = true
            } else if option.equalsIgnoringCase("LT") {
                onlyLess = true
            } else {
                return false
            }
            return true
        }
    }

    /// What became of the members.
    private struct Outcome {
        var addedCount = 0
        var updatedCount = 0
        /// The score of the last member, unless a condition did not hold.
        var score: Double?
        var isNotANumber = false
    }

    private static func add(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, isIncrement: Bool
    ) throws(CommandError) {
        let options = try Options(call, isIncrement: isIncrement)
        let arguments = call.arguments
        // All or nothing: no score is stored when a later one is none.
        for index in stride(from: options.start, to: arguments.count, by: 2) {
            guard parseDouble(arguments[index]) != nil else { throw .notAFloat }
        }
        let key = call.key
        var outcome = Outcome()
        if var editor = try call.editableSortedSet(key) {
            try add(&call, &editor, options, &outcome)
        } else if !options.onlyExisting {
            let (keyspace, limits) = (call.keyspace, call.sortedSetLimits)
            var editor = try storing { () throws(StoreError) in try keyspace.makeSortedSet(key, limits: limits) }
            do throws(CommandError) {
                try add(&call, &editor, options, &outcome)
            } catch {
                editor.removeIfEmpty()
                throw error
            }
        }
        if outcome.isNotANumber { throw .literal("ERR resulting score is not a number (NaN)") }
        if options.isIncrement {
            if let score = outcome.score { reply.double(score) } else { reply.null() }
        } else {
            reply.integer(outcome.addedCount + (options.countsChanges ? outcome.updatedCount : 0))
        }
    }

    private static func add(
        _ call: inout CommandCall, _ editor: inout SortedSetEditor, _ options: Options, _ outcome: inout Outcome
    ) throws(CommandError) {
        let arguments = call.arguments
        var isRefused = false
        for index in stride(from: options.start, to: arguments.count, by: 2) {
            guard let score = parseDouble(arguments[index]) else { continue }
            do throws(StoreError) {
                try put(arguments[index + 1], score, &editor, options, &outcome)
            } catch {
                isRefused = true
                break
            }
        }
        let changeCount = outcome.addedCount + outcome.updatedCount
        if changeCount > 0 {
            call.effects.noteChanges(changeCount)
            call.notified(call.key, options.isIncrement ? "zincr" : "zadd")
        }
        if isRefused { throw .outOfMemory }
    }

    @inline(__always)
    private static func put(
        _ member: ByteView, _ score: Double, _ editor: inout SortedSetEditor, _ options: Options,
        _ outcome: inout Outcome
    ) throws(StoreError) {
        var (isSkipped, isNotANumber) = (false, false)
        let (old, new) = try editor.update(member, keepsDeadline: options.isIncrement) { old in
            guard let old else {
                isSkipped = options.onlyExisting
                return isSkipped ? nil : score
            }
            let new = options.isIncrement ? old + score : score
            isNotANumber = new.isNaN
            isSkipped =
                options.onlyNew || isNotANumber || (options.onlyLess && new >= old)
                || (options.onlyGreater && new <= old)
            return isSkipped ? nil : new
        }
        outcome.isNotANumber = isNotANumber && !options.onlyNew
        outcome.score = isSkipped ? nil : new
        if isSkipped { return }
        if old == nil { outcome.addedCount &+= 1 } else if new != old { outcome.updatedCount &+= 1 }
    }
}
