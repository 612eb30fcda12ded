// Walks over a table in the order of its hashes, scans of a part, and random draws.

import KedisUtilities

extension MemberTable {
    /// Calls `body` with every block, in order.
    @inline(__always)
    func forEachBlock(_ body: (MemberBlock) -> Bool) {
        header.pointee.directory.forEach { body(MemberBlock($0)) }
    }

    /// Calls `body` with every element until it answers false. `body` must not change the table. O(n).
    @inline(__always)
    func forEach(_ body: (MemberElement) -> Bool) {
        let isValued = isValued
        forEachBlock { block in
            for index in 0..<block.count {
                guard body(MemberElement(at: block.elementAddress(index), isValued: isValued)) else { return false }
            }
            return true
        }
    }

    /// Calls `body` with about `limit` elements from a cursor on, 0 at first, and returns the next cursor, 0 at the
    /// end. What is there from the first call to the last is given, once unless blocks are joined meanwhile. A cursor
    /// is the first 48 bits of a hash. O(limit).
    func scan(from cursor: UInt64, limit: Int, _ body: (MemberElement) -> Void) -> UInt64 {
        let isValued = isValued
        var threshold = cursor << 16
        var left = limit
        while true {
            let block = block(threshold)
            let (tags, count, depth) = (block.tags, block.count, UInt64(block.depth))
            let span = depth == 0 ? 0 : UInt64(1) << (64 - depth)
            let start = depth == 0 ? 0 : threshold & ~(span - 1)
            for index in block.lowerBound(MemberBlock.tag(of: threshold, depth: block.depth))..<count {
                // Elements with the same tag are given together.
                if left <= 0, index > 0, tags[index] != tags[index - 1] {
                    return (start | UInt64(tags[index]) << (48 - depth)) >> 16
                }
                body(MemberElement(at: block.elementAddress(index), isValued: isValued))
                left -= 1
            }
            // An empty block is work too.
            left -= 1
            threshold = start &+ span
            if threshold == 0 || left <= 0 { return threshold >> 16 }
        }
    }

    /// Draws before a table of unequal blocks is walked instead.
    private static let drawCountMax = 200

    /// An element, every one equally likely. The table is not empty. Expected O(1).
    func randomPlace(using generator: inout RandomGenerator) -> MemberPlace {
        assert(count > 0)
        for _ in 0..<MemberTable.drawCountMax {
            let hash = generator.next()
            let block = block(hash)
            // A block that shares fewer bits than others would be found more often: only where the bits that it lacks
            // are zero it counts. One with fewer elements counts for as many draws less.
            let lacking = header.pointee.directory.bitCountMax - block.depth
            guard lacking == 0 || (hash << UInt64(block.depth)) >> UInt64(64 - lacking) == 0 else { continue }
            let draw = generator.next(below: header.pointee.largestBlockCount)
            if draw < block.count { return MemberPlace(block: block, index: draw, isFound: true) }
        }
        return placeSlowly(ofRank: generator.next(below: count))
    }

    /// The element before which a walk meets `rank` others.
    @inline(never)
    private func placeSlowly(ofRank rank: Int) -> MemberPlace {
        var (rest, largest) = (rank, 0)
        var found: MemberPlace?
        forEachBlock { block in
            largest = max(largest, block.count)
            if found == nil, rest < block.count {
                found = MemberPlace(block: block, index: rest, isFound: true)
            }
            rest -= block.count
            return true
        }
        header.pointee.largestBlockCount = largest
        guard let found else { preconditionFailure("a rank is below the number of elements") }
        return found
    }

    /// Removes an element that a place says.
    func remove(at place: MemberPlace) { remove(at: place, hash(element(place).member)) }
}
