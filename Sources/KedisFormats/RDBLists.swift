// Lists in RDB files: written as Redis 7.0 does, read as every version up to 7.2 wrote them.
//
//      type 1     the elements as strings                  (Redis up to 2.4, and later for long elements)
//      type 10    one ziplist                              (2.6 to 3.0)
//      type 14    so many ziplists                         (3.2 to 6.2)
//      type 18    so many times a kind, 1 or 2, and bytes  (7.0; written): 1 is one element, 2 a listpack
//
//      listpack  ┌────────────┬─────────┬─────────────────────┬─────┐
//                │ all bytes  │ entries │ packed entries      │ FF  │    (PackedEntry.swift)
//                │ 4          │ 2       │                     │ 1   │
//                └────────────┴─────────┴─────────────────────┴─────┘
//
// A list is read in parts, so that one of any size takes the memory of its largest part.

package import KedisStore
package import KedisUtilities

/// How the list is stored that comes next.
struct RDBListCursor {
    var type: UInt8
    /// Parts that are still to be read.
    var partCount: UInt64
}

/// A part of a list.
package enum RDBListPart {
    case value(StringValue)
    /// Well-formed packed entries and their number, 1 or more.
    case run(ByteView, count: Int)
    /// The values of a run in an older form, to be asked for one by one.
    case values([StringValue])

    package var byteCount: Int {
        switch self {
        case .value(let value): value.byteCount
        case .run(let run, _): run.count
        case .values(let values): values.reduce(0) { $0 + $1.byteCount }
        }
    }
}

enum RDBListType {
    static let strings: UInt8 = 1
    static let ziplist: UInt8 = 10
    static let ziplists: UInt8 = 14
    static let listpacks: UInt8 = 18
    static let plain: UInt64 = 1
    static let packed: UInt64 = 2

    static func isList(_ type: UInt8) -> Bool {
        type == strings || type == ziplist || type == ziplists || type == listpacks
    }
}

enum ListpackFrame {
    static let headerByteCount = 6
    static let byteCount = headerByteCount + 1
    /// What the count says when there are more.
    private static let manyCount = 0xFFFF

    /// The packed entries in a frame, and how many; nil when it is damaged.
    static func run(in bytes: ByteView) -> (run: ByteView, count: Int)? {
        guard bytes.count >= byteCount, bytes[bytes.count - 1] == 0xFF,
            UnsafeRawPointer(bytes.base).loadUnaligned(as: UInt32.self) == bytes.count
        else { return nil }
        let claimed = Int(UnsafeRawPointer(bytes.base).loadUnaligned(fromByteOffset: 4, as: UInt16.self))
        let run = bytes[headerByteCount..<bytes.count - 1]
        guard let count = packedEntryCount(run), claimed == min(count, manyCount) else { return nil }
        return (run, count)
    }

    /// The bytes in front of a run.
    static func header(run: ByteView, count: Int) -> [UInt8] {
        let total = UInt32(truncatingIfNeeded: run.count + byteCount)
        let claimed = UInt16(truncatingIfNeeded: min(count, manyCount))
        return withUnsafeBytes(of: total.littleEndian, Array.init)
            + withUnsafeBytes(of: claimed.littleEndian, Array.init)
    }
}

extension RDBReader {
    /// Begins a list, whose parts ``nextListPart()`` gives.
    mutating func beginList(type: UInt8) throws(RDBError) {
        list = RDBListCursor(type: type, partCount: type == RDBListType.ziplist ? 1 : try input.readLength())
        // Redis writes no empty list, and neither do we; what it means for a key would be unclear.
        guard let list, list.partCount > 0 else { throw input.error(.badCollection) }
    }

    /// The next part of the list that was begun by the last item; nil at its end. Views are valid until the next call.
    package mutating func nextListPart() throws(RDBError) -> RDBListPart? {
        guard var cursor = list, cursor.partCount > 0 else {
            list = nil
            return nil
        }
        cursor.partCount -= 1
        list = cursor
        switch cursor.type {
        case RDBListType.strings: return .value(try readValue())
        case RDBListType.listpacks:
            switch try input.readLength() {
            case RDBListType.plain: return .value(.bytes(try readBytes()))
            case RDBListType.packed:
                guard let (run, count) = ListpackFrame.run(in: try readBytes()), count > 0 else {
                    throw input.error(.badCollection)
                }
                return .run(run, count: count)
            default: throw input.error(.badCollection)
            }
        default:
            guard var ziplist = ZiplistReader(try readBytes()) else { throw input.error(.badCollection) }
            var values: [StringValue] = []
            while let value = ziplist.next() { values.append(value) }
            guard ziplist.isWhole, !values.isEmpty else { throw input.error(.badCollection) }
            return .values(values)
        }
    }
}

extension RDBWriter {
    /// Writes a list without its type.
    mutating func writeList(_ list: ListValue) {
        writeLength(list.runCount)
        list.forEachRun { run, count in
            writeLength(Int(RDBListType.packed))
            writeListpack(run, count: count)
            return !isFailed
        }
    }

    /// Writes a run as one listpack.
    mutating func writeListpack(_ run: ByteView, count: Int) {
        let header = ListpackFrame.header(run: run, count: count)
        var frame = [UInt8]()
        frame.reserveCapacity(run.count + ListpackFrame.byteCount)
        frame += header
        frame += run.buffer
        frame.append(0xFF)
        frame.withUnsafeBytes { writeString(ByteView($0)) }
    }
}
