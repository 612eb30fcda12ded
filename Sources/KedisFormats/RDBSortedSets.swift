// Sorted sets in RDB files: written as Redis 7.0 does, read as every version up to 7.2 wrote them.
//
//      type 3     members, and scores as text behind a byte of length          (Redis up to 3.2)
//      type 5     members, and scores of eight bytes       (written for large ones, the highest first)
//      type 12    one ziplist of members and scores in turn                  (2.6 to 6.2)
//      type 17    one listpack of members and scores in turn                 (7.0; written for small ones)
//
// Nothing is believed: a score that is no number, or a member that is there twice, is an error; an order that is wrong
// is put right.

package import KedisStore
package import KedisUtilities

/// How the sorted set is stored that comes next.
struct RDBSortedSetCursor {
    var type: UInt8
    /// Elements that are still to be read, or 1 for a packed one.
    var partCount: UInt64
}

/// A part of a sorted set.
package enum RDBSortedSetPart {
    case element(ByteView, score: Double)
    /// Well-formed packed entries, members and scores in turn.
    case run(ByteView)
    /// Members and scores in turn, in an older form.
    case values([StringValue])
}

enum RDBSortedSetType {
    static let texts: UInt8 = 3
    static let binary: UInt8 = 5
    static let ziplist: UInt8 = 12
    static let listpack: UInt8 = 17

    static func isSortedSet(_ type: UInt8) -> Bool {
        type == texts || type == binary || isPacked(type)
    }

    static func isPacked(_ type: UInt8) -> Bool { type == ziplist || type == listpack }

    /// What stands for the length of a score that is none of digits.
    static let notANumber: UInt8 = 253
    static let infinity: UInt8 = 254
    static let negativeInfinity: UInt8 = 255
}

extension RDBReader {
    /// Begins a sorted set, whose parts ``nextSortedSetPart()`` gives.
    mutating func beginSortedSet(type: UInt8) throws(RDBError) {
        let isPacked = RDBSortedSetType.isPacked(type)
        sortedSet = RDBSortedSetCursor(type: type, partCount: isPacked ? 1 : try input.readLength())
        guard let sortedSet, sortedSet.partCount > 0 else { throw input.error(.badCollection) }
    }

    /// The next part of the sorted set that was begun by the last item; nil at its end. Views are valid until the next
    /// call.
    package mutating func nextSortedSetPart() throws(RDBError) -> RDBSortedSetPart? {
        guard var cursor = sortedSet, cursor.partCount > 0 else {
            sortedSet = nil
            return nil
        }
        cursor.partCount -= 1
        sortedSet = cursor
        switch cursor.type {
        case RDBSortedSetType.listpack:
            guard let (run, count) = ListpackFrame.run(in: try readBytes()), count > 0, count % 2 == 0 else {
                throw input.error(.badCollection)
            }
            return .run(run)
        case RDBSortedSetType.ziplist:
            guard var ziplist = ZiplistReader(try readBytes()) else { throw input.error(.badCollection) }
            var values: [StringValue] = []
            while let value = ziplist.next() { values.append(value) }
            guard ziplist.isWhole, !values.isEmpty, values.count % 2 == 0 else { throw input.error(.badCollection) }
            return .values(values)
        default:
            let member = try readMember()
            let score = cursor.type == RDBSortedSetType.binary ? try readBinaryScore() : try readTextScore()
            guard !score.isNaN else { throw input.error(.badCollection) }
            return .element(member, score: score)
        }
    }

    /// Reads a string that outlives the score behind it.
    mutating func readMember() throws(RDBError) -> ByteView {
        let value = try readValue()
        let byteCount = max(value.byteCount, 1)
        guard memberScratch.reserve(byteCount) else { throw input.error(.outOfMemory(byteCount: byteCount)) }
        let base = memberScratch.base.assumingMemoryBound(to: UInt8.self)
        value.withBytes { base.update(from: $0.base, count: $0.count) }
        return ByteView(base: base, count: value.byteCount)
    }

    private mutating func readBinaryScore() throws(RDBError) -> Double {
        Double(bitPattern: try input.readLittleEndian(byteCount: 8))
    }

    private mutating func readTextScore() throws(RDBError) -> Double {
        switch try input.readByte() {
        case RDBSortedSetType.notANumber: return .nan
        case RDBSortedSetType.infinity: return .infinity
        case RDBSortedSetType.negativeInfinity: return -.infinity
        case let byteCount:
            guard let score = parseDouble(try input.readBytes(byteCount: UInt64(byteCount))) else {
                throw input.error(.badCollection)
            }
            return score
        }
    }

    // MARK: Into the store

    /// Puts the sorted set that was begun under `key`, where nothing is.
    mutating func loadSortedSet(as key: Key, in keyspace: Keyspace, limits: SortedSetLimits) throws(RDBError) {
        var limits = limits
        // What is packed stays so, however long its members are, as in Redis.
        if sortedSet.map({ RDBSortedSetType.isPacked($0.type) }) == true { limits.memberByteCountMax = .max }
        var loading: SortedSetLoading?
        do throws(StoreError) {
            loading = SortedSetLoading(editor: try keyspace.makeSortedSet(key, limits: limits))
        } catch {
            throw input.error(.outOfMemory(byteCount: key.bytes.count))
        }
        while let part = try nextSortedSetPart() {
            switch part {
            case .element(let member, let score): try put(.bytes(member), score, &loading)
            case .run(let run):
                var reader = PackedRunReader(run)
                while let member = reader.next(), let score = reader.next() {
                    try put(member, packedScore(score) ?? .nan, &loading)
                }
            case .values(let values):
                for index in stride(from: 0, to: values.count - 1, by: 2) {
                    try put(values[index], packedScore(values[index + 1]) ?? .nan, &loading)
                }
            }
        }
    }

    private struct SortedSetLoading {
        var editor: SortedSetEditor
    }

    private mutating func put(
        _ member: StringValue, _ score: Double, _ loading: inout SortedSetLoading?
    ) throws(RDBError) {
        guard !score.isNaN else { throw input.error(.badCollection) }
        do throws(StoreError) {
            let old = try member.withBytes { (bytes) throws(StoreError) in
                try loading?.editor.update(bytes) { $0 ?? score }.old
            }
            if old == nil { return }
        } catch {
            throw input.error(.outOfMemory(byteCount: member.byteCount))
        }
        // Twice there.
        throw input.error(.badCollection)
    }
}

extension RDBWriter {
    /// Writes a sorted set without its type.
    mutating func writeSortedSet(_ set: SortedSetValue) {
        if let run = set.packedRun { return writeListpack(run, count: 2 * set.count) }
        writeLength(set.count)
        // The highest first, as Redis has it, which loads that order fastest.
        set.forEachReversed(in: 0..<set.count) { member, score in
            member.withBytes { writeString($0) }
            appendLittleEndian(score.bitPattern, byteCount: 8)
            return !isFailed
        }
    }
}
