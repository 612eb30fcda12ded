// Circles and boxes on the earth, and the cells of the map that cover them.
//
// A search looks at the cell of its centre and the eight around it, of a size at which they cover the shape, and
// compares each position in them. The earth is a sphere here: errors are up to 0.5 %. The radius, the estimate of the
// cells' size and their order are those of Redis, so that replies have the same members in the same order.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Of the sphere, in metres.
private let earthRadius = 6_372_797.560856
private let radiansPerDegree = Double.pi / 180
/// Half the width of the Mercator map at the equator, in metres.
private let mercatorMax = 20_037_726.37

extension GeoPosition {
    /// In metres, along the surface.
    package func distance(to other: GeoPosition) -> Double {
        let v = sin((other.longitude * radiansPerDegree - longitude * radiansPerDegree) / 2)
        // On one meridian no trigonometry is needed.
        if v == 0 { return latitudeDistance(to: other) }
        let (first, second) = (latitude * radiansPerDegree, other.latitude * radiansPerDegree)
        let u = sin((second - first) / 2)
        return 2 * earthRadius * asin((u * u + cos(first) * cos(second) * v * v).squareRoot())
    }

    /// The part of the distance that goes north or south.
    func latitudeDistance(to other: GeoPosition) -> Double {
        earthRadius * (other.latitude * radiansPerDegree - latitude * radiansPerDegree).magnitude
    }
}

package struct GeoShape: Sendable {
    /// In the unit of the search.
    package enum Extent: Sendable {
        case circle(radius: Double)
        case box(width: Double, height: Double)
    }

    package var centre: GeoPosition
    package var extent: Extent
    /// Of the unit, in metres.
    package var metresPerUnit: Double

    package init(centre: GeoPosition, extent: Extent, metresPerUnit: Double) {
        self.centre = centre
        self.extent = extent
        self.metresPerUnit = metresPerUnit
    }

    /// The distance of a position from the centre in metres; nil when it is not in the shape.
    package func distance(to position: GeoPosition) -> Double? {
        switch extent {
        case .circle(let radius):
            let distance = centre.distance(to: position)
            return distance > radius * metresPerUnit ? nil : distance
        case .box(let width, let height):
            if position.latitudeDistance(to: centre) > height * metresPerUnit / 2 { return nil }
            let level = GeoPosition(longitude: centre.longitude, latitude: position.latitude)
            if position.distance(to: level) > width * metresPerUnit / 2 { return nil }
            return centre.distance(to: position)
        }
    }

    /// The smallest box of the map around the shape; beyond the map where the shape is.
    var bounds: GeoBounds {
        let (halfWidth, halfHeight): (Double, Double) =
            switch extent {
            case .circle(let radius): (radius * metresPerUnit, radius * metresPerUnit)
            case .box(let width, let height): (width / 2 * metresPerUnit, height / 2 * metresPerUnit)
            }
        let latitude = halfHeight / earthRadius / radiansPerDegree
        // A parallel is shortest where it is nearest to a pole: so many degrees are half the width there.
        let nearest = centre.latitude < 0 ? centre.latitude - latitude : centre.latitude + latitude
        let longitude = halfWidth / earthRadius / cos(nearest * radiansPerDegree) / radiansPerDegree
        return GeoBounds(
            west: centre.longitude - longitude, south: centre.latitude - latitude,
            east: centre.longitude + longitude, north: centre.latitude + latitude)
    }

    /// The radius of the circle around it, in metres.
    private var radius: Double {
        switch extent {
        case .circle(let radius): radius * metresPerUnit
        case .box(let width, let height):
            (width / 2 * (width / 2) + height / 2 * (height / 2)).squareRoot() * metresPerUnit
        }
    }

    /// Halvings after which a cell and those around it cover the shape, nearly always.
    private var stepCount: Int {
        var range = radius
        guard range > 0 else { return Geohash.stepCountMax }
        var count = 1
        while range < mercatorMax {
            range *= 2
            count += 1
        }
        count -= 2
        // Cells get narrow towards the poles.
        if centre.latitude.magnitude > 66 { count -= 1 }
        if centre.latitude.magnitude > 80 { count -= 1 }
        return max(1, min(Geohash.stepCountMax, count))
    }

    /// Calls `body` with each cell to search, until it answers false: at most nine, none twice in a row.
    package func forEachCell(_ body: (Geohash) -> Bool) {
        let bounds = bounds
        var centreCell = Geohash(centre, stepCount: stepCount)
        if centreCell.stepCount > 1, !centreCell.reaches(bounds) {
            centreCell = Geohash(centre, stepCount: centreCell.stepCount - 1)
        }
        let inner = centreCell.bounds
        let isLarge = centreCell.stepCount < 2
        var last: Geohash?
        // The order in which Redis looks, which is that of unsorted replies.
        let steps = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]
        for (east, north) in steps {
            // What lies beyond the bounds on that side has nothing of the shape.
            let isNeeded =
                isLarge
                || !(north < 0 && inner.south < bounds.south || north > 0 && inner.north > bounds.north
                    || east < 0 && inner.west < bounds.west || east > 0 && inner.east > bounds.east)
            guard isNeeded else { continue }
            let cell = centreCell.neighbour(east: east, north: north)
            // Of two or four cells in all some are their own neighbours.
            if cell == last { continue }
            last = cell
            guard body(cell) else { return }
        }
    }
}

extension Geohash {
    /// Whether the cells around reach the bounds on every side.
    fileprivate func reaches(_ bounds: GeoBounds) -> Bool {
        neighbour(east: 0, north: 1).bounds.north >= bounds.north
            && neighbour(east: 0, north: -1).bounds.south <= bounds.south
            && neighbour(east: 1, north: 0).bounds.east >= bounds.east
            && neighbour(east: -1, north: 0).bounds.west <= bounds.west
    }
}
