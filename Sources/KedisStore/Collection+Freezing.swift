// Large collections on their way into a snapshot: not copied, but frozen (CollectionPieces.swift).
//
// Cost of freezing: the addresses of all pieces, about 10 ns each.

import KedisUtilities

extension Collection {
    // MARK: The collection, while it is read

    /// To be called before the bytes of a piece are changed or freed. Its stripe is locked. O(1), or O(piece) once
    /// while a snapshot is taken.
    @inline(__always)
    func willChange(_ piece: UnsafeMutableRawPointer) {
        if hasPieces { preserveSlowly(piece) }
    }

    /// To be called instead before a piece is freed: true when a snapshot has taken it over, and it is not to be freed.
    @inline(__always)
    func givesAway(_ piece: UnsafeMutableRawPointer) -> Bool { hasPieces && giveSlowly(piece) }

    /// The same of a leaf or block with this `instant`, which may be gone at once where the answer is true.
    @inline(__always)
    func givesAway(_ piece: UnsafeMutableRawPointer, _ instant: UInt32) -> Bool {
        isWanted(instant) && giveSlowly(piece)
    }

    @inline(never)
    private func giveSlowly(_ piece: UnsafeMutableRawPointer) -> Bool {
        guard !header.pointee.isFrozen, let pieces = header.pointee.pieces else { return false }
        if pieces._withUnsafeGuaranteedRef({ $0.take(piece) }) { return true }
        preserveSlowly(piece)
        return false
    }

    @inline(__always)
    var hasPieces: Bool { header.pointee.pieces != nil }

    /// Whether a snapshot may want a leaf or block that has this `instant`. For no other may it be asked: one that came
    /// later it does not know.
    @inline(__always)
    func isWanted(_ instant: UInt32) -> Bool { hasPieces && instant != header.pointee.instant }

    /// Starts to load what ``willChange(_:)`` will look for first.
    @inline(never)
    func prefetchPiece(_ piece: UnsafeMutableRawPointer) {
        header.pointee.pieces?._withUnsafeGuaranteedRef { $0.prefetch(piece) }
    }

    /// The same of `count` blocks, a while later: what was kept of them is found. Nil stands for none.
    @inline(never)
    func prefetchKept(_ count: Int, _ block: (Int) -> UnsafeMutableRawPointer?) {
        header.pointee.pieces?._withUnsafeGuaranteedRef { $0.prefetchKept(count, block) }
    }

    @inline(never)
    private func preserveSlowly(_ piece: UnsafeMutableRawPointer) {
        guard !header.pointee.isFrozen, let pieces = header.pointee.pieces else { return }
        if !pieces._withUnsafeGuaranteedRef({ $0.preserve(piece) }) { dropPieces() }
    }

    /// To be called before an element of a block is added, changed or removed: see ``CollectionPieces/beginChange``.
    /// True when ``endChange()`` is to be called behind that.
    @inline(__always)
    func beginChange(of block: MemberBlock, _ member: ByteView, old: MemberElement?) -> Bool {
        guard !header.pointee.isFrozen, let pieces = header.pointee.pieces else { return false }
        let begin = pieces._withUnsafeGuaranteedRef { $0.beginChange(of: block, member, old: old) }
        if case .ended = begin { dropPieces() }
        if case .held = begin { return true }
        return false
    }

    func endChange() { header.pointee.pieces?._withUnsafeGuaranteedRef { $0.endChange() } }

    /// Gives up the reference.
    func dropPieces() {
        header.pointee.pieces?.release()
        header.pointee.pieces = nil
    }

    /// Before a collection is freed. True when it is not the caller's any more, as a snapshot still reads it.
    func leavePieces() -> Bool {
        guard let pieces = header.pointee.pieces else { return false }
        if header.pointee.isFrozen {
            pieces._withUnsafeGuaranteedRef { $0.end() }
        } else if pieces._withUnsafeGuaranteedRef({ $0.handOver(self) }) {
            return true
        }
        dropPieces()
        return false
    }

    // MARK: What stands for it

    /// The pieces of the collection that this one stands for; nil of others.
    @inline(__always)
    var frozenPieces: CollectionPieces? {
        guard hasPieces, header.pointee.isFrozen else { return nil }
        return header.pointee.pieces?.takeUnretainedValue()
    }

    /// What a snapshot can read while the collection is changed: a copy of a small one, else one that stands for it. Of
    /// members with deadlines always a copy, because files have them a second time behind the value. Nil when memory is
    /// exhausted. The stripe is locked.
    func frozen(copiedByteCountMax: Int, backlog: SnapshotBacklog) -> Collection? {
        guard allocatedByteCount > copiedByteCountMax, earliestMemberDeadline == .max else { return copy() }
        guard let pieces = pieces(backlog), let made = makeFrozen() else { return nil }
        if hasPieces { dropPieces() }
        header.pointee.pieces = Unmanaged.passRetained(pieces)
        made.header.pointee.pieces = Unmanaged.passRetained(pieces)
        made.header.pointee.isFrozen = true
        header.pointee.instant &+= 1
        return made
    }

    private func pieces(_ backlog: SnapshotBacklog) -> CollectionPieces? {
        let (count, members) = pieceFigures
        return CollectionPieces(
            form: form, count: count, members: members, source: header.pointee.source, backlog: backlog
        ) { pieces in
            let add: PieceBody = { pieces.add($0, $1) }
            switch form {
            case .deque: PackedDeque(address).forEachPiece(add)
            case .members: MemberTable(address).forEachPiece(add)
            case .sortedTree: SortedTree(address).forEachPiece(add)
            case .stream: Stream(address).forEachPiece(add)
            }
        }
    }

    /// How many pieces there are, and what is to be known of a hash or set.
    private var pieceFigures: (count: Int, members: CollectionPieces.MemberFigures) {
        switch form {
        case .deque: return (PackedDeque(address).chunkCount, .init())
        case .members:
            let own = MemberTable(address).header.pointee
            return (own.blockCount, .init(haveBlobs: own.outsideCount > 0, isValued: own.isValued, seed: own.seed))
        case .sortedTree: return (SortedTree(address).leafCount, .init())
        case .stream: return (Stream(address).nodeCount, .init())
        }
    }

    /// An empty structure of the same form with the same figures.
    private func makeFrozen() -> Collection? {
        let source = header.pointee.source
        switch form {
        case .deque:
            let made = PackedDeque.make(from: source)
            made?.header.pointee.count = PackedDeque(address).count
            return made.map { Collection($0.address) }
        case .members:
            let own = MemberTable(address).header
            let made = MemberTable.make(isValued: own.pointee.isValued, seed: own.pointee.seed, from: source)
            made?.header.pointee.count = own.pointee.count
            return made.map { Collection($0.address) }
        case .sortedTree:
            let own = SortedTree(address).header
            let made = SortedTree.make(seed: own.pointee.seed, from: source)
            made?.header.pointee.count = own.pointee.count
            return made.map { Collection($0.address) }
        case .stream: return Stream(address).copyWithoutNodes().map { Collection($0.address) }
        }
    }
}

private typealias PieceBody = (UnsafeMutableRawPointer, CollectionPieces.Detail) -> Void

extension PackedDeque {
    fileprivate func forEachPiece(_ body: PieceBody) {
        for index in 0..<chunkCount {
            let chunk = chunk(index)
            body(
                chunk.base,
                CollectionPieces.Detail(
                    offset: chunk.start, byteCount: chunk.end - chunk.start, entryCount: chunk.count))
        }
    }
}

extension MemberTable {
    fileprivate func forEachPiece(_ body: PieceBody) {
        header.pointee.directory.forEach { block in
            body(block, CollectionPieces.Detail())
            return true
        }
    }
}

extension SortedTree {
    /// All leaves, the last first, as files want elements. No leaf is touched.
    fileprivate func forEachPiece(_ body: PieceBody) {
        guard height > 0 else { return body(root, CollectionPieces.Detail()) }
        forEachLowestNodeReversed(root, level: height) { node in
            for child in stride(from: node.count - 1, through: 0, by: -1) {
                body(node.child(child), CollectionPieces.Detail())
            }
        }
    }

    fileprivate var leafCount: Int {
        var count = height > 0 ? 0 : 1
        if height > 0 { forEachLowestNodeReversed(root, level: height) { count += $0.count } }
        return count
    }

    private func forEachLowestNodeReversed(
        _ block: UnsafeMutableRawPointer, level: Int, _ body: (TreeNode) -> Void
    ) {
        let node = TreeNode(block)
        guard level > 1 else { return body(node) }
        for child in stride(from: node.count - 1, through: 0, by: -1) {
            if level == 2, child >= Self.prefetchDistance {
                TreeNode(node.child(child - Self.prefetchDistance)).prefetchChildren()
            }
            forEachLowestNodeReversed(node.child(child), level: level - 1, body)
        }
    }

    /// Nodes that are on their way while one is walked.
    private static let prefetchDistance = 4
}

extension Stream {
    fileprivate func forEachPiece(_ body: PieceBody) {
        var position = header.pointee.nodes.start
        while header.pointee.nodes.isValid(position) {
            let node = node(at: position)
            body(node.base, CollectionPieces.Detail(byteCount: node.byteCount, id: node.id))
            position = header.pointee.nodes.position(after: position)
        }
    }
}
