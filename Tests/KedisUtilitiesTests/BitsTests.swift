// Goal: the kernels over runs of bits are right at every length, alignment and position, and read nothing outside their
// runs. Method: random runs against a model that looks at one bit at a time.

import KedisUtilities
import Testing

@Suite("Runs of bits")
struct BitsTests {
    /// Long enough for several rounds of the vector loops and all of their tails.
    private static let byteCountMax = 1100

    /// Bit 0 is the highest of the first byte.
    private static func bit(_ index: Int, of bytes: [UInt8]) -> Bool {
        index >> 3 < bytes.count && bytes[index >> 3] & (0x80 >> UInt8(index & 7)) != 0
    }

    /// Random bytes, or nearly all ones or zeroes, so that a search has a way to go.
    private static func makeBytes(_ count: Int, _ generator: inout RandomGenerator) -> [UInt8] {
        guard generator.next(below: 3) > 0 else { return generator.nextBytes(count: count) }
        var bytes = [UInt8](repeating: generator.next(below: 2) == 0 ? 0 : 0xFF, count: count)
        if count > 0, generator.next(below: 4) > 0 {
            bytes[generator.next(below: count)] ^= 1 << UInt8(generator.next(below: 8))
        }
        return bytes
    }

    /// The bytes without the first `offset`: at all alignments, and with others around them.
    private static func withPart<Result>(of bytes: [UInt8], from offset: Int, _ body: (ByteView) -> Result) -> Result {
        withView(bytes) { body($0[offset..<bytes.count - min(7, bytes.count - offset)]) }
    }

    @Test func countingAgreesWithTheModel() {
        var generator = makeGenerator("counting bits")
        for round in 0..<2000 {
            let bytes = Self.makeBytes(round % Self.byteCountMax + 8, &generator)
            let offset = generator.next(below: 8)
            Self.withPart(of: bytes, from: offset) { view in
                let own = view.bytes
                let ones = (0..<own.count * 8).filter { Self.bit($0, of: own) }
                #expect(countBits(view) == ones.count)
                guard !own.isEmpty else { return }
                let ends = [generator.next(below: own.count * 8), generator.next(below: own.count * 8)].sorted()
                let wanted = ones.filter { $0 >= ends[0] && $0 <= ends[1] }.count
                #expect(countBits(view, from: ends[0], through: ends[1]) == wanted, "\(own) \(ends)")
            }
        }
    }

    @Test func searchingAgreesWithTheModel() {
        var generator = makeGenerator("searching bits")
        for round in 0..<4000 {
            let bytes = Self.makeBytes(round % 300 + 16, &generator)
            let offset = generator.next(below: 8)
            Self.withPart(of: bytes, from: offset) { view in
                let own = view.bytes
                let ends = [generator.next(below: own.count * 8), generator.next(below: own.count * 8)].sorted()
                for isSet in [false, true] {
                    let wanted = (ends[0]...ends[1]).first { Self.bit($0, of: own) == isSet }
                    let got = firstBit(isSet: isSet, in: view, from: ends[0], through: ends[1])
                    #expect(got == wanted, "\(own) \(ends) \(isSet)")
                }
            }
        }
    }

    @Test(arguments: [BitOperation.and, .or, .xor])
    func combiningAgreesWithTheModel(operation: BitOperation) {
        var generator = makeGenerator("combining bits by \(operation)")
        for round in 0..<2000 {
            let left = generator.nextBytes(count: round % Self.byteCountMax)
            let right = generator.nextBytes(count: generator.next(below: Self.byteCountMax))
            var result = [0x55] + left + [0x55]
            result.withUnsafeMutableBytes { buffer in
                let target = UnsafeMutableRawBufferPointer(rebasing: buffer[1..<1 + left.count])
                withView(right) { target.combine(operation, with: $0) }
            }
            let wanted = left.indices.map { index -> UInt8 in
                let other = index < right.count ? right[index] : 0
                switch operation {
                case .and: return left[index] & other
                case .or: return left[index] | other
                case .xor: return left[index] ^ other
                }
            }
            #expect(result == [0x55] + wanted + [0x55], "bytes around the run included")
        }
    }

    @Test func invertingAgreesWithTheModel() {
        var generator = makeGenerator("inverting bits")
        for count in 0..<300 {
            let bytes = generator.nextBytes(count: count)
            var result = [0x55] + bytes + [0x55]
            result.withUnsafeMutableBytes { buffer in
                UnsafeMutableRawBufferPointer(rebasing: buffer[1..<1 + count]).invertBits()
            }
            #expect(result == [0x55] + bytes.map { ~$0 } + [0x55])
        }
    }

    @Test func integersAtAnyBitAgreeWithTheModel() {
        var generator = makeGenerator("integers at bits")
        for _ in 0..<20_000 {
            let bytes = generator.nextBytes(count: 1 + generator.next(below: 20))
            let bitCount = 1 + generator.next(below: 64)
            let offset = generator.next(below: bytes.count * 8 + 10)
            let wanted = (offset..<offset + bitCount).reduce(UInt64(0)) { $0 << 1 | (Self.bit($1, of: bytes) ? 1 : 0) }
            #expect(withView(bytes) { $0.bits(at: offset, bitCount: bitCount) } == wanted)
            guard offset + bitCount <= bytes.count * 8 else { continue }
            let value = generator.next()
            var changed = bytes
            changed.withUnsafeMutableBytes { $0.setBits(value, at: offset, bitCount: bitCount) }
            for index in 0..<bytes.count * 8 {
                let place = offset + bitCount - 1 - index
                let isInside = index >= offset && place >= 0
                let wanted = isInside ? value >> UInt64(place) & 1 == 1 : Self.bit(index, of: bytes)
                #expect(Self.bit(index, of: changed) == wanted)
            }
        }
    }
}
