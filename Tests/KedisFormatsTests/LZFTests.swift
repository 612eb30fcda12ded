import KedisFormats
import KedisUtilities
import Testing

/// Goal: what is compressed comes back, what Redis compressed is read, and damage is found without touching memory that
/// is not ours. Method: round trips over data of every texture, a real payload, streams made by hand, mutated streams
/// with canaries around the output.
@Suite struct LZFTests {
    private static let canary: UInt8 = 0xa5

    /// The decompressed bytes, or nil; fails the test when a byte outside the output was written.
    private func decompress(_ stream: [UInt8], byteCount: Int) -> [UInt8]? {
        let margin = 512
        var memory = [UInt8](repeating: Self.canary, count: byteCount + 2 * margin)
        let isGood = memory.withUnsafeMutableBytes { memory in
            let output = UnsafeMutableRawBufferPointer(rebasing: memory[margin..<margin + byteCount])
            return withView(stream) { lzfDecompress($0, byteCount: byteCount, into: output) }
        }
        #expect(memory[..<margin].allSatisfy { $0 == Self.canary })
        #expect(memory[(margin + byteCount)...].allSatisfy { $0 == Self.canary })
        return isGood ? Array(memory[margin..<margin + byteCount]) : nil
    }

    /// Bytes that repeat themselves a little, a lot, or not at all.
    private func makeSample(_ generator: inout RandomGenerator, count: Int) -> [UInt8] {
        let letterCount = [1, 2, 4, 26, 256][generator.next(below: 5)]
        let copyPercent = [0, 10, 50, 95][generator.next(below: 4)]
        var bytes: [UInt8] = []
        while bytes.count < count {
            if !bytes.isEmpty && generator.next(below: 100) < copyPercent {
                let start = generator.next(below: bytes.count)
                bytes += bytes[start..<min(bytes.count, start + 1 + generator.next(below: 400))]
            } else {
                bytes.append(UInt8(truncatingIfNeeded: generator.next(below: letterCount)))
            }
        }
        return Array(bytes.prefix(count))
    }

    @Test func roundTrips() {
        var generator = makeGenerator("LZF round trips")
        for round in 0..<1_500 {
            let count = round < 300 ? round : generator.next(below: round % 50 == 0 ? 60_000 : 2_000)
            let bytes = makeSample(&generator, count: count)
            guard let stream = withView(bytes, { lzfCompress($0) }) else { continue }
            #expect(stream.count <= bytes.count - 4)
            guard decompress(stream, byteCount: count) == bytes else {
                Issue.record("\(count) bytes did not come back in round \(round)")
                return
            }
            #expect(decompress(stream, byteCount: count + 1) == nil)
            #expect(decompress(stream, byteCount: count - 1) == nil)
        }
    }

    @Test func repetitionShrinksAndNoiseDoesNot() throws {
        for count in 0...4 { #expect(withView([UInt8](repeating: 1, count: count)) { lzfCompress($0) } == nil) }
        let run = try #require(withView([UInt8](repeating: 1, count: 100_000)) { lzfCompress($0) })
        #expect(run.count < 1_300)
        #expect(decompress(run, byteCount: 100_000) == [UInt8](repeating: 1, count: 100_000))
        var generator = makeGenerator("LZF noise")
        let noise = (0..<10_000).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        #expect(withView(noise) { lzfCompress($0) } == nil)
        let value = RedisDumpSample.value
        let stream = try #require(withView(value) { lzfCompress($0) })
        #expect(stream.count <= RedisDumpSample.compressed.count + 10)
    }

    @Test func readsWhatRedisCompressed() {
        #expect(decompress(RedisDumpSample.compressed, byteCount: RedisDumpSample.value.count) == RedisDumpSample.value)
    }

    @Test(arguments: [
        ([], 0, []), ([0, 7], 1, [7]), ([0, 7, 0x20, 0], 4, [7, 7, 7, 7]), ([1, 7, 8, 0x20, 1], 5, [7, 8, 7, 8, 7]),
        ([0, 7, 0xe0, 0, 0], 10, [UInt8](repeating: 7, count: 10)),
        // A copy from before the start, a count without distance, literals cut short, an output too small or too large.
        ([0x20, 0], 3, nil), ([0, 7, 0x20, 1], 4, nil), ([0, 7, 0x21], 4, nil), ([0, 7, 0xe0], 10, nil),
        ([0, 7, 0xe0, 0], 10, nil), ([3, 1, 2], 4, nil), ([0], 1, nil), ([0, 7], 0, nil), ([0, 7], 2, nil),
        ([], 1, nil),
    ] as [([UInt8], Int, [UInt8]?)])
    func streamsMadeByHand(_ stream: [UInt8], _ byteCount: Int, _ expected: [UInt8]?) {
        #expect(decompress(stream, byteCount: byteCount) == expected)
    }

    @Test func theOutputMustHoldTheCount() {
        let output = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        #expect(withView([0, 7]) { !lzfDecompress($0, byteCount: 1, into: output) })
        #expect(withView([0, 7]) { !lzfDecompress($0, byteCount: -1, into: output) })
        #expect(lzfDecompress(.empty, byteCount: 0, into: output))
    }

    @Test func damagedStreamsTouchNothingElse() {
        var generator = makeGenerator("LZF damage")
        for _ in 0..<4_000 {
            let bytes = makeSample(&generator, count: 10 + generator.next(below: 500))
            var stream = withView(bytes) { lzfCompress($0) } ?? bytes
            for _ in 0...generator.next(below: 4) {
                switch generator.next(below: 4) {
                case 0: stream[generator.next(below: stream.count)] = UInt8(truncatingIfNeeded: generator.next())
                case 1: stream[generator.next(below: stream.count)] ^= 1 << UInt8(generator.next(below: 8))
                case 2: stream.removeLast(generator.next(below: stream.count))
                default: stream.insert(UInt8(truncatingIfNeeded: generator.next()),
                at: generator.next(below: stream.count))
                }
            }
            _ = decompress(stream, byteCount: generator.next(below: 2) == 0 ? bytes.count : generator.next(below: 600))
        }
    }
}
