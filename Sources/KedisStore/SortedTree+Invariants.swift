// Checks of a sorted tree, for tests and DEBUG.

import KedisUtilities

extension SortedTree {
    /// Walks the tree and traps when something does not hold. O(n log n).
    func checkInvariants() {
        var leaves: [UnsafeMutableRawPointer] = []
        let elements = check(root, level: height, lowerBound: nil, upperBound: nil, &leaves)
        precondition(elements == count, "the elements are counted")
        checkDeadlineInvariants()
        precondition(leaves.first == firstLeaf.base && leaves.last == lastLeaf.base)
        precondition(firstLeaf.previous == nil && lastLeaf.next == nil)
        for (left, right) in zip(leaves, leaves.dropFirst()) {
            precondition(TreeLeaf(left).next?.base == right && TreeLeaf(right).previous?.base == left)
            let (last, first) = (TreeLeaf(left).count - 1, TreeLeaf(right))
            let (low, high) = (TreeLeaf(left).score(last), first.score(0))
            precondition(low < high || (low == high && TreeLeaf(left).member(last) < first.member(0)))
        }
        precondition(height == 0 || TreeNode(root).count > 1, "a root has several children")
        precondition(header.pointee.index.checkInvariants() == count)
        for leaf in leaves.map({ TreeLeaf($0) }) {
            for index in 0..<leaf.count {
                var isNoted = false
                header.pointee.index.forEachScore(hash(leaf.member(index))) { score in
                    isNoted = score == leaf.score(index)
                    return !isNoted
                }
                precondition(isNoted, "every score is in the index")
            }
        }
    }

    private func check(
        _ block: UnsafeMutableRawPointer, level: Int, lowerBound: Double?, upperBound: Double?,
        _ leaves: inout [UnsafeMutableRawPointer]
    ) -> Int {
        guard level > 0 else {
            let leaf = TreeLeaf(block)
            leaf.checkInvariants()
            precondition(leaf.count > 0 || height == 0, "no leaf is empty")
            if leaf.count > 0 {
                if let lowerBound { precondition(leaf.score(0) >= lowerBound) }
                if let upperBound { precondition(leaf.score(leaf.count - 1) <= upperBound) }
            }
            leaves.append(block)
            return leaf.count
        }
        let node = TreeNode(block)
        precondition(node.count > 0 && node.count <= TreeNode.childCountMax)
        var sum = 0
        for index in 0..<node.count {
            let elements = check(
                node.child(index), level: level - 1, lowerBound: index > 0 ? node.bound(index) : lowerBound,
                upperBound: index + 1 < node.count ? node.bound(index + 1) : upperBound, &leaves)
            precondition(elements == node.elementCount(index))
            sum += elements
        }
        return sum
    }
}
