// The hash of keys and members: 64 bits, keyed, good in every bit.
//
// It follows the published idea of hashing by folded multiplication (two 64-bit words are multiplied to 128 bits and
// the halves xored; wyhash and its relatives). The seed is secret and random in each process, so a client cannot
// choose keys that fall together. Hashes are never stored or sent: they differ between processes and byte orders.
// Cost: two multiplications up to 16 bytes, one for each 16 bytes beyond; memory is read in whole words, inside the
// view.

/// The secret of a hash: two words that should be random.
@frozen
@usableFromInline
package struct HashSeed: Equatable, Sendable {
    @usableFromInline let first: UInt64
    @usableFromInline let second: UInt64

    @inlinable
    package init(_ first: UInt64, _ second: UInt64) {
        self.first = first
        self.second = second
    }
}

/// The hash of `bytes` under `seed`.
@inlinable
package func hashBytes(_ bytes: ByteView, seed: HashSeed) -> UInt64 {
    let base = UnsafeRawPointer(bytes.base)
    let count = bytes.count
    var state = seed.second
    let low: UInt64
    let high: UInt64
    if count <= 16 {
        if count >= 8 {
            low = hashWord(base, 0)
            high = hashWord(base, count &- 8)
        } else if count >= 4 {
            low = hashHalfWord(base, 0)
            high = hashHalfWord(base, count &- 4)
        } else if count > 0 {
            // The three reads cover 1, 2 and 3 bytes without a branch; the count tells the rest.
            low = UInt64(bytes.base[0]) << 16 | UInt64(bytes.base[count >> 1]) << 8 | UInt64(bytes.base[count &- 1])
            high = 0
        } else {
            low = 0
            high = 0
        }
    } else {
        state = hashBody(base, count, seed)
        low = hashWord(base, count &- 16)
        high = hashWord(base, count &- 8)
    }
    let product = (low ^ seed.first ^ hashSecret1).multipliedFullWidth(by: high ^ state ^ hashSecret2)
    return foldedMultiply(
        product.low ^ seed.first ^ UInt64(truncatingIfNeeded: count), product.high ^ seed.second ^ hashSecret3)
}

/// Folds all of more than 16 bytes but the last 1 to 16, which the caller takes with what lies before them.
@usableFromInline
func hashBody(_ base: UnsafeRawPointer, _ count: Int, _ seed: HashSeed) -> UInt64 {
    var state = seed.second
    var offset = 0
    if count > 48 {
        // Three independent chains keep the multiplier busy.
        var second = seed.second ^ hashSecret1
        var third = seed.second ^ hashSecret2
        while offset &+ 48 < count {
            state = foldedMultiply(hashWord(base, offset) ^ seed.first, hashWord(base, offset &+ 8) ^ state)
            second = foldedMultiply(
                hashWord(base, offset &+ 16) ^ seed.first ^ hashSecret2, hashWord(base, offset &+ 24) ^ second)
            third = foldedMultiply(
                hashWord(base, offset &+ 32) ^ seed.first ^ hashSecret3, hashWord(base, offset &+ 40) ^ third)
            offset &+= 48
        }
        state ^= second ^ third
    }
    while offset &+ 16 < count {
        state = foldedMultiply(hashWord(base, offset) ^ seed.first, hashWord(base, offset &+ 8) ^ state)
        offset &+= 16
    }
    return state
}

// Odd constants with about as many ones as zeros: the fractional parts of the square roots of 2, 3 and 5.
@inlinable var hashSecret1: UInt64 { 0x6a09_e667_f3bc_c909 }
@inlinable var hashSecret2: UInt64 { 0xbb67_ae85_84ca_a73b }
@inlinable var hashSecret3: UInt64 { 0x3c6e_f372_fe94_f82b }

@inlinable
@inline(__always)
func foldedMultiply(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let product = left.multipliedFullWidth(by: right)
    return product.high ^ product.low
}

@inlinable
@inline(__always)
func hashWord(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
}

@inlinable
@inline(__always)
func hashHalfWord(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    UInt64(base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
}
