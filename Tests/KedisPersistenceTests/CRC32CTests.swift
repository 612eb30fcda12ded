// Goal: the checksum of the journal is CRC-32C, by the instruction and by tables. Method: values of RFC 3720, the
// definition bit by bit, and each against the other.

import KedisTestSupport
import KedisUtilities
import Testing

@Suite("CRC-32C")
struct CRC32CTests {
    private func checksum(_ bytes: [UInt8], byTables: Bool) -> UInt32 {
        bytes.withUnsafeBytes { bytes in
            var crc = CRC32C()
            if byTables { crc.updateByTables(ByteView(bytes)) } else { crc.update(ByteView(bytes)) }
            return crc.value
        }
    }

    @Test("Examples of RFC 3720 and the check value", arguments: [false, true])
    func examples(byTables: Bool) {
        #expect(checksum([], byTables: byTables) == 0)
        #expect(checksum(Array("123456789".utf8), byTables: byTables) == 0xe306_9283)
        #expect(checksum([UInt8](repeating: 0, count: 32), byTables: byTables) == 0x8a91_36aa)
        #expect(checksum([UInt8](repeating: 0xff, count: 32), byTables: byTables) == 0x62a8_ab43)
        #expect(checksum(Array(0..<32), byTables: byTables) == 0x46dd_794e)
        #expect(checksum(Array((0..<32).reversed()), byTables: byTables) == 0x113f_db5c)
    }

    /// The definition: a polynomial division, bit by bit.
    private func definition(_ bytes: [UInt8]) -> UInt32 {
        var state = UInt32.max
        for byte in bytes {
            state ^= UInt32(byte)
            for _ in 0..<8 { state = state & 1 == 1 ? state >> 1 ^ 0x82f6_3b78 : state >> 1 }
        }
        return ~state
    }

    @Test("Random bytes in random pieces, at any address: instruction, tables and definition agree")
    func pieces() {
        var generator = RandomGenerator.forTest("CRC-32C")
        for _ in 0..<300 {
            let bytes = (0..<generator.next(below: 300)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            let expected = definition(bytes)
            var (whole, tables, continued) = (CRC32C(), CRC32C(), UInt32(0))
            for piece in generator.pieces(of: bytes) {
                piece.withUnsafeBytes { raw in
                    whole.update(ByteView(raw))
                    tables.updateByTables(ByteView(raw))
                    var next = CRC32C(continuing: continued)
                    next.update(ByteView(raw))
                    continued = next.value
                }
            }
            #expect(whole.value == expected && tables.value == expected && continued == expected)
        }
    }
}
