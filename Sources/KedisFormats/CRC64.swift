// The checksum at the end of RDB files and DUMP payloads: CRC-64 with the polynomial of Jones, bits reflected, starting
// from 0, no final xor. The check value (of "123456789") is e9c6d914c4b8d9ca.
//
// A value type. Cost: 16 KiB of tables, made once; about 1 ns a byte at worst, eight bytes a step.

package import KedisUtilities

/// A checksum in progress: feed it pieces in order, read ``value`` at any time.
package struct CRC64: Sendable {
    package private(set) var value: UInt64 = 0

    package init() {}

    /// Continues from the checksum of the bytes before.
    package init(continuing value: UInt64) {
        self.value = value
    }

    package mutating func update(_ bytes: ByteView) {
        value = Self.tables.withUnsafeBufferPointer { tables in
            guard let tables = tables.baseAddress else { return value }
            return Self.advance(value, over: bytes, tables: tables)
        }
    }

    private static func advance(_ start: UInt64, over bytes: ByteView, tables: UnsafePointer<UInt64>) -> UInt64 {
        var crc = start
        var index = 0
        let base = UnsafeRawPointer(bytes.base)
        while index &+ 8 <= bytes.count {
            crc ^= UInt64(littleEndian: base.loadUnaligned(fromByteOffset: index, as: UInt64.self))
            var next: UInt64 = 0
            // The byte that comes first has seven more behind it in this step, hence the table for seven.
            for position in 0..<8 {
                let byte = Int(truncatingIfNeeded: crc >> (8 &* UInt64(truncatingIfNeeded: position)) & 0xff)
                next ^= tables[(7 &- position) &* 256 &+ byte]
            }
            crc = next
            index &+= 8
        }
        while index < bytes.count {
            crc = tables[Int(truncatingIfNeeded: (crc ^ UInt64(bytes[index])) & 0xff)] ^ crc >> 8
            index &+= 1
        }
        return crc
    }

    /// Eight tables of 256: the checksum of one byte followed by 0, 1, … 7 zero bytes.
    private static let tables: [UInt64] = {
        let reflectedPolynomial: UInt64 = 0x95ac_9329_ac4b_c9b5
        var tables = [UInt64](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var crc = UInt64(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ reflectedPolynomial : crc >> 1 }
            tables[byte] = crc
        }
        for index in 256..<tables.count {
            let shorter = tables[index - 256]
            tables[index] = tables[Int(truncatingIfNeeded: shorter & 0xff)] ^ shorter >> 8
        }
        return tables
    }()
}
