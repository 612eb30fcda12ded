// Goal: what is written is read back, in every encoding and at every limit, however the bytes arrive; and what
// redis-server wrote is read as it was meant.

import KedisFormats
import KedisStore
import KedisUtilities
import Testing

@Suite("RDB: reading and writing")
struct RDBTests {
    @Test("Strings that redis-server 7.0.15 wrote, in every encoding")
    func readsFixture() throws {
        let dump = try readDump(RDBFixtures.strings)
        #expect(dump.version == 10)
        #expect(dump.auxiliaries["redis-ver"] == "7.0.15")
        #expect(dump.auxiliaries["redis-bits"] == "64")
        #expect(dump.functions.count == 1 && dump.functions[0].starts(with: Array("#!lua name=lib\n".utf8)))
        #expect(dump.sizes == [0: [10, 1], 3: [1, 0]])
        let expected: [(UInt64, String, [UInt8])] = [
            (0, "a", Array("hello".utf8)), (0, "n8", Array("-5".utf8)), (0, "n16", Array("300".utf8)),
            (0, "n32", Array("100000".utf8)), (0, "n64", Array("1234567890123".utf8)), (0, "e", Array("1".utf8)),
            (0, "12345", Array("intkey".utf8)), (0, "lead", Array("007".utf8)), (0, "bin", [0x61, 0, 0x62, 0xff]),
            (3, "db", Array("three".utf8)),
            (0, "long", [UInt8](repeating: 0x61, count: 40) + [UInt8](repeating: 0x62, count: 27)),
        ]
        #expect(dump.entries.count == expected.count)
        for (database, name, bytes) in expected {
            let value = try #require(dump.entries[Dump.Key(database: database, name: Array(name.utf8))], "\(name)")
            #expect(value.bytes == bytes, "\(name)")
            #expect(value.deadlineMilliseconds == (name == "e" ? 4_102_444_800_000 : nil))
        }
        #expect(dump.byteCount == RDBFixtures.strings.count)
        #expect(try readDump(RDBFixtures.frequency).frequency == 5)
        #expect(try readDump(RDBFixtures.idle).idleSeconds == 6_917_872)
    }

    @Test("A value of another type is an error that names type, key and offset")
    func namesOtherTypes() throws {
        // The set of the fixture as a value of a module: its type stands before the length of its key.
        let key = "myset"
        var bytes = RDBFixtures.set
        let start = try #require(bytes.indices.first { bytes[$0...].starts(with: Array(key.utf8)) })
        bytes[start - 2] = 7
        let error = #expect(throws: RDBError.self) { try readDump(bytes) }
        #expect(error?.reason == .unsupportedType(name: "a module's value", key: key))
        #expect(error?.offset == start - 2)
        #expect(error?.description.contains("the key '\(key)' holds a module's value, which this version") == true)
    }

    @Test("Random dumps come back, whatever the pieces, the buffer and the options")
    func roundTrip() throws {
        let seed = rdbTestSeed()
        var generator = RandomGenerator(seed: seed)
        for round in 0..<60 {
            let dump = generator.nextDump(
                keyCount: generator.next(below: 40), valueByteCountMax: round % 10 == 0 ? 70_000 : 300)
            let options = RDBOptions(
                compressesStrings: generator.next(below: 2) == 0, hasChecksum: generator.next(below: 4) > 0)
            let bytes = writeDump(dump, options: options, chunkByteCount: 64 + generator.next(below: 5000))
            let read = try readDump(
                bytes, pieceByteCount: 1 + generator.next(below: 3000),
                bufferByteCount: 64 + generator.next(below: 5000),
                isSized: generator.next(below: 2) == 0)
            #expect(read.entries == dump.entries, "seed \(seed) round \(round)")
            #expect(read.functions == dump.functions, "seed \(seed) round \(round)")
            #expect(read.byteCount == bytes.count)
            #expect(read.version == 10)
        }
    }

    @Test("The encodings change exactly at their limits")
    func encodingLimits() throws {
        let integers: [(Int64, Int)] = [
            (0, 2), (127, 2), (128, 3), (-128, 2), (-129, 3), (32_767, 3), (32_768, 5), (-32_768, 3), (-32_769, 5),
            (2_147_483_647, 5), (2_147_483_648, 11), (-2_147_483_648, 5), (-2_147_483_649, 12), (.max, 20), (.min, 21),
        ]
        for (value, byteCount) in integers {
            let dump = dumpOf(Array("\(value)".utf8))
            let empty = writeDump(dumpOf([])).count - 1
            #expect(writeDump(dump).count - empty == byteCount, "\(value)")
            #expect(try readDump(writeDump(dump)).entries == dump.entries)
        }
        for count in [0, 1, 20, 21, 63, 64, 16_383, 16_384, 16_385, 70_000] {
            var generator = RandomGenerator(seed: UInt64(count))
            for bytes in [
                [UInt8](repeating: 0x78, count: count),
                (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) },
            ] {
                let dump = dumpOf(bytes)
                #expect(try readDump(writeDump(dump)).entries == dump.entries, "\(count)")
                #expect(try readDump(writeDump(dump), pieceByteCount: 1000).entries == dump.entries, "\(count)")
            }
        }
        // Text that looks like a number but is not its canonical form stays text.
        for text in ["007", "+5", "-0", "1 ", "0x1", "99999999999", "2147483648"] {
            let dump = dumpOf(Array(text.utf8))
            #expect(try readDump(writeDump(dump)).entries == dump.entries, "\(text)")
        }
    }

    @Test("Only what is longer than 20 bytes is compressed, and only when asked for")
    func compression() {
        let short = [UInt8](repeating: 0x61, count: 20)
        let long = [UInt8](repeating: 0x61, count: 21)
        let plain = RDBOptions(compressesStrings: false)
        #expect(writeDump(dumpOf(short)) == writeDump(dumpOf(short), options: plain))
        #expect(writeDump(dumpOf(long)).count < writeDump(dumpOf(long), options: plain).count)
    }

    @Test("Without a checksum the file ends with zeros and is read")
    func noChecksum() throws {
        let bytes = writeDump(dumpOf([1, 2, 3]), options: RDBOptions(hasChecksum: false))
        #expect(bytes.suffix(8) == ArraySlice([UInt8](repeating: 0, count: 8)))
        #expect(try readDump(bytes).entries == dumpOf([1, 2, 3]).entries)
    }

    @Test("Old versions: seconds for deadlines, no checksum before version 5; lengths in their long forms")
    func oldVersions() throws {
        let body: [UInt8] = [
            0xFE, 0, 0xFD, 0, 0x94, 0x35, 0x77, 0, 0x80, 0, 0, 0, 1, 0x6B, 0x81, 0, 0, 0, 0, 0, 0, 0, 1, 0x76, 0xFF,
        ]
        let dump = try readDump(Array("REDIS0003".utf8) + body)
        let value = Dump.Value(bytes: [0x76], deadlineMilliseconds: 2_000_000_000_000)
        #expect(dump.entries == [Dump.Key(database: 0, name: [0x6B]): value])
        for version in 1...11 {
            let digits = version < 10 ? "000\(version)" : "00\(version)"
            let bytes = Array("REDIS\(digits)".utf8) + body + [UInt8](repeating: 0, count: version < 5 ? 0 : 8)
            #expect(try readDump(bytes).entries == dump.entries, "version \(version)")
        }
    }

    @Test("A sink that refuses ends the work")
    func refusingSink() {
        let calls = OutputBox()
        var writer = RDBWriter(chunkByteCount: 64) { _ in
            calls.bytes.append(1)
            return false
        }
        writer.writeHeader(createdSeconds: 0, usedMemoryByteCount: 0)
        let isFailed = writer.isFailed
        #expect(isFailed || calls.bytes.isEmpty)
        for _ in 0..<100 {
            writer.writeEntry(key: ByteView("key"), deadlineMilliseconds: noDeadline, value: .bytes(ByteView("value")))
        }
        let isFinished = writer.finish()
        #expect(!isFinished)
        #expect(calls.bytes.count == 1, "a failed sink is not asked again")
    }
}

func dumpOf(_ bytes: [UInt8]) -> Dump {
    var dump = Dump()
    dump.entries[Dump.Key(database: 0, name: [0x6B])] = Dump.Value(bytes: bytes, deadlineMilliseconds: nil)
    return dump
}
