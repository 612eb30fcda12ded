// Large collections on their way into a snapshot: not copied, but frozen (CollectionPieces.swift).
//
// Cost of freezing: the addresses of all pieces, about 10 ns each, a millisecond for ten million elements.

import KedisUtilities

extension Collection {
    /// Up to this size a copy takes less than freezing, and some tens of microseconds.
    static let copiedByteCountMax = 64 << 10

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

    @inline(never)
    private func giveSlowly(_ piece: UnsafeMutableRawPointer) -> Bool {
        guard !header.pointee.isFrozen, let pieces = header.pointee.pieces else { return false }
        if pieces._withUnsafeGuaranteedRef({ $0.take(piece) }) { return true }
        preserveSlowly(piece)
        return false
    }

    @inline(__always)
    var hasPieces: Bool { header.pointee.pieces != nil }

    @inline(never)
    private func preserveSlowly(_ piece: UnsafeMutableRawPointer) {
        guard !header.pointee.isFrozen, let pieces = header.pointee.pieces else { return }
        if !pieces._withUnsafeGuaranteedRef({ $0.preserve(piece) }) { dropPieces() }
    }

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
        return made
    }

    private func pieces(_ backlog: SnapshotBacklog) -> CollectionPieces? {
        let source = header.pointee.source
        switch form {
        case .deque: return PackedDeque(address).pieces(source, backlog)
        case .members: return MemberTable(address).pieces(source, backlog)
        case .sortedTree: return SortedTree(address).pieces(source, backlog)
        case .stream: return Stream(address).pieces(source, backlog)
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

extension PackedDeque {
    fileprivate func pieces(
        _ source: UnsafeMutablePointer<MemorySource>, _ backlog: SnapshotBacklog
    ) -> CollectionPieces? {
        let made = CollectionPieces(form: .deque, count: chunkCount, source: source, backlog: backlog)
        guard let made else { return nil }
        for index in 0..<chunkCount {
            let chunk = chunk(index)
            made.add(
                chunk.base,
                CollectionPieces.Detail(
                    offset: chunk.start, byteCount: chunk.end - chunk.start, entryCount: chunk.count))
        }
        return made
    }
}

extension MemberTable {
    fileprivate func pieces(
        _ source: UnsafeMutablePointer<MemorySource>, _ backlog: SnapshotBacklog
    ) -> CollectionPieces? {
        let made = CollectionPieces(
            form: .members, count: header.pointee.blockCount, blobs: (header.pointee.outsideCount > 0, isValued),
            source: source, backlog: backlog)
        guard let made else { return nil }
        header.pointee.directory.forEach { block in
            made.add(block)
            return true
        }
        return made
    }
}

extension SortedTree {
    fileprivate func pieces(
        _ source: UnsafeMutablePointer<MemorySource>, _ backlog: SnapshotBacklog
    ) -> CollectionPieces? {
        var count = 0
        forEachLeafReversed(root, level: height) { _ in count += 1 }
        let made = CollectionPieces(form: .sortedTree, count: count, source: source, backlog: backlog)
        guard let made else { return nil }
        forEachLeafReversed(root, level: height) { made.add($0) }
        return made
    }

    /// The addresses of all leaves, the last first, as files want elements. No leaf is touched.
    private func forEachLeafReversed(
        _ block: UnsafeMutableRawPointer, level: Int, _ body: (UnsafeMutableRawPointer) -> Void
    ) {
        guard level > 0 else { return body(block) }
        let node = TreeNode(block)
        for child in stride(from: node.count - 1, through: 0, by: -1) {
            forEachLeafReversed(node.child(child), level: level - 1, body)
        }
    }
}

extension Stream {
    fileprivate func pieces(
        _ source: UnsafeMutablePointer<MemorySource>, _ backlog: SnapshotBacklog
    ) -> CollectionPieces? {
        let made = CollectionPieces(form: .stream, count: nodeCount, source: source, backlog: backlog)
        guard let made else { return nil }
        var position = header.pointee.nodes.start
        while header.pointee.nodes.isValid(position) {
            let node = node(at: position)
            made.add(node.base, CollectionPieces.Detail(byteCount: node.byteCount, id: node.id))
            position = header.pointee.nodes.position(after: position)
        }
        return made
    }
}
