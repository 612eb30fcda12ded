// Goal: sets are read in all the forms that Redis up to 7.2 wrote, come back as they were written, and damage in them is
// an error, never a trap.

import KedisFormats
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("RDB: sets")
struct RDBSetTests {
    private static let members: [[UInt8]] =
        ["a", "0", "12", "-1", "300", "-40000", "-2147483648", "9223372036854775807", ""].map { Array($0.utf8) }
        + [[UInt8](repeating: 0x62, count: 63), [UInt8](repeating: 0x63, count: 64), [UInt8](repeating: 0x64, count: 300)]

    /// A file with one set, whose type and body are given.
    private static func file(type: UInt8, _ body: [UInt8]) -> [UInt8] {
        withFixedChecksum(
            Array("REDIS0011".utf8) + [0xFE, 0, type, 3] + Array("set".utf8) + body + [0xFF]
                + [UInt8](repeating: 0, count: 8))
    }

    private static func length(_ count: Int) -> [UInt8] {
        [0x80] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (24 - 8 * $0)) }
    }

    private static func string(_ bytes: [UInt8]) -> [UInt8] { length(bytes.count) + bytes }

    private static func little(_ value: Int64, _ byteCount: Int) -> [UInt8] {
        (0..<byteCount).map { UInt8(truncatingIfNeeded: value >> Int64(8 * $0)) }
    }

    private static func integers(_ values: [Int64], width: Int) -> [UInt8] {
        string(little(Int64(width), 4) + little(Int64(values.count), 4) + values.flatMap { little($0, width) })
    }

    /// Loads a file's set into a store and reads it there.
    private static func load(
        _ bytes: [UInt8], _ limits: SetLimits = SetLimits()
    ) throws(RDBError) -> (members: [[UInt8]], encoding: ValueEncoding)? {
        var position = 0
        var reader = RDBReader(byteCount: bytes.count, bufferByteCount: 4096) { room in
            let count = min(room.count, bytes.count - position)
            room.copyBytes(from: bytes[position..<position + count])
            position += count
            return count
        }
        let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        try reader.readHeader()
        var found: (members: [[UInt8]], encoding: ValueEncoding)?
        while true {
            switch try reader.next() {
            case .entry(let entry):
                let key = store.key(entry.key)
                if keyspace.peek(key) != nil { _ = keyspace.remove(key) }
                try reader.load(entry.value, as: key, in: keyspace, limits: LoadLimits(set: limits))
                guard let made = keyspace.peek(key), made.type == .set else { continue }
                var members: [[UInt8]] = []
                made.set(nowMilliseconds: 1000).forEach {
                    members.append(spelled($0))
                    return true
                }
                found = (members, made.encoding)
            case .end: return found
            default: continue
            }
        }
    }

    @Test("All forms: strings, integers of every width, a listpack")
    func forms() throws {
        let strings = Self.length(Self.members.count) + Self.members.flatMap(Self.string)
        let set = try #require(try Self.load(Self.file(type: 2, strings)))
        #expect(Set(set.members) == Set(Self.members) && set.encoding == .hashTable)
        for (width, values) in [(2, [-3, 7, 300]), (4, [-70_000, 1]), (8, [Int64.min, 0, Int64.max])] {
            let set = try #require(try Self.load(Self.file(type: 11, Self.integers(values.map { Int64($0) }, width: width))))
            #expect(set.members == values.map { Array("\($0)".utf8) })
            #expect(set.encoding == .integerSet)
        }
        let run: [UInt8] = [0x81, 0x61, 2, 5, 1, 0x82, 0x62, 0x63, 3]
        let listpack = Self.little(Int64(run.count + 7), 4) + Self.little(3, 2) + run + [0xFF]
        let packed = try #require(try Self.load(Self.file(type: 20, Self.string(listpack))))
        #expect(packed.members == ["a", "5", "bc"].map { Array($0.utf8) })
        #expect(packed.encoding == .listpack)
        let limited = try Self.load(Self.file(type: 20, Self.string(listpack)), SetLimits(packedCountMax: 2))
        #expect(limited?.encoding == .hashTable)
    }

    @Test("A set of any shape comes back as it was written")
    func roundTrip() throws {
        var generator = RandomGenerator.forTest("sets in dumps")
        for count in [1, 2, 30, 128, 129, 513, 3000] {
            for isNumeric in [true, false] {
                let members = (0..<count).map { Array((isNumeric ? "\($0 * 7)" : "member:\($0)").utf8) }
                let bytes = try written(members, compresses: generator.next(below: 2) == 0)
                let set = try #require(try Self.load(bytes))
                #expect(Set(set.members) == Set(members))
                #expect(set.encoding == (count > (isNumeric ? 512 : 128) ? .hashTable : isNumeric ? .integerSet : .listpack))
            }
        }
    }

    @Test("Damaged sets are errors or sets, whatever the form")
    func damage() throws {
        var generator = RandomGenerator.forTest("damaged sets")
        let files = [
            Self.file(type: 2, Self.length(Self.members.count) + Self.members.flatMap(Self.string)),
            Self.file(type: 11, Self.integers([-5, 1, 2, 300], width: 4)),
            try written(Self.members, compresses: false), try written(["1", "2"].map { Array($0.utf8) }, compresses: false),
        ]
        for _ in 0..<reducedWhenSanitized(3_000) {
            var bytes = files[generator.next(below: files.count)]
            for _ in 0..<1 + generator.next(below: 3) {
                bytes[generator.next(below: bytes.count)] = UInt8(truncatingIfNeeded: generator.next())
            }
            _ = try? Self.load(withFixedChecksum(bytes))
        }
        for bytes in files {
            for count in 0..<bytes.count { #expect((try? Self.load(Array(bytes[..<count]))) == nil) }
        }
        let broken: [(UInt8, [UInt8])] = [
            (2, [0]), (2, [2, 1, 0x61, 1, 0x61]), (11, Self.integers([], width: 2)), (11, Self.integers([1, 1], width: 2)),
            (11, Self.integers([1], width: 3)), (11, Self.string([2, 0, 0, 0, 9, 0, 0, 0, 1, 0])), (11, Self.string([2])),
            (20, Self.string([7, 0, 0, 0, 0, 0, 0xFF])), (20, Self.string([])),
        ]
        for (type, body) in broken { #expect(throws: RDBError.self) { try Self.load(Self.file(type: type, body)) } }
    }

    private func written(_ members: [[UInt8]], compresses: Bool) throws -> [UInt8] {
        let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        let output = OutputBox()
        guard var built = SetBuilder(for: keyspace, limits: SetLimits()) else { throw StoreError.outOfMemory }
        for member in members { try withView(member) { _ = try built.add(.bytes($0)) } }
        var result: SetBuilder? = built
        let name = Array("set".utf8)
        try name.withUnsafeBytes { name in
            let key = store.key(ByteView(name))
            guard let made = result.take() else { return }
            try keyspace.setSet(key, to: made, deadline: .clear)
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
