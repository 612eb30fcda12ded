// Checksums of reflected bits by tables, eight bytes a step: what CRC-32C and CRC-64 share.
//
// Pure functions of a register's type; each caller keeps its own tables, eight of 256 registers, made once.

enum ReflectedCRC<Register: FixedWidthInteger & UnsignedInteger> {
    /// The register that began as `start`, after `bytes`.
    @inline(__always)
    static func advance(_ start: Register, over bytes: ByteView, tables: UnsafePointer<Register>) -> Register {
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
            crc = tables[Int(truncatingIfNeeded: (crc ^ Register(bytes[index])) & 0xff)] ^ crc >> 8
            index &+= 1
        }
        return crc
    }

    /// The register after one byte followed by 0, 1, … 7 zero bytes.
    static func tables(reflectedPolynomial: Register) -> [Register] {
        var tables = [Register](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var crc = Register(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ reflectedPolynomial : crc >> 1 }
            tables[byte] = crc
        }
        for index in 256..<tables.count {
            let shorter = tables[index - 256]
            tables[index] = tables[Int(truncatingIfNeeded: shorter & 0xff)] ^ shorter >> 8
        }
        return tables
    }
}
