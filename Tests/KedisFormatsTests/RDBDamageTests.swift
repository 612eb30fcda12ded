// Goal: no bytes make the reader trap, hang, or take memory that the file could not hold; damage is an error that
// says where.

import KedisFormats
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("RDB: damage")
struct RDBDamageTests {
    @Test("Every truncation of a dump is an error")
    func truncations() {
        let bytes = RDBFixtures.strings
        for count in 0..<bytes.count {
            for isSized in [true, false] {
                let error = #expect(throws: RDBError.self) { try readDump(Array(bytes[..<count]), isSized: isSized) }
                #expect((error?.offset ?? .max) <= count)
            }
        }
    }

    @Test("Every flipped bit of a dump is an error")
    func bitFlips() throws {
        let bytes = RDBFixtures.strings
        let whole = try readDump(bytes)
        for bit in 0..<bytes.count * 8 {
            var damaged = bytes
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            let dump = try? readDump(damaged)
            #expect(dump == nil, "bit \(bit) went by unseen: \(dump?.entries == whole.entries)")
        }
    }

    @Test("Lengths that the file cannot hold are errors before memory is taken")
    func absurdLengths() {
        let lengths: [[UInt8]] = [
            [0x80, 0x20, 0, 0, 0], [0x80, 0xFF, 0xFF, 0xFF, 0xFF],
            [0x81, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            [0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], [0x81, 0, 0, 0x10, 0, 0, 0, 0, 0], [0x82], [0xBF],
            [0x7F, 0xFF],
        ]
        for length in lengths {
            let starts: [[UInt8]] = [
                [0], [0, 1, 0x6B], [0xFA], [0xF5], [0xFA, 1, 0x6B], [0, 1, 0x6B, 0xC3], [0, 1, 0x6B, 0xC3, 3],
                [0, 0xC3, 3],
            ]
            for start in starts {
                for isSized in [true, false] {
                    let bytes = Array("REDIS0010".utf8) + start + length + [1, 2, 3, 4, 5]
                    let error = #expect(throws: RDBError.self) { try readDump(bytes, isSized: isSized) }
                    #expect(error?.offset == 9, "\(start) \(length)")
                }
            }
        }
    }

    @Test("What is no RDB file, or a newer one, is told apart")
    func headers() {
        expect("", .notRDB)
        expect("REDI", .notRDB)
        expect("HELLO WORLD", .notRDB)
        expect("REDIS00x0", .notRDB)
        expect("REDIS0013\u{1}", .newerVersion(13))
        expect("REDIS9999\u{1}", .newerVersion(9999))
        expect("REDIS0000\u{1}", .unsupportedVersion(0))
        #expect(RDBError(offset: 0, reason: .newerVersion(13)).description.contains("newer than 12"))
    }

    private func expect(_ text: String, _ reason: RDBError.Reason) {
        let error = #expect(throws: RDBError.self) { try readDump(Array(text.utf8)) }
        #expect(error == RDBError(offset: 0, reason: reason))
    }

    @Test("Modules, unknown opcodes, encodings and failing sources have errors of their own")
    func otherErrors() {
        func reason(_ bytes: [UInt8]) -> RDBError.Reason? {
            #expect(throws: RDBError.self) { try readDump(Array("REDIS0010".utf8) + bytes) }?.reason
        }
        #expect(reason([0xF7, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]) == .module("AAAAAAAAA"))
        #expect(reason([200]) == .unknownOpcode(200))
        #expect(reason([243]) == .unknownOpcode(243))
        #expect(reason([246]) == .prereleaseFunctions)
        #expect(reason([0, 0xC4, 0]) == .badStringEncoding(4))
        #expect(reason([0, 1, 0x6B, 0xC3, 2, 30, 0xFF, 0xFF]) == .badCompression)
        var reader = RDBReader(byteCount: 100) { _ in -5 }
        do {
            try reader.readHeader()
            Issue.record("a source that fails gave a header")
        } catch {
            #expect(error.reason == .readFailed(5))
        }
    }

    @Test("Mutated dumps with a right checksum: an error or a dump, never a trap; seconds from KEDIS_FUZZ_SECONDS")
    func fuzz() {
        let seed = rdbTestSeed()
        print("RDB fuzz seed \(seed)")
        var generator = RandomGenerator(seed: seed)
        let seconds = TestFiles.environment("KEDIS_FUZZ_SECONDS").flatMap { UInt64($0) } ?? 2
        let end = monotonicNanoseconds() + seconds * 1_000_000_000
        let fixtures = [RDBFixtures.strings, RDBFixtures.list, RDBFixtures.frequency, RDBFixtures.idle]
        var readable = 0
        var damaged = 0
        while monotonicNanoseconds() < end {
            var bytes =
                generator.next(below: 2) == 0
                ? fixtures[generator.next(below: fixtures.count)]
                : writeDump(generator.nextDump(keyCount: 5, valueByteCountMax: 100))
            for _ in 0...generator.next(below: 4) { mutate(&bytes, &generator) }
            do {
                _ = try readDump(withFixedChecksum(bytes), isSized: generator.next(below: 2) == 0)
                readable += 1
            } catch {
                #expect(error.offset <= bytes.count, "seed \(seed)")
                damaged += 1
            }
        }
        #expect(readable > 0 && damaged > 0, "the mutations reach both outcomes")
    }

    private func mutate(_ bytes: inout [UInt8], _ generator: inout RandomGenerator) {
        guard bytes.count > 20 else { return }
        let index = 9 + generator.next(below: bytes.count - 17)
        switch generator.next(below: 5) {
        case 0: bytes[index] ^= 1 << UInt8(generator.next(below: 8))
        case 1: bytes[index] = UInt8(truncatingIfNeeded: generator.next())
        case 2: bytes.remove(at: index)
        case 3: bytes.insert([0x80, 0x81, 0xC3, 0xFF, 0xFE, 0xFC, 0, 0x7F][generator.next(below: 8)], at: index)
        default: bytes.removeSubrange(index..<min(bytes.count, index + generator.next(below: 20)))
        }
    }
}
