// Floating-point numbers from bytes and to bytes: scores, and the amounts of INCRBYFLOAT in LongDouble.swift.
//
// Input may be anything a client sends: every function answers nil rather than trap. What is accepted and the bytes
// that are written are part of the protocol, hence the C library does both; short decimals and whole numbers, which are
// nearly all there is, take a way around it that gives the same result. Cost: no allocation for up to 1 KiB of input.

import CKedis

/// The number that `bytes` spell for C's `strtod` (so decimal, hexadecimal, `inf`, `infinity`), or nil: white space in
/// front, bytes left over, NaN, overflow and underflow to zero are errors.
package func parseDouble(_ bytes: ByteView) -> Double? {
    if let result = parseShortDecimal(bytes) { return result }
    guard bytes.count > 0 && !isASCIISpace(bytes[0]) else { return nil }
    return withTerminatedCopy(bytes) { text in
        var result = 0.0
        return kedis_parse_double(text, bytes.count, &result) ? result : nil
    }
}

/// `[-]digits[.digits]` with at most 15 digits: the digits and the power of ten are exact as doubles, so one division,
/// correctly rounded, gives what `strtod` gives. Nil means "not of that form", not "no number".
private func parseShortDecimal(_ bytes: ByteView) -> Double? {
    guard bytes.count > 0 && bytes.count <= 17 else { return nil }
    let isNegative = bytes[0] == 0x2d
    var index = isNegative ? 1 : 0
    var digits: Int64 = 0
    var digitCount = 0
    var fractionStart: Int?
    while index < bytes.count {
        let byte = bytes[index]
        if byte == 0x2e && fractionStart == nil {
            fractionStart = digitCount
        } else if isASCIIDigit(byte) {
            digits = digits &* 10 &+ Int64(byte &- 0x30)
            digitCount += 1
        } else {
            return nil
        }
        index += 1
    }
    guard digitCount > 0 && digitCount <= 15 else { return nil }
    var power = 1.0
    for _ in (fractionStart ?? digitCount)..<digitCount { power *= 10 }
    let magnitude = Double(digits) / power
    return isNegative ? -magnitude : magnitude
}

/// The number that Redis takes the ends of ranges for: as ``parseDouble(_:)``, but white space may stand in front, no
/// bytes at all are 0, numbers that are too large are infinite, and everything from a zero byte on is ignored.
package func parseDoublePrefix(_ bytes: ByteView) -> Double? {
    if let result = parseDouble(bytes) { return result }
    let text = bytes[0..<(bytes.firstIndex(of: 0) ?? bytes.count)]
    if text.isEmpty { return 0 }
    return withTerminatedCopy(text) { copy in
        var result = 0.0
        return kedis_parse_any_double(copy, text.count, &result) ? result : nil
    }
}

/// The largest byte count that ``formatDouble(_:into:)`` writes, and the byte that the C library puts behind.
package let formattedDoubleCapacity = 32

/// Writes `value` at `destination`, which must have room for ``formattedDoubleCapacity`` bytes, and returns the byte
/// count: 17 significant digits as C's `%.17g`, or `inf`, `-inf`, `nan`.
package func formatDouble(_ value: Double, into destination: UnsafeMutablePointer<UInt8>) -> Int {
    if !value.isFinite {
        return copyLiteral(value.isNaN ? "nan" : value < 0 ? "-inf" : "inf", into: destination)
    }
    // From 1e17 on an exponent is written; the sign of a negative zero would be lost.
    if value.magnitude < 1e17, let whole = Int64(exactly: value), whole != 0 || value.sign == .plus {
        return formatInteger(whole, into: destination)
    }
    return destination.withMemoryRebound(to: CChar.self, capacity: formattedDoubleCapacity) { text in
        kedis_format_double(text, formattedDoubleCapacity, value)
    }
}

/// The bytes that ``formatDouble(_:into:)`` writes, in an array.
package func formatDouble(_ value: Double) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: formattedDoubleCapacity) { buffer, count in
        count = buffer.baseAddress.map { formatDouble(value, into: $0) } ?? 0
    }
}

/// The number with so many decimal places, 0 to 17, rounded; `inf` or `nan`.
package func formatFixed(_ value: Double, places: Int) -> [UInt8] {
    // The largest double has 309 digits in front of the point.
    [UInt8](unsafeUninitializedCapacity: 336) { buffer, count in
        count = buffer.withMemoryRebound(to: CChar.self) { text in
            text.baseAddress.map { kedis_format_fixed($0, text.count, value, CInt(truncatingIfNeeded: places)) } ?? 0
        }
    }
}

private func copyLiteral(_ literal: StaticString, into destination: UnsafeMutablePointer<UInt8>) -> Int {
    destination.update(from: literal.utf8Start, count: literal.utf8CodeUnitCount)
    return literal.utf8CodeUnitCount
}

/// Runs `body` on a copy of `bytes` with a NUL behind them, as the C library wants its text.
func withTerminatedCopy<Result>(_ bytes: ByteView, _ body: (UnsafePointer<CChar>) -> Result?) -> Result? {
    guard bytes.count < 64 << 10 || hasHeadroom(beside: bytes.count) else { return nil }
    return withUnsafeTemporaryAllocation(byteCount: bytes.count + 1, alignment: 1) { copy in
        copy.copyMemory(from: bytes.raw)
        copy[bytes.count] = 0
        guard let base = copy.baseAddress else { return nil }
        return body(UnsafeRawPointer(base).assumingMemoryBound(to: CChar.self))
    }
}
