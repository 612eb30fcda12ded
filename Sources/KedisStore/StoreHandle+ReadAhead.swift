// Loading what a lookup will touch before its stripe is locked for it: for who knows a key some time ahead.
//
// A hint and nothing else: a stripe that is locked is left alone, and what changes meanwhile costs a cache miss.

extension StoreHandle {
    /// Begins to load the buckets of a hash. A while later, ``prefetchCell(ofHash:databaseIndex:)`` finds them there.
    @inline(__always)
    package func prefetchBuckets(ofHash hash: UInt64, databaseIndex: Int) {
        let stripe = stripes + Int(truncatingIfNeeded: hash >> 58)
        // The directory may be another one at any time that nobody holds the stripe.
        guard stripe.pointee.lock.tryLock() else { return }
        stripe.pointee.table(databaseIndex)?.pointee.prefetchBuckets(hash)
        stripe.pointee.lock.unlock()
    }

    /// Begins to load the cell that is most likely that of a key with `hash`.
    @inline(__always)
    package func prefetchCell(ofHash hash: UInt64, databaseIndex: Int) {
        let stripe = stripes + Int(truncatingIfNeeded: hash >> 58)
        guard stripe.pointee.lock.tryLock() else { return }
        _ = stripe.pointee.table(databaseIndex)?.pointee.prefetchCell(hash)
        stripe.pointee.lock.unlock()
    }
}
