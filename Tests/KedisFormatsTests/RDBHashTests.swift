// Goal: hashes are read in all the forms that Redis up to 7.4 wrote, go into the store and out of it as they were, and
// damage in them is an error, never a trap.

import KedisFormats
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("RDB: hashes")
struct RDBHashTests {
    private static let fields: [[UInt8]] =
        ["a", "0", "12", "300", "-40000", "8000000", "9223372036854775807", "name", ""].map { Array($0.utf8) }
        + [[UInt8](repeating: 0x64, count: 300)]

    /// Fields and values in turn.
    private static let elements = fields.enumerated().flatMap { [$1, Array("value \($0)".utf8)] }

    private static func file(type: UInt8, _ body: [UInt8]) -> [UInt8] {
        withFixedChecksum(
            Array("REDIS0011".utf8) + [0xFE, 0, type, 4] + Array("hash".utf8) + body + [0xFF]
                + [UInt8](repeating: 0, count: 8))
    }

    private static func length(_ count: Int) -> [UInt8] {
        [0x80] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (24 - 8 * $0)) }
    }

    private static func string(_ bytes: [UInt8]) -> [UInt8] { length(bytes.count) + bytes }

    private static func zipmap(_ elements: [[UInt8]], spare: Int = 0) -> [UInt8] {
        func size(_ count: Int) -> [UInt8] {
            count < 254 ? [UInt8(count)] : [0xFE] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
        }
        var bytes = [UInt8(elements.count / 2)]
        for (index, element) in elements.enumerated() {
            bytes += size(element.count)
            if index % 2 == 1 { bytes.append(UInt8(spare)) }
            bytes += element
            if index % 2 == 1 { bytes += [UInt8](repeating: 0, count: spare) }
        }
        return bytes + [0xFF]
    }

    private static func read(_ bytes: [UInt8]) throws(RDBError) -> [[UInt8]]? {
        try readDump(bytes).entries[Dump.Key(database: 0, name: Array("hash".utf8))]?.elements
    }

    @Test("A hash of redis-server 7.0 is read")
    func fixture() throws {
        let dump = try readDump(RDBFixtures.hash)
        let fields = try #require(dump.entries[Dump.Key(database: 0, name: Array("myh".utf8))]?.elements)
        #expect(!fields.isEmpty && fields.count % 2 == 0)
    }

    @Test("The forms of older and newer versions")
    func forms() throws {
        let strings = Self.length(Self.fields.count) + Self.elements.flatMap(Self.string)
        #expect(try Self.read(Self.file(type: 4, strings)) == Self.elements)
        for spare in [0, 3] {
            let zipmap = Self.zipmap(Self.elements, spare: spare)
            #expect(try Self.read(Self.file(type: 9, Self.string(zipmap))) == Self.elements)
        }
        #expect(try Self.read(Self.file(type: 13, Self.string(ziplist(Self.elements)))) == Self.elements)
        let deadlines = Self.fields.indices.flatMap { index in
            Self.length(index == 0 ? 0 : index) + Self.string(Self.elements[2 * index])
                + Self.string(Self.elements[2 * index + 1])
        }
        let body = [0, 0, 0, 0, 1, 0, 0, 0] + Self.length(Self.fields.count) + deadlines
        #expect(try Self.read(Self.file(type: 24, body)) == Self.elements)
    }

    @Test("A hash of any size and form comes back from the store as it went in")
    func roundTrip() throws {
        var generator = RandomGenerator.forTest("hashes in dumps")
        let limits = [HashLimits(), HashLimits(fieldCountMax: 3, byteCountMax: 10), HashLimits(fieldCountMax: 0)]
        for count in [1, 2, 30, 600, 5000] {
            var model: [[UInt8]: [UInt8]] = [:]
            for index in 0..<count {
                model[Array("\(index)".utf8)] = Self.elements[generator.next(below: Self.elements.count)]
            }
            for first in limits {
                let bytes = try Self.written(model, first, compresses: count % 2 == 0)
                for second in limits { #expect(try Self.loaded(bytes, second) == model) }
            }
        }
    }

    @Test("Damaged hashes are errors or hashes, whatever the form, and load without a trap")
    func damage() throws {
        var generator = RandomGenerator.forTest("damaged hashes")
        let short = Array(Self.elements.prefix(12))
        var model: [[UInt8]: [UInt8]] = [:]
        for index in stride(from: 0, to: short.count, by: 2) { model[short[index]] = short[index + 1] }
        let files = [
            Self.file(type: 4, Self.length(6) + short.flatMap(Self.string)),
            Self.file(type: 9, Self.string(Self.zipmap(short, spare: 1))),
            Self.file(type: 13, Self.string(ziplist(short))), try Self.written(model, HashLimits(), compresses: false),
            RDBFixtures.hash,
        ]
        for _ in 0..<reducedWhenSanitized(10_000) {
            var bytes = files[generator.next(below: files.count)]
            for _ in 0..<1 + generator.next(below: 3) {
                bytes[generator.next(below: bytes.count)] = UInt8(truncatingIfNeeded: generator.next())
            }
            _ = try? Self.loaded(withFixedChecksum(bytes), HashLimits(fieldCountMax: generator.next(below: 10)))
        }
        for bytes in files {
            for count in 0..<bytes.count { #expect((try? readDump(Array(bytes[..<count]))) == nil) }
        }
        #expect(throws: RDBError.self) { try Self.read(Self.file(type: 4, [0])) }
        let twice = Self.length(2) + [1, 0x61, 1, 0x62, 1, 0x61, 1, 0x63]
        #expect(throws: RDBError.self) { try Self.loaded(Self.file(type: 4, twice), HashLimits()) }
        let odd = Self.string([11, 0, 0, 0, 1, 0, 0x81, 0x61, 2, 0xFF].map { $0 == 11 ? 10 : $0 })
        #expect(throws: RDBError.self) { try Self.read(Self.file(type: 16, odd)) }
    }

    /// A file with one hash that was set field by field.
    private static func written(
        _ model: [[UInt8]: [UInt8]], _ limits: HashLimits, compresses: Bool
    ) throws -> [UInt8] {
        let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        let output = OutputBox()
        try withView(Array("hash".utf8)) { name in
            let key = store.key(name)
            for (field, value) in model {
                try withView(field) { field in
                    try withView(value) { value in
                        guard case .hash(var editor) = keyspace.editHash(key, limits: limits) else {
                            return try keyspace.makeHash(key, limits: limits, field, value)
                        }
                        _ = try editor.set(field, value)
                    }
                }
            }
            var writer = RDBWriter(options: RDBOptions(compressesStrings: compresses), chunkByteCount: 4096) {
                output.bytes.append(contentsOf: $0.buffer)
                return true
            }
            writer.writeHeader(createdSeconds: 1, usedMemoryByteCount: 1)
            writer.beginDatabase(0, keyCount: 1, deadlineCount: 0)
            writer.writeEntry(try #require(keyspace.peek(key)))
            _ = writer.finish()
        }
        return output.bytes
    }

    /// The fields of all hashes in a file, out of a store that it was loaded into.
    private static func loaded(_ bytes: [UInt8], _ limits: HashLimits) throws -> [[UInt8]: [UInt8]] {
        let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        var position = 0
        var reader = RDBReader(byteCount: bytes.count, bufferByteCount: 4096) { room in
            let count = min(room.count, bytes.count - position)
            room.copyBytes(from: bytes[position..<position + count])
            position += count
            return count
        }
        var result: [[UInt8]: [UInt8]] = [:]
        try reader.readHeader()
        while true {
            switch try reader.next() {
            case .end: return result
            case .entry(let entry):
                let key = store.key(entry.key)
                guard keyspace.peek(key) == nil else { continue }
                try reader.load(entry.value, as: key, in: keyspace, limits: LoadLimits(hash: limits))
                guard let made = keyspace.peek(key), made.type == .hash else { continue }
                made.fields(nowMilliseconds: 1000).forEach { field, value in
                    result[spelled(field)] = spelled(value)
                    return true
                }
            default: continue
            }
        }
    }
}
