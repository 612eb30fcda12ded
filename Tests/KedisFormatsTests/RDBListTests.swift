// Goal: lists are read in all the forms that Redis up to 7.2 wrote, come back as they were written, and damage in them is
// an error, never a trap.

import KedisFormats
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("RDB: lists")
struct RDBListTests {
    private static let elements: [[UInt8]] =
        ["a", "0", "12", "13", "-1", "127", "-128", "300", "-40000", "8000000", "-2147483648", "9223372036854775807"].map {
            Array($0.utf8)
        } + [[], [UInt8](repeating: 0x62, count: 63), [UInt8](repeating: 0x63, count: 64)]
        + [[UInt8](repeating: 0x64, count: 300), [UInt8](repeating: 0x65, count: 20_000)]

    /// A file with one list, whose type and body are given.
    private static func file(type: UInt8, _ body: [UInt8]) -> [UInt8] {
        withFixedChecksum(
            Array("REDIS0011".utf8) + [0xFE, 0, type, 4] + Array("list".utf8) + body + [0xFF] + [UInt8](repeating: 0, count: 8))
    }

    private static func read(_ bytes: [UInt8]) throws(RDBError) -> [[UInt8]]? {
        try readDump(bytes).entries[Dump.Key(database: 0, name: Array("list".utf8))]?.elements
    }

    private static func length(_ count: Int) -> [UInt8] {
        [0x80] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (24 - 8 * $0)) }
    }

    private static func string(_ bytes: [UInt8]) -> [UInt8] { length(bytes.count) + bytes }

    @Test("A list of redis-server 7.0 is read")
    func fixture() throws {
        let dump = try readDump(RDBFixtures.list)
        let list = try #require(dump.entries[Dump.Key(database: 0, name: Array("mylist".utf8))]?.elements)
        #expect(!list.isEmpty)
    }

    @Test("The forms of older versions: strings, one ziplist, several of them, plain elements")
    func forms() throws {
        let strings = Self.length(Self.elements.count) + Self.elements.flatMap(Self.string)
        #expect(try Self.read(Self.file(type: 1, strings)) == Self.elements)
        let ziplist = Self.string(ziplist(Self.elements))
        #expect(try Self.read(Self.file(type: 10, ziplist)) == Self.elements)
        #expect(try Self.read(Self.file(type: 14, [2] + ziplist + ziplist)) == Self.elements + Self.elements)
        let plain: [UInt8] = [2, 1] + Self.string(Array("one".utf8)) + [1] + Self.string(Array("two".utf8))
        #expect(try Self.read(Self.file(type: 18, plain)) == [Array("one".utf8), Array("two".utf8)])
    }

    @Test("A list of any shape comes back as it was written")
    func roundTrip() throws {
        var generator = RandomGenerator.forTest("lists in dumps")
        for setting in [-2, 1, 5, 100, -5] {
            for count in [1, 2, 30, 3000] {
                let elements = (0..<count).map { _ in Self.elements[generator.next(below: Self.elements.count - 1)] }
                let bytes = try written(elements, PackLimit(setting: setting), compresses: count % 2 == 0)
                #expect(try Self.read(bytes) == elements)
            }
        }
    }

    @Test("Damaged lists are errors or lists, whatever the form")
    func damage() throws {
        var generator = RandomGenerator.forTest("damaged lists")
        let ziplist = Self.string(ziplist(Self.elements.dropLast(2)))
        let files = [
            Self.file(type: 10, ziplist), Self.file(type: 14, [2] + ziplist + ziplist),
            try written(Array(Self.elements.dropLast(2)), PackLimit(setting: 4), compresses: false), RDBFixtures.list,
        ]
        for _ in 0..<reducedWhenSanitized(20_000) {
            var bytes = files[generator.next(below: files.count)]
            for _ in 0..<1 + generator.next(below: 3) {
                bytes[generator.next(below: bytes.count)] = UInt8(truncatingIfNeeded: generator.next())
            }
            _ = try? readDump(withFixedChecksum(bytes))
        }
        for bytes in files {
            for count in 0..<bytes.count { #expect((try? readDump(Array(bytes[..<count]))) == nil) }
        }
        #expect(throws: RDBError.self) { try Self.read(Self.file(type: 1, [0])) }
        #expect(throws: RDBError.self) { try Self.read(Self.file(type: 18, [1, 3] + Self.string([1]))) }
    }

    private func written(_ elements: [[UInt8]], _ limit: PackLimit, compresses: Bool) throws -> [UInt8] {
        let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        let output = OutputBox()
        try Array("list".utf8).withUnsafeBytes { name in
            let key = store.key(ByteView(name))
            for element in elements {
                try element.withUnsafeBytes { bytes in
                    let view = bytes.baseAddress == nil ? ByteView.empty : ByteView(bytes)
                    guard var editor = keyspace.editList(key, limit: limit) else {
                        return try keyspace.makeList(key, limit: limit, count: 1, atHead: false) { _ in view }
                    }
                    try editor.push(1, atHead: false) { _ in view }
                }
            }
            var writer = RDBWriter(options: RDBOptions(compressesStrings: compresses), chunkByteCount: 4096) {
                output.bytes.append(contentsOf: $0.buffer)
                return true
            }
            writer.writeHeader(createdSeconds: 1, usedMemoryByteCount: 1)
            writer.beginDatabase(0, keyCount: 1, deadlineCount: 0)
            let entry = try #require(keyspace.peek(key))
            writer.writeEntry(entry)
            _ = writer.finish()
        }
        return output.bytes
    }
}

/// The elements as a ziplist, each in the shortest form.
func ziplist(_ elements: [[UInt8]]) -> [UInt8] {
    var (body, previous, last): ([UInt8], Int, Int) = ([], 0, 10)
    for element in elements {
        last = 10 + body.count
        let before = body.count
        body += previous < 254 ? [UInt8(previous)] : [0xFE] + little(previous, 4)
        let number = element.withUnsafeBytes { $0.baseAddress == nil ? nil : parseInteger(ByteView($0)) }
        switch number {
        case .some(let value) where 0...12 ~= value: body.append(0xF1 + UInt8(value))
        case .some(let value) where Int8(exactly: value) != nil: body += [0xFE] + little(Int(value), 1)
        case .some(let value) where Int16(exactly: value) != nil: body += [0xC0] + little(Int(value), 2)
        case .some(let value) where -0x80_0000...0x7F_FFFF ~= value: body += [0xF0] + little(Int(value), 3)
        case .some(let value) where Int32(exactly: value) != nil: body += [0xD0] + little(Int(value), 4)
        case .some(let value): body += [0xE0] + little(Int(value), 8)
        case nil where element.count < 64: body += [UInt8(element.count)] + element
        case nil where element.count < 16_384:
            body += [0x40 | UInt8(element.count >> 8), UInt8(element.count & 0xFF)] + element
        case nil: body += [0x80] + little(element.count, 4).reversed() + element
        }
        previous = body.count - before
    }
    return little(body.count + 11, 4) + little(last, 4) + little(elements.count, 2) + body + [0xFF]
}

private func little(_ value: Int, _ byteCount: Int) -> [UInt8] {
    (0..<byteCount).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}
