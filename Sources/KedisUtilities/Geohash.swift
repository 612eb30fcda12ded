// Positions on the earth as 52-bit numbers: the scores of GEOADD.
//
//      latitude  ─▶ 26 bits ─┐  interleaved, latitude in the even bits:
//      longitude ─▶ 26 bits ─┘  bits 51 … 0, so that near positions mostly have near numbers
//
// Each of 26 halvings of the latitude (±85.05…°, where the square map of Mercator ends) and the longitude (±180°) gives
// a bit. Fewer halvings name a larger cell, whose positions are one range of scores.
//
// Value types, no ownership. Sources: the geohash of G. Niemeyer; the ranges and the order of bits are Redis's, whose
// files and clients see the scores.

/// Degrees.
package struct GeoPosition: Equatable, Sendable {
    package static let longitudeMax = 180.0
    package static let latitudeMax = 85.05112878

    package var longitude: Double
    package var latitude: Double

    package init(longitude: Double, latitude: Double) {
        self.longitude = longitude
        self.latitude = latitude
    }

    /// Whether it has a geohash.
    package var isValid: Bool {
        longitude.magnitude <= Self.longitudeMax && latitude.magnitude <= Self.latitudeMax
    }
}

/// A part of the map, in degrees.
package struct GeoBounds: Equatable, Sendable {
    package var west: Double
    package var south: Double
    package var east: Double
    package var north: Double
}

/// A cell of the map: the positions that begin with the same `2 * stepCount` bits.
package struct Geohash: Equatable, Sendable {
    package static let stepCountMax = 26

    package var bits: UInt64
    /// Halvings of each axis, 1 to ``stepCountMax``.
    package var stepCount: Int

    /// The cell that holds a valid position.
    package init(_ position: GeoPosition, stepCount: Int = stepCountMax) {
        self.init(position, stepCount: stepCount, latitudeMax: GeoPosition.latitudeMax)
    }

    /// The cell on a map that goes to another latitude, at least that of the position.
    private init(_ position: GeoPosition, stepCount: Int, latitudeMax: Double) {
        let scale = Double(UInt64(1) << UInt64(stepCount))
        let latitude = (position.latitude + latitudeMax) / (2 * latitudeMax) * scale
        let longitude = (position.longitude + GeoPosition.longitudeMax) / (2 * GeoPosition.longitudeMax) * scale
        bits = spread(UInt64(latitude)) | spread(UInt64(longitude)) << 1
        self.stepCount = stepCount
    }

    /// The finest cell of a score, which may be any number: a sorted set takes others than those of GEOADD.
    package init(score: Double) {
        stepCount = Self.stepCountMax
        if score >= -0x1p63, score < 0x1p63 {
            bits = UInt64(bitPattern: Int64(score))
        } else {
            // What has no integer is what x86-64's conversion makes of it, as in Redis.
            bits = UInt64(exactly: score.rounded(.towardZero)) ?? (score < 0 ? 1 << 63 : 0)
        }
    }

    /// As a sorted set keeps it.
    package var score: Double { Double(bits) }

    /// The scores of the positions in the cell.
    package var scores: (first: Double, end: Double) {
        let shift = UInt64(2 * (Self.stepCountMax - stepCount))
        return (Double(bits << shift), Double((bits &+ 1) << shift))
    }

    package var bounds: GeoBounds {
        let scale = Double(UInt64(1) << UInt64(stepCount))
        let row = UInt32(truncatingIfNeeded: gather(bits))
        let column = UInt32(truncatingIfNeeded: gather(bits >> 1))
        let (width, height) = (2 * GeoPosition.longitudeMax, 2 * GeoPosition.latitudeMax)
        return GeoBounds(
            west: -GeoPosition.longitudeMax + Double(column) / scale * width,
            south: -GeoPosition.latitudeMax + Double(row) / scale * height,
            east: -GeoPosition.longitudeMax + Double(column &+ 1) / scale * width,
            north: -GeoPosition.latitudeMax + Double(row &+ 1) / scale * height)
    }

    /// The middle of the cell, on the map.
    package var position: GeoPosition {
        let bounds = bounds
        let (longitude, latitude) = ((bounds.west + bounds.east) / 2, (bounds.south + bounds.north) / 2)
        return GeoPosition(
            longitude: max(-GeoPosition.longitudeMax, min(GeoPosition.longitudeMax, longitude)),
            latitude: max(-GeoPosition.latitudeMax, min(GeoPosition.latitudeMax, latitude)))
    }

    /// The cell so many columns to the east and rows to the north (-1, 0 or 1 of each), around the map's edges.
    package func neighbour(east columns: Int, north rows: Int) -> Geohash {
        let mask = (UInt64(1) << UInt64(stepCount)) &- 1
        let row = (gather(bits) &+ UInt64(bitPattern: Int64(rows))) & mask
        let column = (gather(bits >> 1) &+ UInt64(bitPattern: Int64(columns))) & mask
        var cell = self
        cell.bits = spread(row) | spread(column) << 1
        return cell
    }

    /// The eleven characters that other systems use, which have a map up to the poles; the last is always 0, as 52 bits
    /// give no more than ten.
    package static func text(of position: GeoPosition) -> [UInt8] {
        let bits = Geohash(position, stepCount: stepCountMax, latitudeMax: 90).bits
        let alphabet: StaticString = "0123456789bcdefghjkmnpqrstuvwxyz"
        return (1...11).map { index in
            alphabet.utf8Start[index == 11 ? 0 : Int(bits >> UInt64(52 - 5 * index) & 31)]
        }
    }
}

/// The low 32 bits of a number on the even bits of the result.
private func spread(_ value: UInt64) -> UInt64 {
    var value = value & 0xFFFF_FFFF
    value = (value | value << 16) & 0x0000_FFFF_0000_FFFF
    value = (value | value << 8) & 0x00FF_00FF_00FF_00FF
    value = (value | value << 4) & 0x0F0F_0F0F_0F0F_0F0F
    value = (value | value << 2) & 0x3333_3333_3333_3333
    return (value | value << 1) & 0x5555_5555_5555_5555
}

/// The even bits of a number, together.
private func gather(_ value: UInt64) -> UInt64 {
    var value = value & 0x5555_5555_5555_5555
    value = (value | value >> 1) & 0x3333_3333_3333_3333
    value = (value | value >> 2) & 0x0F0F_0F0F_0F0F_0F0F
    value = (value | value >> 4) & 0x00FF_00FF_00FF_00FF
    value = (value | value >> 8) & 0x0000_FFFF_0000_FFFF
    return (value | value >> 16) & 0x0000_0000_FFFF_FFFF
}
