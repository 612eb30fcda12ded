// A small, fast, seedable source of random numbers: sampling of members, eviction candidates, tests.
//
// Not for secrets: who sees a few outputs can predict the rest. The same seed gives the same sequence everywhere, so a
// run of the engine can be repeated. A value type of 32 bytes, owned by one thread. Cost: about 1 ns a number.

/// xoshiro256** of Blackman and Vigna, its state filled from the seed by SplitMix64.
@frozen
@usableFromInline
package struct RandomGenerator: RandomNumberGenerator, Sendable {
    @usableFromInline var state: (UInt64, UInt64, UInt64, UInt64)

    package init(seed: UInt64) {
        var counter = seed
        state = (
            Self.splitMix(&counter), Self.splitMix(&counter), Self.splitMix(&counter), Self.splitMix(&counter)
        )
    }

    private static func splitMix(_ counter: inout UInt64) -> UInt64 {
        counter &+= 0x9e37_79b9_7f4a_7c15
        var mixed = counter
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    @inlinable
    package mutating func next() -> UInt64 {
        let scrambled = rotateLeft(state.1 &* 5, 7) &* 9
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = rotateLeft(state.3, 45)
        return scrambled
    }

    /// A number in `0..<limit`, each as likely as the others; 0 when `limit` is 0.
    @inlinable
    package mutating func next(below limit: UInt64) -> UInt64 {
        guard limit > 1 else { return 0 }
        var product = next().multipliedFullWidth(by: limit)
        if product.low < limit {
            // 2^64 is no multiple of most limits: the draws that would make some results likelier are drawn again.
            let surplus = (0 &- limit) % limit
            while product.low < surplus { product = next().multipliedFullWidth(by: limit) }
        }
        return product.high
    }

    /// An index in `0..<count`; 0 when `count` is not positive.
    @inlinable
    package mutating func next(below count: Int) -> Int {
        Int(truncatingIfNeeded: next(below: UInt64(max(count, 0))))
    }

    @inlinable
    @inline(__always)
    func rotateLeft(_ word: UInt64, _ bits: UInt64) -> UInt64 {
        word << bits | word >> (64 &- bits)
    }
}
