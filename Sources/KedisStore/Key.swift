// A key with its hash: computed once in the plan, used for the stripe, the table and prefetching.

public import KedisUtilities

/// A borrowed key and its hash. Valid as long as the bytes are.
///
/// Layout of the hash: the top 6 bits choose the stripe, the bits below them the home slot in its table, so hash order
/// is storage order and a cursor of SCAN is a threshold in hash space.
@frozen
@usableFromInline
package struct Key: Sendable {
    @usableFromInline package let bytes: ByteView
    @usableFromInline package let hash: UInt64

    @inlinable
    package init(_ bytes: ByteView, seed: HashSeed) {
        self.bytes = bytes
        self.hash = hashBytes(bytes, seed: seed)
    }

    @inlinable
    package init(_ bytes: ByteView, hash: UInt64) {
        self.bytes = bytes
        self.hash = hash
    }

    @inlinable
    package var stripeIndex: Int { Int(truncatingIfNeeded: hash >> 58) }
}
