// A large sorted set: a B+tree of elements in the order of (score, member), and an index from members to scores.
//
//      header ─▶ node ─▶ node ─▶ leaf ⇄ leaf ⇄ leaf …      elements themselves (TreeLeaf.swift, TreeNode.swift)
//         │                        ▲
//         └────▶ index: hash of a member ─▶ score           (ScoreIndex.swift)
//
// The index knows no members: a member's score is looked up there, and the element then searched in the tree, whose
// members tell whether it was the right one. Nodes count the elements below them, so that ranks, and elements at
// ranks, take one way down.
//
// Ownership: the cell that holds its address, or the reclaimer that frees it in slices; never shared. Guarded by the
// stripe's lock. Memory is malloc's, counted by the `MemorySource`. When memory is exhausted a change answers false and
// has changed nothing. Scores are no NaN. Invariants: see `checkInvariants()`.
// Cost: about 43 bytes an element with a member of 16 bytes; everything O(log n), ranges O(log n + elements).

import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct SortedTree {
    struct Header {
        var frame: CollectionHeader
        var seed: HashSeed
        /// A leaf when `height` is 0, else a node.
        var root: UnsafeMutableRawPointer
        var height = 0
        var count = 0
        var firstLeaf: UnsafeMutableRawPointer
        var lastLeaf: UnsafeMutableRawPointer
        /// Taken from the allocator, in bytes, without this header.
        var byteCount = 0
        var index = ScoreIndex()
        /// A table of the members that have deadlines: SortedTree+Deadlines.swift.
        var deadlines: UnsafeMutableRawPointer?
    }

    /// Where a search went: of each level of nodes, from the lowest on, the node and the child.
    struct Step {
        var node: TreeNode
        var child: Int
    }

    /// More than the levels of a tree with as many elements as there is memory: a level has 16 times the nodes of the
    /// next, at least.
    static let heightMax = 14
    private static let headerByteCount = MemoryLayout<Header>.stride
    private static let roomOffset = headerByteCount + heightMax * MemoryLayout<Step>.stride
    private static let byteCount = roomOffset + BlockDirectory.roomByteCount

    let address: UnsafeMutableRawPointer

    @inline(__always)
    init(_ address: UnsafeMutableRawPointer) { self.address = address }

    @inline(__always)
    var header: UnsafeMutablePointer<Header> { address.assumingMemoryBound(to: Header.self) }

    /// The way of the last ``descend(_:_:)``, by level from 1.
    @inline(__always)
    func step(_ level: Int) -> UnsafeMutablePointer<Step> {
        (address + SortedTree.headerByteCount).assumingMemoryBound(to: Step.self) + (level &- 1)
    }

    /// The room of the index's directory, behind the way.
    var indexRoom: UnsafeMutableRawPointer { address + SortedTree.roomOffset }

    var memory: BlockMemory {
        BlockMemory(
            source: header.pointee.frame.source,
            byteCount: UnsafeMutableRawPointer(header).advanced(by: SortedTree.byteCountOffset)
                .assumingMemoryBound(to: Int.self))
    }

    private static let byteCountOffset = MemoryLayout<Header>.offset(of: \.byteCount) ?? 0

    /// An empty tree; nil when memory is exhausted.
    static func make(seed: HashSeed, from source: UnsafeMutablePointer<MemorySource>) -> SortedTree? {
        guard source.pointee.reserve(byteCount) else { return nil }
        guard let address = malloc(byteCount) else {
            source.pointee.release(byteCount)
            return nil
        }
        address.assumingMemoryBound(to: Header.self).initialize(
            to: Header(
                frame: CollectionHeader(source: source, form: .sortedTree), seed: seed, root: address,
                firstLeaf: address, lastLeaf: address))
        let tree = SortedTree(address)
        guard let leaf = tree.makeLeaf(liveByteCount: 0) else {
            free(address)
            source.pointee.release(byteCount)
            return nil
        }
        (leaf.next, leaf.previous) = (nil, nil)
        tree.header.pointee.root = leaf.base
        tree.header.pointee.firstLeaf = leaf.base
        tree.header.pointee.lastLeaf = leaf.base
        return tree
    }

    var count: Int {
        @inline(__always) get { header.pointee.count }
        nonmutating set { header.pointee.count = newValue }
    }

    var height: Int {
        @inline(__always) get { header.pointee.height }
        nonmutating set { header.pointee.height = newValue }
    }

    var root: UnsafeMutableRawPointer {
        @inline(__always) get { header.pointee.root }
        nonmutating set { header.pointee.root = newValue }
    }

    var firstLeaf: TreeLeaf {
        get { TreeLeaf(header.pointee.firstLeaf) }
        nonmutating set { header.pointee.firstLeaf = newValue.base }
    }

    var lastLeaf: TreeLeaf {
        get { TreeLeaf(header.pointee.lastLeaf) }
        nonmutating set { header.pointee.lastLeaf = newValue.base }
    }

    /// What it takes from the allocator, in bytes.
    var allocatedByteCount: Int {
        SortedTree.byteCount + 8 + header.pointee.byteCount + header.pointee.index.directoryByteCount
            + (deadlines?.allocatedByteCount ?? 0)
    }

    @inline(__always)
    func hash(_ member: ByteView) -> UInt32 {
        UInt32(truncatingIfNeeded: hashBytes(member, seed: header.pointee.seed) >> 32)
    }

    // MARK: Blocks

    func makeLeaf(liveByteCount: Int) -> TreeLeaf? {
        let capacity = TreeLeaf.capacity(liveByteCount: liveByteCount)
        let instant = header.pointee.frame.instant
        return memory.allocate(capacity).map { TreeLeaf.make($0, capacity: capacity, instant: instant) }
    }

    func freeLeaf(_ leaf: TreeLeaf) {
        let capacity = leaf.capacity
        if Collection(address).givesAway(leaf.base, leaf.instant) { return memory.forget(capacity) }
        memory.deallocate(leaf.base, capacity)
    }

    /// To be called before the elements of a leaf are changed: see CollectionPieces.swift.
    @inline(__always)
    func willChange(_ leaf: TreeLeaf) {
        if Collection(address).isWanted(leaf.instant) { preserve(leaf) }
    }

    @inline(never)
    private func preserve(_ leaf: TreeLeaf) {
        Collection(address).willChange(leaf.base)
        leaf.instant = header.pointee.frame.instant
    }

    func makeNode() -> TreeNode? { memory.allocate(TreeNode.byteCount).map { TreeNode.make($0) } }

    func freeNode(_ node: TreeNode) { memory.deallocate(node.base, TreeNode.byteCount) }

    func freeOutside(_ leaf: TreeLeaf, _ range: Range<Int>) {
        for index in range {
            guard let block = leaf.outsideBlock(index) else { continue }
            willChange(leaf)
            memory.deallocate(block.address, block.byteCount)
        }
    }

    // MARK: Copies and the end

    /// A copy whose leaves are as large as what they hold; nil when memory is exhausted. O(bytes).
    func copy() -> SortedTree? {
        guard let copy = SortedTree.make(seed: header.pointee.seed, from: header.pointee.frame.source) else {
            return nil
        }
        var next: TreeLeaf? = firstLeaf
        while let leaf = next, leaf.count > 0 {
            guard copy.appendCopy(of: leaf) else {
                copy.release()
                return nil
            }
            next = leaf.next
        }
        guard copy.header.pointee.index.copy(header.pointee.index, room: copy.indexRoom, copy.memory) else {
            copy.release()
            return nil
        }
        if let table = deadlines {
            copy.deadlines = table.copy()
            guard copy.deadlines != nil else {
                copy.release()
                return nil
            }
        }
        return copy
    }

    private func appendCopy(of leaf: TreeLeaf) -> Bool {
        guard let made = makeLeaf(liveByteCount: leaf.liveByteCount) else { return false }
        made.append(leaf, 0..<leaf.count)
        for index in 0..<made.count {
            guard let outside = made.outsideBlock(index) else { continue }
            guard let block = memory.allocate(outside.byteCount) else {
                // Those before are copies of their own.
                freeOutside(made, 0..<index)
                freeLeaf(made)
                return false
            }
            memcpy(block, outside.address, outside.byteCount)
            made.setOutsideBlock(index, block)
        }
        guard appendLeaf(made) else {
            freeOutside(made, 0..<made.count)
            freeLeaf(made)
            return false
        }
        count += made.count
        return true
    }

    /// Frees about `byteLimit` bytes from the end; true when the tree itself is gone.
    func releaseSome(byteLimit: Int) -> Bool {
        if let table = deadlines {
            guard table.releaseSome(byteLimit: byteLimit) else { return false }
            deadlines = nil
        }
        let start = header.pointee.byteCount
        var blockCount = 0
        while header.pointee.index.releaseLast(memory) || releaseLastBlock() {
            blockCount += 1
            // Freeing a small one is work too.
            if max(start - header.pointee.byteCount, 1024 * blockCount) >= byteLimit { return false }
        }
        let source = header.pointee.frame.source
        source.pointee.release(SortedTree.byteCount)
        free(address)
        return true
    }

    /// Frees the last leaf, and the nodes above that have no other child; false when there is none any more.
    private func releaseLastBlock() -> Bool {
        guard height >= 0 else { return false }
        var (block, level) = (root, height)
        while level > 0 {
            let node = TreeNode(block)
            if node.count == 0 { break }
            step(level).pointee = Step(node: node, child: node.count - 1)
            block = node.child(node.count - 1)
            level -= 1
        }
        if level == 0 {
            let leaf = TreeLeaf(block)
            freeOutside(leaf, 0..<leaf.count)
            freeLeaf(leaf)
        } else {
            freeNode(TreeNode(block))
        }
        if level == height {
            // There was nothing else.
            height = -1
        } else {
            step(level + 1).pointee.node.count -= 1
        }
        return true
    }

    func release() { _ = releaseSome(byteLimit: .max) }
}
