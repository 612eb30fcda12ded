// What a geo search has found: an array of its own memory, whose refusal is an answer.
//
// Ownership: the search, which calls `deallocate()`. The members are views of the sorted set, valid until the keyspace
// is changed.

import KedisStore
import KedisUtilities

struct GeoMatch: BitwiseCopyable {
    var member: StringValue
    var score: Double
    /// From the centre, in metres.
    var distance: Double
}

enum GeoOrder {
    case none, ascending, descending
}

struct GeoMatches {
    private var memory: UnsafeMutablePointer<GeoMatch>?
    private var capacity = 0
    private(set) var count = 0

    subscript(position: Int) -> GeoMatch {
        guard let memory, position < count else { preconditionFailure("there is no match at \(position)") }
        return memory[position]
    }

    /// False when memory is exhausted.
    mutating func append(_ match: GeoMatch) -> Bool {
        if count == capacity {
            let grown = max(32, capacity * 2)
            guard let resized = resizeBuffer(memory, capacity: grown) else { return false }
            (memory, capacity) = (resized, grown)
        }
        guard let memory else { return false }
        (memory + count).initialize(to: match)
        count += 1
        return true
    }

    /// By distance; those that are equally far stay as they were found.
    func sort(_ order: GeoOrder) {
        var matches = UnsafeMutableBufferPointer(start: memory, count: count)
        switch order {
        case .none: break
        case .ascending: matches.sort { $0.distance < $1.distance }
        case .descending: matches.sort { $0.distance > $1.distance }
        }
    }

    mutating func deallocate() {
        deallocateBuffer(memory)
        (memory, capacity, count) = (nil, 0, 0)
    }
}
