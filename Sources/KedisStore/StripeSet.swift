// A set of stripes: what a plan locks.

/// A set of stripe indices, in ascending order when iterated with ``forEach(_:)``.
///
/// One word, because a store has 64 stripes (see docs/decisions/0003-stripes.md).
@frozen
@usableFromInline
package struct StripeSet: Equatable, Sendable {
    @usableFromInline package var mask: UInt64

    @inlinable
    package init(mask: UInt64 = 0) { self.mask = mask }

    @inlinable
    package static var all: StripeSet { StripeSet(mask: .max) }

    @inlinable
    package var isEmpty: Bool { mask == 0 }

    @inlinable
    package var count: Int { mask.nonzeroBitCount }

    @inlinable
    package mutating func insert(_ stripeIndex: Int) {
        assert(stripeIndex >= 0 && stripeIndex < 64)
        mask |= 1 << UInt64(truncatingIfNeeded: stripeIndex)
    }

    @inlinable
    package func contains(_ stripeIndex: Int) -> Bool {
        assert(stripeIndex >= 0 && stripeIndex < 64)
        return mask & (1 << UInt64(truncatingIfNeeded: stripeIndex)) != 0
    }

    @inlinable
    package mutating func formUnion(_ other: StripeSet) { mask |= other.mask }

    /// Those that `other` has not.
    @inlinable
    package func subtracting(_ other: StripeSet) -> StripeSet { StripeSet(mask: mask & ~other.mask) }

    /// Calls `body` with each index, lowest first: the order in which stripes are locked.
    @inlinable
    package func forEach(_ body: (Int) -> Void) {
        var rest = mask
        while rest != 0 {
            body(rest.trailingZeroBitCount)
            rest &= rest &- 1
        }
    }
}
