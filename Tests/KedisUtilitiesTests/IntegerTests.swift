import Foundation
import KedisUtilities
import Testing

/// Goal: integers are read and written exactly as Redis does. Method: tables of corner cases, and random numbers and
/// texts compared with the standard library and the C library.
@Suite struct IntegerTests {
    private func format(_ value: Int64) -> String {
        var buffer = [UInt8](repeating: 0x21, count: 24)
        let count = buffer.withUnsafeMutableBufferPointer { formatInteger(value, into: $0.baseAddress!) }
        #expect(buffer[count...].allSatisfy { $0 == 0x21 }, "nothing is written behind the number")
        return String(decoding: buffer[..<count], as: UTF8.self)
    }

    private let corners: [Int64] =
        [0, -1, 1, .min, .max, .min + 1, .max - 1]
        + (0..<19).flatMap { exponent -> [Int64] in
            let power = (0..<exponent).reduce(Int64(1)) { result, _ in result * 10 }
            return [power, power - 1, power + 1, -power, -power + 1, -power - 1]
        }

    @Test func formattingEqualsTheStandardLibrary() {
        var generator = makeGenerator("formatInteger")
        for value in corners + (0..<200_000).map({ _ in generator.nextSpread() }) {
            let text = format(value)
            guard text == String(describing: value), decimalDigitCount(value) == text.utf8.count else {
                Issue.record("\(value) gave \(text), \(decimalDigitCount(value)) digits")
                return
            }
        }
    }

    @Test func shortNumbersEqualThoseOfTheStandardLibrary() {
        var generator = makeGenerator("formatShortInteger")
        let short = corners.filter { $0 >= 0 && UInt64($0) < shortIntegerEnd }
        let randoms = (0..<200_000).map { _ in
            Int64(generator.next() % shortIntegerEnd) >> Int64(generator.next() % 27)
        }
        for value in short + (0..<11_000) + randoms {
            var buffer = [UInt8](repeating: 0x21, count: 9)
            let count = buffer.withUnsafeMutableBufferPointer {
                formatShortInteger(UInt32(value), into: $0.baseAddress!)
            }
            guard String(decoding: buffer[..<count], as: UTF8.self) == String(value), buffer[8] == 0x21 else {
                Issue.record("\(value) gave \(buffer), \(count) digits")
                return
            }
        }
    }

    @Test func whatIsWrittenIsReadBack() {
        var generator = makeGenerator("parseInteger")
        for value in corners + (0..<100_000).map({ _ in generator.nextSpread() }) {
            let parsed = withView(String(describing: value)) { parseInteger($0) }
            guard parsed == value else {
                Issue.record("\(value) was read as \(String(describing: parsed))")
                return
            }
        }
    }

    @Test(arguments: [
        "", "-", "+1", "-0", "00", "01", "-01", " 1", "1 ", "1a", "a", "0x10", "1.0", "--1", "-", "9223372036854775808",
        "-9223372036854775809", "18446744073709551616", "99999999999999999999", "-99999999999999999999",
        "-9223372036854775808 ", "000000000000000000001", "1\0", "\0", "١",
    ])
    func notAnInteger(_ text: String) {
        #expect(withView(text) { parseInteger($0) } == nil)
    }

    /// Any text is a number exactly if the C library takes it all and writes the same text back.
    @Test func randomTextIsJudgedAsByStrtoll() {
        var generator = makeGenerator("parseInteger texts")
        let alphabet = [UInt8]("0123456789012345678901234567899-+ a".utf8)
        for _ in 0..<200_000 {
            let bytes = generator.nextBytes(count: generator.next(below: 22), from: alphabet)
            let text = String(decoding: bytes, as: UTF8.self)
            errno = 0
            let value = strtoll(text, nil, 10)
            let expected = errno == 0 && "\(value)" == text ? Int64(value) : nil
            let parsed = withView(bytes) { parseInteger($0) }
            guard parsed == expected else {
                Issue.record("\(text): \(String(describing: parsed)), not \(String(describing: expected))")
                return
            }
        }
    }

    @Test func unsignedNumbersAreDigitsOnly() {
        for (text, expected) in [
            ("0", 0), ("007", 7), ("18446744073709551615", UInt64.max), ("18446744073709551616", nil), ("", nil),
            ("-1", nil), ("+1", nil), (" 1", nil), ("1x", nil), ("184467440737095516150", nil),
            ("00000000000000000000001", 1),
        ] as [(String, UInt64?)] {
            #expect(withView(text) { parseUnsignedInteger($0) } == expected, "\(text)")
        }
        var generator = makeGenerator("parseUnsignedInteger")
        for _ in 0..<50_000 {
            let value = generator.next() >> UInt64(generator.next(below: 64))
            guard withView("\(value)", { parseUnsignedInteger($0) }) == value else {
                Issue.record("\(value)")
                return
            }
        }
    }

    @Test func memorySizesHaveTheUnitsOfRedis() {
        for (text, expected) in [
            ("0", 0), ("100", 100), ("1b", 1), ("1k", 1_000), ("1KB", 1_024), ("2m", 2_000_000), ("2Mb", 2_097_152),
            ("3g", 3_000_000_000), ("3gB", 3_221_225_472), ("01kb", 1_024), ("9223372036854775807", .max),
            ("9223372036854775808", nil), ("9223372036854775807k", nil), ("8589934592gb", nil), ("", nil), ("kb", nil),
            ("-1", nil), ("1 kb", nil), ("1t", nil), ("1kbb", nil), ("1.5mb", nil),
        ] as [(String, Int64?)] {
            #expect(withView(text) { parseMemorySize($0) } == expected, "\(text)")
        }
    }

    @Test func memoryLimitsSaturate() {
        for (text, expected) in [
            ("0", 0), ("", 0), ("kb", 0), ("b", 0), ("100mb", 104_857_600), ("1k", 1000), ("007", 7),
            ("18446744073709551615", .max), ("18446744073709551616", .max), ("18446744073709551615k", .max),
            ("9223372036854775808", 9_223_372_036_854_775_808), ("99999999999999999999999999gb", .max), ("-1", nil),
            ("+1", nil), (" 1", nil), ("1 ", nil), ("1t", nil), ("1.5g", nil),
        ] as [(String, UInt64?)] {
            #expect(withView(text) { parseMemoryLimit($0) } == expected, "\(text)")
        }
    }
}
