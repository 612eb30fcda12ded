// A large collection at an instant, read by a snapshot while others go on changing it.
//
//      the collection        the pieces: where its blocks,           what the snapshot gets
//      ┌───────┐             leaves, chunks or nodes were            ┌────────────────────────────┐
//      │ block │◀────────────┬───────────────────────────┐           │ not changed yet: copied by │
//      │ block │◀────────────┤ address, copy or "taken"  │──────────▶│ the walk, one after the    │
//      │ block │◀────────────┤ …                         │           │ other                      │
//      └───┬───┘             └───────────────────────────┘           │ changed first: the copy    │
//          └── who changes a block first leaves a copy of it here    │ that was left              │
//                                                                    └────────────────────────────┘
//
// Both happen under a lock of its own, held for one copy, and once for each piece: so a collection of any size makes
// nobody wait longer than for a piece (a list's element or a stream's entry may be a large one), and takes no more
// memory than what was changed and not yet written. A piece that is freed is given to the snapshot instead. Addresses
// tell pieces: one that is freed was taken before. Of one that came later nothing is asked here: blocks and leaves say
// so themselves (`instant`), and a chunk or node is not found, or counts as taken if it lies where another one did.
//
// Who changes single elements of a hash or set leaves these instead (KeptElements.swift), and the walk puts them in
// place of what it finds: `beginChange` holds the lock until `endChange`, so that the walk sees no half of a change.
//
// What the snapshot holds is an empty structure of the same form with the figures of that instant (`isFrozen` in its
// header), whose walks as a whole go here; it has no other use. Pieces of hashes and sets come in any order, those of
// sorted sets in theirs, but changed ones first, so that copies are gone soon; those of lists and streams in theirs.
//
// Ownership: the collection and the frozen one have a reference each. A collection that is removed meanwhile is handed
// over. Threads: any; the lock is taken under a stripe's and never the other way round. Memory of copies is not counted
// as the store's. Cost: 32 bytes a piece, 56 of lists and streams, in the snapshot's room as far as there is some
// (PieceRoom.swift).

import CKedis
import KedisUtilities

final class CollectionPieces: @unchecked Sendable {
    // Sendable: see the head of the file.

    /// Before the bytes of a copy that waits.
    struct CopyHead {
        var next: Int
        var byteCount: Int
        /// Elements that were changed before it was made.
        var kept: KeptElements?
    }

    static let headByteCount = MemoryLayout<CopyHead>.stride

    let form: CollectionForm
    let members: MemberFigures
    private let source: UnsafeMutablePointer<MemorySource>
    let backlog: SnapshotBacklog

    let lock = StripeLock()
    // Guarded by the lock.
    private var isEnded = false
    /// What is changed from now on must not be read: the snapshot is not complete.
    private(set) var isGivenUp = false
    let pieces: PieceTable
    /// Where they lie; nil when they were allocated.
    private var room: PieceRoom?
    var runs: KeptRuns
    var position = 0
    /// Copies and changed pieces whose order does not matter, linked by their heads; -1 for none.
    var firstCopied = -1
    /// A collection that was removed meanwhile.
    private var handedOver: Collection?

    /// The walker's.
    var walk = Walk()

    /// Nil when memory is exhausted. `fill` adds all pieces. The collection's stripe is locked.
    init?(
        form: CollectionForm, count: Int, members: MemberFigures, source: UnsafeMutablePointer<MemorySource>,
        backlog: SnapshotBacklog, fill: (inout PieceTable) -> Void
    ) {
        let byteCount = PieceTable.byteCount(of: count, form)
        guard count < UInt32.max / 2 else { return nil }
        let taken = backlog.takeFromRoom(byteCount: byteCount)
        guard let memory = taken ?? backlog.allocate(byteCount: byteCount, isZeroed: true) else { return nil }
        room = taken == nil ? nil : backlog.room
        // Filled where nobody else can look: each of many pieces takes a few nanoseconds.
        var pieces = PieceTable(count: count, form, in: memory)
        fill(&pieces)
        pieces.endAdding()
        self.pieces = pieces
        runs = KeptRuns(backlog)
        (self.form, self.members, self.source, self.backlog) = (form, members, source, backlog)
    }

    deinit {
        guard !isEnded else { return }
        freeBatch()
        freeAll()
    }

    /// How many pieces there are.
    var count: Int { pieces.count }

    /// Starts to load where the piece at an address is looked for; the memory may be gone.
    func prefetch(_ address: UnsafeMutableRawPointer) { pieces.prefetch(address) }

    /// Starts to load what was kept of the pieces at `count` addresses.
    func prefetchKept(_ count: Int, _ address: (Int) -> UnsafeMutableRawPointer?) {
        lock.lock()
        defer { lock.unlock() }
        guard !isEnded else { return }
        for number in 0..<count {
            guard let address = address(number), let index = pieces.index(of: address) else { continue }
            pieces[index].kept?.prefetch()
        }
    }

    /// The piece at an address, unless it was taken.
    @inline(__always)
    private func indexOfUntaken(_ address: UnsafeMutableRawPointer) -> Int? {
        guard !isGivenUp, let index = pieces.index(of: address), !pieces[index].isTaken else { return nil }
        return index
    }

    // MARK: Those who change the collection

    /// Copies a piece that is about to be changed or freed, unless it was taken. The collection's stripe is locked.
    /// False when nobody wants pieces any more.
    func preserve(_ address: UnsafeMutableRawPointer) -> Bool {
        lock.lock()
        guard !isEnded else {
            lock.unlock()
            return false
        }
        let isWanted = indexOfUntaken(address) != nil
        lock.unlock()
        if isWanted { keep(address) }
        return true
    }

    private func keep(_ address: UnsafeMutableRawPointer) {
        // Without the lock, which who takes pieces needs.
        backlog.waitForRoom()
        lock.lock()
        defer { lock.unlock() }
        guard !isEnded, let index = indexOfUntaken(address) else { return }
        keepWhole(index)
    }

    private func keepWhole(_ index: Int) {
        let byteCount = byteCount(index)
        guard !backlog.isAbandoned, let memory = copy(index, byteCount: byteCount) else { return giveUp() }
        let kept = pieces[index].kept
        memory.initializeMemory(
            as: CopyHead.self, to: CopyHead(next: kept?.nextPiece ?? firstCopied, byteCount: byteCount, kept: kept))
        if !pieces.isOrdered, kept == nil { firstCopied = index }
        pieces[index].copy = memory
        backlog.notePieces(byteCount: Self.headByteCount + byteCount)
    }

    private func giveUp() {
        if !backlog.isAbandoned { backlog.noteIncomplete() }
        isGivenUp = true
    }

    private func copy(_ index: Int, byteCount: Int) -> UnsafeMutableRawPointer? {
        guard let memory = backlog.allocate(byteCount: Self.headByteCount + byteCount) else { return nil }
        if copyPiece(index, to: memory + Self.headByteCount) { return memory }
        deallocateBuffer(memory)
        return nil
    }

    enum ChangeBegin {
        /// ``endChange()`` is to be called behind the change.
        case held
        /// The block is nobody's but the caller's.
        case free
        /// Nobody wants pieces any more.
        case ended
    }

    /// To be called before an element of a block is added (`old` is nil), changed or removed, whose bytes lie in the
    /// block and have no deadline, before and after that. The collection's stripe is locked.
    func beginChange(of block: MemberBlock, _ member: ByteView, old: MemberElement?) -> ChangeBegin {
        assert(old?.isPlain != false)
        if backlog.isFull { waitToKeep(block, member) }
        lock.lock()
        if !isEnded, let index = indexOfUntaken(block.address), keepElement(index, block, member, old) { return .held }
        let isEnded = isEnded
        lock.unlock()
        return isEnded ? .ended : .free
    }

    func endChange() { lock.unlock() }

    /// Without the lock, which who takes pieces needs.
    @inline(never)
    private func waitToKeep(_ block: MemberBlock, _ member: ByteView) {
        lock.lock()
        let index = isEnded ? nil : indexOfUntaken(block.address)
        let kept = index.flatMap { pieces[$0].kept }
        let isKept = kept?.contains(member, isValued: members.isValued) ?? false
        lock.unlock()
        if index != nil, !isKept { backlog.waitWhileFull() }
    }

    /// False when the block was copied instead.
    private func keepElement(_ index: Int, _ block: MemberBlock, _ member: ByteView, _ old: MemberElement?) -> Bool {
        let kept = pieces[index].kept
        let isRoomless = backlog.isFull && kept?.contains(member, isValued: members.isValued) == true
        if isRoomless { return true }
        guard !backlog.isAbandoned,
            let log = KeptElements.adding(
                member, old: old, isValued: members.isValued, to: kept, nextPiece: firstCopied,
                byteCountMax: min(block.capacity / 2, KeptElements.byteCountMax), &runs)
        else {
            if let kept, kept.contains(member, isValued: members.isValued) { return true }
            backlog.noteCopy()
            keepWhole(index)
            return false
        }
        backlog.noteCopy()
        if kept == nil { firstCopied = index }
        pieces[index].kept = log
        return true
    }

    /// Takes over the memory of a piece that is about to be freed and was not taken or changed: it needs no copy. False
    /// when it is the caller's. The collection's stripe is locked.
    func take(_ address: UnsafeMutableRawPointer) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard !isEnded, !backlog.isAbandoned, let index = indexOfUntaken(address), pieces[index].kept == nil,
            retainReferences(of: address)
        else { return false }
        backlog.noteGiven(byteCount: byteCount(index))
        pieces[index].give()
        return true
    }

    /// Takes over a collection that is removed; false when nobody reads it any more.
    func handOver(_ collection: Collection) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard !isEnded else { return false }
        handedOver = collection
        return true
    }

    // MARK: The end

    /// The snapshot has what it wants. Frees what was handed over.
    func end() {
        lock.lock()
        assert(!isEnded)
        isEnded = true
        let collection = handedOver
        lock.unlock()
        freeBatch()
        freeAll()
        // A large one goes slice by slice.
        if let collection { backlog.shared.pointee.reclaimer.release(collection) }
    }

    private func freeAll() {
        for index in 0..<pieces.placeCount {
            guard let address = pieces[index].address else { continue }
            if pieces[index].isGiven {
                // The snapshot is over or given up: nobody asks how much there is.
                releaseReferences(of: address)
                deallocateBuffer(address)
            }
            pieces[index].kept?.release(to: &runs)
            guard let memory = pieces[index].copy else { continue }
            memory.assumingMemoryBound(to: CopyHead.self).pointee.kept?.release(to: &runs)
            releaseReferences(of: memory + Self.headByteCount)
            free(memory)
        }
        if room == nil { deallocateBuffer(pieces.base) }
        room = nil
        runs.freeAll()
        walk.free()
    }

    // MARK: Copies of pieces

    func byteCount(_ index: Int) -> Int {
        pieces[index].address.map { byteCount(of: $0, pieces.detail(index)) } ?? 0
    }

    func byteCount(of address: UnsafeMutableRawPointer, _ detail: Detail) -> Int {
        switch form {
        case .members: MemberBlock(address).capacity
        case .sortedTree: TreeLeaf(address).capacity
        case .deque, .stream: Int(detail.byteCount)
        }
    }

    /// False when memory is exhausted.
    func copyPiece(_ index: Int, to memory: UnsafeMutableRawPointer) -> Bool {
        guard let address = pieces[index].address else { return false }
        switch form {
        case .members:
            memory.copyMemory(from: address, byteCount: byteCount(index))
            return retainReferences(of: memory)
        case .sortedTree: return TreeLeaf(address).copyWhole(to: memory, backlog)
        case .deque, .stream:
            let detail = pieces.detail(index)
            memory.copyMemory(from: address + Int(detail.offset), byteCount: Int(detail.byteCount))
            return true
        }
    }

    /// Of a block that is a second one with its elements. False when it cannot be: what lies outside of leaves has one
    /// owner.
    private func retainReferences(of memory: UnsafeMutableRawPointer) -> Bool {
        switch form {
        case .members:
            if members.haveBlobs { MemberBlock(memory).forEachBlob(isValued: members.isValued) { $0.retain() } }
            return true
        case .sortedTree: return !TreeLeaf(memory).hasOutside
        case .deque, .stream: return true
        }
    }

    func releaseReferences(of memory: UnsafeMutableRawPointer) {
        switch form {
        case .members:
            guard members.haveBlobs else { return }
            MemberBlock(memory).forEachBlob(isValued: members.isValued) { blob in
                if blob.dropReference() { blob.deallocate(to: source) }
            }
        case .sortedTree: TreeLeaf(memory).freeCopiedOutside(0..<TreeLeaf(memory).count)
        case .deque, .stream: break
        }
    }
}
