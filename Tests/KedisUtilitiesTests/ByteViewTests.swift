import KedisUtilities
import Testing

/// Goal: views compare and search like arrays of bytes. Method: every count around the steps of the fast paths, and a
/// change at each position.
@Suite struct ByteViewTests {
    @Test func equalityAndOrderAreThoseOfArrays() {
        var generator = makeGenerator("ByteView")
        for count in 0...140 {
            let bytes = generator.nextBytes(count: count)
            #expect(withView(bytes) { view in withView(Array(bytes)) { view == $0 } })
            #expect(withView(bytes) { view in withView(bytes + [0]) { view != $0 && view < $0 && !($0 < view) } })
            for index in 0..<count {
                var changed = bytes
                changed[index] ^= UInt8(1 + generator.next(below: 255))
                let isLess = bytes.lexicographicallyPrecedes(changed)
                #expect(withView(bytes) { view in withView(changed) { view != $0 && (view < $0) == isLess } })
            }
        }
    }

    @Test func caseOfLettersOnlyIsIgnored() {
        #expect(withView("GeT") { $0.equalsIgnoringCase("get") && $0.equalsIgnoringCase("GET") })
        #expect(!withView("GET1") { $0.equalsIgnoringCase("get") })
        #expect(!withView("@[`{") { $0.equalsIgnoringCase("`{@[") })
        for byte in UInt8.min...UInt8.max {
            let isUpper = (0x41...0x5a).contains(byte)
            let isLower = (0x61...0x7a).contains(byte)
            #expect(asciiLowercased(byte) == (isUpper ? byte + 32 : byte))
            #expect(asciiUppercased(byte) == (isLower ? byte - 32 : byte))
            #expect(isASCIIDigit(byte) == (0x30...0x39).contains(byte))
            #expect(isASCIISpace(byte) == [0x20, 0x09, 0x0a, 0x0b, 0x0c, 0x0d].contains(byte))
        }
    }

    @Test func searching() {
        #expect(withView("abcabc") { $0.firstIndex(of: 0x63) } == 2)
        #expect(withView("abcabc") { $0.firstIndex(of: 0x64) } == nil)
        #expect(withView("abcabc") { $0[0..<2].firstIndex(of: 0x63) } == nil)
        #expect(ByteView.empty.firstIndex(of: 0) == nil)
        #expect(withView("abc") { $0.hasPrefix("ab") && $0.hasPrefix("") && $0.hasPrefix("abc") })
        #expect(!withView("abc") { $0.hasPrefix("abcd") })
        #expect(!withView("abc") { $0.hasPrefix("b") })
    }
}
