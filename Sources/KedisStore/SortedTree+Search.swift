// Searching a sorted tree: elements by score and member, by member alone, by rank; ranks by score and by member.
//
// One way down for each. Nothing is changed, but for the note of the way that ``SortedTree/descend(_:_:)`` leaves.

import KedisUtilities

extension SortedTree {
    /// An element's place: valid until the tree is changed.
    struct Place {
        var leaf: TreeLeaf
        var index: Int
    }

    // MARK: By score and member

    /// The child of a node at `level` that (`score`, `member`) belongs below.
    @inline(__always)
    func child(of node: TreeNode, level: Int, for score: Double, _ member: ByteView) -> Int {
        var low = node.firstIndex(boundAtLeast: score)
        // Mostly no bound, or one, is equal.
        guard low < node.count, node.bound(low) == score else { return low &- 1 }
        var high = node.firstIndex(boundAbove: score)
        while low < high {
            let middle = (low &+ high) >> 1
            if isFirst(below: node.child(middle), level: level &- 1, after: score, member) {
                high = middle
            } else {
                low = middle &+ 1
            }
        }
        return low &- 1
    }

    /// The first leaf below a node or leaf.
    private func firstLeaf(below block: UnsafeMutableRawPointer, level: Int) -> TreeLeaf {
        var block = block
        for _ in 0..<level { block = TreeNode(block).child(0) }
        return TreeLeaf(block)
    }

    /// Whether the first element below a block comes after (`score`, `member`).
    private func isFirst(
        below block: UnsafeMutableRawPointer, level: Int, after score: Double, _ member: ByteView
    ) -> Bool {
        let leaf = firstLeaf(below: block, level: level)
        let first = leaf.score(0)
        return first > score || (first == score && member < leaf.member(0))
    }

    /// Goes to the leaf that (`score`, `member`) belongs in, and notes the way.
    @inline(__always)
    func descend(_ score: Double, _ member: ByteView) -> TreeLeaf {
        var block = root
        var level = height
        while level > 0 {
            let node = TreeNode(block)
            let child = child(of: node, level: level, for: score, member)
            step(level).pointee = Step(node: node, child: child)
            block = node.child(child)
            level &-= 1
        }
        TreeLeaf(block).prefetch()
        return TreeLeaf(block)
    }

    /// The rank of (`score`, `member`), and whether it is there: if not, the rank that it would have.
    func rank(of score: Double, _ member: ByteView) -> (rank: Int, isThere: Bool) {
        var (block, rank) = (root, 0)
        var level = height
        while level > 0 {
            let node = TreeNode(block)
            let child = child(of: node, level: level, for: score, member)
            rank &+= node.elementCount(before: child)
            block = node.child(child)
            level &-= 1
        }
        let leaf = TreeLeaf(block)
        leaf.prefetch()
        let index = leaf.lowerBound(score, member)
        let isThere = index < leaf.count && leaf.score(index) == score && leaf.member(index) == member
        return (rank &+ index, isThere)
    }

    // MARK: By member

    /// The place of a member, or nil; the way there is noted.
    func find(_ member: ByteView, _ hash: UInt32) -> Place? {
        var found: Place?
        header.pointee.index.forEachScore(hash) { score in
            let leaf = descend(score, member)
            if let index = leaf.index(of: score, member) { found = Place(leaf: leaf, index: index) }
            return found == nil
        }
        return found
    }

    /// The rank of a member and its score, or nil.
    func rank(of member: ByteView) -> (rank: Int, score: Double)? {
        var found: (rank: Int, score: Double)?
        header.pointee.index.forEachScore(hash(member)) { score in
            let (rank, isThere) = rank(of: score, member)
            if isThere { found = (rank, score) }
            return found == nil
        }
        return found
    }

    // MARK: By rank

    /// The place of the element at `rank`, below ``count``.
    func place(ofRank rank: Int) -> Place {
        var (block, rest) = (root, rank)
        for _ in 0..<height {
            let node = TreeNode(block)
            let located = node.locate(rest)
            rest = located.rank
            block = node.child(located.index)
        }
        return Place(leaf: TreeLeaf(block), index: rest)
    }

    /// The same, with a note of the way.
    func descend(toRank rank: Int) -> Place {
        var (block, rest) = (root, rank)
        for level in stride(from: height, to: 0, by: -1) {
            let node = TreeNode(block)
            let located = node.locate(rest)
            step(level).pointee = Step(node: node, child: located.index)
            rest = located.rank
            block = node.child(located.index)
        }
        return Place(leaf: TreeLeaf(block), index: rest)
    }

    // MARK: Counts

    /// How many elements have a score below `score`.
    func count(below score: Double) -> Int {
        var (block, rank) = (root, 0)
        for _ in 0..<height {
            let node = TreeNode(block)
            let child = node.firstIndex(boundAtLeast: score) - 1
            rank += node.elementCount(before: child)
            block = node.child(child)
        }
        return rank + TreeLeaf(block).firstIndex(atLeast: score)
    }

    /// How many elements have a score of at most `score`.
    func count(through score: Double) -> Int {
        var (block, rank) = (root, 0)
        for _ in 0..<height {
            let node = TreeNode(block)
            let child = node.firstIndex(boundAbove: score) - 1
            rank += node.elementCount(before: child)
            block = node.child(child)
        }
        return rank + TreeLeaf(block).firstIndex(above: score)
    }

    /// How many elements come before the first for whose member `isBefore` does not hold; of elements with one score.
    func count(where isBefore: (ByteView) -> Bool) -> Int {
        var (block, rank) = (root, 0)
        for level in stride(from: height, to: 0, by: -1) {
            let node = TreeNode(block)
            var (low, high) = (1, node.count)
            while low < high {
                let middle = (low + high) >> 1
                if isBefore(firstLeaf(below: node.child(middle), level: level - 1).member(0)) {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            rank += node.elementCount(before: low - 1)
            block = node.child(low - 1)
        }
        let leaf = TreeLeaf(block)
        var (low, high) = (0, leaf.count)
        while low < high {
            let middle = (low + high) >> 1
            if isBefore(leaf.member(middle)) { low = middle + 1 } else { high = middle }
        }
        return rank + low
    }

    // MARK: Walks

    /// Calls `body` with the elements of a range of ranks, in order, until it answers false.
    @inline(__always)
    func forEach(in range: Range<Int>, _ body: (ByteView, Double) -> Bool) {
        guard !range.isEmpty else { return }
        var place = place(ofRank: range.lowerBound)
        var left = range.count
        while true {
            let end = min(place.leaf.count, place.index &+ left)
            left &-= end &- place.index
            while place.index < end {
                guard body(place.leaf.member(place.index), place.leaf.score(place.index)) else { return }
                place.index &+= 1
            }
            guard left > 0, let next = place.leaf.next else { return }
            place = Place(leaf: next, index: 0)
        }
    }

    /// Calls `body` with the elements of a range of ranks, last to first, until it answers false.
    @inline(__always)
    func forEachReversed(in range: Range<Int>, _ body: (ByteView, Double) -> Bool) {
        guard !range.isEmpty else { return }
        if let pieces = Collection(address).frozenPieces { return SortedTree.forEachReversed(in: pieces, body) }
        var place = place(ofRank: range.upperBound &- 1)
        var left = range.count
        while true {
            let end = max(0, place.index &+ 1 &- left)
            left &-= place.index &+ 1 &- end
            while place.index >= end {
                guard body(place.leaf.member(place.index), place.leaf.score(place.index)) else { return }
                place.index &-= 1
            }
            guard left > 0, let previous = place.leaf.previous else { return }
            place = Place(leaf: previous, index: previous.count &- 1)
        }
    }

    /// The elements of a frozen tree, last to first in each piece.
    private static func forEachReversed(in pieces: CollectionPieces, _ body: (ByteView, Double) -> Bool) {
        pieces.forEach { address, _ in
            let leaf = TreeLeaf(address)
            for index in stride(from: leaf.count - 1, through: 0, by: -1) {
                guard body(leaf.member(index), leaf.score(index)) else { return false }
            }
            return true
        }
    }
}
