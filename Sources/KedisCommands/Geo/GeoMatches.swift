// What a geo search has found, and in which order it is wanted.

import KedisStore
import KedisUtilities

struct GeoMatch: BitwiseCopyable {
    /// A view of the sorted set, valid until the keyspace is changed.
    var member: StringValue
    var score: Double
    /// From the centre, in metres.
    var distance: Double
}

enum GeoOrder {
    case none, ascending, descending

    /// Orders matches by distance; those that are equally far stay as they were found. False when memory is refused.
    func sort(_ matches: inout FallibleArray<GeoMatch>) -> Bool {
        switch self {
        case .none: true
        case .ascending: matches.sort { $0.distance < $1.distance }
        case .descending: matches.sort { $0.distance > $1.distance }
        }
    }
}
