// A dump as plain values: what the tests of the reader and the writer compare.

import KedisFormats
import KedisStore
import KedisTestSupport
import KedisUtilities

struct Dump: Equatable {
    struct Key: Hashable {
        var database: UInt64
        var name: [UInt8]
    }

    struct Value: Equatable {
        var bytes: [UInt8]
        /// Of a collection, whose `bytes` are none.
        var elements: [[UInt8]]?
        var deadlineMilliseconds: Int64?
    }

    var version = 0
    var auxiliaries: [String: String] = [:]
    var functions: [[UInt8]] = []
    var sizes: [UInt64: [UInt64]] = [:]
    var entries: [Key: Value] = [:]
    var idleSeconds: UInt64?
    var frequency: UInt8?
    /// Where the reader stopped.
    var byteCount = 0
}

func spelled(_ value: StringValue) -> [UInt8] {
    switch value {
    case .integer(let integer): Array("\(integer)".utf8)
    case .bytes(let bytes): bytes.bytes
    }
}

/// Reads a whole dump, given in pieces of at most `pieceByteCount` bytes; `isSized` tells the reader its length.
func readDump(
    _ bytes: [UInt8], pieceByteCount: Int = .max, bufferByteCount: Int = 4096, isSized: Bool = true
) throws(RDBError) -> Dump {
    var position = 0
    var reader = RDBReader(byteCount: isSized ? bytes.count : nil, bufferByteCount: bufferByteCount) { room in
        let count = min(room.count, bytes.count - position, pieceByteCount)
        room.copyBytes(from: bytes[position..<position + count])
        position += count
        return count
    }
    var dump = Dump()
    try reader.readHeader()
    dump.version = reader.version
    var database: UInt64 = 0
    while true {
        switch try reader.next() {
        case .auxiliary(let name, let value): dump.auxiliaries[name.text] = value.text
        case .selectDatabase(let index): database = index
        case .databaseSize(let keyCount, let deadlineCount): dump.sizes[database] = [keyCount, deadlineCount]
        case .function(let code): dump.functions.append(code.bytes)
        case .entry(let entry):
            let key = Dump.Key(database: database, name: entry.key.bytes)
            var value = Dump.Value(bytes: [], deadlineMilliseconds: entry.deadlineMilliseconds)
            switch entry.value {
            case .string(let string): value.bytes = spelled(string)
            case .list: value.elements = try readElements(&reader)
            case .sortedSet: value.elements = try readSortedSet(&reader)
            case .set: value.elements = try readMembers(&reader)
            case .hash: value.elements = try readFields(&reader)
            case .stream: while try reader.nextStreamPart() != nil {}
            }
            dump.entries[key] = value
            dump.idleSeconds = entry.idleSeconds
            dump.frequency = entry.frequency
        case .end:
            dump.byteCount = reader.offset
            return dump
        }
    }
}

/// All elements of the list that comes next.
func readElements(_ reader: inout RDBReader) throws(RDBError) -> [[UInt8]] {
    var elements: [[UInt8]] = []
    while let part = try reader.nextListPart() {
        switch part {
        case .value(let value): elements.append(spelled(value))
        case .values(let values): elements += values.map(spelled)
        case .run(let run, let count):
            let before = elements.count
            forEachPackedEntry(run) { elements.append(spelled($0)) }
            precondition(elements.count == before + count)
        }
    }
    return elements
}

/// All members and scores of the sorted set that comes next, in turn.
func readSortedSet(_ reader: inout RDBReader) throws(RDBError) -> [[UInt8]] {
    var elements: [[UInt8]] = []
    while let part = try reader.nextSortedSetPart() {
        switch part {
        case .element(let member, let score): elements += [member.bytes, formatDouble(score)]
        case .values(let values): elements += values.map(spelled)
        case .run(let run): forEachPackedEntry(run) { elements.append(spelled($0)) }
        }
    }
    return elements
}

/// All members of the set that comes next.
func readMembers(_ reader: inout RDBReader) throws(RDBError) -> [[UInt8]] {
    var members: [[UInt8]] = []
    while let part = try reader.nextSetPart() {
        part.forEach {
            members.append(spelled($0))
            return true
        }
    }
    return members
}

/// All fields and values of the hash that comes next, in turn.
func readFields(_ reader: inout RDBReader) throws(RDBError) -> [[UInt8]] {
    var elements: [[UInt8]] = []
    while let part = try reader.nextHashPart() {
        switch part {
        case .field(let field, let value, _): elements += [field.bytes, spelled(value)]
        case .fields(let fields): elements += fields.flatMap { [spelled($0.field), spelled($0.value)] }
        case .run(let run, let count):
            let before = elements.count
            forEachPackedEntry(run) { elements.append(spelled($0)) }
            precondition(elements.count == before + count)
        }
    }
    return elements
}

/// Writes `dump`'s functions and entries; values that are canonical integers go in as integers, as the store has them.
func writeDump(_ dump: Dump, options: RDBOptions = RDBOptions(), chunkByteCount: Int = 4096) -> [UInt8] {
    let output = OutputBox()
    var writer = RDBWriter(options: options, chunkByteCount: chunkByteCount) { view in
        output.bytes.append(contentsOf: view.buffer)
        return true
    }
    writer.writeHeader(createdSeconds: 1_700_000_000, usedMemoryByteCount: 123_456)
    for code in dump.functions { code.withUnsafeBytes { writer.writeFunction(code: ByteView($0)) } }
    for database in Set(dump.entries.keys.map(\.database)).sorted() {
        let here = dump.entries.filter { $0.key.database == database }
        writer.beginDatabase(
            Int(database), keyCount: here.count,
            deadlineCount: here.values.filter { $0.deadlineMilliseconds != nil }.count)
        for (key, value) in here {
            key.name.withUnsafeBytes { name in
                value.bytes.withUnsafeBytes { bytes in
                    let view = ByteView(bytes)
                    writer.writeEntry(
                        key: ByteView(name), deadlineMilliseconds: value.deadlineMilliseconds ?? noDeadline,
                        value: parseInteger(view).map { .integer($0) } ?? .bytes(view))
                }
            }
        }
    }
    _ = writer.finish()
    return output.bytes
}

final class OutputBox {
    var bytes: [UInt8] = []
}

/// The dump with a checksum that fits its bytes: what a mutation needs to get past it.
func withFixedChecksum(_ bytes: [UInt8]) -> [UInt8] {
    guard bytes.count >= 8 else { return bytes }
    var checksum = CRC64()
    bytes.dropLast(8).withUnsafeBufferPointer { checksum.update(ByteView(UnsafeRawBufferPointer($0))) }
    return bytes.dropLast(8) + (0..<8).map { UInt8(truncatingIfNeeded: checksum.value >> UInt64(8 * $0)) }
}

/// The seed of a random test: KEDIS_TEST_SEED, or a new one. Tests show it when they fail.
func rdbTestSeed() -> UInt64 {
    TestFiles.environment("KEDIS_TEST_SEED").flatMap { UInt64($0) } ?? systemEntropy()
}

extension RandomGenerator {
    /// Bytes of one of several kinds: integers of all widths, text that repeats, noise, nothing.
    mutating func nextValue(byteCountMax: Int) -> [UInt8] {
        let count = next(below: byteCountMax + 1)
        switch next(below: 5) {
        case 0: return Array("\(Int64(bitPattern: next()) >> Int64(next(below: 64)))".utf8)
        case 1: return (0..<count).map { _ in UInt8(97 + next(below: 2)) }
        case 2: return [UInt8](repeating: UInt8(next(below: 256)), count: count)
        case 3: return []
        default: return (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
        }
    }

    mutating func nextDump(keyCount: Int, valueByteCountMax: Int) -> Dump {
        var dump = Dump()
        for _ in 0..<keyCount {
            let key = Dump.Key(database: UInt64(next(below: 3) * 7), name: nextValue(byteCountMax: 40))
            let deadline: Int64? = next(below: 3) == 0 ? Int64(next(below: 1 << 45)) : nil
            dump.entries[key] = Dump.Value(
                bytes: nextValue(byteCountMax: valueByteCountMax), deadlineMilliseconds: deadline)
        }
        if next(below: 2) == 0 { dump.functions = [nextValue(byteCountMax: 300)] }
        return dump
    }
}
