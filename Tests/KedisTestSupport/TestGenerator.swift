// Seeded randomness for tests: the seed is printed, so that a failure can be repeated.

package import KedisUtilities

extension RandomGenerator {
    /// A generator for a test. `KEDIS_TEST_SEED=<seed> swift test --filter …` repeats a run.
    package static func forTest(_ label: String) -> RandomGenerator {
        let seed = TestFiles.environment("KEDIS_TEST_SEED").flatMap { UInt64($0) } ?? systemEntropy()
        print("\(label): seed \(seed)")
        return RandomGenerator(seed: seed)
    }

    /// `count` random bytes, taken from `alphabet`.
    package mutating func bytes(_ count: Int, of alphabet: [UInt8]) -> [UInt8] {
        (0..<count).map { _ in alphabet[next(below: alphabet.count)] }
    }

    /// Cuts `bytes` into pieces of random lengths, most of them short.
    package mutating func pieces(of bytes: [UInt8]) -> [[UInt8]] {
        var pieces: [[UInt8]] = []
        var start = 0
        while start < bytes.count {
            let longest = next(below: 4) == 0 ? bytes.count : 12
            let end = min(bytes.count, start + 1 + next(below: longest))
            pieces.append(Array(bytes[start..<end]))
            start = end
        }
        return pieces
    }

    /// `bytes` with a few random changes: bytes replaced, inserted, removed, repeated.
    package mutating func mutated(_ bytes: [UInt8], with alphabet: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0...next(below: 4) where !bytes.isEmpty {
            let index = next(below: bytes.count)
            switch next(below: 5) {
            case 0: bytes[index] = alphabet[next(below: alphabet.count)]
            case 1: bytes.insert(alphabet[next(below: alphabet.count)], at: index)
            case 2: bytes.remove(at: index)
            case 3: bytes.removeSubrange(index..<min(bytes.count, index + 8))
            default: bytes.insert(contentsOf: bytes[index..<min(bytes.count, index + 16)], at: index)
            }
        }
        return bytes
    }
}

/// How long a fuzz loop goes on: KEDIS_FUZZ_SECONDS, 2 when it is not set.
package let fuzzSeconds = TestFiles.environment("KEDIS_FUZZ_SECONDS").flatMap { Int($0) } ?? 2

/// True until the time for a fuzz loop that began at `startNanoseconds` is over.
package func fuzzGoesOn(since startNanoseconds: UInt64) -> Bool {
    monotonicNanoseconds() < startNanoseconds + UInt64(clamping: fuzzSeconds) * 1_000_000_000
}
