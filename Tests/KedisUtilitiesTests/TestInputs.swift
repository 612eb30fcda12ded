// What the tests of this target share: seeded randomness and borrowed views of arrays.

import Foundation
import KedisUtilities

/// A generator whose seed is printed, so that a failure can be repeated: KEDIS_TEST_SEED=<seed> swift test.
func makeGenerator(_ label: String) -> RandomGenerator {
    let given = ProcessInfo.processInfo.environment["KEDIS_TEST_SEED"].flatMap { UInt64($0) }
    let seed = given ?? systemEntropy()
    print("\(label): seed \(seed)")
    return RandomGenerator(seed: seed)
}

func withView<Result>(_ bytes: [UInt8], _ body: (ByteView) throws -> Result) rethrows -> Result {
    try bytes.withUnsafeBytes { try body(ByteView($0)) }
}

func withView<Result>(_ text: String, _ body: (ByteView) throws -> Result) rethrows -> Result {
    try withView([UInt8](text.utf8), body)
}

extension RandomGenerator {
    /// A number whose magnitude is as likely to have one bit as 64.
    mutating func nextSpread() -> Int64 {
        Int64(truncatingIfNeeded: next()) >> Int64(next(below: 64))
    }

    mutating func nextBytes(count: Int, from alphabet: [UInt8]) -> [UInt8] {
        (0..<count).map { _ in alphabet[next(below: alphabet.count)] }
    }

    mutating func nextBytes(count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}
