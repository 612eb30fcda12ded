// The ends of a deque, where queues and stacks work: what needs neither another chunk nor the other entries moved.
//
// Whoever is told that it does goes the way of all changes (PackedDeque.swift). Cost: O(1), and no other memory than
// the outermost records and the end of a chunk.

extension PackedDeque {
    /// Puts a value at an end where the outermost chunk has room for it at its outer side; false where it has not, and
    /// nothing is changed. O(1).
    @inline(__always)
    func pushIntoRoom(_ value: StringValue, atHead: Bool, _ limit: PackLimit) -> Bool {
        let chunkCount = header.pointee.chunkCount
        guard chunkCount > 0 else { return false }
        let slot = slot(atHead ? 0 : chunkCount &- 1)
        let contentByteCount = PackedEntry.contentByteCount(of: value)
        let byteCount = PackedEntry.byteCount(ofContent: contentByteCount)
        let chunk = slot.pointee
        guard limit.allows(byteCount: chunk.byteCount &+ byteCount, entryCount: Int(chunk.count) &+ 1) else {
            return false
        }
        let change = UInt32(truncatingIfNeeded: byteCount)
        guard Int(atHead ? chunk.start : chunk.capacity &- chunk.end) >= byteCount else { return false }
        willChange(chunk)
        if atHead {
            slot.pointee.start = chunk.start &- change
        } else {
            slot.pointee.end = chunk.end &+ change
        }
        let offset = Int(atHead ? chunk.start &- change : chunk.end)
        PackedEntry.write(value, contentByteCount: contentByteCount, at: chunk.base + offset)
        slot.pointee.count = chunk.count &+ 1
        header.pointee.count &+= 1
        return true
    }

    /// Takes the outermost entry after `body` has seen it, unless its chunk would be empty then, or thin beside its
    /// neighbour: false, and nothing is done. O(1).
    @inline(__always)
    func popFromChunk(atHead: Bool, _ body: (StringValue) -> Void) -> Bool {
        let chunkCount = header.pointee.chunkCount
        let slot = slot(atHead ? 0 : chunkCount &- 1)
        let chunk = slot.pointee
        guard chunk.count > 1 else { return false }
        let byteCount =
            atHead ? PackedEntry.byteCount(at: chunk.first) : PackedEntry.byteCount(before: chunk.last)
        if chunkCount > 1 {
            let other = self.slot(atHead ? 1 : chunkCount &- 2).pointee
            let low = atHead ? chunk : other
            guard chunk.byteCount &- byteCount &+ other.byteCount > Int(low.capacity) / 2 else { return false }
        }
        body(PackedEntry.value(at: atHead ? chunk.first : chunk.last - byteCount))
        let change = UInt32(truncatingIfNeeded: byteCount)
        if atHead { slot.pointee.start = chunk.start &+ change } else { slot.pointee.end = chunk.end &- change }
        slot.pointee.count = chunk.count &- 1
        header.pointee.count &-= 1
        return true
    }
}
