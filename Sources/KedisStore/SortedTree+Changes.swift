// Changing a sorted tree: elements that come, go, and get another score.
//
// A change allocates first and then does what cannot fail. Nodes on the way down that are full are split beforehand, so
// that a leaf that splits finds room above; that alone changes no element.

import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension SortedTree {
    // MARK: Insertion

    /// Puts a member that is not there; false when memory is exhausted.
    func insert(_ member: ByteView, _ hash: UInt32, score: Double) -> Bool {
        assert(!score.isNaN)
        guard header.pointee.index.insert(hash, score, room: indexRoom, memory) else { return false }
        guard insertElement(score, member) else {
            header.pointee.index.remove(hash, score, memory)
            return false
        }
        count += 1
        return true
    }

    private func insertElement(_ score: Double, _ member: ByteView) -> Bool {
        guard member.count > TreeLeaf.inlineByteCountMax else { return insertElement(score, member, outside: nil) }
        guard let outside = memory.allocate(member.count) else { return false }
        memcpy(outside, member.base, member.count)
        guard insertElement(score, member, outside: outside) else {
            memory.deallocate(outside, member.count)
            return false
        }
        return true
    }

    private func insertElement(_ score: Double, _ member: ByteView, outside: UnsafeMutableRawPointer?) -> Bool {
        guard let leaf = descendMakingRoom(score, member) else { return false }
        let index = leaf.lowerBound(score, member)
        let byteCount = TreeLeaf.byteCount(ofMember: member.count)
        if leaf.hasRoom(byteCount) {
            willChange(leaf)
            leaf.insert(score, member, outside: outside, at: index)
        } else if leaf.liveByteCount + byteCount <= TreeLeaf.liveByteCountMax {
            guard let made = makeLeaf(liveByteCount: leaf.liveByteCount + byteCount) else { return false }
            made.append(leaf, 0..<leaf.count)
            made.insert(score, member, outside: outside, at: index)
            replace(leaf, with: made)
        } else {
            guard let (left, right) = split(leaf, at: index, byteCount, score, member, outside) else { return false }
            guard enter(left, right, inPlaceOf: leaf) else {
                if left != leaf { freeLeaf(left) }
                if right != leaf { freeLeaf(right) }
                return false
            }
            for level in stride(from: 2, through: height, by: 1) { noteElements(1, atLevel: level) }
            return true
        }
        noteElements(1)
        return true
    }

    /// Adds to the counts of the nodes on the way.
    private func noteElements(_ change: Int) {
        for level in stride(from: 1, through: height, by: 1) { noteElements(change, atLevel: level) }
    }

    private func noteElements(_ change: Int, atLevel level: Int) {
        let step = step(level).pointee
        step.node.setElementCount(step.child, step.node.elementCount(step.child) &+ change)
    }

    /// As ``descend(_:_:)``, splitting full nodes; nil when memory is exhausted.
    private func descendMakingRoom(_ score: Double, _ member: ByteView) -> TreeLeaf? {
        var block = root
        var level = height
        while level > 0 {
            var node = TreeNode(block)
            var child = child(of: node, level: level, for: score, member)
            if node.count == TreeNode.childCountMax {
                guard splitNode(node, level: level, child: child) else { return nil }
                if level < height, step(level + 1).pointee.node.child(step(level + 1).pointee.child) != node.base {
                    node = TreeNode(step(level + 1).pointee.node.child(step(level + 1).pointee.child))
                }
                child = self.child(of: node, level: level, for: score, member)
            }
            step(level).pointee = Step(node: node, child: child)
            block = node.child(child)
            level -= 1
        }
        TreeLeaf(block).prefetch()
        return TreeLeaf(block)
    }

    /// Moves the children behind the middle of a full node to a new one; where elements only come at one end, all but
    /// the last, or the first. The step above is that of the part that has `child` afterwards.
    private func splitNode(_ node: TreeNode, level: Int, child: Int) -> Bool {
        let isRoot = level == height
        guard !isRoot || height < SortedTree.heightMax, let made = makeNode() else { return false }
        if isRoot {
            guard let newRoot = makeNode() else {
                freeNode(made)
                return false
            }
            newRoot.insert(node.base, elementCount: count, bound: 0, at: 0)
            root = newRoot.base
            height += 1
            step(height).pointee = Step(node: newRoot, child: 0)
        }
        let middle = child == node.count - 1 ? child : child == 0 ? 1 : node.count / 2
        let bound = node.bound(middle)
        node.moveChildren(from: middle, to: made, bound: bound)
        let above = step(level + 1)
        above.pointee.node.setElementCount(above.pointee.child, node.elementCount)
        above.pointee.node.insert(
            made.base, elementCount: made.elementCount, bound: bound, at: above.pointee.child + 1)
        if child >= middle { above.pointee.child += 1 }
        return true
    }

    /// The two leaves that come in place of a full one with a new element. One of them is the leaf itself where
    /// elements come at one end only.
    private func split(
        _ leaf: TreeLeaf, at index: Int, _ byteCount: Int, _ score: Double, _ member: ByteView,
        _ outside: UnsafeMutableRawPointer?
    ) -> (left: TreeLeaf, right: TreeLeaf)? {
        let isAtEnd = index == leaf.count && leaf.next == nil
        if isAtEnd || (index == 0 && leaf.previous == nil) {
            // More are likely to follow.
            guard let made = makeLeaf(liveByteCount: max(byteCount, min(16 * byteCount, 1000))) else { return nil }
            made.insert(score, member, outside: outside, at: 0)
            return isAtEnd ? (leaf, made) : (made, leaf)
        }
        // Half of all bytes, the new element's among them: either half must have room for what it gets.
        let wholeByteCount = leaf.liveByteCount + byteCount
        var (leftCount, leftByteCount) = (0, 0)
        while leftCount < leaf.count, leftCount == 0 || 2 * leftByteCount < wholeByteCount {
            let isNew = leftCount == index
            leftByteCount += isNew ? byteCount : leaf.byteCount(leftCount < index ? leftCount : leftCount - 1)
            leftCount += 1
        }
        let goesLeft = index < leftCount
        let middle = goesLeft ? leftCount - 1 : leftCount
        guard let left = makeLeaf(liveByteCount: leftByteCount) else { return nil }
        guard let right = makeLeaf(liveByteCount: wholeByteCount - leftByteCount) else {
            freeLeaf(left)
            return nil
        }
        left.append(leaf, 0..<middle)
        right.append(leaf, middle..<leaf.count)
        if goesLeft {
            left.insert(score, member, outside: outside, at: index)
        } else {
            right.insert(score, member, outside: outside, at: index - middle)
        }
        return (left, right)
    }

    /// Puts two leaves, one of which may be `leaf`, where it is; false when memory is exhausted. The way to it is
    /// noted, and the node above has room.
    private func enter(_ left: TreeLeaf, _ right: TreeLeaf, inPlaceOf leaf: TreeLeaf) -> Bool {
        if height == 0 {
            guard let node = makeNode() else { return false }
            node.insert(leaf.base, elementCount: leaf.count, bound: 0, at: 0)
            root = node.base
            height = 1
            step(1).pointee = Step(node: node, child: 0)
        }
        let (previous, next) = (leaf.previous, leaf.next)
        link(previous, left)
        link(left, right)
        link(right, next)
        let (node, child) = (step(1).pointee.node, step(1).pointee.child)
        node.setChild(child, left.base)
        node.setElementCount(child, left.count)
        node.insert(right.base, elementCount: right.count, bound: right.score(0), at: child + 1)
        if left != leaf, right != leaf { freeLeaf(leaf) }
        return true
    }

    /// Makes two leaves neighbours; nil is the end.
    private func link(_ left: TreeLeaf?, _ right: TreeLeaf?) {
        if let left { left.next = right } else if let right { firstLeaf = right }
        if let right { right.previous = left } else if let left { lastLeaf = left }
        if left == nil { right?.previous = nil }
        if right == nil { left?.next = nil }
    }

    /// Appends a leaf whose elements come after all others, for copies; false when memory is exhausted. The elements
    /// are counted in nodes, not in ``count``.
    func appendLeaf(_ leaf: TreeLeaf) -> Bool {
        if count == 0 {
            let empty = TreeLeaf(root)
            (leaf.previous, leaf.next) = (nil, nil)
            (root, firstLeaf, lastLeaf) = (leaf.base, leaf, leaf)
            freeLeaf(empty)
            return true
        }
        let last = lastLeaf
        guard descendMakingRoom(leaf.score(0), leaf.member(0)) == last, enter(last, leaf, inPlaceOf: last) else {
            return false
        }
        for level in stride(from: 2, through: height, by: 1) { noteElements(leaf.count, atLevel: level) }
        return true
    }

    /// A leaf gives way to one with the same elements, more or less.
    private func replace(_ leaf: TreeLeaf, with made: TreeLeaf) {
        link(leaf.previous, made)
        link(made, leaf.next)
        if height == 0 {
            root = made.base
        } else {
            step(1).pointee.node.setChild(step(1).pointee.child, made.base)
        }
        freeLeaf(leaf)
    }

    // MARK: Another score

    /// Gives the element at a place, to which the way is noted, another score; false when memory is exhausted.
    ///
    /// - Parameter member: its member, not as a view of the tree.
    func setScore(_ place: Place, _ member: ByteView, _ hash: UInt32, _ score: Double) -> Bool {
        assert(!score.isNaN)
        let (leaf, index) = (place.leaf, place.index)
        let old = leaf.score(index)
        let isOutside = score < leaf.score(0) || score > leaf.score(leaf.count - 1)
        let target = isOutside ? (score < old ? 0 : leaf.count) : leaf.lowerBound(score, member)
        let stays = score > old ? target == index + 1 && index + 1 < leaf.count : target == index && index > 0
        if stays {
            willChange(leaf)
            leaf.setScore(index, score)
        } else if target > 0, target < leaf.count {
            willChange(leaf)
            leaf.move(index, to: target, score)
        } else {
            // The element is put anew before the old one goes.
            guard insertElement(score, member) else { return false }
            let leaf = descend(old, member)
            if let found = leaf.index(of: old, member) { removeElements(leaf, found..<found + 1) }
        }
        header.pointee.index.replace(hash, old, with: score)
        return true
    }

    // MARK: Removal

    /// Removes the element at a place, to which the way is noted.
    func remove(_ place: Place, _ hash: UInt32) {
        forgetDeadline(of: place.leaf.member(place.index))
        removeElement(place, hash)
    }

    /// The same of one whose deadline is the caller's.
    func removeElement(_ place: Place, _ hash: UInt32) {
        header.pointee.index.remove(hash, place.leaf.score(place.index), memory)
        removeElements(place.leaf, place.index..<place.index + 1)
        count -= 1
    }

    /// Removes the elements of a range of ranks. O(log n + elements).
    func remove(_ range: Range<Int>) {
        var left = range.count
        while left > 0 {
            let place = descend(toRank: range.lowerBound)
            let end = min(place.leaf.count, place.index + left)
            for index in place.index..<end {
                let member = place.leaf.member(index)
                forgetDeadline(of: member)
                header.pointee.index.remove(hash(member), place.leaf.score(index), memory)
            }
            let removed = end - place.index
            removeElements(place.leaf, place.index..<end)
            count -= removed
            left -= removed
        }
    }

    /// Takes elements out of a leaf to which the way is noted; the index and ``count`` are the caller's.
    private func removeElements(_ leaf: TreeLeaf, _ range: Range<Int>) {
        freeOutside(leaf, range)
        noteElements(-range.count)
        // One that goes with all its elements is not changed before.
        guard height > 0, range.count == leaf.count else {
            willChange(leaf)
            leaf.remove(range)
            if leaf.count > 0 { tidy(leaf) }
            return
        }
        link(leaf.previous, leaf.next)
        freeLeaf(leaf)
        step(1).pointee.node.remove(at: step(1).pointee.child)
        tidyNode(level: 1)
    }

    /// Merges a thin leaf with a neighbour below the same node, or gives it a smaller block; without memory for that it
    /// stays.
    private func tidy(_ leaf: TreeLeaf) {
        let live = leaf.liveByteCount
        if live < TreeLeaf.liveByteCountMax / 4, height > 0, merge(leaf) { return }
        guard leaf.capacity - TreeLeaf.headerByteCount - live > max(256, leaf.capacity / 2),
            let made = makeLeaf(liveByteCount: live)
        else { return }
        made.append(leaf, 0..<leaf.count)
        replace(leaf, with: made)
    }

    private func merge(_ leaf: TreeLeaf) -> Bool {
        let (node, child) = (step(1).pointee.node, step(1).pointee.child)
        let leftChild = child + 1 < node.count ? child : child - 1
        guard leftChild >= 0 else { return false }
        let (left, right) = (TreeLeaf(node.child(leftChild)), TreeLeaf(node.child(leftChild + 1)))
        let live = left.liveByteCount + right.liveByteCount
        guard live <= TreeLeaf.liveByteCountMax * 3 / 4, let made = makeLeaf(liveByteCount: live) else { return false }
        made.append(left, 0..<left.count)
        made.append(right, 0..<right.count)
        let (previous, next) = (left.previous, right.next)
        link(previous, made)
        link(made, next)
        node.setChild(leftChild, made.base)
        node.setElementCount(leftChild, made.count)
        node.remove(at: leftChild + 1)
        freeLeaf(left)
        freeLeaf(right)
        tidyNode(level: 1)
        return true
    }

    /// A node on the way lost a child: it goes when it has none, and joins its neighbour when both are thin.
    private func tidyNode(level: Int) {
        let node = step(level).pointee.node
        guard level < height else {
            while height > 0, TreeNode(root).count == 1 {
                let old = TreeNode(root)
                root = old.child(0)
                height -= 1
                freeNode(old)
            }
            return
        }
        let (above, child) = (step(level + 1).pointee.node, step(level + 1).pointee.child)
        if node.count == 0 {
            freeNode(node)
            above.remove(at: child)
            return tidyNode(level: level + 1)
        }
        let leftChild = child + 1 < above.count ? child : child - 1
        guard node.count < TreeNode.childCountMax / 4, leftChild >= 0 else { return }
        let (left, right) = (TreeNode(above.child(leftChild)), TreeNode(above.child(leftChild + 1)))
        guard left.count + right.count <= TreeNode.childCountMax * 3 / 4 else { return }
        right.moveChildren(from: 0, to: left, bound: above.bound(leftChild + 1))
        above.setElementCount(leftChild, left.elementCount)
        above.remove(at: leftChild + 1)
        freeNode(right)
        tidyNode(level: level + 1)
    }
}
