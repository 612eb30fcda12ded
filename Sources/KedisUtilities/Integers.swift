// Whole numbers from bytes and to bytes, by the rules of Redis.
//
// Input may be anything a client sends: every function answers nil rather than trap, and reads no byte twice. Cost: no
// allocation; a number of d digits takes d multiplications to read and d/2 divisions to write.

/// The number that `bytes` spell in their one canonical form, or nil.
///
/// That form has an optional `-`, no `+`, no white space and no leading zero; `-0` is no number. It is the form that
/// decides whether a value is stored as an integer, so whatever is read here is written back to the same bytes.
@inlinable
package func parseInteger(_ bytes: ByteView) -> Int64? {
    guard bytes.count > 0 && bytes.count <= 20 else { return nil }
    let isNegative = bytes[0] == 0x2d
    var index = isNegative ? 1 : 0
    // 19 digits always fit 64 unsigned bits, so the loop cannot overflow; 20 digits never fit a signed number.
    guard index < bytes.count && bytes.count &- index <= 19 else { return nil }
    let first = bytes[index] &- 0x30
    guard first >= 1 && first <= 9 else { return first == 0 && bytes.count == 1 ? 0 : nil }
    var magnitude = UInt64(first)
    index &+= 1
    while index < bytes.count {
        let digit = bytes[index] &- 0x30
        guard digit <= 9 else { return nil }
        magnitude = magnitude &* 10 &+ UInt64(digit)
        index &+= 1
    }
    if isNegative {
        return magnitude <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- magnitude) : nil
    }
    return Int64(exactly: magnitude)
}

/// The number that `bytes` spell as decimal digits and nothing else, or nil. Leading zeros are allowed. For the cursors
/// of SCAN.
@inlinable
package func parseUnsignedInteger(_ bytes: ByteView) -> UInt64? {
    guard bytes.count > 0 else { return nil }
    var result: UInt64 = 0
    var index = 0
    while index < bytes.count {
        let digit = bytes[index] &- 0x30
        guard digit <= 9 else { return nil }
        let (product, productOverflow) = result.multipliedReportingOverflow(by: 10)
        let (sum, sumOverflow) = product.addingReportingOverflow(UInt64(digit))
        guard !productOverflow && !sumOverflow else { return nil }
        result = sum
        index &+= 1
    }
    return result
}

/// The bytes that ``formatInteger(_:into:)`` writes for `value`: its digits and the sign, 1 to 20.
@inlinable
package func decimalDigitCount(_ value: Int64) -> Int {
    var magnitude = value.magnitude
    var count = value < 0 ? 2 : 1
    while magnitude >= 10_000 {
        magnitude /= 10_000
        count &+= 4
    }
    if magnitude >= 1_000 { return count &+ 3 }
    if magnitude >= 100 { return count &+ 2 }
    return magnitude >= 10 ? count &+ 1 : count
}

/// Writes `value` in decimal at `destination`, which must have room for ``decimalDigitCount(_:)`` bytes (20 always do),
/// and returns their count.
@inlinable
@discardableResult
package func formatInteger(_ value: Int64, into destination: UnsafeMutablePointer<UInt8>) -> Int {
    let byteCount = decimalDigitCount(value)
    let pairs = UnsafeRawPointer(decimalPairs.utf8Start)
    let bytes = UnsafeMutableRawPointer(destination)
    var magnitude = value.magnitude
    var position = byteCount
    while magnitude >= 100 {
        let pair = Int(truncatingIfNeeded: magnitude % 100) &* 2
        magnitude /= 100
        position &-= 2
        let digits = pairs.loadUnaligned(fromByteOffset: pair, as: UInt16.self)
        bytes.storeBytes(of: digits, toByteOffset: position, as: UInt16.self)
    }
    if magnitude >= 10 {
        let pair = Int(truncatingIfNeeded: magnitude) &* 2
        position &-= 2
        let digits = pairs.loadUnaligned(fromByteOffset: pair, as: UInt16.self)
        bytes.storeBytes(of: digits, toByteOffset: position, as: UInt16.self)
    } else {
        destination[position &- 1] = 0x30 &+ UInt8(truncatingIfNeeded: magnitude)
    }
    if value < 0 { destination[0] = 0x2d }
    return byteCount
}

/// Writes a value below ``shortIntegerEnd`` in decimal at `destination` and returns the count of its digits. There is
/// room for 8 bytes; those behind the digits are undefined afterwards. All digits at once, in the lanes of one word:
/// fewer instructions than a loop from 3 digits on, and nothing to predict.
@inlinable
@inline(__always)
package func formatShortInteger(_ value: UInt32, into destination: UnsafeMutablePointer<UInt8>) -> Int {
    assert(UInt64(value) < shortIntegerEnd)
    // Two lanes of four digits; the first digits are lowest. 10486 / 2^20 divides by 100 what is below 10,000.
    let fours = UInt64(value / 10_000) | UInt64(value % 10_000) << 32
    let hundreds = (fours &* 10_486) >> 20 & 0x7F_0000_007F
    // Four lanes of two digits. 103 / 2^10 divides by 10 what is below 100.
    let pairs = hundreds | (fours &- 100 &* hundreds) << 16
    let tens = (pairs &* 103) >> 10 & 0xF_000F_000F_000F
    let digits = tens | (pairs &- 10 &* tens) << 8
    // Leading zeros are the lowest bytes; the last digit always stands.
    let zeroBitCount = (digits | 1 << 56).trailingZeroBitCount & ~7
    let text = (digits | 0x3030_3030_3030_3030) >> UInt64(truncatingIfNeeded: zeroBitCount)
    UnsafeMutableRawPointer(destination).storeBytes(of: text.littleEndian, as: UInt64.self)
    return 8 &- zeroBitCount >> 3
}

/// The first number that ``formatShortInteger(_:into:)`` does not take.
@inlinable
package var shortIntegerEnd: UInt64 { 100_000_000 }

/// The numbers 00 to 99, two bytes each: a literal, so that reading it needs no initialisation check.
@inlinable
var decimalPairs: StaticString {
    """
    00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354\
    555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899
    """
}

/// The bytes that a size of a configuration file means, or nil: digits and one of the units b, k, m, g (powers of 1000)
/// and kb, mb, gb (powers of 1024), in any case; no unit means bytes.
package func parseMemorySize(_ bytes: ByteView) -> Int64? {
    var digitCount = 0
    while digitCount < bytes.count && isASCIIDigit(bytes[digitCount]) { digitCount += 1 }
    guard let number = parseUnsignedInteger(bytes[0..<digitCount]), let number = Int64(exactly: number),
        let factor = memoryUnit(bytes[digitCount..<bytes.count])
    else { return nil }
    let (result, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow ? nil : result
}

/// A limit such as `64mb` in bytes, as Redis reads `maxmemory`: no digits are 0, and what is beyond 64 bits is the most
/// that they hold. Nil for anything else.
package func parseMemoryLimit(_ bytes: ByteView) -> UInt64? {
    var number: UInt64 = 0
    var digitCount = 0
    while digitCount < bytes.count, isASCIIDigit(bytes[digitCount]) {
        number = saturatingProduct(number, 10)
        let (sum, overflow) = number.addingReportingOverflow(UInt64(bytes[digitCount] &- 0x30))
        number = overflow ? .max : sum
        digitCount += 1
    }
    guard let factor = memoryUnit(bytes[digitCount..<bytes.count]) else { return nil }
    return saturatingProduct(number, UInt64(factor))
}

private func saturatingProduct(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let (product, overflow) = left.multipliedReportingOverflow(by: right)
    return overflow ? .max : product
}

private func memoryUnit(_ unit: ByteView) -> Int64? {
    if unit.isEmpty || unit.equalsIgnoringCase("b") { return 1 }
    if unit.equalsIgnoringCase("k") { return 1_000 }
    if unit.equalsIgnoringCase("kb") { return 1 << 10 }
    if unit.equalsIgnoringCase("m") { return 1_000_000 }
    if unit.equalsIgnoringCase("mb") { return 1 << 20 }
    if unit.equalsIgnoringCase("g") { return 1_000_000_000 }
    return unit.equalsIgnoringCase("gb") ? 1 << 30 : nil
}
