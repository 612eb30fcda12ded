import KedisUtilities
import Testing

/// Goal: the checksum is that of RDB files. Method: the published check value, a payload of redis-server, and a bit by
/// bit computation of random bytes cut at random places, by the instruction and by tables.
@Suite struct CRC64Tests {
    private func checksum(_ bytes: [UInt8]) -> UInt64 {
        var crc = CRC64()
        withView(bytes) { crc.update($0) }
        return crc.value
    }

    @Test func publishedCheckValue() {
        #expect(checksum([UInt8]("123456789".utf8)) == 0xe9c6_d914_c4b8_d9ca)
        #expect(checksum([]) == 0)
    }

    @Test func checksumOfARedisPayload() {
        let payload = RedisDumpSample.payload
        let stored = payload.suffix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        #expect(checksum(Array(payload.dropLast(8))) == stored)
    }

    @Test func piecesGiveWhatSingleBitsGive() {
        var generator = makeGenerator("CRC64")
        for count in Array(0..<300) + [511, 512, 513, 1024, 4095, 4099] {
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            var expected: UInt64 = 0
            for byte in bytes {
                expected ^= UInt64(byte)
                for _ in 0..<8 { expected = expected & 1 == 1 ? expected >> 1 ^ 0x95ac_9329_ac4b_c9b5 : expected >> 1 }
            }
            #expect(checksum(bytes) == expected)
            var byTables = CRC64()
            withView(bytes) { byTables.updateByTables($0) }
            #expect(byTables.value == expected)
            var crc = CRC64()
            withView(bytes) { view in
                var start = 0
                while start < count {
                    let end = start + 1 + generator.next(below: count - start)
                    crc.update(view[start..<end])
                    crc = CRC64(continuing: crc.value)
                    start = end
                }
            }
            #expect(crc.value == expected)
        }
    }
}
