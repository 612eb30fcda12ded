// The number type of INCRBYFLOAT and HINCRBYFLOAT: C's long double, whose width decides the digits of their results.
//
// A value type, no ownership. Where the platform's long double is no wider than a double everything works with its
// precision. Cost: parsing and formatting call the C library (about 300 ns), adding is one instruction.

import CKedis

/// A `long double` of the platform, held as plain memory because Swift has no portable name for it.
package struct LongDouble: Sendable {
    /// Text of this many bytes or more is no number, and no number needs as many: the largest of the 128-bit format has
    /// 4933 digits before the point, and 17 follow.
    private static let textCapacity = 5 * 1024

    private let storage: kedis_long_double

    private init(storage: kedis_long_double) {
        self.storage = storage
    }

    package init(_ value: Double) {
        storage = kedis_long_double_from_double(value)
    }

    package init(_ value: Int64) {
        storage = kedis_long_double_from_integer(value)
    }

    /// The number that `bytes` spell for C's `strtold`, or nil: white space in front, bytes left over, NaN, overflow,
    /// underflow to zero and 5 KiB or more are errors. `inf` is a number: check ``isFinite`` on results.
    package static func parse(_ bytes: ByteView) -> LongDouble? {
        guard bytes.count > 0 && bytes.count < textCapacity && !isASCIISpace(bytes[0]) else { return nil }
        return withTerminatedCopy(bytes) { text in
            var result = kedis_long_double()
            return kedis_long_double_parse(text, bytes.count, &result) ? LongDouble(storage: result) : nil
        }
    }

    package static func + (left: LongDouble, right: LongDouble) -> LongDouble {
        LongDouble(storage: kedis_long_double_add(left.storage, right.storage))
    }

    /// The number times 1000, rounded up: seconds as milliseconds. Nil when it is too large (or NaN); what is too small
    /// is the least integer.
    package var roundedUpThousandfold: Int64? {
        var result: Int64 = 0
        return kedis_long_double_scaled_up(storage, 1000, &result) ? result : nil
    }

    package var isNaN: Bool { kedis_long_double_is_nan(storage) }

    /// Whether the number is neither infinite nor NaN.
    package var isFinite: Bool { kedis_long_double_is_finite(storage) }

    /// The number as people write it: up to 17 decimal places, no trailing zeros, no exponent, never `-0`.
    package func formatted() -> [UInt8] {
        var bytes = [UInt8](unsafeUninitializedCapacity: Self.textCapacity) { buffer, count in
            count = buffer.withMemoryRebound(to: CChar.self) { text in
                text.baseAddress.map { kedis_long_double_format($0, text.count, storage) } ?? 0
            }
        }
        guard isFinite else { return bytes }
        // There always is a point, so this stops there.
        while bytes.last == 0x30 { bytes.removeLast() }
        if bytes.last == 0x2e { bytes.removeLast() }
        // A new array, so that no 5 KiB buffer is kept for a few digits.
        return bytes == [0x2d, 0x30] ? [0x30] : Array(bytes[...])
    }
}
