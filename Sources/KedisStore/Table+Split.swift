// Growth and shrinking, one segment at a time.
//
//      split   segment of depth d  ──▶  two of depth d + 1: the next bit of the hash decides
//      merge   two of depth d      ──▶  one of depth d - 1
//
// Both build fresh pages and free the old ones, so a failure leaves the table as it was. A split touches at most 768
// cells (their keys are hashed again) and 12 KiB of buckets; a directory doubles by copying 8 bytes for each 700 keys.

import CKedis
import KedisUtilities

extension Table {
    /// Two segments merge when they hold no more keys than this: below what one takes, 660 to 740.
    static let mergedCountMax = 650
    /// Segments merge while they hold fewer keys than this on average. A fresh split leaves more, so a table must lose
    /// keys after it has grown before it shrinks, and the other way round.
    private static let thinCount = 325

    /// Splits the segment of `hash`; false when memory or bits are exhausted.
    @inline(never)
    mutating func split(_ hash: UInt64) -> Bool {
        guard let directory else { return false }
        let old = segment(of: hash, in: directory)
        guard old.depth < Table.depthMax, old.depth < depth || growDirectory() else { return false }
        guard let low = makeSegment(depth: old.depth + 1) else { return false }
        guard let high = makeSegment(depth: old.depth + 1) else {
            release(low)
            return false
        }
        guard distribute(old, low: low, high: high) else {
            // All keys share the bit, and in another order they do not fit: nothing that a keyed hash ever does.
            release(low)
            release(high)
            return false
        }
        setDirectory(hash, low: low, high: high)
        release(old)
        return true
    }

    private mutating func distribute(_ old: Segment, low: Segment, high: Segment) -> Bool {
        let bit: UInt64 = 1 << UInt64(63 - Table.stripeBitCount - old.depth)
        var isDone = true
        var moved = 0
        for index in 0..<2 { prefetchCells(of: old.bucket(index)) }
        for index in 0..<Segment.bucketCount {
            if index + 2 < Segment.bucketCount { prefetchCells(of: old.bucket(index + 2)) }
            let bucket = old.bucket(index)
            Bucket.forEachSlot(bucket.taken) { slot in
                let reference = bucket.reference(slot)
                let hash = hash(ofCell: reference)
                moved += 1
                let target = hash & bit == 0 ? low : high
                isDone = target.put(reference: reference, hash: hash, isRebuilding: true) && isDone
            }
            guard isDone else { return false }
        }
        work.add(cells: moved, bytes: 3 * MemorySource.pageByteCount)
        return true
    }

    /// Starts to load all cells of a bucket, as far as their keys reach if these are short.
    func prefetchCells(of bucket: Bucket) {
        Bucket.forEachSlot(bucket.taken) {
            let address = arena.pointee.address(bucket.reference($0))
            kedis_prefetch(address)
            kedis_prefetch(address + 31)
        }
    }

    /// The hash of a cell's key, computed anew: cells do not store it, only the blobs of long keys do.
    @inline(__always)
    func hash(ofCell reference: UInt32) -> UInt64 {
        let cell = Cell(arena.pointee.address(reference))
        return cell.keyBlob?.hash ?? hashBytes(cell.key, seed: arena.pointee.seed)
    }

    /// Enters two segments where one was.
    private func setDirectory(_ hash: UInt64, low: Segment, high: Segment) {
        guard let directory else { return }
        let span = 1 << (depth - low.depth)
        let first = directoryIndex(hash) & ~(2 * span - 1)
        for index in first..<first + span { directory[index] = low.word }
        for index in first + span..<first + 2 * span { directory[index] = high.word }
    }

    private mutating func growDirectory() -> Bool {
        guard let directory, depth < Table.depthMax else { return false }
        let oldCount = 1 << depth
        let source = arena.pointee.source
        guard let grown = source.pointee.allocate(UInt.self, count: 2 * oldCount) else { return false }
        for index in 0..<oldCount {
            (grown + 2 * index).initialize(to: directory[index])
            (grown + 2 * index + 1).initialize(to: directory[index])
        }
        source.pointee.deallocate(directory, count: oldCount)
        self.directory = grown
        depth += 1
        noteBytes(oldCount * MemoryLayout<UInt>.stride)
        work.add(cells: 0, bytes: 3 * oldCount * MemoryLayout<UInt>.stride)
        return true
    }

    // MARK: Shrinking

    /// Whether the table holds so few keys for its segments that pairs of them should merge.
    var isThin: Bool {
        segmentCount > 1 && count < segmentCount * Table.thinCount && mergeMissCount < segmentCount
    }

    /// Tries one pair of segments and moves on; false when the table is not thin (any more).
    ///
    /// A thin table is gone through once as a whole: the merges themselves raise the average above the limit when half
    /// of them are done.
    mutating func mergeSome() -> Bool {
        if mergeStepsLeft == 0, isThin { mergeStepsLeft = segmentCount }
        guard mergeStepsLeft > 0, segmentCount > 1, let directory else {
            mergeStepsLeft = 0
            return false
        }
        mergeStepsLeft -= 1
        let segment = segment(of: mergeCursor, in: directory)
        let span = segment.hashCount
        let start = mergeCursor & ~(span - 1)
        let buddyStart = start ^ span
        mergeMissCount += 1
        guard segment.depth > 0, start & span == 0 else {
            advanceMergeCursor(past: start, span)
            return true
        }
        let buddy = self.segment(of: buddyStart, in: directory)
        guard buddy.depth == segment.depth, segment.count + buddy.count <= Table.mergedCountMax,
            merge(segment, buddy, start)
        else {
            // Behind it may be two deeper ones that merge.
            advanceMergeCursor(past: start, span)
            return true
        }
        mergeMissCount = 0
        shrinkDirectory()
        advanceMergeCursor(past: start, 2 * span)
        return true
    }

    private mutating func advanceMergeCursor(past start: UInt64, _ span: UInt64) {
        // Stripe bits do not matter to the directory; at the end it begins again.
        mergeCursor = (start &+ span) & (Table.hashCount - 1)
    }

    private mutating func merge(_ low: Segment, _ high: Segment, _ start: UInt64) -> Bool {
        guard let directory, let merged = makeSegment(depth: low.depth - 1) else { return false }
        var isDone = true
        var moved = 0
        for segment in [low, high] {
            segment.forEachSlot { bucket, slot in
                let reference = bucket.reference(slot)
                isDone = merged.put(reference: reference, hash: hash(ofCell: reference), isRebuilding: true) && isDone
                moved += 1
            }
        }
        work.add(cells: moved, bytes: 3 * MemorySource.pageByteCount)
        guard isDone else {
            release(merged)
            return false
        }
        let first = directoryIndex(start)
        for index in first..<first + 1 << (depth - merged.depth) { directory[index] = merged.word }
        release(low)
        release(high)
        return true
    }

    /// Halves the directory when no segment needs its depth.
    private mutating func shrinkDirectory() {
        guard let directory, depth > 0 else { return }
        let half = 1 << (depth - 1)
        for index in 0..<half where directory[2 * index] != directory[2 * index + 1] { return }
        let source = arena.pointee.source
        guard let shrunk = source.pointee.allocate(UInt.self, count: half) else { return }
        for index in 0..<half { (shrunk + index).initialize(to: directory[2 * index]) }
        source.pointee.deallocate(directory, count: 2 * half)
        self.directory = shrunk
        depth -= 1
        noteBytes(-half * MemoryLayout<UInt>.stride)
        work.add(cells: 0, bytes: 3 * half * MemoryLayout<UInt>.stride)
    }
}
