// Goal: positions and geohashes agree with each other, distances are those of a sphere, and the cells of a shape hold
// what lies in it. Method: known values, and random positions and shapes. Redis's replies are compared in Tests/commands/geo.

import KedisUtilities
import Testing

@Suite("Positions on the earth")
struct GeoTests {
    private static func position(_ generator: inout RandomGenerator, latitudeMax: Double) -> GeoPosition {
        GeoPosition(
            longitude: Double.random(in: -180...180, using: &generator),
            latitude: Double.random(in: -latitudeMax...latitudeMax, using: &generator))
    }

    @Test func aCellHoldsItsPositionAndHasItsScores() {
        var generator = makeGenerator("geohashes")
        for _ in 0..<20_000 {
            let position = Self.position(&generator, latitudeMax: GeoPosition.latitudeMax)
            let cell = Geohash(position, stepCount: Int.random(in: 1...26, using: &generator))
            let bounds = cell.bounds
            // But for what rounding does at its edges.
            #expect((bounds.west - 1e-9...bounds.east + 1e-9).contains(position.longitude))
            #expect((bounds.south - 1e-9...bounds.north + 1e-9).contains(position.latitude))
            let score = Geohash(position).score
            #expect(cell.scores.first <= score && score < cell.scores.end)
            #expect(Geohash(score: score) == Geohash(position))
            #expect(Geohash(Geohash(position).position) == Geohash(position))
            let around = cell.neighbour(east: 1, north: -1).neighbour(east: -1, north: 1)
            #expect(around == cell)
        }
    }

    @Test func anyScoreIsSomePosition() {
        for score in [0, -1, 1.5, 1e300, -1e300, .infinity, -.infinity, .nan, 0x1p63, -0x1p63, 0x1p64, 0x1p52] {
            #expect(Geohash(score: score).position.isValid)
        }
    }

    @Test func knownTextsAndDistances() {
        let palermo = GeoPosition(longitude: 13.361389, latitude: 38.115556)
        let catania = GeoPosition(longitude: 15.087269, latitude: 37.502669)
        #expect(Geohash.text(of: Geohash(palermo).position) == Array("sqc8b49rny0".utf8))
        #expect((palermo.distance(to: catania) - 166_274.15).magnitude < 1)
        let pole = GeoPosition(longitude: 0, latitude: 85)
        let opposite = GeoPosition(longitude: 180, latitude: -85)
        #expect((pole.distance(to: opposite) - .pi * 6_372_797.560856).magnitude < 1)
    }

    @Test func theCellsOfAShapeHoldWhatLiesInIt() {
        var generator = makeGenerator("geo shapes")
        for _ in 0..<3000 {
            // Near the poles and beyond half the earth Redis's estimate leaves gaps, which are kept.
            let centre = Self.position(&generator, latitudeMax: 60)
            let extent: GeoShape.Extent =
                Bool.random(using: &generator)
                ? .circle(radius: Double.random(in: 0...2_000_000, using: &generator))
                : .box(
                    width: Double.random(in: 0...2_000_000, using: &generator),
                    height: Double.random(in: 0...2_000_000, using: &generator))
            let shape = GeoShape(centre: centre, extent: extent, metresPerUnit: 1)
            var cells: [Geohash] = []
            shape.forEachCell { cell in
                cells.append(cell)
                return true
            }
            #expect(cells.count <= 9 && !cells.isEmpty)
            for _ in 0..<20 {
                let position = GeoPosition(
                    longitude: centre.longitude + Double.random(in: -20...20, using: &generator),
                    latitude: centre.latitude + Double.random(in: -20...20, using: &generator))
                guard position.isValid, shape.distance(to: position) != nil else { continue }
                let score = Geohash(position).score
                #expect(
                    cells.contains { $0.scores.first <= score && score < $0.scores.end },
                    "\(shape) lacks \(position)")
            }
        }
    }
}
