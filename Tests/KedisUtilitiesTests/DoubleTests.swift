import Foundation
import KedisUtilities
import Testing

/// Goal: doubles are read and written exactly as Redis does. Method: tables whose answers redis-server 7.0.15 gave to
/// ZADD, ZSCORE and INCRBYFLOAT, and random numbers compared with `strtod` and `printf`.
@Suite struct DoubleTests {
    private func format(_ value: Double) -> String { String(decoding: formatDouble(value), as: UTF8.self) }

    @Test(arguments: [
        ("1", 1), ("1.5", 1.5), ("0x10", 16), ("1e5", 1e5),
        ("1e-320", Double(sign: .plus, exponent: -1074, significand: 2024)), ("inf", .infinity), ("+inf", .infinity),
        ("-Infinity", -.infinity), ("INF", .infinity), ("+5", 5), (".5", 0.5), ("5.", 5), ("1e22", 1e22),
        ("-.25", -0.25), ("123456789012345678", 123456789012345680), ("0.1", 0.1), ("000000000000000001", 1),
        ("1.7976931348623157e308", Double.greatestFiniteMagnitude),
    ] as [(String, Double)])
    func isADouble(_ text: String, _ expected: Double) {
        #expect(withView(text) { parseDouble($0) } == expected)
    }

    @Test(arguments: [
        "", " 1", "1 ", "\u{b}1", "1e", "1e400", "-1e400", "1e-400", "nan", "NaN", "-nan", "nan(1)", ".", "-", "-.",
        "+", "1.2.3", "1,5", "abc", "1\0", "\0", "inf1", "0x", "--1", "1e5e5",
    ])
    func isNoDouble(_ text: String) {
        #expect(withView(text) { parseDouble($0) } == nil)
    }

    @Test func negativeZeroKeepsItsSign() {
        #expect(withView("-0") { parseDouble($0) }?.sign == .minus)
        #expect(withView("-0.0") { parseDouble($0) }?.sign == .minus)
        #expect(format(-0.0) == "-0")
        #expect(format(0) == "0")
    }

    /// Finds a short way that does not give what the long way gives.
    @Test func randomDecimalsAreReadAsByStrtod() {
        var generator = makeGenerator("parseDouble")
        let alphabet = [UInt8]("0123456789012345678901234567890123456789..-+e".utf8)
        for _ in 0..<200_000 {
            let bytes = generator.nextBytes(count: 1 + generator.next(below: 20), from: alphabet)
            let text = String(decoding: bytes, as: UTF8.self)
            let expected = text.withCString { start -> Double? in
                var end: UnsafeMutablePointer<CChar>?
                errno = 0
                let value = strtod(start, &end)
                let isOutOfRange = errno == ERANGE && (value.isInfinite || value == 0)
                return end == UnsafeMutablePointer(mutating: start + bytes.count) && !isOutOfRange ? value : nil
            }
            let parsed = withView(bytes) { parseDouble($0) }
            guard parsed?.bitPattern == expected?.bitPattern else {
                Issue.record("\(text): \(String(describing: parsed)), not \(String(describing: expected))")
                return
            }
        }
    }

    @Test func formattingEqualsPrintf() {
        var generator = makeGenerator("formatDouble")
        var values: [Double] = [
            1e15, 1e16, 1e17, -1e17, 99999999999999984, 1e18, 0.1, -0.5, 1 / 3, 1e-5, 1e-4, .leastNonzeroMagnitude,
            .greatestFiniteMagnitude,
        ]
        for _ in 0..<50_000 {
            values.append(Double(bitPattern: generator.next()))
            values.append(Double(generator.nextSpread()))
            values.append(Double(generator.nextSpread()) / 1000)
        }
        for value in values where value.isFinite {
            guard format(value) == String(format: "%.17g", value) else {
                Issue.record("\(value) gave \(format(value))")
                return
            }
            guard withView(formatDouble(value), { parseDouble($0) })?.bitPattern == value.bitPattern else {
                Issue.record("\(value) did not come back")
                return
            }
        }
        #expect(format(.infinity) == "inf")
        #expect(format(-.infinity) == "-inf")
        #expect(format(.nan) == "nan")
    }

    /// Fails when long input overruns a buffer or is cut.
    @Test func longInputIsNoTrap() {
        let zeros = [UInt8](repeating: 0x30, count: 100_000)
        #expect(withView(zeros + [0x31]) { parseDouble($0) } == 1)
        #expect(withView([UInt8](repeating: 0x39, count: 100_000)) { parseDouble($0) } == nil)
        #expect(withView(zeros) { LongDouble.parse($0) } == nil)
    }
}

@Suite struct LongDoubleTests {
    private func add(_ left: String, _ right: String) -> String? {
        guard let left = withView(left, { LongDouble.parse($0) }), let right = withView(right, { LongDouble.parse($0) })
        else { return nil }
        return String(decoding: (left + right).formatted(), as: UTF8.self)
    }

    @Test(arguments: [
        ("10.5", "0.1", "10.6"), ("5.0e3", "200", "5200"), ("3", "-3", "0"), ("-0", "0", "0"), ("0", "-0.0", "0"),
        ("-0", "-0", "0"), ("0.1", "0.2", "0.3"), ("-1", "0.99999999999999999999", "0"), ("1e-20", "0", "0"),
        ("-1e-20", "0", "0"), ("0x1p3", "0", "8"), ("3.0", "1.1e-5", "3.000011"), ("100", "0", "100"),
        ("-100.10", "0", "-100.1"), (String(repeating: "0", count: 5118) + "1", "0", "1"),
    ])
    func sumsAreThoseOfRedis(_ left: String, _ right: String, _ expected: String) {
        #expect(add(left, right) == expected)
    }

    #if arch(x86_64) && !os(Windows)
    @Test(arguments: [
        ("1e17", "0.1", "100000000000000000.1015625"), ("17179869184", "0.00001", "17179869184.00001000054180622"),
    ])
    func sumsHaveTheWidthOfEightyBits(_ left: String, _ right: String, _ expected: String) {
        #expect(add(left, right) == expected)
        #expect(add("1e4931", "1e4931")?.utf8.count == 4932)
    }

    @Test func smallSumsEqualThoseOfFloat80() {
        var generator = makeGenerator("LongDouble")
        for _ in 0..<5_000 {
            let left = generator.nextSpread() >> 16
            let right = Double(generator.nextSpread() >> 20) / 1024
            let sum = Float80(left) + Float80(right)
            let text = add("\(left)", String(format: "%.10f", right))
            guard text.flatMap({ Float80($0) }) == sum else {
                Issue.record("\(left) + \(right) = \(String(describing: text))")
                return
            }
        }
    }
    #endif

    @Test(arguments: [
        "", " 1", "1 ", "nan", "1e99999", "1e-99999", "1x", "1\0", String(repeating: "1", count: 5120),
        String(repeating: "0", count: 5119) + "1",
    ])
    func isNoNumber(_ text: String) {
        #expect(withView(text) { LongDouble.parse($0) } == nil)
    }

    @Test func infinityIsANumberThatTellsSo() throws {
        let infinity = try #require(withView("inf") { LongDouble.parse($0) })
        let negative = try #require(withView("-inf") { LongDouble.parse($0) })
        #expect(!infinity.isFinite && !infinity.isNaN)
        #expect((infinity + negative).isNaN)
        #expect(LongDouble(1.5).isFinite)
        #expect(String(decoding: LongDouble(Int64.min).formatted(), as: UTF8.self) == "-9223372036854775808")
        #expect(String(decoding: infinity.formatted(), as: UTF8.self) == "inf")
    }
}
