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
// tell pieces: one that is freed was taken before, so a new one at its address counts as taken.
//
// Who changes single elements of a hash or set leaves these instead (KeptElements.swift), and the walk puts them in
// place of what it finds: `beginChange` holds the lock until `endChange`, so that the walk sees no half of a change.
//
// What the snapshot holds is an empty structure of the same form with the figures of that instant (`isFrozen` in its
// header), whose walks as a whole go here; it has no other use. Pieces of hashes, sets and sorted sets come in any
// order, changed ones first, so that copies are gone soon; those of lists and streams in theirs.
//
// Ownership: the collection and the frozen one have a reference each. A collection that is removed meanwhile is handed
// over. Threads: any; the lock is taken under a stripe's and never the other way round. Memory of copies is not counted
// as the store's. Cost: about 30 bytes a piece, 60 of lists and streams, in the snapshot's room as far as there is some
// (PieceRoom.swift).

import CKedis
import KedisUtilities

final class CollectionPieces: @unchecked Sendable {
    // Sendable: see the head of the file.

    /// What the bytes of a piece are, where they do not say it themselves: in lists and streams.
    struct Detail {
        var offset: UInt32 = 0
        var byteCount: UInt32 = 0
        var entryCount: UInt32 = 0
        var id = StreamID.zero
    }

    /// Before the bytes of a copy that waits.
    private struct CopyHead {
        var next: Int
        var byteCount: Int
        /// Elements that were changed before it was made.
        var kept: KeptElements?
    }

    private static let headByteCount = MemoryLayout<CopyHead>.stride

    private let form: CollectionForm
    private let members: MemberFigures
    private let source: UnsafeMutablePointer<MemorySource>
    private let backlog: SnapshotBacklog
    let count: Int

    private let lock = StripeLock()
    // Guarded by the lock.
    private var isEnded = false
    private var pieces: UnsafeMutablePointer<Piece>
    private var details: UnsafeMutablePointer<Detail>?
    /// By address: open addressing, an index plus 1, or 0.
    private let slots: UnsafeMutablePointer<UInt32>
    private let slotMask: Int
    /// Where the three lie, one behind the other; nil when they were allocated.
    private var room: PieceRoom?
    private var filledCount = 0
    private var position = 0
    /// Copies and changed pieces whose order does not matter, linked by their heads; -1 for none.
    private var firstCopied = -1
    /// A collection that was removed meanwhile.
    private var handedOver: Collection?

    // The walker's.
    private var scratch = Scratch()
    private var keptScratch = Scratch()

    /// Without pieces yet; nil when memory is exhausted.
    init?(
        form: CollectionForm, count: Int, members: MemberFigures, source: UnsafeMutablePointer<MemorySource>,
        backlog: SnapshotBacklog
    ) {
        var slotCount = 16
        while slotCount < 2 * count { slotCount *= 2 }
        let isOrdered = form == .deque || form == .stream
        // One run of memory: slots, pieces, details.
        let piecesOffset = slotCount * MemoryLayout<UInt32>.stride
        let detailsOffset = piecesOffset + count * MemoryLayout<Piece>.stride
        let byteCount = detailsOffset + (isOrdered ? count * MemoryLayout<Detail>.stride : 0)
        guard count < UInt32.max else { return nil }
        let taken = backlog.takeFromRoom(byteCount: byteCount)
        guard let memory = taken ?? backlog.allocate(byteCount: byteCount, isZeroed: true) else { return nil }
        room = taken == nil ? nil : backlog.room
        slots = memory.bindMemory(to: UInt32.self, capacity: slotCount)
        pieces = (memory + piecesOffset).bindMemory(to: Piece.self, capacity: count)
        details = isOrdered ? (memory + detailsOffset).bindMemory(to: Detail.self, capacity: count) : nil
        slotMask = slotCount - 1
        (self.form, self.count, self.members, self.source, self.backlog) = (form, count, members, source, backlog)
    }

    deinit { if !isEnded { freeAll() } }

    // MARK: Filling

    /// Adds the next piece. The collection's stripe is locked, and nobody else knows of this yet.
    func add(_ address: UnsafeMutableRawPointer, _ detail: Detail) {
        assert(filledCount < count)
        (pieces + filledCount).initialize(to: Piece(address))
        if let details { (details + filledCount).initialize(to: detail) }
        filledCount += 1
    }

    /// Makes pieces known by their addresses: all of them have been added. Slots are fetched ahead.
    func enterAll() {
        for index in 0..<filledCount {
            let ahead = index + Self.prefetchDistance
            if ahead < filledCount { kedis_prefetch(slots + home(of: pieces[ahead].address)) }
            var slot = home(of: pieces[index].address)
            while slots[slot] != 0 { slot = (slot + 1) & slotMask }
            slots[slot] = UInt32(truncatingIfNeeded: index + 1)
        }
    }

    private static let prefetchDistance = 16

    private func home(of address: UnsafeMutableRawPointer) -> Int {
        let mixed = UInt64(UInt(bitPattern: address)) &* 0x9E37_79B9_7F4A_7C15
        return Int(truncatingIfNeeded: mixed >> 32) & slotMask
    }

    /// Starts to load where the piece at an address is looked for; the memory may be gone.
    func prefetch(_ address: UnsafeMutableRawPointer) { kedis_prefetch(slots + home(of: address)) }

    /// Starts to load the pieces at `count` addresses, and then what was kept of them.
    func prefetchKept(_ count: Int, _ address: (Int) -> UnsafeMutableRawPointer) {
        lock.lock()
        defer { lock.unlock() }
        guard !isEnded else { return }
        for number in 0..<count {
            // Nearly always the first slot is the one.
            let index = Int(slots[home(of: address(number))]) - 1
            if index >= 0 { kedis_prefetch(pieces + index) }
        }
        for number in 0..<count {
            guard let index = indexOfUntaken(address(number)), let kept = pieces[index].kept else { continue }
            kedis_prefetch(kept.address)
        }
    }

    /// The piece at an address, unless it was taken.
    private func indexOfUntaken(_ address: UnsafeMutableRawPointer) -> Int? {
        var slot = home(of: address)
        while slots[slot] != 0 {
            let index = Int(slots[slot]) - 1
            if pieces[index].address == address { return pieces[index].isTaken ? nil : index }
            slot = (slot + 1) & slotMask
        }
        return nil
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
        if details == nil, kept == nil { firstCopied = index }
        pieces[index].copy = memory
        backlog.notePieces(byteCount: Self.headByteCount + byteCount)
    }

    /// What is changed from now on must not be read.
    private func giveUp() {
        if !backlog.isAbandoned { backlog.noteIncomplete() }
        for index in 0..<count where !pieces[index].isTaken {
            pieces[index].kept?.release(backlog)
            pieces[index].copy = nil
        }
        // Copies among them come in the order of all.
        firstCopied = -1
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
        let hash = hashBytes(member, seed: members.seed)
        let kept = index.flatMap { pieces[$0].kept }
        let isKept = kept?.contains(member, hash: hash, isValued: members.isValued) ?? false
        lock.unlock()
        if index != nil, !isKept { backlog.waitWhileFull() }
    }

    /// False when the block was copied instead.
    private func keepElement(_ index: Int, _ block: MemberBlock, _ member: ByteView, _ old: MemberElement?) -> Bool {
        let kept = pieces[index].kept
        let hash = hashBytes(member, seed: members.seed)
        if let kept, kept.contains(member, hash: hash, isValued: members.isValued) { return true }
        backlog.noteCopy()
        let draft = MemberDraft(
            member, old?.value ?? .empty, isValued: members.isValued, deadlineMilliseconds: noDeadline)
        guard !backlog.isAbandoned,
            let log = KeptElements.adding(
                draft, hash: hash, wasThere: old != nil, to: kept, nextPiece: firstCopied,
                byteCountMax: block.capacity / 2, backlog)
        else {
            keepWhole(index)
            return false
        }
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

    // MARK: The snapshot

    /// Calls `body` with the bytes of each piece, once for all calls together, until it answers false.
    func forEach(_ body: (UnsafeMutableRawPointer, Detail) -> Bool) {
        while let next = takeNext() {
            var goesOn = true
            if let kept = next.kept {
                goesOn = giveKept(kept, changed: MemberBlock(next.bytes), body)
                kept.release(backlog)
            }
            goesOn = goesOn && body(next.bytes, next.detail)
            releaseReferences(of: next.bytes)
            if let copy = next.copy { free(copy) }
            if let piece = next.piece { deallocateBuffer(piece) }
            scratch.freeIfLarge()
            guard goesOn else { return }
        }
    }

    /// Gives `body` elements as they were, and takes what became of them out of the copy of their block.
    private func giveKept(
        _ kept: KeptElements, changed block: MemberBlock, _ body: (UnsafeMutableRawPointer, Detail) -> Bool
    ) -> Bool {
        kept.remove(from: block, seed: members.seed, isValued: members.isValued)
        guard let memory = keptScratch.memory(kept.blockByteCount, backlog) else {
            backlog.noteIncomplete()
            return false
        }
        return body(kept.write(to: memory, isValued: members.isValued).address, Detail())
    }

    /// What the walk reads, and what goes with it: a copy, or the piece's own memory.
    private struct Next {
        let bytes: UnsafeMutableRawPointer
        let detail: Detail
        var copy: UnsafeMutableRawPointer?
        var piece: UnsafeMutableRawPointer?
        var kept: KeptElements?
    }

    private func free(_ copy: UnsafeMutableRawPointer) {
        let byteCount = copy.assumingMemoryBound(to: CopyHead.self).pointee.byteCount
        backlog.notePieces(byteCount: -Self.headByteCount - byteCount)
        deallocateBuffer(copy)
    }

    private func takeNext() -> Next? {
        lock.lock()
        defer { lock.unlock() }
        if firstCopied >= 0 {
            let index = firstCopied
            if let kept = pieces[index].kept {
                firstCopied = kept.nextPiece
                return takeUncopied(index, Detail())
            }
            if let memory = pieces[index].copy {
                pieces[index].copy = nil
                let head = memory.assumingMemoryBound(to: CopyHead.self).pointee
                firstCopied = head.next
                return Next(bytes: memory + Self.headByteCount, detail: Detail(), copy: memory, kept: head.kept)
            }
        }
        while position < count {
            let index = position
            position += 1
            let detail = details?[index] ?? Detail()
            let piece = pieces[index]
            guard piece.isTaken else { return takeUncopied(index, detail) }
            pieces[index].copy = nil
            if let copy = piece.copy {
                let kept = copy.assumingMemoryBound(to: CopyHead.self).pointee.kept
                return Next(bytes: copy + Self.headByteCount, detail: detail, copy: copy, kept: kept)
            }
            if piece.isGiven {
                return Next(bytes: piece.address + Int(detail.offset), detail: detail, piece: piece.address)
            }
        }
        return nil
    }

    private func takeUncopied(_ index: Int, _ detail: Detail) -> Next? {
        guard let memory = scratch.memory(byteCount(index), backlog), copyPiece(index, to: memory) else {
            backlog.noteIncomplete()
            return nil
        }
        let kept = pieces[index].kept
        pieces[index].copy = nil
        return Next(bytes: memory, detail: detail, kept: kept)
    }

    /// The snapshot has what it wants. Frees what was handed over.
    func end() {
        lock.lock()
        assert(!isEnded)
        isEnded = true
        let collection = handedOver
        lock.unlock()
        freeAll()
        // A large one goes slice by slice.
        if let collection { backlog.shared.pointee.reclaimer.release(collection) }
    }

    private func freeAll() {
        for index in 0..<filledCount {
            if pieces[index].isGiven {
                releaseReferences(of: pieces[index].address)
                deallocateBuffer(pieces[index].address)
            }
            pieces[index].kept?.release(backlog)
            guard let memory = pieces[index].copy else { continue }
            memory.assumingMemoryBound(to: CopyHead.self).pointee.kept?.release(backlog)
            releaseReferences(of: memory + Self.headByteCount)
            free(memory)
        }
        if room == nil { deallocateBuffer(slots) }
        room = nil
        scratch.free()
        keptScratch.free()
    }

    // MARK: Copies of pieces

    private func byteCount(_ index: Int) -> Int {
        let address = pieces[index].address
        return switch form {
        case .members: MemberBlock(address).capacity
        case .sortedTree: TreeLeaf(address).capacity
        case .deque, .stream: Int(details?[index].byteCount ?? 0)
        }
    }

    /// False when memory is exhausted.
    private func copyPiece(_ index: Int, to memory: UnsafeMutableRawPointer) -> Bool {
        let address = pieces[index].address
        switch form {
        case .members:
            memory.copyMemory(from: address, byteCount: byteCount(index))
            return retainReferences(of: memory)
        case .sortedTree: return TreeLeaf(address).copyWhole(to: memory, backlog)
        case .deque, .stream:
            let detail = details?[index] ?? Detail()
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

    private func releaseReferences(of memory: UnsafeMutableRawPointer) {
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
