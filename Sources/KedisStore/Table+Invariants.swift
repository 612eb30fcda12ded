// What must hold in a table, looked at as a whole. For tests.

import KedisUtilities

extension Table {
    /// Walks the table and traps when something does not hold. O(n).
    func checkInvariants() {
        guard let directory else {
            precondition(count == 0 && segmentCount == 0 && deadlineCount == 0 && outsideCount == 0)
            return
        }
        checkDirectory(directory)
        var sum = Sum()
        forEachSegment { check($0, into: &sum) }
        precondition(sum.segments == segmentCount)
        precondition(sum.keys == count)
        precondition(sum.deadlines == deadlineCount && sum.memberDeadlineKeys == memberDeadlineKeyCount)
        precondition(sum.cellBytes == cellByteCount)
        precondition(sum.blobs == outsideCount && sum.blobBytes == blobByteCount)
        let rest = segmentCount * MemorySource.pageByteCount + MemoryLayout<UInt>.stride << depth
        precondition(byteCount == cellByteCount + blobByteCount + rest + expiry.byteCount)
        precondition(
            expiry.count + expiry.lostCount >= deadlineCount + memberDeadlineKeyCount,
            "a deadline without an entry in the wheel")
        expiry.wheel.checkInvariants()
        expiry.retired.checkInvariants()
    }

    private struct Sum {
        var segments = 0
        var keys = 0
        var deadlines = 0
        var memberDeadlineKeys = 0
        var cellBytes = 0
        var blobs = 0
        var blobBytes = 0
    }

    private func checkDirectory(_ directory: UnsafeMutablePointer<UInt>) {
        var index = 0
        while index < 1 << depth {
            let segment = Segment(word: directory[index])
            precondition(segment.depth <= depth)
            let span = 1 << (depth - segment.depth)
            precondition(index % span == 0, "a segment's entries begin at a multiple of their number")
            for other in index..<index + span { precondition(directory[other] == segment.word) }
            index += span
        }
    }

    private func check(_ segment: Segment, into sum: inout Sum) {
        sum.segments += 1
        var stashed = [Int](repeating: 0, count: Segment.homeCount)
        segment.forEachSlot { bucket, slot in
            let reference = bucket.reference(slot)
            let cell = Cell(arena.pointee.address(reference))
            let header = cell.header
            let hash = hash(ofCell: reference)
            precondition(hash == hashBytes(cell.key, seed: arena.pointee.seed), "a kept hash is that of the key")
            precondition(bucket.tag(slot) == Table.tag(of: hash))
            precondition(Int(hash >> UInt64(64 - Table.stripeBitCount)) == stripeIndex)
            guard let place = find(Key(cell.key, hash: hash)) else { preconditionFailure("a key is not found") }
            precondition(
                place.bucket.address == bucket.address && place.slot == slot, "a key is not where it is found")
            if bucket.index >= Segment.homeCount { stashed[segment.home(of: hash)] += 1 }
            precondition(!header.isPreserved || snapshot != nil && hash >= unsavedFrom, "a mark is a snapshot's")
            sum.keys += 1
            sum.deadlines += header.hasDeadline ? 1 : 0
            sum.memberDeadlineKeys += header.hasMemberDeadlines ? 1 : 0
            precondition(header.hasMemberDeadlines || cell.earliestMemberDeadline == .max, "the wheel knows of members")
            sum.cellBytes += SizeClass.rounded(units: header.units) * SizeClass.unitByteCount
            sum.blobs += (header.isValueOutside ? 1 : 0) + (header.isKeyOutside ? 1 : 0)
            sum.blobBytes += cell.outsideByteCount
            cell.collection?.checkInvariants()
            if header.type == .list, !header.isValueOutside {
                precondition(packedEntryCount(PackedList(cell.value).run) == PackedList(cell.value).count)
            }
            if header.type == .hash, !header.isValueOutside { SmallHash(cell.value).checkInvariants() }
        }
        for home in 0..<Segment.homeCount {
            let bucket = segment.bucket(home)
            precondition(bucket.overflowCount == stashed[home], "the stash is counted")
            precondition(bucket.hasOverhang == (segment.neighbour(ofHome: home).displaced != 0), "overhang is known")
        }
    }
}
