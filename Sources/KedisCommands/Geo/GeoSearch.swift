// GEOSEARCH, GEOSEARCHSTORE and the older GEORADIUS, GEORADIUSBYMEMBER: the members in a circle or a box.
//
// Options are in GeoSearchOptions.swift; what is found (GeoMatches.swift) is gathered, to be sorted. The scores in the
// cells that cover the shape (GeoShape.swift) are ranges of the sorted set; every member in them is compared.

import KedisProtocol
import KedisStore
import KedisUtilities

enum GeoSearchCommand {
    static let spec = CommandSpec(
        "GEOSEARCH", summary: "Returns the members of a geo index within a circle or a box.", since: "6.2.0",
        group: .geo, complexity: complexity, arity: -7, flags: .readOnly, keys: [.one([.readOnly, .access])],
        arguments: [.key(), from, by, order, count(), .token("WITHCOORD", optional: true)] + withRest,
        replies: GeoSearch.replies, history: [unitHistory]
    ) { (call, reply) throws(CommandError) in try GeoSearch.run(&call, &reply, .search) }

    static let storeSpec = CommandSpec(
        "GEOSEARCHSTORE", summary: "Stores the members of a geo index within a circle or a box as a sorted set.",
        since: "6.2.0", group: .geo, complexity: complexity, arity: -8, flags: [.write, .denyOutOfMemory],
        keys: [.one([.overwrite, .update]), .one([.readOnly, .access], at: 2)],
        arguments: [
            .key("destination"), .key("source", spec: 1), from, by, order, count(), .token("STOREDIST", optional: true),
        ],
        replies: [.integer("the number of members stored")], history: [unitHistory]
    ) { (call, reply) throws(CommandError) in try GeoSearch.run(&call, &reply, .searchStore) }

    static let complexity = """
        O(N+log(M)), N being the number of members in the cells that cover the shape and M the size of the index
        """
    static let unitHistory = (version: "7.0.0", change: "Units may be written in capitals.")

    private static let from = ArgumentSpec.oneOf(
        "from",
        [
            ArgumentSpec("member", .string, token: "FROMMEMBER"),
            ArgumentSpec(
                "longitude_latitude", .block, token: "FROMLONLAT",
                arguments: [ArgumentSpec("longitude", .double), ArgumentSpec("latitude", .double)]),
        ])
    private static let by = ArgumentSpec.oneOf(
        "by",
        [
            .block("circle", [ArgumentSpec("radius", .double, token: "BYRADIUS"), GeoUnit.argument()]),
            .block(
                "box",
                [
                    ArgumentSpec("width", .double, token: "BYBOX"), ArgumentSpec("height", .double),
                    GeoUnit.argument(),
                ]),
        ])
    static let order = ArgumentSpec.oneOf("order", optional: true, [.token("ASC"), .token("DESC")])
    static let withRest: [ArgumentSpec] = [.token("WITHDIST", optional: true), .token("WITHHASH", optional: true)]

    static func count(anySince: String? = nil) -> ArgumentSpec {
        .block(
            "count", optional: true,
            [
                ArgumentSpec("count", .integer, token: "COUNT"),
                .token("ANY", optional: true, since: anySince),
            ])
    }
}

enum GeoRadiusCommand {
    static let spec = CommandSpec(
        "GEORADIUS", summary: "Returns or stores the members of a geo index within a circle around a position.",
        since: "3.2.0", group: .geo, complexity: GeoSearchCommand.complexity, arity: -6,
        flags: [.write, .denyOutOfMemory, .movableKeys], keys: keys(storeFrom: 6),
        arguments: arguments(anySince: "6.2.0") + storeArguments,
        replies: GeoSearch.replies + [.integer("with STORE or STOREDIST: the number of members stored")],
        history: [anyHistory, GeoSearchCommand.unitHistory], differences: [secondStore],
        deprecation: (since: "6.2.0", replacement: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument")
    ) { (call, reply) throws(CommandError) in try GeoSearch.run(&call, &reply, .radius(isReadOnly: false)) }

    static let readOnlySpec = CommandSpec(
        "GEORADIUS_RO", summary: "Returns the members of a geo index within a circle around a position.",
        since: "3.2.10", group: .geo, complexity: GeoSearchCommand.complexity, arity: -6, flags: .readOnly,
        keys: [.one([.readOnly, .access])], arguments: arguments(anySince: "6.2.0"), replies: GeoSearch.replies,
        history: [anyHistory],
        deprecation: (since: "6.2.0", replacement: "`GEOSEARCH` with the `BYRADIUS` argument")
    ) { (call, reply) throws(CommandError) in try GeoSearch.run(&call, &reply, .radius(isReadOnly: true)) }

    static let anyHistory = (version: "6.2.0", change: "COUNT may be followed by ANY.")
    static let secondStore = """
        STORE or STOREDIST may be given once: a second destination is a syntax error, where Redis takes the last one.
        """

    static func keys(storeFrom index: Int) -> [KeySpec] {
        [.one([.readOnly, .access])]
            + ["STORE", "STOREDIST"].map {
                KeySpec(
                    [.overwrite, .update], begin: .keyword($0, from: index),
                    find: .range(last: 0, step: 1, limit: 0))
            }
    }

    static let storeArguments = [
        ArgumentSpec("key", .key, token: "STORE", keySpecIndex: 1, isOptional: true),
        ArgumentSpec("key", .key, token: "STOREDIST", keySpecIndex: 2, isOptional: true),
    ]

    /// What both commands have behind the centre.
    static func circleArguments(anySince: String?) -> [ArgumentSpec] {
        [ArgumentSpec("radius", .double), GeoUnit.argument(), .token("WITHCOORD", optional: true)]
            + GeoSearchCommand.withRest + [GeoSearchCommand.count(anySince: anySince), GeoSearchCommand.order]
    }

    private static func arguments(anySince: String?) -> [ArgumentSpec] {
        [.key(), ArgumentSpec("longitude", .double), ArgumentSpec("latitude", .double)]
            + circleArguments(anySince: anySince)
    }
}

enum GeoRadiusByMemberCommand {
    static let spec = CommandSpec(
        "GEORADIUSBYMEMBER", summary: "Returns or stores the members of a geo index within a circle around a member.",
        since: "3.2.0", group: .geo, complexity: GeoSearchCommand.complexity, arity: -5,
        flags: [.write, .denyOutOfMemory, .movableKeys], keys: GeoRadiusCommand.keys(storeFrom: 5),
        arguments: arguments + GeoRadiusCommand.storeArguments,
        replies: GeoSearch.replies + [.integer("with STORE or STOREDIST: the number of members stored")],
        history: [GeoSearchCommand.unitHistory], differences: [GeoRadiusCommand.secondStore],
        deprecation: (
            since: "6.2.0",
            replacement: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"
        )
    ) { (call, reply) throws(CommandError) in try GeoSearch.run(&call, &reply, .radiusByMember(isReadOnly: false)) }

    static let readOnlySpec = CommandSpec(
        "GEORADIUSBYMEMBER_RO", summary: "Returns the members of a geo index within a circle around a member.",
        since: "3.2.10", group: .geo, complexity: GeoSearchCommand.complexity, arity: -5, flags: .readOnly,
        keys: [.one([.readOnly, .access])], arguments: arguments, replies: GeoSearch.replies,
        deprecation: (
            since: "6.2.0", replacement: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"
        )
    ) { (call, reply) throws(CommandError) in try GeoSearch.run(&call, &reply, .radiusByMember(isReadOnly: true)) }

    private static let arguments =
        [.key(), ArgumentSpec("member", .string)] + GeoRadiusCommand.circleArguments(anySince: nil)
}

/// How the four commands search.
enum GeoSearch {
    static let replies: [ReplySpec] = [
        .array("the members; with WITHDIST, WITHHASH or WITHCOORD an array for each: member, distance, score, position")
    ]

    static func run(
        _ call: inout CommandCall, _ reply: inout ReplyWriter, _ form: GeoSearchForm
    ) throws(CommandError) {
        let source = form == .searchStore ? call.key(1) : call.key
        let index = try call.keyspace.read(source)?.sortedSetValue()
        let options = try GeoSearchOptions(call, form, index)
        guard let index, let shape = options.shape else {
            guard let destination = options.destination else { return reply.array(0) }
            call.removeInsteadOfStoring(destination)
            return reply.integer(0)
        }
        var matches = FallibleArray<GeoMatch>()
        try find(in: index, shape, limit: options.isAny ? options.count : nil, &matches)
        guard options.order.sort(&matches) else { throw .outOfMemory }
        let count = min(matches.count, options.count ?? .max)
        if let destination = options.destination {
            try store(matches, count, options, shape, at: destination, event: form.storeEvent, &call)
            return reply.integer(count)
        }
        reply.array(count)
        for position in 0..<count where !reply.hasOverflowed { write(matches[position], options, shape, &reply) }
    }

    private static func find(
        in index: SortedSetValue, _ shape: GeoShape, limit: Int?, _ matches: inout FallibleArray<GeoMatch>
    ) throws(CommandError) {
        var isRefused = false
        shape.forEachCell { cell in
            let scores = cell.scores
            let ranks = index.ranks(
                from: ScoreBound(scores.first), through: ScoreBound(scores.end, isExclusive: true))
            index.forEach(in: ranks) { member, score in
                let position = Geohash(score: score).position
                guard let distance = shape.distance(to: position) else { return true }
                guard matches.append(GeoMatch(member: member, score: score, distance: distance)) else {
                    isRefused = true
                    return false
                }
                return matches.count < limit ?? .max
            }
            return !isRefused && matches.count < limit ?? .max
        }
        if isRefused { throw .outOfMemory }
    }

    private static func store(
        _ matches: borrowing FallibleArray<GeoMatch>, _ count: Int, _ options: GeoSearchOptions, _ shape: GeoShape,
        at destination: Key, event: StaticString, _ call: inout CommandCall
    ) throws(CommandError) {
        var elements = ScoredMembers()
        for position in 0..<count {
            let match = matches[position]
            let score = options.storesDistance ? match.distance / shape.metresPerUnit : match.score
            guard elements.append(match.member, score) else { throw .outOfMemory }
        }
        guard elements.sort(by: ScoredMember.precedes) else { throw .outOfMemory }
        try call.store(&elements, at: destination, event: event)
        if count > 1 { call.effects.noteChanges(count - 1) }
    }

    private static func write(
        _ match: GeoMatch, _ options: GeoSearchOptions, _ shape: GeoShape, _ reply: inout ReplyWriter
    ) {
        let extraCount = (options.withDistance ? 1 : 0) + (options.withHash ? 1 : 0) + (options.withPosition ? 1 : 0)
        if extraCount > 0 { reply.array(1 + extraCount) }
        reply.bulk(match.member)
        if options.withDistance { reply.distance(match.distance / shape.metresPerUnit) }
        if options.withHash { reply.integer(Int64(bitPattern: Geohash(score: match.score).bits)) }
        if options.withPosition { reply.position(Geohash(score: match.score).position) }
    }
}
