// Elements with deadlines: what is due counts as gone, and goes in slices.

import KedisUtilities

extension MemberTable {
    /// No element has an earlier one; `Int64.max` when there is none.
    var earliestDeadline: Int64 { header.pointee.earliestDeadline }

    /// Whether elements may be due.
    @inline(__always)
    func hasDue(_ nowMilliseconds: Int64) -> Bool {
        header.pointee.deadlineCount > 0 && header.pointee.earliestDeadline <= nowMilliseconds
    }

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

    /// An element that is not due, every one equally likely; nil when there is none. Expected O(1) while few are due.
    func randomLive(using generator: inout RandomGenerator, _ nowMilliseconds: Int64) -> MemberElement? {
        guard hasDue(nowMilliseconds) else { return count > 0 ? random(using: &generator) : nil }
        for _ in 0..<100 where count > 0 {
            let element = random(using: &generator)
            if !element.isDue(nowMilliseconds) { return element }
        }
        var (chosen, seen) = (MemberElement?.none, 0)
        forEach { element in
            guard !element.isDue(nowMilliseconds) else { return true }
            seen += 1
            if generator.next(below: seen) == 0 { chosen = element }
            return true
        }
        return chosen
    }

    /// Removes due elements, at most about `limit`, each after `body` has seen it; true when none is left. O(limit),
    /// plus O(blocks) for the next earliest deadline.
    func removeDue(_ nowMilliseconds: Int64, limit: Int, _ body: (MemberElement) -> Void = { _ in }) -> Bool {
        guard hasDue(nowMilliseconds) else { return true }
        var left = limit
        var threshold: UInt64 = 0
        var earliest = Int64.max
        var isDone = false
        while !isDone {
            let block = block(threshold)
            if left > 0, block.header.pointee.earliestDeadline <= nowMilliseconds {
                // Then looked at again: it may have been joined with another one.
                left -= removeDue(from: block, nowMilliseconds, body)
                continue
            }
            earliest = min(earliest, block.header.pointee.earliestDeadline)
            let span = block.depth == 0 ? 0 : UInt64(1) << UInt64(64 - block.depth)
            threshold = span == 0 ? 0 : (threshold & ~(span - 1)) &+ span
            isDone = threshold == 0
        }
        header.pointee.earliestDeadline = earliest
        return earliest > nowMilliseconds
    }

    /// Removes the due elements of a block and notes its earliest deadline; returns how many it looked at.
    private func removeDue(from block: MemberBlock, _ nowMilliseconds: Int64, _ body: (MemberElement) -> Void) -> Int {
        let elementCount = block.count
        var earliest = Int64.max
        var entry: Int?
        for index in stride(from: block.count - 1, through: 0, by: -1) {
            let element = MemberElement(at: block.elementAddress(index), isValued: isValued)
            guard element.hasDeadline else { continue }
            guard element.isDue(nowMilliseconds) else {
                earliest = min(earliest, element.deadlineMilliseconds)
                continue
            }
            body(element)
            let place = MemberPlace(
                entry: directoryIndex(hash(element.member)), block: block, index: index, isFound: true)
            entry = place.entry
            dropElement(at: place)
        }
        block.header.pointee.earliestDeadline = earliest
        if let entry { shrinkIfThin(block, entry: entry) }
        return max(1, elementCount)
    }
}
