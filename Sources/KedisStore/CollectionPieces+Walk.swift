// The walk of a snapshot over the pieces of a frozen collection (CollectionPieces.swift): in batches, of which each is
// taken and freed in the foreground, with the lock held for one piece after the other, and read by the walk alone
// (BackgroundThread.swift).

import KedisUtilities

extension CollectionPieces {
    /// What is taken in one step of the walk at most, the first steps less; one piece may be longer.
    private static let batchCountMax = 64
    private static let batchByteCountMax = 256 << 10
    private static let stepByteCount = 32 << 10
    private static let alignment = 16
    /// Steps that find nothing before the lock is given to others: some 10 microseconds, as places lie anywhere.
    private static let stepsUnderLockMax = 256

    /// What a walk has taken.
    struct Walk {
        fileprivate var batch: UnsafeMutablePointer<Next>?
        fileprivate var batchCount = 0
        /// How many of them were given, and of those freed.
        fileprivate var givenCount = 0
        fileprivate var freedCount = 0
        fileprivate var batchNumber = 0
        fileprivate var scratch = Scratch()
        fileprivate var keptScratch = Scratch()

        mutating func free() {
            deallocateBuffer(batch)
            batch = nil
            scratch.free()
            keptScratch.free()
        }
    }

    /// Calls `body` with the bytes of each piece, once for all calls together, until it answers false.
    func forEach(_ body: (UnsafeMutableRawPointer, Detail) -> Bool) {
        guard giveBatch(body) else { return }
        // Of a sorted set each change copies a leaf, which soon is more than a walk takes that yields to others.
        backlog.walk(mayYield: form != .sortedTree) { backlog.step(take: takeBatch, use: { giveBatch(body) }) }
    }

    /// The rest of what was taken; false when `body` answered so.
    private func giveBatch(_ body: (UnsafeMutableRawPointer, Detail) -> Bool) -> Bool {
        while let batch = walk.batch, walk.givenCount < walk.batchCount {
            // Where it may be, who waits for the walk need not wait for the whole batch.
            if backlog.isWalkInForeground { freeGiven() }
            let next = batch[walk.givenCount]
            walk.givenCount += 1
            if let kept = next.kept, !giveKept(kept, changed: MemberBlock(next.bytes), body) { return false }
            guard body(next.bytes, next.detail) else { return false }
        }
        return true
    }

    /// Frees what was given, and takes more; false when there is nothing left.
    private func takeBatch() -> Bool {
        freeBatch()
        walk.batchNumber += 1
        guard let batch = walk.batch ?? makeBatch() else {
            backlog.noteIncomplete()
            return false
        }
        let countMax = min(8 * walk.batchNumber, Self.batchCountMax)
        var room = Room()
        while walk.batchCount < countMax, room.outsideByteCount < Self.batchByteCountMax {
            let found = takeNext(&room)
            if case .none = found { break }
            guard case .piece(let next) = found else { continue }
            if let kept = next.kept, walk.keptScratch.memory(kept.blockByteCountMax, backlog) == nil {
                backlog.noteIncomplete()
            }
            (batch + walk.batchCount).initialize(to: next)
            walk.batchCount += 1
        }
        return walk.batchCount > 0
    }

    private func makeBatch() -> UnsafeMutablePointer<Next>? {
        walk.batch = backlog.allocate(byteCount: Self.batchCountMax * MemoryLayout<Next>.stride)?
            .bindMemory(to: Next.self, capacity: Self.batchCountMax)
        return walk.batch
    }

    /// How much of the scratch is used, and what was taken outside of it.
    private struct Room {
        var usedByteCount = 0
        var outsideByteCount = 0
    }

    private enum Taken {
        case piece(Next)
        /// It was a long way, and others may want the lock.
        case nothingYet
        /// There are no more, or the next has no room.
        case none
    }

    /// Frees the batch, given or not. The lock is free.
    func freeBatch() {
        walk.givenCount = walk.batchCount
        freeGiven()
        (walk.batchCount, walk.givenCount, walk.freedCount) = (0, 0, 0)
        walk.scratch.freeIfLarge()
    }

    private func freeGiven() {
        while let batch = walk.batch, walk.freedCount < walk.givenCount {
            let next = batch[walk.freedCount]
            walk.freedCount += 1
            if let kept = next.kept { release(kept) }
            releaseReferences(of: next.bytes)
            if let copy = next.copy { free(copy) }
            if let piece = next.piece {
                backlog.noteGiven(byteCount: -next.pieceByteCount)
                deallocateBuffer(piece)
            }
        }
    }

    /// Gives `body` elements as they were, and takes what became of them out of the copy of their block.
    private func giveKept(
        _ kept: KeptElements, changed block: MemberBlock, _ body: (UnsafeMutableRawPointer, Detail) -> Bool
    ) -> Bool {
        let count = kept.count(isValued: members.isValued)
        // It is there: it was made in the foreground.
        guard let memory = walk.keptScratch.memory(kept.blockByteCount(count: count), backlog) else { return false }
        let found = kept.putBack(
            count: count, in: block, to: memory, seed: members.seed, isValued: members.isValued)
        return body(found.address, Detail())
    }

    private func release(_ kept: KeptElements) {
        lock.lock()
        kept.release(to: &runs)
        lock.unlock()
    }

    /// What the walk reads, and what goes with it: a copy, or the piece's own memory.
    fileprivate struct Next {
        let bytes: UnsafeMutableRawPointer
        let detail: Detail
        var copy: UnsafeMutableRawPointer?
        var piece: UnsafeMutableRawPointer?
        var pieceByteCount = 0
        var kept: KeptElements?
    }

    func free(_ copy: UnsafeMutableRawPointer) {
        let byteCount = copy.assumingMemoryBound(to: CopyHead.self).pointee.byteCount
        backlog.notePieces(byteCount: -Self.headByteCount - byteCount)
        deallocateBuffer(copy)
    }

    private func takeNext(_ room: inout Room) -> Taken {
        lock.lock()
        defer { lock.unlock() }
        guard !isGivenUp else { return .none }
        if firstCopied >= 0 {
            let index = firstCopied
            if let kept = pieces[index].kept {
                guard let next = takeUncopied(index, Detail(), &room) else { return .none }
                firstCopied = kept.nextPiece
                if firstCopied >= 0 { pieces.prefetch(firstCopied) }
                return .piece(next)
            }
            if let memory = pieces[index].copy {
                pieces[index].copy = nil
                let head = memory.assumingMemoryBound(to: CopyHead.self).pointee
                firstCopied = head.next
                room.outsideByteCount += head.byteCount
                return .piece(
                    Next(bytes: memory + Self.headByteCount, detail: Detail(), copy: memory, kept: head.kept))
            }
        }
        let limit = min(position + Self.stepsUnderLockMax, count)
        while position < limit {
            pieces.prefetchPiece(at: position + 1)
            let index = pieces.index(at: position)
            let (piece, detail) = (pieces[index], pieces.detail(index))
            if !piece.isTaken {
                guard let next = takeUncopied(index, detail, &room) else { return .none }
                position += 1
                return .piece(next)
            }
            position += 1
            pieces[index].copy = nil
            if let copy = piece.copy {
                let head = copy.assumingMemoryBound(to: CopyHead.self).pointee
                room.outsideByteCount += head.byteCount
                return .piece(
                    Next(bytes: copy + Self.headByteCount, detail: detail, copy: copy, kept: head.kept))
            }
            if piece.isGiven, let address = piece.address {
                let byteCount = byteCount(of: address, detail)
                room.outsideByteCount += byteCount
                return .piece(
                    Next(
                        bytes: address + Int(detail.offset), detail: detail, piece: address, pieceByteCount: byteCount)
                )
            }
        }
        return position < count ? .nothingYet : .none
    }

    private func takeUncopied(_ index: Int, _ detail: Detail, _ room: inout Room) -> Next? {
        let (byteCount, used) = (byteCount(index), room.usedByteCount)
        // Others of the batch lie before it, which must stay where they are.
        if used > 0, used + byteCount > walk.scratch.byteCount { return nil }
        let wanted = used > 0 ? 0 : max(byteCount, min(walk.batchNumber * Self.stepByteCount, Self.batchByteCountMax))
        guard let memory = walk.scratch.memory(wanted, backlog), copyPiece(index, to: memory + used) else {
            backlog.noteIncomplete()
            return nil
        }
        let kept = pieces[index].kept
        pieces[index].copy = nil
        room.usedByteCount += (byteCount + Self.alignment - 1) & ~(Self.alignment - 1)
        return Next(bytes: memory + used, detail: detail, kept: kept)
    }
}
