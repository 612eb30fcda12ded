// What the tests of the byte formats share: seeded randomness and borrowed views of arrays.

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
