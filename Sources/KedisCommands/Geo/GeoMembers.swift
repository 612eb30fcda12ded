// GEOPOS, GEOHASH, GEODIST: where members are.

import KedisProtocol
import KedisStore
import KedisUtilities

enum GeoPositionCommand {
    static let spec = CommandSpec(
        "GEOPOS", summary: "Returns the positions of members of a geo index.", since: "3.2.0", group: .geo,
        complexity: "O(N), N being the number of members asked for", arity: -2,
        flags: .readOnly, keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("member", .string, isMultiple: true)],
        replies: [.array("for each member longitude and latitude in degrees, or a null array")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let index = try call.geoIndex()
        reply.array(call.arguments.count - 2)
        for argument in 2..<call.arguments.count {
            if let position = index?.position(of: call.arguments[argument]) {
                reply.position(position)
            } else {
                reply.nullArray()
            }
        }
    }
}

enum GeoHashCommand {
    static let spec = CommandSpec(
        "GEOHASH", summary: "Returns the positions of members of a geo index as geohashes of eleven characters.",
        since: "3.2.0", group: .geo,
        complexity: "O(log(N)) for each member asked for, N being the size of the index", arity: -2,
        flags: .readOnly, keys: [.one([.readOnly, .access])],
        arguments: [.key(), ArgumentSpec("member", .string, isMultiple: true)],
        replies: [.array("for each member the text, or null")], handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let index = try call.geoIndex()
        reply.array(call.arguments.count - 2)
        for argument in 2..<call.arguments.count {
            if let position = index?.position(of: call.arguments[argument]) {
                Geohash.text(of: position).withUnsafeBytes { reply.bulk(ByteView($0)) }
            } else {
                reply.null()
            }
        }
    }
}

enum GeoDistanceCommand {
    static let spec = CommandSpec(
        "GEODIST", summary: "Returns the distance between two members of a geo index.", since: "3.2.0", group: .geo,
        complexity: "O(log(N)), N being the size of the index", arity: -4, flags: .readOnly,
        keys: [.one([.readOnly, .access])],
        arguments: [
            .key(), ArgumentSpec("member1", .string), ArgumentSpec("member2", .string),
            GeoUnit.argument(optional: true),
        ],
        replies: [
            .bulk("the distance in the unit, metres if there is none, with four decimal places"),
            .null("the key or one of the members does not exist"),
        ],
        handler: run
    )

    private static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var unit = GeoUnit.metre
        if call.arguments.count == 5 {
            unit = try GeoUnit(call.arguments[4])
        } else if call.arguments.count > 5 {
            throw .syntax
        }
        guard let index = try call.geoIndex(), let first = index.position(of: call.arguments[2]),
            let second = index.position(of: call.arguments[3])
        else { return reply.null() }
        reply.distance(first.distance(to: second) / unit.metres)
    }
}
