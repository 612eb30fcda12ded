// The family of geo commands, and what they share: units, positions, distances.
//
// A geo index is a sorted set whose scores are geohashes (Geohash.swift): every command of sorted sets works on it, and
// these work on every sorted set.

import KedisProtocol
import KedisStore
import KedisUtilities

let geoCommands: [CommandSpec] = [
    GeoAddCommand.spec,
    GeoDistanceCommand.spec,
    GeoHashCommand.spec,
    GeoPositionCommand.spec,
    GeoRadiusCommand.spec,
    GeoRadiusCommand.readOnlySpec,
    GeoRadiusByMemberCommand.spec,
    GeoRadiusByMemberCommand.readOnlySpec,
    GeoSearchCommand.spec,
    GeoSearchCommand.storeSpec,
]

/// What distances are given in.
enum GeoUnit {
    case metre, kilometre, foot, mile

    init(_ argument: ByteView) throws(CommandError) {
        if argument.equalsIgnoringCase("m") {
            self = .metre
        } else if argument.equalsIgnoringCase("km") {
            self = .kilometre
        } else if argument.equalsIgnoringCase("ft") {
            self = .foot
        } else if argument.equalsIgnoringCase("mi") {
            self = .mile
        } else {
            throw .literal("ERR unsupported unit provided. please use M, KM, FT, MI")
        }
    }

    var metres: Double {
        switch self {
        case .metre: 1
        case .kilometre: 1000
        case .foot: 0.3048
        case .mile: 1609.34
        }
    }

    static func argument(optional: Bool = false) -> ArgumentSpec {
        .oneOf("unit", optional: optional, ["M", "KM", "FT", "MI"].map { .token($0) })
    }
}

extension CommandCall {
    /// The longitude at `index` and the latitude behind it.
    func position(at index: Int) throws(CommandError) -> GeoPosition {
        guard let longitude = parseDouble(arguments[index]), let latitude = parseDouble(arguments[index + 1]) else {
            throw .notAFloat
        }
        let position = GeoPosition(longitude: longitude, latitude: latitude)
        guard position.isValid else {
            throw .text(
                Array("ERR invalid longitude,latitude pair ".utf8) + formatFixed(longitude, places: 6)
                    + Array(",".utf8) + formatFixed(latitude, places: 6))
        }
        return position
    }

    /// The sorted set at the first key, to be read; nil when there is none.
    func geoIndex() throws(CommandError) -> SortedSetValue? {
        try keyspace.read(key)?.sortedSetValue()
    }
}

extension SortedSetValue {
    /// Where a member is; nil when it is none.
    func position(of member: ByteView) -> GeoPosition? {
        score(of: member).map { Geohash(score: $0).position }
    }
}

extension ReplyWriter {
    /// A distance, with four decimal places.
    mutating func distance(_ distance: Double) {
        formatFixed(distance, places: 4).withUnsafeBytes { bulk(ByteView($0)) }
    }

    /// Longitude and latitude.
    mutating func position(_ position: GeoPosition) {
        array(2)
        for coordinate in [position.longitude, position.latitude] {
            LongDouble(coordinate).formatted().withUnsafeBytes { text in
                guard version == .resp3 else { return bulk(ByteView(text)) }
                raw(",")
                raw(ByteView(text))
                raw("\r\n")
            }
        }
    }
}
