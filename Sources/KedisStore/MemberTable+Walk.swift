// Walks over a table in the order of its hashes, scans of a part, and random draws.

import KedisUtilities

extension MemberTable {
    /// Calls `body` with every block, in order.
    @inline(__always)
    func forEachBlock(_ body: (MemberBlock) -> Bool) {
        if let pieces = Collection(address).frozenPieces {
            return pieces.forEach { block, _ in body(MemberBlock(block)) }
        }
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
    ///
    /// Each entry of the directory stands for as many elements as the fullest has; a draw of one that is not there is
    /// drawn again. Hashes are spread evenly, so entries are for about as many elements each, while blocks are not.
    @inline(__always)
    func randomPlace(using generator: inout RandomGenerator) -> MemberPlace {
        assert(count > 0)
        for _ in 0..<MemberTable.drawCountMax {
            let draw = drawElement(using: &generator)
            let block = block(draw.hash)
            let index = index(of: draw, in: block)
            if index < block.count { return MemberPlace(hash: draw.hash, block: block, index: index, isFound: true) }
        }
        return placeSlowly(ofRank: generator.next(below: count))
    }

    /// A hash, and one of the elements that each entry of the directory is taken to be for.
    @inline(__always)
    func drawElement(using generator: inout RandomGenerator) -> (hash: UInt64, number: Int) {
        (generator.next(), generator.next(below: header.pointee.elementsPerEntryMax))
    }

    /// The index of a drawn element in its block: behind those of the block's entries before.
    @inline(__always)
    func index(of draw: (hash: UInt64, number: Int), in block: MemberBlock) -> Int {
        // In two steps, as there may be no more bits.
        let rest = draw.hash &<< UInt64(truncatingIfNeeded: block.depth)
        let lacking = header.pointee.directory.bitCountMax &- block.depth
        let entry = (rest &>> 1) &>> UInt64(truncatingIfNeeded: 63 &- lacking)
        return Int(truncatingIfNeeded: entry) &* header.pointee.elementsPerEntryMax &+ draw.number
    }

    /// The element before which a walk meets `rank` others.
    @inline(never)
    private func placeSlowly(ofRank rank: Int) -> MemberPlace {
        var (rest, hash, most) = (rank, UInt64(0), 0)
        var found: MemberPlace?
        forEachBlock { block in
            let entryCount = entryCount(of: block)
            most = max(most, (block.count + entryCount - 1) / entryCount)
            if found == nil, rest < block.count {
                found = MemberPlace(hash: hash, block: block, index: rest, isFound: true)
            }
            rest -= block.count
            hash = BlockDirectory.hash(behind: hash, bitCount: block.depth)
            return true
        }
        header.pointee.elementsPerEntryMax = most
        guard let found else { preconditionFailure("a rank is below the number of elements") }
        return found
    }
}
