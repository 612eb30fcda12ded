// What the commands of a batch will look for inside large collections, loaded ahead.
//
// A lookup in a large hash, set or sorted set waits for memory four times, each time for an address that it has just
// read. So a batch goes these ways in step, all lookups a stage at a time, and their waiting overlaps:
//
//      entry of the directory ─▶ head of the block ─▶ where the hash should be in it ─▶ the element, or its leaf
//
// What a snapshot may want of a block that will be changed is loaded with the last two stages.
//
// Nothing is changed and nothing is decided: a lookup that is announced and not made, or the other way round, only
// costs time; a key's cell is taken to be the first with its tag. Ownership: a session's batch or an event loop's group
// of sessions, emptied before each use; the stripes of the keys are locked. Cost: about 30 ns a lookup; small
// collections that a batch comes back to are left out, since the caches have them. Memory: 2 KiB, from the first batch
// on that looks for elements.

import CKedis
package import KedisUtilities

package struct ElementPrefetch: ~Copyable {
    /// Stages beyond so many lookups would push each other out of the first-level cache.
    package static let capacity = 32
    /// The keys of a batch or a group whose elements can be announced.
    private static let keyCountMax = 32
    /// A collection of fewer elements stays in the caches from one command to the next.
    private static let elementCountMin = 16_384

    fileprivate struct Lookup {
        var collection: Collection
        var isTree: Bool
        /// Of the element, or of a draw.
        var hash: UInt64
        /// Of a draw: see ``MemberTable/drawElement(using:)``.
        var draw: (hash: UInt64, number: Int)?
        /// Of a table or an index.
        var block: UnsafeMutableRawPointer
    }

    /// Made when they are wanted first, as the next.
    private var lookups: UnsafeMutablePointer<Lookup>?
    private var count = 0
    /// What is most likely the cell of each key: all are live cells of the keys' stripes.
    private var cells: UnsafeMutablePointer<Cell?>?
    private var cellCount = 0
    /// Elements at the ends of sorted sets that were announced.
    private var endCount = 0
    /// Elements will come and go, so that their neighbours move.
    private var isWrite = false
    private var lastCell: UnsafeMutableRawPointer?

    package init() {}

    deinit {
        lookups?.deallocate()
        cells?.deallocate()
    }

    package var isFull: Bool { count == ElementPrefetch.capacity }

    // MARK: What will be looked for

    /// Begins a batch, or a group of batches.
    package mutating func begin() {
        (count, cellCount, endCount, isWrite, lastCell) = (0, 0, 0, false, nil)
        if lookups == nil { lookups = .allocate(capacity: ElementPrefetch.capacity) }
        if cells == nil { cells = .allocate(capacity: ElementPrefetch.keyCountMax) }
    }

    /// Loads the cells of `keys`, as ``StoreHandle/prefetchCells(_:databaseIndex:)`` does, whose indices continue those
    /// of the keys before.
    package mutating func addKeys(_ keys: UnsafeBufferPointer<Key>, in store: StoreHandle, databaseIndex: Int) {
        let (first, cells) = (cellCount, cells)
        store.prefetchCells(keys, databaseIndex: databaseIndex) { index, cell in
            if first + index < ElementPrefetch.keyCountMax { cells.map { ($0 + first + index).initialize(to: cell) } }
        }
        cellCount = min(first + keys.count, ElementPrefetch.keyCountMax)
    }

    /// Announces that what is looked for will be changed, or an element put.
    package mutating func noteWrite() { isWrite = true }

    /// Announces that `element` will be looked for in the collection at the key of that index.
    @inline(__always)
    package mutating func add(_ element: ByteView, keyIndex: Int, seed: HashSeed) {
        guard let collection = collection(keyIndex) else { return }
        append(collection, hashBytes(element, seed: seed))
    }

    /// Announces that a random element of the collection will be drawn with `generator`, a copy.
    package mutating func addDraw(keyIndex: Int, using generator: inout RandomGenerator) {
        guard let collection = collection(keyIndex), collection.form == .members else { return }
        let table = MemberTable(collection.address)
        let draw = table.drawElement(using: &generator)
        append(collection, draw.hash, draw)
    }

    /// Announces that the next element will be taken from an end of the sorted set. Those are side by side: it is their
    /// places in the index that are far apart.
    package mutating func addEnd(isLowest: Bool, keyIndex: Int, seed: HashSeed) {
        let place = endCount
        endCount &+= 1
        guard let collection = collection(keyIndex), collection.form == .sortedTree,
            let member = SortedTree(collection.address).memberNearEnd(place, isLowest: isLowest)
        else { return }
        append(collection, hashBytes(member, seed: seed))
    }

    @inline(__always)
    private mutating func append(_ collection: Collection, _ hash: UInt64, _ draw: (hash: UInt64, number: Int)? = nil) {
        guard !isFull, let lookups else { return }
        let lookup = Lookup(
            collection: collection, isTree: collection.form == .sortedTree, hash: hash, draw: draw,
            block: collection.address)
        (lookups + count).initialize(to: lookup)
        count &+= 1
    }

    /// The collection of a key whose elements are worth it; nil where it is none, or the caches have it.
    @inline(__always)
    private mutating func collection(_ keyIndex: Int) -> Collection? {
        guard keyIndex < cellCount, let cell = cells?[keyIndex], let collection = cell.collection else { return nil }
        let isRepeated = lastCell == cell.address
        lastCell = cell.address
        if isRepeated, collection.elementCount < ElementPrefetch.elementCountMin { return nil }
        switch collection.form {
        case .members, .sortedTree: return collection
        case .deque, .stream: return nil
        }
    }

    // MARK: Loading

    /// Starts to load what was announced.
    package mutating func run() {
        // One alone has nobody to overlap with.
        guard count > 1 else { return }
        let isWrite = isWrite
        forEach { $0.prefetchEntry() }
        forEach { $0.prefetchBlock() }
        forEach { $0.prefetchPlace(isWrite: isWrite) }
        forEach { $0.prefetchElement(isWrite: isWrite) }
        if isWrite { prefetchKept() }
    }

    /// What a snapshot has of the blocks of the first collection, which are most likely all.
    @inline(__always)
    private func prefetchKept() {
        guard let lookups, !lookups[0].isTree, lookups[0].collection.hasPieces else { return }
        let collection = lookups[0].collection
        collection.prefetchKept(count) {
            let lookup = lookups[$0]
            return lookup.collection.address == collection.address ? lookup.wantedBlock : nil
        }
    }

    @inline(__always)
    private func forEach(_ body: (inout Lookup) -> Void) {
        guard let lookups else { return }
        for index in 0..<count { body(&lookups[index]) }
    }
}

extension ElementPrefetch.Lookup {
    private var table: MemberTable { MemberTable(collection.address) }

    private var tree: SortedTree { SortedTree(collection.address) }

    /// The block, of which a snapshot may want what is changed.
    @inline(__always)
    fileprivate var wantedBlock: UnsafeMutableRawPointer? {
        collection.isWanted(MemberBlock(block).header.pointee.instant) ? block : nil
    }

    @inline(__always)
    fileprivate func prefetchEntry() {
        if isTree { tree.header.pointee.index.prefetchEntry(hash) } else { table.prefetchEntry(hash) }
    }

    @inline(__always)
    fileprivate mutating func prefetchBlock() {
        if isTree {
            block = tree.header.pointee.index.blockAddress(hash) ?? block
        } else {
            block = table.block(hash).address
        }
        kedis_prefetch(block)
    }

    @inline(__always)
    fileprivate func prefetchPlace(isWrite: Bool) {
        guard !isTree else { return tree.header.pointee.index.prefetchPlace(hash, inBlock: block) }
        if isWrite, let wantedBlock { collection.prefetchPiece(wantedBlock) }
        let block = MemberBlock(block)
        if let draw {
            block.prefetchSlot(table.index(of: draw, in: block), isWrite: isWrite)
        } else {
            block.prefetchSlot(near: MemberBlock.tag(of: hash, depth: block.depth), isWrite: isWrite)
        }
    }

    @inline(__always)
    fileprivate func prefetchElement(isWrite: Bool) {
        if isTree {
            guard let score = tree.header.pointee.index.firstScore(hash, inBlock: block) else { return }
            return tree.prefetchLeaf(of: score)
        }
        let block = MemberBlock(block)
        if let draw {
            block.prefetchElement(table.index(of: draw, in: block))
        } else {
            block.prefetchElement(tagged: MemberBlock.tag(of: hash, depth: block.depth), isWrite: isWrite)
        }
    }
}

extension Collection {
    /// How many elements it has, of those that are looked for by a hash.
    fileprivate var elementCount: Int {
        switch form {
        case .members: MemberTable(address).count
        case .sortedTree: SortedTree(address).count
        case .deque, .stream: 0
        }
    }
}

extension MemberTable {
    @inline(__always)
    fileprivate func prefetchEntry(_ hash: UInt64) { header.pointee.directory.prefetchEntry(hash) }
}

extension MemberBlock {
    private static let lineByteCount = 64

    /// Where a search for `tag` looks, among tags and offsets; the head is loaded.
    @inline(__always)
    fileprivate func prefetchSlot(near tag: UInt16, isWrite: Bool) {
        let guess = (Int(tag) &* count) >> 16
        kedis_prefetch(tags + max(0, guess &- 16))
        prefetchSlot(guess, isWrite: isWrite)
    }

    @inline(__always)
    fileprivate func prefetchSlot(_ index: Int, isWrite: Bool) {
        guard isWrite else {
            kedis_prefetch(tags + index)
            kedis_prefetch(tags + (count &+ index))
            return
        }
        // All tags behind it move, and all offsets. Always as many lines, the last one again where there are fewer: the
        // end of a loop would be foretold wrong for each lookup. What is behind them comes while these are moved.
        let (address, last) = (UnsafeRawPointer(tags + index), UnsafeRawPointer(tags + 2 &* count) - 1)
        for line in 0..<8 { kedis_prefetch(min(address + line &* MemberBlock.lineByteCount, last)) }
    }

    @inline(__always)
    fileprivate func prefetchElement(_ index: Int) {
        guard index < count else { return }
        // Where it begins and where it ends, if it is as long as all are on average.
        let address = elementAddress(index)
        kedis_prefetch(address)
        kedis_prefetch(address + usualByteCount)
    }

    /// How long its elements are on average, with garbage.
    @inline(__always)
    private var usualByteCount: Int { Int(header.pointee.heapByteCount / max(1, header.pointee.count)) }

    /// The element with `tag`, or where a new one is put.
    @inline(__always)
    fileprivate func prefetchElement(tagged tag: UInt16, isWrite: Bool) {
        let index = lowerBound(tag)
        if index < count, tags[index] == tag {
            prefetchElement(index)
        } else if isWrite {
            let end = address + (capacity &- Int(header.pointee.heapByteCount))
            kedis_prefetch(end - 1)
            kedis_prefetch(end - usualByteCount)
        }
    }
}

extension SortedTree {
    /// The member that `place` elements are before at an end, if it lies in the outermost leaf.
    fileprivate func memberNearEnd(_ place: Int, isLowest: Bool) -> ByteView? {
        let leaf = isLowest ? firstLeaf : lastLeaf
        guard place < leaf.count else { return nil }
        return leaf.member(isLowest ? place : leaf.count &- 1 &- place)
    }

    /// The leaf that an element with `score` is likely in.
    fileprivate func prefetchLeaf(of score: Double) {
        var block = root
        for _ in 0..<height {
            let node = TreeNode(block)
            block = node.child(node.firstIndex(boundAbove: score) &- 1)
        }
        TreeLeaf(block).prefetch()
    }
}
