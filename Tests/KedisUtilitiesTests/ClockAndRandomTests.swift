import Foundation
import KedisUtilities
import Testing

/// Goal: random numbers repeat with their seed, are spread evenly and stay below their limit; clocks agree with
/// Foundation's.
@Suite struct ClockAndRandomTests {
    @Test func theSameSeedGivesTheSameNumbers() {
        var first = RandomGenerator(seed: 7)
        var second = RandomGenerator(seed: 7)
        var other = RandomGenerator(seed: 8)
        let numbers = (0..<100).map { _ in first.next() as UInt64 }
        #expect(numbers == (0..<100).map { _ in second.next() as UInt64 })
        #expect(numbers != (0..<100).map { _ in other.next() as UInt64 })
    }

    /// The generator is the published one. Method: its recurrence written a second time, from the state that
    /// SplitMix64 gives for seed 0 (whose first output is e220a8397b1dcdaf).
    @Test func theSequenceIsThatOfXoshiro256() {
        var state: [UInt64] = [
            0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f, 0xf88b_b8a8_724c_81ec,
        ]
        var generator = RandomGenerator(seed: 0)
        func rotate(_ word: UInt64, _ bits: Int) -> UInt64 { (word << bits) | (word >> (64 - bits)) }
        for _ in 0..<1_000 {
            let expected = rotate(state[1] &* 5, 7) &* 9
            let shifted = state[1] << 17
            state[2] ^= state[0]
            state[3] ^= state[1]
            state[1] ^= state[2]
            state[0] ^= state[3]
            state[2] ^= shifted
            state[3] = rotate(state[3], 45)
            #expect(generator.next() == expected)
        }
    }

    @Test(arguments: [1, 2, 3, 7, 10, 1000])
    func numbersBelowALimitAreEven(limit: Int) {
        var generator = makeGenerator("next(below: \(limit))")
        var counts = [Int](repeating: 0, count: limit)
        let drawCount = 100 * limit + 20_000
        for _ in 0..<drawCount { counts[generator.next(below: limit)] += 1 }
        let expected = Double(drawCount) / Double(limit)
        let chiSquare = counts.reduce(0) { $0 + (Double($1) - expected) * (Double($1) - expected) / expected }
        let freedom = Double(limit - 1)
        #expect(chiSquare <= freedom + 7 * (2 * freedom).squareRoot() + 10)
    }

    /// With three quarters of all words as limit, four words fall on three numbers: without drawing again, one number
    /// in three would come up half of the time.
    @Test func hugeAndEmptyLimits() {
        var generator = makeGenerator("next(below:) at the ends")
        let limit: UInt64 = 3 << 62
        var counts = [0, 0, 0]
        for _ in 0..<30_000 {
            let number = generator.next(below: limit)
            #expect(number < limit)
            counts[Int(number % 3)] += 1
        }
        // The standard deviation of each count is 82.
        #expect(counts.allSatisfy { abs($0 - 10_000) < 500 })
        #expect(generator.next(below: UInt64(0)) == 0)
        #expect(generator.next(below: -5) == 0)
    }

    @Test func clocksTellTheTime() {
        let before = Int64(Date().timeIntervalSince1970 * 1_000)
        let milliseconds = wallClockMilliseconds()
        let microseconds = wallClockMicroseconds()
        #expect(milliseconds >= before - 1 && milliseconds < before + 60_000)
        #expect(microseconds / 1_000 >= milliseconds && microseconds / 1_000 < milliseconds + 60_000)
        let start = monotonicNanoseconds()
        usleep(2_000)
        #expect(monotonicNanoseconds() - start >= 2_000_000)
        #expect(systemEntropy() != systemEntropy())
    }
}
