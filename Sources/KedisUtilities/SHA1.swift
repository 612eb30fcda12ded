// SHA-1, for DEBUG DIGEST only: whoever compares data sets with redis-server needs its very digests. Broken as a
// protection, so nothing else may use it.
//
// A value type, no allocation. About 3 ns a byte. Source of the algorithm: FIPS 180-4.

/// Twenty bytes, all zero at first.
package struct SHA1Digest: Equatable, Sendable {
    package static let byteCount = 20
    /// Big-endian words.
    fileprivate(set) var words: (UInt32, UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0, 0)

    package init() {}

    /// The digest of bytes.
    package init(of bytes: ByteView) {
        var state = SHA1State()
        var offset = 0
        while bytes.count - offset >= 64 {
            state.add(UnsafeRawBufferPointer(rebasing: bytes.raw[offset..<offset + 64]))
            offset += 64
        }
        withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { tail in
            tail.initializeMemory(as: UInt8.self, repeating: 0)
            let rest = bytes.count - offset
            tail.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes.raw[offset..<bytes.count]))
            tail[rest] = 0x80
            let end = rest < 56 ? 64 : 128
            tail.storeBytes(of: (UInt64(bytes.count) &* 8).bigEndian, toByteOffset: end - 8, as: UInt64.self)
            for start in stride(from: 0, to: end, by: 64) {
                state.add(UnsafeRawBufferPointer(rebasing: tail[start..<start + 64]))
            }
        }
        words = state.words
    }

    package mutating func formXor(_ other: SHA1Digest) {
        words.0 ^= other.words.0
        words.1 ^= other.words.1
        words.2 ^= other.words.2
        words.3 ^= other.words.3
        words.4 ^= other.words.4
    }

    /// Calls `body` with the twenty bytes.
    package func withBytes<Result>(_ body: (ByteView) -> Result) -> Result {
        var bytes = (
            words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian, words.4.bigEndian
        )
        return withUnsafeBytes(of: &bytes) { body(ByteView($0)) }
    }

    /// Forty hexadecimal digits.
    package var hexadecimal: String {
        withBytes { bytes in
            bytes.buffer.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
        }
    }

    package static func == (left: SHA1Digest, right: SHA1Digest) -> Bool { left.words == right.words }
}

private struct SHA1State {
    var words: (UInt32, UInt32, UInt32, UInt32, UInt32) = (
        0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0
    )

    mutating func add(_ block: UnsafeRawBufferPointer) {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 80) { schedule in
            for index in 0..<16 {
                schedule[index] = UInt32(bigEndian: block.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self))
            }
            for index in 16..<80 {
                let mixed =
                    schedule[index - 3] ^ schedule[index - 8] ^ schedule[index - 14] ^ schedule[index - 16]
                schedule[index] = rotated(mixed, 1)
            }
            var (a, b, c, d, e) = words
            for index in 0..<80 {
                let (mix, constant): (UInt32, UInt32)
                switch index / 20 {
                case 0: (mix, constant) = (b & c | ~b & d, 0x5A82_7999)
                case 1: (mix, constant) = (b ^ c ^ d, 0x6ED9_EBA1)
                case 2: (mix, constant) = (b & c | b & d | c & d, 0x8F1B_BCDC)
                default: (mix, constant) = (b ^ c ^ d, 0xCA62_C1D6)
                }
                let next = rotated(a, 5) &+ mix &+ e &+ constant &+ schedule[index]
                (a, b, c, d, e) = (next, a, rotated(b, 30), c, d)
            }
            words = (words.0 &+ a, words.1 &+ b, words.2 &+ c, words.3 &+ d, words.4 &+ e)
        }
    }

    private func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
}
