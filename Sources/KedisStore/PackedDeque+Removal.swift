// Elements leave a large list: a range of them, or all that equal a value, in one pass.
//
// Removing needs no memory, so it is never refused. Chunks that are left empty go, thin neighbours are joined: a list
// that loses entries here and there does not keep a chunk for each few of them.

import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension PackedDeque {
    /// Removes entries. O(chunks + bytes of the two chunks at the ends of the range).
    func remove(_ range: Range<Int>) {
        var left = range.count
        guard left > 0 else { return }
        var (index, entry) = locate(range.lowerBound)
        if entry > 0 {
            left -= removeEntries(inChunk: index, from: entry, atMost: left)
            index += 1
        }
        var end = index
        while left > 0, end < chunkCount, left >= Int(chunk(end).count) {
            left -= Int(chunk(end).count)
            end += 1
        }
        removeChunks(index..<end)
        if left > 0 { _ = removeEntries(inChunk: index, from: 0, atMost: left) }
        mergeAround(min(index, chunkCount - 1))
    }

    /// Removes up to `limit` entries of a chunk, which keeps some, and returns how many.
    private func removeEntries(inChunk index: Int, from entry: Int, atMost limit: Int) -> Int {
        let chunk = chunk(index)
        let removed = min(limit, Int(chunk.count) - entry)
        let start = chunk.address(ofEntry: entry)
        let end = entry + removed == Int(chunk.count) ? chunk.last : chunk.address(ofEntry: entry + removed)
        closeGap(inChunk: index, at: start - chunk.first, end - start)
        noteEntries(-removed, inChunk: index)
        return removed
    }

    /// Removes entries that `matches` says, at most `limit`: the first of them, or the last. Returns how many; none may
    /// be left then. O(bytes), in one pass.
    func removeAll(limit: Int, fromTail: Bool, where matches: (StringValue) -> Bool) -> Int {
        var removedCount = 0
        var (lowest, highest) = (chunkCount, -1)
        var index = fromTail ? chunkCount - 1 : 0
        let isFrozenMeanwhile = Collection(address).hasPieces
        while removedCount < limit, index >= 0, index < chunkCount {
            // A chunk without a match stays as it is.
            if isFrozenMeanwhile, chunk(index).matchCount(matches) > 0 { willChange(chunk(index)) }
            let count = slot(index).pointee.removeAll(
                limit: limit - removedCount, fromTail: fromTail, where: matches)
            if count > 0 { (lowest, highest) = (min(lowest, index), max(highest, index)) }
            removedCount += count
            index += fromTail ? -1 : 1
        }
        noteRemoved(removedCount)
        if highest >= 0 { tidy(max(0, lowest - 1)..<min(chunkCount, highest + 2)) }
        return removedCount
    }

    /// Frees the chunks of a range that are empty, and joins thin neighbours. O(chunks + bytes that are joined).
    private func tidy(_ range: Range<Int>) {
        var keptEnd = range.lowerBound
        for index in range {
            let chunk = chunk(index)
            if chunk.count == 0 || keptEnd > range.lowerBound && join(chunk, to: keptEnd - 1) {
                freeChunk(chunk)
            } else {
                slot(keptEnd).pointee = chunk
                keptEnd += 1
            }
        }
        removeSlots(keptEnd..<range.upperBound)
    }

    /// Joins a chunk with its neighbours, if they are thin.
    private func mergeAround(_ index: Int) {
        for left in [index, index - 1] where left >= 0 && left + 1 < chunkCount {
            let high = chunk(left + 1)
            guard join(high, to: left) else { continue }
            freeChunk(high)
            removeSlots(left + 1..<left + 2)
        }
    }

    /// Copies the entries of a chunk behind those of the one before it, unless they fill more than half of that.
    private func join(_ high: PackedChunk, to index: Int) -> Bool {
        let slot = slot(index)
        let low = slot.pointee
        guard low.byteCount + high.byteCount <= Int(low.capacity) / 2 else { return false }
        willChange(low)
        if Int(low.capacity - low.end) < high.byteCount {
            memmove(low.base, low.first, low.byteCount)
            slot.pointee.start = 0
            slot.pointee.end = UInt32(low.byteCount)
        }
        memcpy(slot.pointee.last, high.first, high.byteCount)
        slot.pointee.end += UInt32(high.byteCount)
        slot.pointee.count += high.count
        return true
    }
}

extension PackedChunk {
    /// Removes entries that `matches` says, at most `limit`: the first of them, or the last. What stays moves to the
    /// front. Returns how many. O(bytes).
    mutating func removeAll(limit: Int, fromTail: Bool, where matches: (StringValue) -> Bool) -> Int {
        // Of the last ones those before them are left out.
        var skippedCount = fromTail ? max(0, matchCount(matches) - limit) : 0
        var removedCount = 0
        // What stays and lies in a row moves together.
        var (target, kept, entry) = (first, first, first)
        let end = last
        while entry < end, removedCount < limit {
            let size = PackedEntry.byteCount(at: entry)
            defer { entry += size }
            guard matches(PackedEntry.value(at: entry)) else { continue }
            guard skippedCount == 0 else {
                skippedCount -= 1
                continue
            }
            target = PackedChunk.move(kept, upTo: entry, to: target)
            kept = entry + size
            removedCount += 1
        }
        guard removedCount > 0 else { return 0 }
        target = PackedChunk.move(kept, upTo: end, to: target)
        self.end = UInt32(target - base)
        count -= UInt32(removedCount)
        return removedCount
    }

    private static func move(
        _ source: UnsafeMutableRawPointer, upTo end: UnsafeMutableRawPointer, to target: UnsafeMutableRawPointer
    ) -> UnsafeMutableRawPointer {
        if source != target { memmove(target, source, end - source) }
        return target + (end - source)
    }

    fileprivate func matchCount(_ matches: (StringValue) -> Bool) -> Int {
        var matchCount = 0
        var address = UnsafeRawPointer(first)
        for _ in 0..<count {
            if matches(PackedEntry.value(at: address)) { matchCount += 1 }
            address += PackedEntry.byteCount(at: address)
        }
        return matchCount
    }
}
