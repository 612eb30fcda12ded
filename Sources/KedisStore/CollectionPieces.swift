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
// What the snapshot holds is an empty structure of the same form with the figures of that instant (`isFrozen` in its
// header), whose walks as a whole go here; it has no other use. Pieces of hashes, sets and sorted sets come in any
// order, copies first, so that these are gone soon; those of lists and streams in theirs.
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

    private struct Piece {
        let address: UnsafeMutableRawPointer
        /// The address of a copy that waits, or one of the three below.
        private var state: UInt = Piece.untaken

        private static let untaken: UInt = 0
        private static let gone: UInt = 1
        private static let given: UInt = 2

        init(_ address: UnsafeMutableRawPointer) { self.address = address }

        /// Whether it was copied, for the walk or for later, or is ours.
        var isTaken: Bool { state != Piece.untaken }

        /// Whether its memory is ours.
        var isGiven: Bool { state == Piece.given }

        mutating func give() { state = Piece.given }

        var copy: UnsafeMutableRawPointer? {
            get { state <= Piece.given ? nil : UnsafeMutableRawPointer(bitPattern: state) }
            set { state = newValue.map { UInt(bitPattern: $0) } ?? Piece.gone }
        }
    }

    /// Before the bytes of a copy that waits.
    private struct CopyHead {
        var next: Int
        var byteCount: Int
    }

    private static let headByteCount = MemoryLayout<CopyHead>.stride
    /// A larger one is freed after use.
    private static let keptScratchByteCountMax = 64 << 10

    private let form: CollectionForm
    /// Of hashes and sets: whether elements refer to blobs, and have values.
    private let blobs: (areThere: Bool, isValued: Bool)
    private let source: UnsafeMutablePointer<MemorySource>
    private let backlog: SnapshotBacklog
    let count: Int

    private let lock = StripeLock()
    // Guarded by the lock.
    private var isEnded = false
    private var pieces: UnsafeMutablePointer<Piece>
    private var details: UnsafeMutablePointer<Detail>?
    /// By address: open addressing, an index plus 1, or 0.
    private var slots: UnsafeMutablePointer<UInt32>
    private let slotMask: Int
    /// Where the three lie, one behind the other; nil when they were allocated.
    private var room: PieceRoom?
    private var filledCount = 0
    private var position = 0
    /// Copies of pieces whose order does not matter, linked by their heads; -1 for none.
    private var firstCopied = -1
    /// A collection that was removed meanwhile.
    private var handedOver: Collection?

    // The walker's.
    private var scratch: UnsafeMutableRawPointer?
    private var scratchByteCount = 0

    /// Without pieces yet; nil when memory is exhausted.
    init?(
        form: CollectionForm, count: Int, blobs: (areThere: Bool, isValued: Bool),
        source: UnsafeMutablePointer<MemorySource>, backlog: SnapshotBacklog
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
        (self.form, self.count, self.blobs, self.source, self.backlog) = (form, count, blobs, source, backlog)
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
        let byteCount = byteCount(index)
        guard !backlog.isAbandoned, let memory = copy(index, byteCount: byteCount) else {
            if !backlog.isAbandoned { backlog.noteIncomplete() }
            // What is changed from now on must not be read.
            for index in 0..<count where !pieces[index].isTaken { pieces[index].copy = nil }
            return
        }
        memory.initializeMemory(as: CopyHead.self, to: CopyHead(next: firstCopied, byteCount: byteCount))
        if details == nil { firstCopied = index }
        pieces[index].copy = memory
        backlog.notePieces(byteCount: Self.headByteCount + byteCount)
    }

    private func copy(_ index: Int, byteCount: Int) -> UnsafeMutableRawPointer? {
        guard let memory = backlog.allocate(byteCount: Self.headByteCount + byteCount) else { return nil }
        if copyPiece(index, to: memory + Self.headByteCount) { return memory }
        deallocateBuffer(memory)
        return nil
    }

    /// Takes over the memory of a piece that is about to be freed and was not taken: it needs no copy. False when it is
    /// the caller's. The collection's stripe is locked.
    func take(_ address: UnsafeMutableRawPointer) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard !isEnded, !backlog.isAbandoned, let index = indexOfUntaken(address), retainReferences(of: address) else {
            return false
        }
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
            let goesOn = body(next.bytes, next.detail)
            releaseReferences(of: next.bytes)
            if let copy = next.copy { free(copy) }
            if let piece = next.piece { deallocateBuffer(piece) }
            if scratchByteCount > Self.keptScratchByteCountMax { freeScratch() }
            guard goesOn else { return }
        }
    }

    /// What the walk reads, and what goes with it: a copy, or the piece's own memory.
    private struct Next {
        let bytes: UnsafeMutableRawPointer
        let detail: Detail
        var copy: UnsafeMutableRawPointer?
        var piece: UnsafeMutableRawPointer?
    }

    private func free(_ copy: UnsafeMutableRawPointer) {
        let byteCount = copy.assumingMemoryBound(to: CopyHead.self).pointee.byteCount
        backlog.notePieces(byteCount: -Self.headByteCount - byteCount)
        deallocateBuffer(copy)
    }

    private func takeNext() -> Next? {
        lock.lock()
        defer { lock.unlock() }
        if firstCopied >= 0, let memory = pieces[firstCopied].copy {
            pieces[firstCopied].copy = nil
            firstCopied = memory.assumingMemoryBound(to: CopyHead.self).pointee.next
            return Next(bytes: memory + Self.headByteCount, detail: Detail(), copy: memory)
        }
        while position < count {
            let index = position
            position += 1
            let detail = details?[index] ?? Detail()
            let piece = pieces[index]
            pieces[index].copy = nil
            if let copy = piece.copy { return Next(bytes: copy + Self.headByteCount, detail: detail, copy: copy) }
            if piece.isGiven {
                return Next(bytes: piece.address + Int(detail.offset), detail: detail, piece: piece.address)
            }
            if piece.isTaken { continue }
            guard let scratch = scratch(byteCount(index)), copyPiece(index, to: scratch) else {
                backlog.noteIncomplete()
                return nil
            }
            return Next(bytes: scratch, detail: detail)
        }
        return nil
    }

    private func scratch(_ byteCount: Int) -> UnsafeMutableRawPointer? {
        if byteCount > scratchByteCount {
            freeScratch()
            scratch = backlog.allocate(byteCount: byteCount)
            scratchByteCount = scratch == nil ? 0 : byteCount
        }
        return scratch
    }

    private func freeScratch() {
        deallocateBuffer(scratch)
        (scratch, scratchByteCount) = (nil, 0)
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
            guard let memory = pieces[index].copy else { continue }
            releaseReferences(of: memory + Self.headByteCount)
            free(memory)
        }
        if room == nil { deallocateBuffer(slots) }
        room = nil
        deallocateBuffer(scratch)
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
            if blobs.areThere { MemberBlock(memory).forEachBlob(isValued: blobs.isValued) { $0.retain() } }
            return true
        case .sortedTree: return !TreeLeaf(memory).hasOutside
        case .deque, .stream: return true
        }
    }

    private func releaseReferences(of memory: UnsafeMutableRawPointer) {
        switch form {
        case .members:
            guard blobs.areThere else { return }
            MemberBlock(memory).forEachBlob(isValued: blobs.isValued) { blob in
                if blob.dropReference() { blob.deallocate(to: source) }
            }
        case .sortedTree: TreeLeaf(memory).freeCopiedOutside(0..<TreeLeaf(memory).count)
        case .deque, .stream: break
        }
    }
}
