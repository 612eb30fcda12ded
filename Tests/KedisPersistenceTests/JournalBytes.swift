// The format a second time, written from docs/formats/journal.md and not from the sources: what the tests of the
// format and of damage build journals with, also such as no journal would write.

import KedisTestSupport
import KedisUtilities

enum JournalBytes {
    /// CRC-32C as it is defined, bit by bit.
    static func checksum(_ bytes: [UInt8]) -> UInt32 {
        var state = UInt32.max
        for byte in bytes {
            state ^= UInt32(byte)
            for _ in 0..<8 { state = state & 1 == 1 ? state >> 1 ^ 0x82f6_3b78 : state >> 1 }
        }
        return ~state
    }

    static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }

    struct Header {
        var magic = Array("KEDISJNL".utf8)
        var version: UInt32 = 1
        var identifier: [UInt8] = Array(1...16)
        var first: UInt64 = 1
        var milliseconds: Int64 = testNow
        var durable: UInt64 = 0

        var bytes: [UInt8] {
            let fields =
                magic + littleEndian(version) + [0, 0, 0, 0] + identifier + littleEndian(first)
                + littleEndian(milliseconds) + littleEndian(durable) + [0, 0, 0, 0]
            return fields + littleEndian(checksum(fields))
        }
    }

    struct Record {
        var sequence: UInt64
        var milliseconds: Int64 = testNow
        var durable: UInt64 = 0
        var database: UInt32 = 0
        var flags: UInt8 = 0
        var payload: [UInt8] = []
        /// nil: that of the payload.
        var length: UInt32?

        func bytes(_ identifier: [UInt8] = Array(1...16)) -> [UInt8] {
            let length = littleEndian(length ?? UInt32(payload.count))
            let fields =
                littleEndian(sequence) + littleEndian(milliseconds) + littleEndian(durable) + littleEndian(database)
                + [flags] + identifier[0..<3]
            let crc = checksum(identifier + payload + fields + length)
            return length + littleEndian(crc) + fields + payload
        }
    }
}
