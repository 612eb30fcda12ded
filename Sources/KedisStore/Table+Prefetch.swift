// Loading what lookups in a table will touch, before they do: for a batch, all keys a stage at a time
// (StoreHandle.prefetch), so that their cache misses overlap.
//
//      home bucket ─▶ its cell with the tag, or the buckets where else the key may be ─▶ the cell there
//
// A hint and nothing else. The stripe is locked. Cost: some instructions a key and stage; nothing is waited for but
// what the stage before has begun to load.

import CKedis
import KedisUtilities

extension Table {
    @inline(__always)
    func prefetchBuckets(_ hash: UInt64) {
        guard let directory else { return }
        let segment = segment(of: hash, in: directory)
        let home = segment.home(of: hash)
        kedis_prefetch(segment.bucket(home).address)
    }

    /// Starts to load the cell of the first slot of its home bucket that may be a key's, and returns it; if there is
    /// none, the buckets where else the key may be, or may be put. A cell is loaded where it begins and `reach` bytes
    /// behind that.
    @inline(__always)
    @discardableResult
    func prefetchCell(_ hash: UInt64, reach: Int) -> Cell? {
        guard let directory else { return nil }
        let segment = segment(of: hash, in: directory)
        let home = segment.home(of: hash)
        let bucket = segment.bucket(home)
        let candidates = bucket.match(Table.tag(of: hash)) & bucket.own
        guard candidates != 0 else {
            kedis_prefetch(segment.neighbour(ofHome: home).address)
            if bucket.overflowCount > 0 {
                for index in Segment.homeCount..<Segment.bucketCount { kedis_prefetch(segment.bucket(index).address) }
            }
            return nil
        }
        return prefetchCell(of: bucket, candidates, reach: reach)
    }

    /// The same of the other buckets, a while after ``prefetchCell(_:reach:)`` has found nothing.
    func prefetchDisplacedCell(_ hash: UInt64, reach: Int) -> Cell? {
        guard let directory else { return nil }
        let segment = segment(of: hash, in: directory)
        let home = segment.home(of: hash)
        let (own, tag) = (segment.bucket(home), Table.tag(of: hash))
        if own.hasOverhang {
            let bucket = segment.neighbour(ofHome: home)
            let candidates = bucket.match(tag) & bucket.displaced
            if candidates != 0 { return prefetchCell(of: bucket, candidates, reach: reach) }
        }
        guard own.overflowCount > 0 else { return nil }
        for index in Segment.homeCount..<Segment.bucketCount {
            let bucket = segment.bucket(index)
            let candidates = bucket.match(tag) & bucket.taken
            if candidates != 0 { return prefetchCell(of: bucket, candidates, reach: reach) }
        }
        return nil
    }

    @inline(__always)
    private func prefetchCell(of bucket: Bucket, _ candidates: UInt32, reach: Int) -> Cell {
        let address = arena.pointee.address(bucket.reference(candidates.trailingZeroBitCount))
        kedis_prefetch(address)
        // Often the same line, but a branch would be foretold wrong.
        kedis_prefetch(address + reach)
        return Cell(address)
    }

    /// From the first to the last byte of a cell that is as long as all are on average, at most to the next line.
    @inline(__always)
    var cellReach: Int { min(cellByteCount / max(count, 1), MemorySource.lineByteCount) &- 1 }
}
