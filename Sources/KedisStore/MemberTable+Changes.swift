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
        let draft = MemberDraft(
            member, value, isValued: isValued, deadlineMilliseconds: deadlineMilliseconds)
        guard !place.isFound else { return replace(place, hash, with: draft) ? .replaced : .outOfMemory }
        return insert(draft, hash, at: place) ? .added : .outOfMemory
    }

    /// Adds an element whose member is not there, at the place that `locate` said.
    @inline(__always)
    func insert(_ given: MemberDraft, _ hash: UInt64, at found: MemberPlace) -> Bool {
        var draft = given
        if draft.member.count > MemberElement.inlineByteCountMax
            || draft.value.count > MemberElement.inlineByteCountMax,
            !makeBlobs(&draft, keeping: nil)
        {
            return false
        }
        let byteCount = draft.byteCount
        var (block, index) = (found.block, found.index)
        var tag = MemberBlock.tag(of: hash, depth: block.depth)
        if block.freeByteCount < byteCount &+ MemberBlock.slotByteCount {
            guard makeRoomSlowly(hash, byteCount &+ MemberBlock.slotByteCount) else {
                dropBlobs(of: draft, keeping: nil)
                return false
            }
            block = self.block(hash)
            tag = MemberBlock.tag(of: hash, depth: block.depth)
            index = block.lowerBound(tag)
        }
        draft.write(at: block.insert(at: index, tag: tag, byteCount: byteCount))
        header.pointee.count &+= 1
        if block.count > header.pointee.largestBlockCount { header.pointee.largestBlockCount = block.count }
        if draft.deadlineMilliseconds != noDeadline { noteDeadline(draft.deadlineMilliseconds, hash, in: block) }
        return true
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
        let (oldByteCount, blob, hadDeadline) = (old.byteCount, old.valueBlob, old.hasDeadline)
        if byteCount > oldByteCount {
            draft.write(
                at: place.block.replace(at: place.index, byteCount: byteCount, oldByteCount: oldByteCount))
        } else {
            draft.write(at: old.address)
            if byteCount < oldByteCount { place.block.noteGarbage(oldByteCount - byteCount) }
        }
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
        remove(at: place, hash)
        return true
    }

    /// Removes an element that is there; its views, and all places, are invalid afterwards.
    func remove(at place: MemberPlace, _ hash: UInt64) {
        dropElement(at: place)
        shrinkIfThin(place.block, hash)
    }

    /// Removes an element from its block, which stays as it is.
    @inline(__always)
    func dropElement(at place: MemberPlace) {
        let element = element(place)
        if element.isAnyOutside {
            if let blob = element.memberBlob { drop(blob) }
            if let blob = element.valueBlob { drop(blob) }
        }
        if element.hasDeadline { noteDeadlineGone() }
        place.block.remove(at: place.index, byteCount: element.byteCount)
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
