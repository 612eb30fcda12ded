// SINTER, SUNION, SDIFF with their STORE variants, and SINTERCARD.
//
// All keys are looked up before any set is read: one that is due goes, one of another type is an error.

import KedisProtocol
import KedisStore
import KedisUtilities

/// What is made of several sets.
enum SetOperation {
    case intersection, union, difference
}

enum SetAlgebraCommand {
    static let intersectionSpec = spec(
        "SINTER", "Returns the members that several sets have in common.",
        "O(N*M), N being the size of the smallest set and M the number of sets", "the members that are in all of them"
    ) { (call, reply) throws(CommandError) in try run(.intersection, &call, &reply) }

    static let unionSpec = spec(
        "SUNION", "Returns the members that are in any of several sets.", allMembers, "the members, each once"
    ) { (call, reply) throws(CommandError) in try run(.union, &call, &reply) }

    static let differenceSpec = spec(
        "SDIFF", "Returns the members of a set that are in none of the others.", allMembers,
        "the members of the first set that the others do not have"
    ) { (call, reply) throws(CommandError) in try run(.difference, &call, &reply) }

    private static let allMembers = "O(N), N being the number of members of all sets"

    private static func spec(
        _ name: String, _ summary: String, _ complexity: String, _ meaning: String, _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: "1.0.0", group: .set, complexity: complexity, arity: -2, flags: .readOnly,
            keys: [.rest([.readOnly, .access])], tips: ["nondeterministic_output_order"],
            arguments: [.key(multiple: true)], replies: [.set(meaning)], handler: handler
        )
    }

    private static func run(
        _ operation: SetOperation, _ call: inout CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        var sets = try call.sets(from: 0, for: operation)
        guard sets.count > 0 else { return reply.set(0) }
        if operation.isBuilt(from: sets) {
            let result = try call.build(operation, from: &sets)
            return result.isEmpty ? reply.set(0) : reply.members(result.value)
        }
        let start = reply.count
        var count = 0
        let body = { (_ member: StringValue, _ reply: inout ReplyWriter) -> Bool in
            reply.bulk(member)
            count &+= 1
            return !reply.hasOverflowed
        }
        switch operation {
        case .intersection: sets.intersect { body($0, &reply) }
        case .union: sets.unite { body($0, &reply) }
        case .difference: sets.subtract { body($0, &reply) }
        }
        reply.insertSetHeader(at: start, elementCount: count)
    }
}

enum SetAlgebraStoreCommand {
    static let intersectionSpec = spec(
        "SINTERSTORE", "Stores the members that several sets have in common.",
        "O(N*M), N being the size of the smallest set and M the number of sets", [.readWrite, .update]
    ) { (call, reply) throws(CommandError) in try run(.intersection, "sinterstore", &call, &reply) }

    static let unionSpec = spec(
        "SUNIONSTORE", "Stores the members that are in any of several sets.", allMembers, [.overwrite, .update]
    ) { (call, reply) throws(CommandError) in try run(.union, "sunionstore", &call, &reply) }

    static let differenceSpec = spec(
        "SDIFFSTORE", "Stores the members of a set that are in none of the others.", allMembers, [.overwrite, .update]
    ) { (call, reply) throws(CommandError) in try run(.difference, "sdiffstore", &call, &reply) }

    private static let allMembers = "O(N), N being the number of members of all sets"

    private static func spec(
        _ name: String, _ summary: String, _ complexity: String, _ access: KeyAccess,
        _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: "1.0.0", group: .set, complexity: complexity, arity: -3,
            flags: [.write, .denyOutOfMemory], keys: [.one(access), .rest([.readOnly, .access], from: 2)],
            arguments: [.key("destination"), .key(spec: 1, multiple: true)],
            replies: [.integer("the number of members stored; with none, the destination is removed")], handler: handler
        )
    }

    private static func run(
        _ operation: SetOperation, _ event: StaticString, _ call: inout CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        let destination = call.key(0)
        var sets = try call.sets(from: 1, for: operation)
        guard sets.count > 0 else { return clear(destination, &call, &reply) }
        let result = try call.build(operation, from: &sets)
        let count = result.count
        guard count > 0 else { return clear(destination, &call, &reply) }
        do throws(StoreError) {
            try call.keyspace.setSet(destination, to: result, deadline: .clear)
        } catch {
            throw .outOfMemory
        }
        call.changed(destination, event)
        reply.integer(count)
    }

    private static func clear(_ destination: Key, _ call: inout CommandCall, _ reply: inout ReplyWriter) {
        if call.keyspace.remove(destination) { call.changed(destination, "del") }
        reply.integer(0)
    }
}

enum SetIntersectionCountCommand {
    static let spec = CommandSpec(
        "SINTERCARD", summary: "Returns how many members several sets have in common.", since: "7.0.0", group: .set,
        complexity: "O(N*M), N being the size of the smallest set and M the number of sets", arity: -3,
        flags: [.readOnly, .movableKeys],
        keys: [
            KeySpec([.readOnly, .access], begin: .index(1), find: .count(countIndex: 0, first: 1, step: 1))
        ],
        arguments: [
            ArgumentSpec("numkeys", .integer), .key(multiple: true),
            ArgumentSpec("limit", .integer, token: "LIMIT", isOptional: true),
        ],
        replies: [.integer("the number, at most that of LIMIT unless it is 0")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let arguments = call.arguments
        guard let keyCount = parseInteger(arguments[1]), keyCount > 0 else {
            throw .literal("ERR numkeys should be greater than 0")
        }
        guard keyCount <= Int64(arguments.count - 2), call.keyCount == Int(keyCount) else {
            throw .literal("ERR Number of keys can't be greater than number of args")
        }
        var limit: Int64 = 0
        var index = call.keyCount + 2
        while index < arguments.count {
            guard arguments[index].equalsIgnoringCase("LIMIT"), index + 1 < arguments.count else { throw .syntax }
            guard let given = parseInteger(arguments[index + 1]), given >= 0 else {
                throw .literal("ERR LIMIT can't be negative")
            }
            limit = given
            index += 2
        }
        var sets = try call.sets(from: 0, for: .intersection)
        guard sets.count > 0 else { return reply.integer(0) }
        var count: Int64 = 0
        sets.intersect { _ in
            count &+= 1
            return count != limit
        }
        reply.integer(count)
    }
}

extension SetOperation {
    /// Whether a reply is made from a set that is built first: where looking up every member in every set is more work.
    fileprivate func isBuilt(from sets: borrowing SetList) -> Bool {
        switch self {
        case .intersection: false
        case .union: sets.count > SetList.unionLookupCountMax
        case .difference: sets.isSubtractedByCopying
        }
    }
}

extension CommandCall {
    /// The sets at the keys from `first` on that exist; none when that settles the result, which is empty then.
    fileprivate func sets(from first: Int, for operation: SetOperation) throws(CommandError) -> SetList {
        guard var sets = SetList(capacity: keyCount - first) else { throw .outOfMemory }
        var isSettled = false
        for index in first..<keyCount {
            if let entry = keyspace.read(keyInLoop(index)) {
                guard entry.type == .set else { throw .wrongType }
            } else {
                isSettled = isSettled || operation == .intersection || operation == .difference && index == first
            }
        }
        guard !isSettled else { return sets }
        // Looked up again: a key that was due is gone now, which changed the keyspace.
        for index in first..<keyCount {
            if let set = try keyspace.peek(key(index))?.setValue(self) { sets.append(set) }
        }
        return sets
    }

    /// The result of an operation as a set.
    fileprivate func build(
        _ operation: SetOperation, from sets: inout SetList
    ) throws(CommandError) -> SetBuilder {
        guard var result = SetBuilder(for: keyspace, limits: engine.configuration.setLimits) else {
            throw .outOfMemory
        }
        do throws(StoreError) {
            switch operation {
            case .intersection: try result.addIntersection(of: &sets)
            case .union: try sets.unite(into: &result)
            case .difference:
                if sets.isSubtractedByCopying {
                    try sets.subtract(into: &result)
                } else {
                    try result.addDifference(of: &sets)
                }
            }
        } catch {
            throw .outOfMemory
        }
        return result
    }
}
