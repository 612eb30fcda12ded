// An inner node of a sorted tree: for each child where it is, how many elements are below it, and a score between it
// and the child before.
//
//      ┌────────┬──────────────┬─────────────┬──────────────┐
//      │ count  │ 64 children  │ 64 counts   │ 64 bounds    │
//      └────────┴──────────────┴─────────────┴──────────────┘
//
// The bound of a child is no larger than any score below it and no smaller than any score below the child before; that
// of the first child is not used. Among elements that have a bound as score, the first element below the child tells
// where one belongs. So bounds need no members, and stay valid when elements go.
//
// Ownership: the tree's (SortedTree.swift); this is a handle. Cost: 1.5 KiB for 64 leaves of about 50 elements.

import CKedis

struct TreeNode {
    static let childCountMax = 64
    static let byteCount = 8 + 3 * 8 * childCountMax

    let base: UnsafeMutableRawPointer

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer) { self.base = base }

    static func make(_ base: UnsafeMutableRawPointer) -> TreeNode {
        base.storeBytes(of: 0, as: Int.self)
        return TreeNode(base)
    }

    var count: Int {
        @inline(__always) get { base.load(as: Int.self) }
        nonmutating set { base.storeBytes(of: newValue, as: Int.self) }
    }

    @inline(__always)
    private var children: UnsafeMutablePointer<UnsafeMutableRawPointer> {
        (base + 8).assumingMemoryBound(to: UnsafeMutableRawPointer.self)
    }

    @inline(__always)
    private var counts: UnsafeMutablePointer<Int> {
        (base + 8 + 8 * TreeNode.childCountMax).assumingMemoryBound(to: Int.self)
    }

    @inline(__always)
    private var bounds: UnsafeMutablePointer<Double> {
        (base + 8 + 16 * TreeNode.childCountMax).assumingMemoryBound(to: Double.self)
    }

    @inline(__always)
    func child(_ index: Int) -> UnsafeMutableRawPointer {
        assert(index >= 0 && index < count)
        return children[index]
    }

    /// Has the processor fetch where the children are.
    @inline(__always)
    func prefetchChildren() {
        for line in 0..<9 { kedis_prefetch(base + line &* 64) }
    }

    func setChild(_ index: Int, _ child: UnsafeMutableRawPointer) { children[index] = child }

    @inline(__always)
    func elementCount(_ index: Int) -> Int { counts[index] }

    func setElementCount(_ index: Int, _ elementCount: Int) { counts[index] = elementCount }

    @inline(__always)
    func bound(_ index: Int) -> Double { bounds[index] }

    func setBound(_ index: Int, _ bound: Double) { bounds[index] = bound }

    /// The elements below the children in front of `index`.
    @inline(__always)
    func elementCount(before index: Int) -> Int {
        var sum = 0
        for position in 0..<index { sum &+= counts[position] }
        return sum
    }

    var elementCount: Int { elementCount(before: count) }

    /// The first child, from the second on, whose bound is at least `score`; ``count`` when there is none.
    @inline(__always)
    func firstIndex(boundAtLeast score: Double) -> Int {
        var (low, high) = (1, count)
        while low < high {
            let middle = (low &+ high) >> 1
            if bounds[middle] < score { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    /// The first child, from the second on, whose bound is above `score`; ``count`` when there is none.
    @inline(__always)
    func firstIndex(boundAbove score: Double) -> Int {
        var (low, high) = (1, count)
        while low < high {
            let middle = (low &+ high) >> 1
            if bounds[middle] <= score { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    /// The child that `rank`, of the elements below this node, is below, and the rank there.
    @inline(__always)
    func locate(_ rank: Int) -> (index: Int, rank: Int) {
        var rest = rank
        var index = 0
        while index < count &- 1, rest >= counts[index] {
            rest &-= counts[index]
            index &+= 1
        }
        return (index, rest)
    }

    // MARK: Changes

    /// Puts a child at `index`; there is room.
    func insert(_ child: UnsafeMutableRawPointer, elementCount: Int, bound: Double, at index: Int) {
        assert(count < TreeNode.childCountMax)
        let moved = count - index
        (children + index + 1).update(from: children + index, count: moved)
        (counts + index + 1).update(from: counts + index, count: moved)
        (bounds + index + 1).update(from: bounds + index, count: moved)
        count += 1
        children[index] = child
        counts[index] = elementCount
        bounds[index] = bound
    }

    func remove(at index: Int) {
        let moved = count - index - 1
        (children + index).update(from: children + index + 1, count: moved)
        (counts + index).update(from: counts + index + 1, count: moved)
        (bounds + index).update(from: bounds + index + 1, count: moved)
        count -= 1
    }

    /// Moves the children from `index` on to the end of another node; `bound` is that of the first of them.
    func moveChildren(from index: Int, to other: TreeNode, bound: Double) {
        let moved = count - index
        assert(other.count + moved <= TreeNode.childCountMax)
        (other.children + other.count).update(from: children + index, count: moved)
        (other.counts + other.count).update(from: counts + index, count: moved)
        (other.bounds + other.count).update(from: bounds + index, count: moved)
        other.bounds[other.count] = bound
        other.count += moved
        count = index
    }
}
