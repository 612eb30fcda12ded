// What a `.resp` file expects of one reply, and the matcher against a `Reply` of either protocol.
//
// An expectation is written once, in RESP3's terms; the matcher knows what each of them becomes in RESP2 (a map is a
// flat array, a double is a bulk string …), so that one file serves both protocols. Pure values; matching costs the
// size of the reply, for unordered collections times the size of the expectation.

package import KedisProtocol

/// What a run of bytes is expected to be.
package enum BytePattern: Equatable, Sendable {
    case exact([UInt8])
    /// `*` stands for any bytes, `?` for one; everything else for itself.
    case glob([UInt8])
    case anything

    package func matches(_ bytes: [UInt8]) -> Bool {
        switch self {
        case .exact(let expected): expected == bytes
        case .glob(let pattern): BytePattern.glob(pattern[...], matches: bytes[...])
        case .anything: true
        }
    }

    /// Iterative matching with one point to come back to: the last star. O(pattern × bytes) at worst.
    private static func glob(_ pattern: ArraySlice<UInt8>, matches bytes: ArraySlice<UInt8>) -> Bool {
        let star = UInt8(ascii: "*")
        var patternIndex = pattern.startIndex
        var byteIndex = bytes.startIndex
        var retry: (patternIndex: Int, byteIndex: Int)?
        while byteIndex < bytes.endIndex {
            if patternIndex < pattern.endIndex, pattern[patternIndex] == star {
                retry = (patternIndex + 1, byteIndex)
                patternIndex += 1
            } else if patternIndex < pattern.endIndex,
                pattern[patternIndex] == UInt8(ascii: "?") || pattern[patternIndex] == bytes[byteIndex]
            {
                patternIndex += 1
                byteIndex += 1
            } else if let last = retry {
                retry = (last.patternIndex, last.byteIndex + 1)
                patternIndex = last.patternIndex
                byteIndex = last.byteIndex + 1
            } else {
                return false
            }
        }
        return pattern[patternIndex...].allSatisfy { $0 == star }
    }
}

/// How the elements of a collection are compared.
package enum ElementOrder: Equatable, Sendable {
    /// Element by element.
    case ordered
    /// The same elements, in any order.
    case unordered
    /// At least these elements, in any order.
    case contains
}

/// One expected reply, see `Tests/commands/README.md`.
package indirect enum RespExpectation: Equatable, Sendable {
    case anything
    case simple(BytePattern)
    case error(BytePattern)
    case integer(ClosedRange<Int64>)
    case bulk(BytePattern)
    case verbatim(BytePattern)
    case null
    case nullArray
    case array([RespExpectation], ElementOrder)
    case anyArray
    /// Keys and values in turn. Always compared in any order.
    case map([RespExpectation], ElementOrder)
    case anyMap
    case set([RespExpectation], ElementOrder)
    case push([RespExpectation])
    case double(BytePattern)
    case boolean(Bool)
    case bigNumber([UInt8])
}

extension RespExpectation {
    /// Whether `reply`, received in protocol `protocolVersion` (2 or 3), is what is expected.
    package func matches(_ reply: Reply, protocolVersion: Int) -> Bool {
        switch (self, reply) {
        case (.anything, _): return true
        case (.simple(let pattern), .simple(let bytes)): return pattern.matches(bytes)
        case (.error(let pattern), .error(let bytes)): return pattern.matches(bytes)
        case (.integer(let range), .integer(let value)): return range.contains(value)
        case (.bulk(let pattern), .bulk(let bytes)): return pattern.matches(bytes)
        case (.null, .null): return true
        case (.array(let expected, let order), .array(let replies)):
            return Self.matches(expected, replies, order, protocolVersion)
        case (.anyArray, .array): return true
        case (.push(let expected), .push(let replies)):
            return Self.matches(expected, replies, .ordered, protocolVersion)
        default:
            return protocolVersion == 2 ? matchesSecond(reply) : matchesThird(reply)
        }
    }

    /// The types that only RESP3 has, as they are there.
    private func matchesThird(_ reply: Reply) -> Bool {
        switch (self, reply) {
        case (.nullArray, .null): return true
        case (.verbatim(let pattern), .verbatim(let format, let text)):
            return format == Array("txt".utf8) && pattern.matches(text)
        case (.double(let pattern), .double(let bytes)): return pattern.matches(bytes)
        case (.boolean(let expected), .boolean(let value)): return expected == value
        case (.bigNumber(let expected), .bigNumber(let digits)): return expected == digits
        case (.set(let expected, let order), .set(let replies)):
            return Self.matches(expected, replies, order, 3)
        case (.anyMap, .map): return true
        case (.map(let expected, let order), .map(let entries)):
            let pairs = entries.map { Reply.array([$0.key, $0.value]) }
            return Self.matches(Self.pairs(expected), pairs, order, 3)
        default: return false
        }
    }

    /// The same types as RESP2 has to say them.
    private func matchesSecond(_ reply: Reply) -> Bool {
        switch (self, reply) {
        case (.nullArray, .nullArray): return true
        case (.verbatim(let pattern), .bulk(let bytes)), (.double(let pattern), .bulk(let bytes)):
            return pattern.matches(bytes)
        case (.boolean(let expected), .integer(let value)): return value == (expected ? 1 : 0)
        case (.bigNumber(let expected), .bulk(let digits)): return expected == digits
        case (.set(let expected, let order), .array(let replies)):
            return Self.matches(expected, replies, order, 2)
        case (.push(let expected), .array(let replies)):
            return Self.matches(expected, replies, .ordered, 2)
        case (.anyMap, .array(let replies)): return replies.count.isMultiple(of: 2)
        case (.map(let expected, let order), .array(let replies)):
            guard replies.count.isMultiple(of: 2) else { return false }
            let pairs = stride(from: 0, to: replies.count, by: 2).map { Reply.array([replies[$0], replies[$0 + 1]]) }
            return Self.matches(Self.pairs(expected), pairs, order, 2)
        default: return false
        }
    }

    private static func pairs(_ flat: [RespExpectation]) -> [RespExpectation] {
        stride(from: 0, to: flat.count - 1, by: 2).map { .array([flat[$0], flat[$0 + 1]], .ordered) }
    }

    private static func matches(
        _ expected: [RespExpectation], _ replies: [Reply], _ order: ElementOrder, _ protocolVersion: Int
    ) -> Bool {
        switch order {
        case .ordered:
            return expected.count == replies.count
                && zip(expected, replies).allSatisfy { $0.matches($1, protocolVersion: protocolVersion) }
        case .unordered where expected.count != replies.count:
            return false
        case .unordered, .contains:
            return assigns(expected, to: replies, protocolVersion)
        }
    }

    /// Whether every expectation can have a reply of its own: a bipartite matching by augmenting paths, so that an
    /// expectation that matches anything does not take the reply that another one needs.
    private static func assigns(_ expected: [RespExpectation], to replies: [Reply], _ protocolVersion: Int) -> Bool {
        var owner = [Int?](repeating: nil, count: replies.count)

        func place(_ index: Int, _ seen: inout [Bool]) -> Bool {
            for candidate in replies.indices
            where !seen[candidate] && expected[index].matches(replies[candidate], protocolVersion: protocolVersion) {
                seen[candidate] = true
                if let previous = owner[candidate], !place(previous, &seen) { continue }
                owner[candidate] = index
                return true
            }
            return false
        }

        return expected.indices.allSatisfy { index in
            var seen = [Bool](repeating: false, count: replies.count)
            return place(index, &seen)
        }
    }
}
