import Foundation
import KedisUtilities
import Testing

/// Goal: the hash spreads keys evenly over every group of its bits, and reads nothing outside its view. Method: counts
/// over random and sequential keys against what chance gives, and views that end at an unreadable page.
@Suite struct HashingTests {
    /// Every input bit flips every output bit half of the time.
    @Test(arguments: [3, 8, 16, 20, 50])
    func avalanche(byteCount: Int) {
        var generator = makeGenerator("avalanche of \(byteCount) bytes")
        let seed = HashSeed(generator.next(), generator.next())
        let sampleCount = 300
        var flips = [Int](repeating: 0, count: byteCount * 8 * 64)
        for _ in 0..<sampleCount {
            var bytes = generator.nextBytes(count: byteCount)
            let original = withView(bytes) { hashBytes($0, seed: seed) }
            for bit in 0..<byteCount * 8 {
                bytes[bit / 8] ^= 1 << UInt8(bit % 8)
                var difference = withView(bytes) { hashBytes($0, seed: seed) } ^ original
                bytes[bit / 8] ^= 1 << UInt8(bit % 8)
                while difference != 0 {
                    flips[bit * 64 + difference.trailingZeroBitCount] += 1
                    difference &= difference - 1
                }
            }
        }
        // Single cells may stray by seven standard deviations, the sums for each output bit hardly at all.
        let half = Double(sampleCount) / 2
        #expect(flips.allSatisfy { abs(Double($0) - half) < 7 * (Double(sampleCount) / 4).squareRoot() })
        for output in 0..<64 {
            let sum = stride(from: output, to: flips.count, by: 64).reduce(0) { $0 + flips[$1] }
            let mean = Double(sum) / Double(byteCount * 8 * sampleCount)
            #expect(abs(mean - 0.5) < 0.03, "output bit \(output)")
        }
    }

    /// A million sequential keys: no two with one hash, and each group of 12 bits as even as chance makes it.
    @Test(arguments: ["key:%012ld", "%ld", "user:%ld:a-longer-tail-behind-the-number-that-never-changes"])
    func sequentialKeysSpread(format: String) {
        var generator = makeGenerator("spread of \(format)")
        let seed = HashSeed(generator.next(), generator.next())
        let keyCount = 1_000_000
        var hashes: Set<UInt64> = []
        hashes.reserveCapacity(keyCount)
        var counts = [[Int]](repeating: [Int](repeating: 0, count: 4096), count: 3)
        var buffer = [CChar](repeating: 0, count: 128)
        for index in 0..<keyCount {
            let count = withVaList([index]) { vsnprintf(&buffer, buffer.count, format, $0) }
            let hash = buffer.withUnsafeBytes { hashBytes(ByteView($0)[0..<Int(count)], seed: seed) }
            hashes.insert(hash)
            counts[0][Int(hash >> 52)] += 1
            counts[1][Int(hash >> 26 & 0xfff)] += 1
            counts[2][Int(hash & 0xfff)] += 1
        }
        #expect(hashes.count == keyCount)
        let expected = Double(keyCount) / 4096
        for cells in counts {
            let chiSquare = cells.reduce(0) { $0 + (Double($1) - expected) * (Double($1) - expected) / expected }
            // 4095 degrees of freedom: standard deviation 90.5.
            #expect(abs(chiSquare - 4095) < 6 * 90.5)
        }
    }

    @Test func everyByteTheCountAndBothSeedWordsMatter() {
        var generator = makeGenerator("hash differences")
        let seed = HashSeed(generator.next(), generator.next())
        for count in 0...200 {
            let bytes = generator.nextBytes(count: count)
            let hash = withView(bytes) { hashBytes($0, seed: seed) }
            #expect(hash == withView(bytes) { hashBytes($0, seed: seed) })
            #expect(hash != withView(bytes) { hashBytes($0, seed: HashSeed(generator.next(), generator.next())) })
            #expect(withView(bytes + [0]) { hashBytes($0, seed: seed) } != hash)
            for index in 0..<count {
                var changed = bytes
                changed[index] ^= 1
                #expect(withView(changed) { hashBytes($0, seed: seed) } != hash)
            }
        }
        let zeros = (0...200).map { count in
            withView([UInt8](repeating: 0, count: count)) { hashBytes($0, seed: seed) }
        }
        #expect(Set(zeros).count == zeros.count)
        let words = withView("key") { key in
            (0..<64).flatMap { bit in
                [hashBytes(key, seed: HashSeed(1 << bit, 0)), hashBytes(key, seed: HashSeed(0, 1 << bit))]
            }
        }
        #expect(Set(words).count == words.count)
    }

    @Test func nothingIsReadOutsideTheView() throws {
        let pageSize = Int(getpagesize())
        let flags = MAP_PRIVATE | Int32(MAP_ANON)
        let memory = try #require(mmap(nil, 3 * pageSize, PROT_READ | PROT_WRITE, flags, -1, 0))
        defer { munmap(memory, 3 * pageSize) }
        mprotect(memory, pageSize, PROT_NONE)
        mprotect(memory + 2 * pageSize, pageSize, PROT_NONE)
        let seed = HashSeed(1, 2)
        for count in 0...200 {
            let first = ByteView(UnsafeRawBufferPointer(start: memory + pageSize, count: count))
            let last = ByteView(UnsafeRawBufferPointer(start: memory + 2 * pageSize - count, count: count))
            #expect(hashBytes(first, seed: seed) == hashBytes(last, seed: seed))
            #expect(first == last)
        }
    }
}
