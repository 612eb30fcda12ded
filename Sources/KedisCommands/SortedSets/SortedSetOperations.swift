// ZUNION, ZINTER, ZDIFF, their STORE forms and ZINTERCARD: sorted sets from sorted sets and sets.

import KedisProtocol
import KedisStore
import KedisUtilities

/// An input: a sorted set, a set whose members all have the score 1, or nothing.
struct ScoreSource {
    private enum Members {
        case none
        case scored(SortedSetValue)
        case plain(SetValue)
    }

    private let members: Members
    var weight = 1.0

    init(_ entry: Entry?, nowMilliseconds: Int64) throws(CommandError) {
        switch entry?.type {
        case nil: members = .none
        case .sortedSet: members = entry.map { .scored($0.sortedSet) } ?? .none
        case .set: members = entry.map { .plain($0.set(nowMilliseconds: nowMilliseconds)) } ?? .none
        default: throw .wrongType
        }
    }

    var count: Int {
        switch members {
        case .none: 0
        case .scored(let set): set.count
        case .plain(let set): set.count
        }
    }

    /// Calls `body` with the members and their own scores until it answers false.
    func forEach(_ body: (StringValue, Double) -> Bool) {
        switch members {
        case .none: break
        case .scored(let set): set.forEach(in: 0..<set.count, body)
        case .plain(let set): set.forEach { body($0, 1) }
        }
    }

    func score(of member: StringValue) -> Double? {
        switch members {
        case .none: nil
        case .scored(let set): member.withBytes { set.score(of: $0) }
        case .plain(let set): member.withBytes { set.contains($0) } ? 1 : nil
        }
    }

    /// The score with its weight; infinity times zero is zero.
    func weighted(_ score: Double) -> Double {
        let product = score * weight
        return product.isNaN ? 0 : product
    }
}

enum SortedSetOperationCommand {
    private enum Operation {
        case union, intersection, difference
    }

    private enum Aggregate {
        case sum, minimum, maximum

        func callAsFunction(_ left: Double, _ right: Double) -> Double {
            switch self {
            case .sum:
                let sum = left + right
                // Infinities of both signs.
                return sum.isNaN ? 0 : sum
            case .minimum: return right < left ? right : left
            case .maximum: return right > left ? right : left
            }
        }
    }

    // MARK: Specs

    static let unionSpec = spec(
        "ZUNION", "the union of sorted sets", since: "6.2.0", unionComplexity, weights + [withScores]
    ) { (call, reply) throws(CommandError) in try run(&call, &reply, .union) }

    static let intersectionSpec = spec(
        "ZINTER", "the intersection of sorted sets", since: "6.2.0", intersectionComplexity, weights + [withScores]
    ) { (call, reply) throws(CommandError) in try run(&call, &reply, .intersection) }

    static let differenceSpec = spec(
        "ZDIFF", "the elements of a sorted set that are in no other one", since: "6.2.0", differenceComplexity,
        [withScores]
    ) { (call, reply) throws(CommandError) in try run(&call, &reply, .difference) }

    static let unionStoreSpec = storeSpec(
        "ZUNIONSTORE", "the union of sorted sets", since: "2.0.0",
        "O(N)+O(M log(M)), N being the sum of the sizes of the inputs and M the size of the result", weights
    ) { (call, reply) throws(CommandError) in try store(&call, &reply, .union, event: "zunionstore") }

    static let intersectionStoreSpec = storeSpec(
        "ZINTERSTORE", "the intersection of sorted sets", since: "2.0.0", intersectionComplexity, weights
    ) { (call, reply) throws(CommandError) in try store(&call, &reply, .intersection, event: "zinterstore") }

    static let differenceStoreSpec = storeSpec(
        "ZDIFFSTORE", "the elements of a sorted set that are in no other one", since: "6.2.0", differenceComplexity, []
    ) { (call, reply) throws(CommandError) in try store(&call, &reply, .difference, event: "zdiffstore") }

    static let intersectionCardinalitySpec = CommandSpec(
        "ZINTERCARD", summary: "Returns the number of members that several sorted sets have in common.",
        since: "7.0.0", group: .sortedSet,
        complexity: "O(N*K) at worst, N being the size of the smallest input and K the number of inputs", arity: -3,
        flags: [.readOnly, .movableKeys], keys: [inputs(at: 1)],
        arguments: [
            ArgumentSpec("numkeys", .integer), .key(multiple: true),
            ArgumentSpec("limit", .integer, token: "LIMIT", isOptional: true),
        ],
        replies: [.integer("the number of members, at most the limit unless that is 0")], handler: countIntersection
    )

    private static let unionComplexity =
        "O(N)+O(M*log(M)), N being the sum of the sizes of the inputs and M the size of the result"
    private static let intersectionComplexity = """
        O(N*K)+O(M*log(M)) at worst, N being the size of the smallest input, K the number of inputs and M the size of \
        the result
        """
    private static let differenceComplexity = """
        O(L + (N-K)log(N)) at worst, L being the sum of the sizes of the inputs, N the size of the first and K that of \
        the result
        """
    private static let withScores = ArgumentSpec.token("WITHSCORES", optional: true)
    private static let weights: [ArgumentSpec] = [
        ArgumentSpec("weight", .integer, token: "WEIGHTS", isOptional: true, isMultiple: true),
        ArgumentSpec(
            "aggregate", .oneOf, token: "AGGREGATE", isOptional: true,
            arguments: [.token("SUM"), .token("MIN"), .token("MAX")]),
    ]

    private static func inputs(at index: Int) -> KeySpec {
        KeySpec([.readOnly, .access], begin: .index(index), find: .count(countIndex: 0, first: 1, step: 1))
    }

    private static func spec(
        _ name: String, _ what: String, since: String, _ complexity: String, _ options: [ArgumentSpec],
        _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: "Returns \(what).", since: since, group: .sortedSet, complexity: complexity, arity: -3,
            flags: [.readOnly, .movableKeys], keys: [inputs(at: 1)],
            arguments: [ArgumentSpec("numkeys", .integer), .key(multiple: true)] + options,
            replies: [.array("the members in the order of their scores, with WITHSCORES each followed by its score")],
            handler: handler
        )
    }

    private static func storeSpec(
        _ name: String, _ what: String, since: String, _ complexity: String, _ options: [ArgumentSpec],
        _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: "Stores \(what) in another key.", since: since, group: .sortedSet, complexity: complexity,
            arity: -4, flags: [.write, .denyOutOfMemory, .movableKeys],
            keys: [.one([.overwrite, .update]), inputs(at: 2)],
            arguments: [
                .key("destination"), ArgumentSpec("numkeys", .integer), .key(spec: 1, multiple: true),
            ] + options,
            replies: [.integer("the number of members of the result")], handler: handler
        )
    }

    // MARK: Arguments

    private struct Query {
        var sources: [ScoreSource] = []
        var aggregate = Aggregate.sum
        var isScored = false
        /// 0 for none.
        var limit: Int64 = 0

        /// - Parameter countIndex: where the number of keys stands, behind the destination of one that stores.
        init(
            _ call: borrowing CommandCall, countIndex: Int, _ operation: Operation, isCount: Bool = false
        ) throws(CommandError) {
            let arguments = call.arguments
            let number = try call.integer(at: countIndex)
            guard number >= 1 else {
                throw .joined("ERR at least 1 input key is needed for '", call.entry.pointee.fullName, "' command")
            }
            guard number <= Int64(arguments.count - countIndex - 1) else { throw .syntax }
            let keyCount = Int(number)
            // The keys of the plan: the destination comes first.
            let first = call.keyCount - keyCount
            guard first == countIndex - 1 else { throw .syntax }
            sources.reserveCapacity(keyCount)
            for index in first..<call.keyCount {
                let entry = call.keyspace.read(call.keyInLoop(index))
                sources.append(try ScoreSource(entry, nowMilliseconds: call.nowMilliseconds))
            }
            let stores = countIndex > 1
            var index = countIndex + keyCount + 1
            while index < arguments.count {
                index = try read(
                    call, index, allowsWeights: operation != .difference && !isCount,
                    allowsScores: !stores && !isCount, allowsLimit: isCount)
            }
            // Scores are added up from the smallest input to the largest, which rounding can tell.
            if operation != .difference { sortBySize() }
        }

        /// Reads an option and returns where the next one is.
        private mutating func read(
            _ call: borrowing CommandCall, _ index: Int, allowsWeights: Bool, allowsScores: Bool, allowsLimit: Bool
        ) throws(CommandError) -> Int {
            let arguments = call.arguments
            let word = arguments[index]
            let left = arguments.count - index - 1
            if allowsWeights, left >= sources.count, word.equalsIgnoringCase("WEIGHTS") {
                for position in sources.indices {
                    guard let weight = parseDouble(arguments[index + 1 + position]) else {
                        throw .literal("ERR weight value is not a float")
                    }
                    sources[position].weight = weight
                }
                return index + 1 + sources.count
            }
            if allowsWeights, left >= 1, word.equalsIgnoringCase("AGGREGATE") {
                aggregate = try Query.aggregate(arguments[index + 1])
                return index + 2
            }
            if allowsScores, word.equalsIgnoringCase("WITHSCORES") {
                isScored = true
                return index + 1
            }
            guard allowsLimit, left >= 1, word.equalsIgnoringCase("LIMIT") else { throw .syntax }
            guard let number = parseInteger(arguments[index + 1]), number >= 0 else {
                throw .literal("ERR LIMIT can't be negative")
            }
            limit = number
            return index + 2
        }

        private static func aggregate(_ word: ByteView) throws(CommandError) -> Aggregate {
            if word.equalsIgnoringCase("SUM") { return .sum }
            if word.equalsIgnoringCase("MIN") { return .minimum }
            guard word.equalsIgnoringCase("MAX") else { throw .syntax }
            return .maximum
        }

        private mutating func sortBySize() {
            for index in sources.indices.dropFirst() {
                var position = index
                while position > 0, sources[position].count < sources[position - 1].count {
                    sources.swapAt(position, position - 1)
                    position -= 1
                }
            }
        }
    }

    // MARK: Handlers

    private static func run(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, _ operation: Operation
    ) throws(CommandError) {
        let query = try Query(call, countIndex: 1, operation)
        let elements = try gather(query, operation)
        let shape = ElementShape.scored(query.isScored, reply)
        reply.elementCount(elements.count, shape)
        for element in elements.elements {
            reply.element(.bytes(element.member), element.score, shape)
            if reply.hasOverflowed { return }
        }
    }

    private static func store(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, _ operation: Operation, event: StaticString
    ) throws(CommandError) {
        let query = try Query(call, countIndex: 2, operation)
        var elements = try gather(query, operation)
        try call.store(&elements, at: call.key(0), event: event)
        reply.integer(elements.count)
    }

    private static func countIntersection(
        _ call: inout CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        let query = try Query(call, countIndex: 1, .intersection, isCount: true)
        var count: Int64 = 0
        query.sources[0].forEach { member, _ in
            if query.sources.dropFirst().allSatisfy({ $0.score(of: member) != nil }) { count += 1 }
            return count != query.limit || count == 0
        }
        reply.integer(count)
    }

    // MARK: Operations

    /// The elements of the result, in order.
    private static func gather(_ query: Query, _ operation: Operation) throws(CommandError) -> ScoredMembers {
        var elements = ScoredMembers()
        switch operation {
        case .union: gatherUnion(query, &elements)
        case .intersection: gatherIntersection(query, &elements)
        case .difference: gatherDifference(query, &elements)
        }
        guard !elements.isExhausted, elements.sort(by: ScoredMember.precedes) else { throw .outOfMemory }
        return elements
    }

    private static func gatherUnion(_ query: Query, _ elements: inout ScoredMembers) {
        for source in query.sources {
            source.forEach { member, score in elements.append(member, source.weighted(score)) }
        }
        guard query.sources.count > 1, elements.sort(by: { $0.member < $1.member }) else { return }
        let aggregate = query.aggregate
        elements.joinEqualMembers { aggregate($0, $1) }
    }

    private static func gatherIntersection(_ query: Query, _ elements: inout ScoredMembers) {
        let others = query.sources.dropFirst()
        query.sources[0].forEach { member, score in
            var result = query.sources[0].weighted(score)
            for source in others {
                guard let score = source.score(of: member) else { return true }
                result = query.aggregate(result, score * source.weight)
            }
            return elements.append(member, result)
        }
    }

    private static func gatherDifference(_ query: Query, _ elements: inout ScoredMembers) {
        let others = query.sources.dropFirst()
        query.sources[0].forEach { member, score in
            others.contains { $0.score(of: member) != nil } ? true : elements.append(member, score)
        }
    }
}
