// Elements that come, change and go.
//
// What is new is made first, and the room for it, so that a refusal of memory finds nothing changed. Views that are
// given must not lie in the table itself.

import KedisUtilities

extension MemberTable {
    // MARK: Adding

    /// Adds an element or replaces the one that is there, with its deadline. O(1), amortised.
    func set(
        _ member: ByteView, _ hash: UInt64, value: ByteView = .empty, deadlineMilliseconds: Int64 = noDeadline
    ) -> MemberChange {
        let place = locate(member, hash)
        guard place.isFound else {
            return insert(member, value, hash, deadlineMilliseconds, at: place) ? .added : .outOfMemory
        }
        let draft = MemberDraft(member, value, isValued: isValued, deadlineMilliseconds: deadlineMilliseconds)
        return replace(place, hash, with: draft) ? .replaced : .outOfMemory
    }

    /// Adds an element whose member is not there, at the place that `locate` said; false when memory is exhausted.
    @inline(__always)
    func insert(
        _ member: ByteView, _ value: ByteView, _ hash: UInt64, _ deadlineMilliseconds: Int64, at found: MemberPlace
    ) -> Bool {
        let draft = MemberDraft(member, value, isValued: isValued, deadlineMilliseconds: noDeadline)
        let byteCount = draft.byteCount
        guard member.count <= MemberElement.inlineByteCountMax, value.count <= MemberElement.inlineByteCountMax,
            found.block.freeByteCount >= byteCount &+ MemberBlock.slotByteCount, deadlineMilliseconds == noDeadline
        else { return insertSlowly(member, value, hash, deadlineMilliseconds: deadlineMilliseconds) }
        put(draft, byteCount, hash, in: found.block, at: found.index)
        return true
    }

    /// The same with a deadline, blobs, or a block that has no room.
    @inline(never)
    private func insertSlowly(
        _ member: ByteView, _ value: ByteView, _ hash: UInt64, deadlineMilliseconds: Int64
    ) -> Bool {
        var draft = MemberDraft(member, value, isValued: isValued, deadlineMilliseconds: deadlineMilliseconds)
        if member.count > MemberElement.inlineByteCountMax || value.count > MemberElement.inlineByteCountMax,
            !makeBlobs(&draft, keeping: nil)
        {
            return false
        }
        let byteCount = draft.byteCount
        guard makeRoomSlowly(hash, byteCount + MemberBlock.slotByteCount) else {
            dropBlobs(of: draft, keeping: nil)
            return false
        }
        let block = block(hash)
        put(draft, byteCount, hash, in: block, at: block.lowerBound(MemberBlock.tag(of: hash, depth: block.depth)))
        if deadlineMilliseconds != noDeadline { noteDeadline(deadlineMilliseconds, hash, in: block) }
        return true
    }

    /// Writes an element into a block that has room for it, before the one at `index`.
    @inline(__always)
    private func put(_ draft: MemberDraft, _ byteCount: Int, _ hash: UInt64, in block: MemberBlock, at index: Int) {
        let isHeld = willChange(block, from: nil, to: draft)
        let tag = MemberBlock.tag(of: hash, depth: block.depth)
        draft.write(at: block.insert(at: index, tag: tag, byteCount: byteCount))
        didChange(isHeld)
        header.pointee.count &+= 1
        noteElements(of: block)
    }

    /// A block has more elements, or fewer entries in the directory.
    @inline(__always)
    func noteElements(of block: MemberBlock) {
        let entryCount = entryCount(of: block)
        guard block.count > header.pointee.elementsPerEntryMax &* entryCount else { return }
        header.pointee.elementsPerEntryMax = (block.count &+ entryCount &- 1) / entryCount
    }

    /// The directory tells other bits apart than `before`, so that all blocks have more entries or fewer.
    func noteBits(before: Int) {
        let change = header.pointee.directory.bitCountMax - before
        guard change != 0 else { return }
        let most = header.pointee.elementsPerEntryMax
        header.pointee.elementsPerEntryMax =
            change > 0 ? (most + (1 << change) - 1) >> change : min(most << -change, Int(UInt16.max))
    }

    // MARK: Replacing

    /// Puts an element with the same member in place of another.
    private func replace(_ found: MemberPlace, _ hash: UInt64, with given: MemberDraft) -> Bool {
        let old = element(found)
        var draft = given
        let isOutside = old.isAnyOutside || draft.value.count > MemberElement.inlineByteCountMax
        if isOutside, !makeBlobs(&draft, keeping: old) { return false }
        guard rewrite(found, hash, as: draft) else {
            if isOutside { dropBlobs(of: draft, keeping: draft.memberBlob) }
            return false
        }
        return true
    }

    /// Writes a draft over an element, whose value's blob goes; its member's is the same.
    private func rewrite(_ found: MemberPlace, _ hash: UInt64, as draft: MemberDraft) -> Bool {
        var place = found
        var old = element(place)
        let byteCount = draft.byteCount
        if byteCount > old.byteCount, place.block.freeByteCount < byteCount {
            guard makeRoomSlowly(hash, byteCount) else { return false }
            place = locate(draft.member, hash)
            old = element(place)
        }
        let isHeld = willChange(place.block, from: old, to: draft)
        let (oldByteCount, blob, hadDeadline) = (old.byteCount, old.valueBlob, old.hasDeadline)
        if byteCount > oldByteCount {
            draft.write(
                at: place.block.replace(at: place.index, byteCount: byteCount, oldByteCount: oldByteCount))
        } else {
            draft.write(at: old.address)
            if byteCount < oldByteCount { place.block.noteGarbage(oldByteCount - byteCount) }
        }
        didChange(isHeld)
        if let blob, blob.address != draft.valueBlob?.address { drop(blob) }
        if draft.deadlineMilliseconds != noDeadline { noteDeadline(draft.deadlineMilliseconds, hash, in: place.block) }
        if hadDeadline { noteDeadlineGone() }
        return true
    }

    /// Sets or clears (``noDeadline``) the deadline of a member that is there; false when memory is exhausted. O(1).
    func setDeadline(_ member: ByteView, _ hash: UInt64, _ deadlineMilliseconds: Int64) -> Bool {
        var place = locate(member, hash)
        guard place.isFound else { return true }
        let needed = element(place).byteCount + 8
        if !element(place).hasDeadline, deadlineMilliseconds != noDeadline, place.block.freeByteCount < needed {
            guard makeRoomSlowly(hash, needed) else { return false }
            place = locate(member, hash)
        }
        let old = element(place)
        var draft = MemberDraft(
            old.member, old.value, isValued: isValued, deadlineMilliseconds: deadlineMilliseconds)
        draft.memberBlob = old.memberBlob
        draft.valueBlob = old.valueBlob
        // There is room: the views, which lie in the block, stay where they are.
        return rewrite(place, hash, as: draft)
    }

    // MARK: Removing

    /// Removes a member; false when it is not there. O(1), amortised.
    func remove(_ member: ByteView, _ hash: UInt64) -> Bool {
        let place = locate(member, hash)
        guard place.isFound else { return false }
        remove(at: place)
        return true
    }

    /// Removes an element that is there; its views, and all places, are invalid afterwards.
    @inline(__always)
    func remove(at place: MemberPlace) {
        dropElement(at: place)
        shrinkIfThin(place.block, place.hash)
    }

    /// Removes an element from its block, which stays as it is.
    @inline(__always)
    func dropElement(at place: MemberPlace) {
        let element = element(place)
        let isHeld = willChange(place.block, from: element, to: nil)
        if element.isAnyOutside {
            if let blob = element.memberBlob { drop(blob) }
            if let blob = element.valueBlob { drop(blob) }
        }
        if element.hasDeadline { noteDeadlineGone() }
        place.block.remove(at: place.index, byteCount: element.byteCount)
        didChange(isHeld)
        header.pointee.count &-= 1
    }

    @inline(__always)
    func shrinkIfThin(_ block: MemberBlock, _ hash: UInt64) {
        if 2 &* block.liveByteCount < block.capacity { shrinkSlowly(block, hash) }
    }

    // MARK: Blobs

    /// Makes the blobs of a draft, but for the member's where an element is replaced; false when memory is exhausted.
    @inline(never)
    private func makeBlobs(_ draft: inout MemberDraft, keeping old: MemberElement?) -> Bool {
        if let old {
            draft.memberBlob = old.memberBlob
        } else if draft.member.count > MemberElement.inlineByteCountMax {
            guard let blob = makeBlob(draft.member) else { return false }
            draft.memberBlob = blob
        }
        if draft.value.count > MemberElement.inlineByteCountMax {
            draft.valueBlob = makeBlob(draft.value)
            guard draft.valueBlob != nil else {
                if old == nil, let blob = draft.memberBlob { drop(blob) }
                return false
            }
        }
        return true
    }

    private func makeBlob(_ bytes: ByteView) -> Blob? {
        guard let blob = Blob.make(byteCount: bytes.count, capacity: bytes.count, from: source) else { return nil }
        blob.content.copyMemory(from: bytes.base, byteCount: bytes.count)
        header.pointee.outsideCount += 1
        header.pointee.outsideByteCount += blob.allocatedByteCount
        return blob
    }

    private func dropBlobs(of draft: MemberDraft, keeping kept: Blob?) {
        if let blob = draft.memberBlob, blob.address != kept?.address { drop(blob) }
        if let blob = draft.valueBlob { drop(blob) }
    }

    /// Drops the table's reference to a blob. A large one waits for who takes it to the reclaimer.
    func drop(_ blob: Blob) {
        header.pointee.outsideCount -= 1
        header.pointee.outsideByteCount -= blob.allocatedByteCount
        guard blob.dropReference() else { return }
        if blob.capacity > Reclaimer.immediateByteCountMax {
            blob.nextWaiting = header.pointee.retired
            header.pointee.retired = blob
        } else {
            blob.deallocate(to: source)
        }
    }

    /// A large blob that the table dropped, now the caller's, who gives it to the reclaimer; nil when there is none.
    func takeRetired() -> Blob? {
        guard let blob = header.pointee.retired else { return nil }
        header.pointee.retired = blob.nextWaiting
        return blob
    }
}
