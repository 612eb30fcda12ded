// Walking a table in hash order, and drawing from it.
//
// The keys of one home lie in its bucket, in the next one (marked there as displaced) and in the stash. They are
// gathered home by home, so a threshold in hash space says what was given: growing, shrinking and moving cells between
// two calls neither hide nor repeat a key that stays.

import KedisUtilities

extension Table {
    /// How far a scan may go: keys that it gives, and homes that it looks at.
    struct ScanBudget {
        var keyCount: Int
        var homeCount: Int

        var isSpent: Bool { keyCount <= 0 || homeCount <= 0 }
    }

    /// Calls `body` with every cell whose hash is at least `lowerHash`, in whole homes, until the budget is spent.
    /// Returns the hash threshold to go on from, or nil at the table's end. `body` must not change the table.
    ///
    /// Hashes are those of one stripe: the top 6 bits are equal in all of them. Thresholds are multiples of 2^16.
    func scan(
        from lowerHash: UInt64, budget: inout ScanBudget, _ body: (Cell, _ hash: UInt64) -> Void
    ) -> UInt64? {
        guard let directory, count > 0 else { return nil }
        var threshold = lowerHash
        repeat {
            let segment = segment(of: threshold, in: directory)
            let home = segment.home(of: threshold)
            budget.homeCount -= 1
            gather(segment, home: home, from: threshold) { cell, hash in
                budget.keyCount -= 1
                body(cell, hash)
            }
            let next = Table.start(ofHome: home + 1, in: segment, around: threshold)
            guard (next ^ threshold) & Table.stripeMask == 0 else { return nil }
            threshold = next
        } while !budget.isSpent
        return threshold
    }

    /// The bits of a hash that say which stripe it is.
    static var stripeMask: UInt64 { ~(hashCount - 1) }

    /// The smallest hash of a home; of the home behind the last one: of the next segment, or stripe, or 0.
    private static func start(ofHome home: Int, in segment: Segment, around hash: UInt64) -> UInt64 {
        let usedBitCount = UInt64(stripeBitCount + segment.depth)
        let segmentStart = (hash >> (64 - usedBitCount)) << (64 - usedBitCount)
        if home == Segment.homeCount { return segmentStart &+ 1 << (64 - usedBitCount) }
        let bits = (UInt64(home) << 16 + UInt64(Segment.homeCount - 1)) / UInt64(Segment.homeCount)
        return segmentStart | bits << (48 - usedBitCount)
    }

    /// Starts to load the cells of some homes, from that of a threshold on, as far as its segment goes.
    func prefetchCells(from threshold: UInt64, homeCount: Int) {
        guard let directory else { return }
        let segment = segment(of: threshold, in: directory)
        let home = segment.home(of: threshold)
        for index in home..<min(home + homeCount, Segment.homeCount) { prefetchCells(of: segment.bucket(index)) }
    }

    private func gather(
        _ segment: Segment, home: Int, from lowerHash: UInt64, _ body: (Cell, UInt64) -> Void
    ) {
        func give(_ bucket: Bucket, _ mask: UInt32) {
            Bucket.forEachSlot(mask) { slot in
                let hash = hash(ofCell: bucket.reference(slot))
                if hash >= lowerHash { body(cell(bucket, slot), hash) }
            }
        }
        let own = segment.bucket(home)
        give(own, own.own)
        let neighbour = segment.neighbour(ofHome: home)
        give(neighbour, neighbour.displaced)
        guard own.overflowCount > 0 else { return }
        for index in Segment.homeCount..<Segment.bucketCount {
            let bucket = segment.bucket(index)
            Bucket.forEachSlot(bucket.taken) { slot in
                if segment.home(of: hash(ofCell: bucket.reference(slot))) == home {
                    give(bucket, 1 &<< UInt32(truncatingIfNeeded: slot))
                }
            }
        }
    }

    /// Draws of a slot before a thin table is walked instead.
    private static let drawCountMax = 1000

    /// A taken slot, every one equally likely. The table is not empty. Expected O(slots / keys), at most O(segments).
    func randomPlace(using generator: inout RandomGenerator) -> Place {
        guard let directory, count > 0 else { preconditionFailure("a table with keys has a directory") }
        for _ in 0..<Table.drawCountMax {
            let index = generator.next(below: 1 << depth)
            let segment = Segment(word: directory[index])
            // A segment with several entries in the directory counts for one of them only.
            guard index & (1 << (depth - segment.depth) - 1) == 0 else { continue }
            let bucket = segment.bucket(generator.next(below: Segment.bucketCount))
            let slot = generator.next(below: Bucket.slotCount)
            if bucket.taken & 1 << UInt32(slot) != 0 {
                return Place(bucket: bucket, slot: slot, cell: cell(bucket, slot))
            }
        }
        return placeSlowly(ofRank: generator.next(below: count))
    }

    /// The place of the key before which a walk over the buckets meets `rank` others.
    @inline(never)
    func placeSlowly(ofRank rank: Int) -> Place {
        var rest = rank
        var index = 0
        while let directory, index < 1 << depth {
            let segment = Segment(word: directory[index])
            for bucketIndex in 0..<Segment.bucketCount {
                let bucket = segment.bucket(bucketIndex)
                var taken = bucket.taken
                guard rest < bucket.count else {
                    rest -= bucket.count
                    continue
                }
                for _ in 0..<rest { taken &= taken &- 1 }
                let slot = taken.trailingZeroBitCount
                return Place(bucket: bucket, slot: slot, cell: cell(bucket, slot))
            }
            index += 1 << (depth - segment.depth)
        }
        preconditionFailure("a rank is below the number of keys")
    }

    /// A bucket chosen at random, for sampling, its cells on their way into the cache. Not empty unless the table is
    /// thin.
    func randomBucket(using generator: inout RandomGenerator) -> Bucket? {
        guard let directory else { return nil }
        let segment = Segment(word: directory[generator.next(below: 1 << depth)])
        let bucket = segment.bucket(generator.next(below: Segment.bucketCount))
        prefetchCells(of: bucket)
        return bucket
    }

    /// Calls `body` with the segment at or after a threshold in hash space and returns the threshold behind it, nil at
    /// the end. Stripe bits do not matter.
    func visitSegment(at threshold: UInt64, _ body: (Segment) -> Void) -> UInt64? {
        guard let directory else { return nil }
        let segment = segment(of: threshold, in: directory)
        body(segment)
        let span = segment.hashCount
        let next = (threshold & (Table.hashCount - 1) & ~(span - 1)) + span
        return next < Table.hashCount ? next : nil
    }
}
