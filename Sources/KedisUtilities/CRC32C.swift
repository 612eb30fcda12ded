// The checksum of the journal: CRC-32C (Castagnoli, RFC 3720), bits reflected, inverted before and after. The check
// value (of "123456789") is e3069283.
//
// A value type of 4 bytes. Cost: the processor's instruction where there is one (SSE4.2, ARMv8), about 0.12 ns a byte;
// elsewhere 8 KiB of tables, made once, and about 0.6 ns a byte.

import CKedis

/// A checksum in progress: feed it pieces in order, read ``value`` at any time.
package struct CRC32C: Sendable {
    /// The register: the complement of the value.
    private var state: UInt32

    package init() { state = .max }

    /// Continues from the checksum of the bytes before.
    package init(continuing value: UInt32) { state = ~value }

    package var value: UInt32 { ~state }

    package mutating func update(_ bytes: ByteView) {
        guard Self.isInHardware else { return updateByTables(bytes) }
        state = kedis_crc32c(state, bytes.base, bytes.count)
    }

    /// Whether this processor has the instruction.
    package static let isInHardware = kedis_has_crc32c()

    /// What ``update(_:)`` does where the processor has no instruction for it.
    package mutating func updateByTables(_ bytes: ByteView) {
        state = Self.tables.withUnsafeBufferPointer { tables in
            guard let tables = tables.baseAddress else { return state }
            return Self.advance(state, over: bytes, tables: tables)
        }
    }

    private static func advance(_ start: UInt32, over bytes: ByteView, tables: UnsafePointer<UInt32>) -> UInt32 {
        var crc = start
        var index = 0
        let base = UnsafeRawPointer(bytes.base)
        while index &+ 8 <= bytes.count {
            let word = UInt64(littleEndian: base.loadUnaligned(fromByteOffset: index, as: UInt64.self)) ^ UInt64(crc)
            crc = 0
            // The byte that comes first has seven more behind it in this step, hence the table for seven.
            for position in 0..<8 {
                let byte = Int(truncatingIfNeeded: word >> (8 &* UInt64(truncatingIfNeeded: position)) & 0xff)
                crc ^= tables[(7 &- position) &* 256 &+ byte]
            }
            index &+= 8
        }
        while index < bytes.count {
            crc = tables[Int(truncatingIfNeeded: (crc ^ UInt32(bytes[index])) & 0xff)] ^ crc >> 8
            index &+= 1
        }
        return crc
    }

    /// Eight tables of 256: the register after one byte followed by 0, 1, … 7 zero bytes.
    private static let tables: [UInt32] = {
        let reflectedPolynomial: UInt32 = 0x82f6_3b78
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var crc = UInt32(byte)
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
