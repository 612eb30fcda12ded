// Runs of bytes as runs of bits, bit 0 being the highest of the first byte: counting, searching, combining, and
// integers of any width at any bit.
//
// No ownership, no allocation. Cost: about 0.05 ns a byte for counting in the cache and 8 bytes a step for searching;
// combining waits for memory.

import CKedis

/// The number of bits that are set.
package func countBits(_ bytes: ByteView) -> Int {
    Int(truncatingIfNeeded: kedis_count_bits(bytes.base, bytes.count))
}

/// The number of bits that are set from bit `first` to bit `last`, which must lie in the bytes, `first` not after
/// `last`.
package func countBits(_ bytes: ByteView, from first: Int, through last: Int) -> Int {
    assert(first >= 0 && first <= last && last >> 3 < bytes.count)
    let whole = countBits(bytes[first >> 3..<last >> 3 + 1])
    let before = bytes[first >> 3] & ~(0xFF >> UInt8(first & 7))
    let after = bytes[last >> 3] & (0x7F >> UInt8(last & 7))
    return whole - before.nonzeroBitCount - after.nonzeroBitCount
}

/// The first bit from `first` to `last` that is set, or clear; nil when there is none. The positions must lie in the
/// bytes, `first` not after `last`.
package func firstBit(isSet: Bool, in bytes: ByteView, from first: Int, through last: Int) -> Int? {
    assert(first >= 0 && first <= last && last >> 3 < bytes.count)
    // Clear bits are looked for as set ones of the complement.
    let mask: UInt64 = isSet ? 0 : .max
    let head = (bytes[first >> 3] ^ UInt8(truncatingIfNeeded: mask)) & (0xFF >> UInt8(first & 7))
    var found = (first >> 3) * 8 + head.leadingZeroBitCount
    if head == 0 {
        let end = last >> 3 + 1
        var index = first >> 3 + 1
        var word: UInt64 = 0
        while index + 8 <= end {
            word = bytes.raw.loadUnaligned(fromByteOffset: index, as: UInt64.self) ^ mask
            if word != 0 { break }
            index += 8
        }
        if word != 0 {
            found = index * 8 + UInt64(bigEndian: word).leadingZeroBitCount
        } else {
            while index < end, bytes[index] ^ UInt8(truncatingIfNeeded: mask) == 0 { index += 1 }
            guard index < end else { return nil }
            found = index * 8 + (bytes[index] ^ UInt8(truncatingIfNeeded: mask)).leadingZeroBitCount
        }
    }
    return found <= last ? found : nil
}

/// What two runs of bits can be combined by.
package enum BitOperation: Sendable {
    case and, or, xor
}

extension UnsafeMutableRawBufferPointer {
    /// Replaces the bytes by `self operation source`, a source that is shorter being zero where it ends. A longer one
    /// is cut off. It is elsewhere, or the same bytes.
    package func combine(_ operation: BitOperation, with source: ByteView) {
        guard let target = baseAddress else { return }
        let common = Swift.min(count, source.count)
        switch operation {
        case .and:
            kedis_and_bits(target, source.base, common)
            UnsafeMutableRawBufferPointer(rebasing: self[common...]).initializeMemory(as: UInt8.self, repeating: 0)
        case .or: kedis_or_bits(target, source.base, common)
        case .xor: kedis_xor_bits(target, source.base, common)
        }
    }

    /// Replaces each bit by its complement.
    package func invertBits() {
        guard let target = baseAddress else { return }
        kedis_invert_bits(target, count)
    }

    /// Overwrites the `bitCount` bits (1 to 64) from bit `offset` with the low bits of `value`. They must lie in the
    /// bytes.
    package func setBits(_ value: UInt64, at offset: Int, bitCount: Int) {
        assert(offset >= 0 && bitCount > 0 && bitCount <= 64 && offset + bitCount <= 8 * count)
        var (position, left) = (offset, bitCount)
        while left > 0 {
            let (taken, shift) = bitsInByte(at: position, left)
            left -= taken
            let mask = UInt8(truncatingIfNeeded: (1 << taken) - 1) << UInt8(shift)
            let piece = UInt8(truncatingIfNeeded: value >> UInt64(left)) << UInt8(shift)
            self[position >> 3] = self[position >> 3] & ~mask | piece & mask
            position += taken
        }
    }
}

extension ByteView {
    /// The `bitCount` bits (1 to 64) from bit `offset` as a number, the first bit being the highest. Bits beyond the
    /// end are 0.
    package func bits(at offset: Int, bitCount: Int) -> UInt64 {
        assert(offset >= 0 && bitCount > 0 && bitCount <= 64)
        var value: UInt64 = 0
        var (position, left) = (offset, bitCount)
        while left > 0 {
            let (taken, shift) = bitsInByte(at: position, left)
            let byte = position >> 3 < count ? self[position >> 3] : 0
            value = value << UInt64(taken) | UInt64(byte >> UInt8(shift)) & (1 << UInt64(taken) &- 1)
            left -= taken
            position += taken
        }
        return value
    }
}

/// Of `left` bits that begin at bit `position`: how many lie in its byte, and how far from the byte's low end.
@inline(__always)
private func bitsInByte(at position: Int, _ left: Int) -> (count: Int, shift: Int) {
    let room = 8 - (position & 7)
    let taken = min(room, left)
    return (taken, room - taken)
}
