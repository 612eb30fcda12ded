// Elements with deadlines: what is due counts as gone, and goes in slices.
//
// An element has its deadline, its block the earliest of them, and the table times for parts of the hash space
// (DeadlineIndex.swift): all but the first are lower bounds, put right when somebody looks.

import KedisUtilities

extension MemberTable {
    /// A part of the index should have about so many entries of the directory.
    private static let entriesPerPartLog2 = 3

    /// No element has an earlier one; `Int64.max` when there is none.
    @inline(__always)
    var earliestDeadline: Int64 { header.pointee.deadlines.earliest }

    /// Whether elements may be due.
    @inline(__always)
    func hasDue(_ nowMilliseconds: Int64) -> Bool {
        header.pointee.deadlineCount > 0 && header.pointee.deadlines.earliest <= nowMilliseconds
    }

    /// An element in a block has got a deadline.
    func noteDeadline(_ deadlineMilliseconds: Int64, _ hash: UInt64, in block: MemberBlock) {
        if header.pointee.deadlineCount & 63 == 0 { fitDeadlines() }
        header.pointee.deadlineCount += 1
        header.pointee.deadlines.note(hash, deadlineMilliseconds)
        header.pointee.latestDeadline = max(header.pointee.latestDeadline, deadlineMilliseconds)
        block.header.pointee.earliestDeadline = min(block.header.pointee.earliestDeadline, deadlineMilliseconds)
    }

    /// An element has lost its deadline, or went with it.
    func noteDeadlineGone() {
        header.pointee.deadlineCount -= 1
        guard header.pointee.deadlineCount == 0 else { return }
        header.pointee.deadlines.release(to: source)
        header.pointee.latestDeadline = .min
    }

    /// Gives the index parts of a good size for a table that has grown or shrunk.
    private func fitDeadlines() {
        let bitCount = header.pointee.directory.bitCountMax - MemberTable.entriesPerPartLog2
        let wanted = min(max(0, bitCount), DeadlineIndex.depthMax)
        let depth = header.pointee.deadlines.depth
        // Not each time a table goes to and fro.
        guard wanted > depth || wanted < depth - 1 else { return }
        header.pointee.deadlines.resize(depth: wanted, source: source)
    }

    // MARK: Looking past what is due

    /// How many elements are not due. O(1), or O(n) while some may be.
    func liveCount(_ nowMilliseconds: Int64) -> Int {
        guard hasDue(nowMilliseconds) else { return count }
        var dueCount = 0
        forEachBlock { block in
            guard block.header.pointee.earliestDeadline <= nowMilliseconds else { return true }
            for index in 0..<block.count
            where MemberElement(at: block.elementAddress(index), isValued: isValued).isDue(nowMilliseconds) {
                dueCount += 1
            }
            return true
        }
        return count - dueCount
    }

    /// Whether an element is there that is not due. O(1), or O(n) while all may be.
    func hasLive(_ nowMilliseconds: Int64) -> Bool {
        if header.pointee.deadlineCount < count || !hasDue(nowMilliseconds) { return count > 0 }
        if header.pointee.latestDeadline <= nowMilliseconds { return false }
        var isFound = false
        forEach { element in
            isFound = !element.isDue(nowMilliseconds)
            return !isFound
        }
        return isFound
    }

    /// The place of an element that is not due, every one equally likely; nil when there is none. Expected O(1) while
    /// few are due.
    func randomLivePlace(using generator: inout RandomGenerator, _ nowMilliseconds: Int64) -> MemberPlace? {
        guard hasDue(nowMilliseconds) else { return count > 0 ? randomPlace(using: &generator) : nil }
        for _ in 0..<100 where count > 0 {
            let place = randomPlace(using: &generator)
            if !element(place).isDue(nowMilliseconds) { return place }
        }
        var (chosen, seen) = (MemberPlace?.none, 0)
        var hash = UInt64(0)
        forEachBlock { block in
            defer { hash = BlockDirectory.hash(behind: hash, bitCount: block.depth) }
            for index in 0..<block.count {
                let place = MemberPlace(
                    hash: hash, block: block, index: index, isFound: true)
                guard !element(place).isDue(nowMilliseconds) else { continue }
                seen += 1
                if generator.next(below: seen) == 0 { chosen = place }
            }
            return true
        }
        return chosen
    }

    // MARK: Removing what is due

    /// Removes due elements, at most about `limit`, each after `body` has seen it; true when none is left. O(limit),
    /// plus O(log n) and some blocks for each part of the table in which one was due.
    func removeDue(_ nowMilliseconds: Int64, limit: Int, _ body: (MemberElement) -> Void = { _ in }) -> Bool {
        var left = limit
        while left > 0, header.pointee.deadlineCount > 0,
            let part = header.pointee.deadlines.firstPart(dueAt: nowMilliseconds)
        {
            removeDue(fromPart: part, nowMilliseconds, &left, body)
        }
        fitDeadlines()
        return !hasDue(nowMilliseconds)
    }

    /// Looks at the blocks of a part, and sets its time when all of them were looked at.
    private func removeDue(
        fromPart part: Int, _ nowMilliseconds: Int64, _ left: inout Int, _ body: (MemberElement) -> Void
    ) {
        let hashes = header.pointee.deadlines.hashes(ofPart: part)
        let depth = header.pointee.deadlines.depth
        var (threshold, earliest) = (hashes.first, Int64.max)
        while true {
            let block = block(threshold)
            if block.header.pointee.earliestDeadline <= nowMilliseconds {
                guard left > 0 else { return }
                // Then looked at again: it may have been joined with another one.
                left -= removeDue(from: block, nowMilliseconds, body)
                guard header.pointee.deadlineCount > 0 else { return }
                continue
            }
            earliest = min(earliest, block.header.pointee.earliestDeadline)
            threshold = BlockDirectory.hash(behind: threshold, bitCount: block.depth)
            // A count of 0 stands for all hashes, as an end of 0 does.
            if threshold == 0 || hashes.count > 0 && threshold &- hashes.first >= hashes.count { break }
        }
        left -= 1
        if header.pointee.deadlines.depth == depth { header.pointee.deadlines.set(part: part, to: earliest) }
    }

    /// Removes the due elements of a block and notes its earliest deadline; returns how many it looked at.
    private func removeDue(from block: MemberBlock, _ nowMilliseconds: Int64, _ body: (MemberElement) -> Void) -> Int {
        let elementCount = block.count
        var earliest = Int64.max
        var hash: UInt64?
        for index in stride(from: block.count - 1, through: 0, by: -1) {
            let element = MemberElement(at: block.elementAddress(index), isValued: isValued)
            guard element.hasDeadline else { continue }
            guard element.isDue(nowMilliseconds) else {
                earliest = min(earliest, element.deadlineMilliseconds)
                continue
            }
            body(element)
            let place = MemberPlace(hash: self.hash(element.member), block: block, index: index, isFound: true)
            hash = place.hash
            dropElement(at: place)
        }
        willChange(block)
        block.header.pointee.earliestDeadline = earliest
        if let hash { shrinkIfThin(block, hash) }
        return max(1, elementCount)
    }
}
