// A large list: a deque of chunks, each a run of packed entries (PackedEntry.swift).
//
//      header ─▶ ring of chunk records, a power of two
//                ┌───────┬───────┬───────┬─ … ─┬───────┐
//                │ chunk │ chunk │ chunk │     │       │   24 bytes each: where, from, to, capacity, entries
//                └───┬───┴───────┴───────┴─ … ─┴───────┘
//                    ▼
//                ┌──────┬────────────────────────┬──────┐
//                │ free │ entry │ entry │ …      │ free │   8 KiB unless configured otherwise
//                └──────┴────────────────────────┴──────┘
//
// Both ends of a chunk have room, so that a queue neither moves its entries when one is taken from the front nor when
// one is put there. The records hold what a search by position needs: it touches no chunk but the last.
//
// Ownership: the cell that holds its address, or the reclaimer that frees it in slices; never shared. Guarded by the
// stripe's lock. Memory is malloc's, counted by the `MemorySource`. When memory is exhausted a change answers false and
// has changed nothing. Invariants: see `checkInvariants()`.
// Cost: 2 bytes an entry of up to 63 bytes; both ends O(1); a position O(chunks) over records, then one chunk.

import CKedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct PackedDeque {
    struct Header {
        var frame: CollectionHeader
        var ring: UnsafeMutablePointer<PackedChunk>
        var ringCapacity: Int
        var firstChunk: Int
        var chunkCount: Int
        var count: Int
        /// Of all chunks.
        var capacity: Int
    }

    let address: UnsafeMutableRawPointer

    init(_ address: UnsafeMutableRawPointer) { self.address = address }

    @inline(__always)
    var header: UnsafeMutablePointer<Header> { address.assumingMemoryBound(to: Header.self) }

    private var source: UnsafeMutablePointer<MemorySource> { header.pointee.frame.source }

    /// An empty deque; nil when memory is exhausted.
    static func make(from source: UnsafeMutablePointer<MemorySource>) -> PackedDeque? {
        guard let header = source.pointee.allocate(Header.self, count: 1) else { return nil }
        let ringCapacity = 4
        let byteCount = ringCapacity * MemoryLayout<PackedChunk>.stride
        guard source.pointee.reserve(byteCount) else {
            source.pointee.deallocate(header, count: 1)
            return nil
        }
        guard let memory = malloc(byteCount) else {
            source.pointee.release(byteCount)
            source.pointee.deallocate(header, count: 1)
            return nil
        }
        let ring = memory.bindMemory(to: PackedChunk.self, capacity: ringCapacity)
        header.initialize(
            to: Header(
                frame: CollectionHeader(source: source, form: .deque), ring: ring, ringCapacity: ringCapacity,
                firstChunk: 0, chunkCount: 0, count: 0, capacity: 0))
        return PackedDeque(header)
    }

    var count: Int { header.pointee.count }

    var chunkCount: Int { header.pointee.chunkCount }

    /// What it takes from the allocator, in bytes.
    var allocatedByteCount: Int {
        let header = header.pointee
        return MemoryLayout<Header>.stride + header.ringCapacity * MemoryLayout<PackedChunk>.stride + header.capacity
            + 16 * header.chunkCount
    }

    // MARK: Chunks

    @inline(__always)
    func slot(_ index: Int) -> UnsafeMutablePointer<PackedChunk> {
        header.pointee.ring + ((header.pointee.firstChunk &+ index) & (header.pointee.ringCapacity &- 1))
    }

    func chunk(_ index: Int) -> PackedChunk {
        assert(index >= 0 && index < chunkCount)
        return slot(index).pointee
    }

    /// Makes room for a chunk record at `index`, undefined; false when memory is exhausted.
    private func insertSlot(at index: Int) -> Bool {
        if chunkCount == header.pointee.ringCapacity, !growRing() { return false }
        if index < chunkCount / 2 {
            header.pointee.firstChunk = (header.pointee.firstChunk &- 1) & (header.pointee.ringCapacity &- 1)
            header.pointee.chunkCount += 1
            for position in 0..<index { slot(position).pointee = slot(position + 1).pointee }
        } else {
            header.pointee.chunkCount += 1
            for position in stride(from: chunkCount - 1, to: index, by: -1) {
                slot(position).pointee = slot(position - 1).pointee
            }
        }
        return true
    }

    /// Gives the ring twice the room. A long one is moved by the system, page table by page table; what is copied here
    /// is the shorter part where the ring is folded, and nothing in a list that grows at one end.
    private func growRing() -> Bool {
        let (capacity, first) = (header.pointee.ringCapacity, header.pointee.firstChunk)
        assert(chunkCount == capacity)
        let byteCount = capacity * MemoryLayout<PackedChunk>.stride
        guard source.pointee.reserve(byteCount) else { return false }
        guard let memory = realloc(header.pointee.ring, 2 * byteCount) else {
            source.pointee.release(byteCount)
            return false
        }
        let ring = memory.bindMemory(to: PackedChunk.self, capacity: 2 * capacity)
        header.pointee.ring = ring
        header.pointee.ringCapacity = 2 * capacity
        if first <= capacity / 2 {
            (ring + capacity).initialize(from: ring, count: first)
        } else {
            (ring + (first + capacity)).initialize(from: ring + first, count: capacity - first)
            header.pointee.firstChunk = first + capacity
        }
        return true
    }

    /// Takes chunk records out, moving those on the shorter side.
    func removeSlots(_ range: Range<Int>) {
        let count = range.count
        if range.lowerBound < chunkCount - range.upperBound {
            for position in stride(from: range.lowerBound - 1, through: 0, by: -1) {
                slot(position + count).pointee = slot(position).pointee
            }
            header.pointee.firstChunk = (header.pointee.firstChunk &+ count) & (header.pointee.ringCapacity &- 1)
        } else {
            for position in range.upperBound..<chunkCount { slot(position - count).pointee = slot(position).pointee }
        }
        header.pointee.chunkCount -= count
    }

    private func allocateChunk(capacity: Int) -> UnsafeMutableRawPointer? {
        guard source.pointee.reserve(capacity) else { return nil }
        guard let base = malloc(capacity) else {
            source.pointee.release(capacity)
            return nil
        }
        header.pointee.capacity += capacity
        return base
    }

    /// To be called before the bytes of a chunk are changed: see CollectionPieces.swift.
    @inline(__always)
    func willChange(_ chunk: PackedChunk) { Collection(address).willChange(chunk.base) }

    func freeChunk(_ chunk: PackedChunk) {
        header.pointee.capacity -= Int(chunk.capacity)
        source.pointee.release(Int(chunk.capacity))
        if !Collection(address).givesAway(chunk.base) { free(chunk.base) }
    }

    /// Puts an empty chunk at `index`, its room in front or behind; false when memory is exhausted.
    private func insertChunk(at index: Int, capacity: Int, growsForwards: Bool) -> Bool {
        guard let base = allocateChunk(capacity: capacity) else { return false }
        let start = growsForwards ? 0 : UInt32(capacity)
        let made = PackedChunk(base: base, start: start, end: start, capacity: UInt32(capacity), count: 0)
        guard insertSlot(at: index) else {
            freeChunk(made)
            return false
        }
        slot(index).pointee = made
        return true
    }

    func removeChunks(_ range: Range<Int>) {
        for index in range {
            header.pointee.count -= Int(chunk(index).count)
            freeChunk(chunk(index))
        }
        removeSlots(range)
    }

    /// Opens a gap of `byteCount` in a chunk before the byte `offset` of its run and returns its address; nil when
    /// memory is exhausted. The gap's entries are not counted yet.
    private func openGap(
        inChunk index: Int, at offset: Int, _ byteCount: Int, limit: PackLimit
    ) -> UnsafeMutableRawPointer? {
        let slot = slot(index)
        let old = slot.pointee
        willChange(old)
        let isNearStart = offset < old.byteCount / 2
        if isNearStart || offset == 0, Int(old.start) >= byteCount {
            slot.pointee.start -= UInt32(byteCount)
            memmove(slot.pointee.first, old.first, offset)
        } else if Int(old.capacity - old.end) >= byteCount {
            memmove(old.first + offset + byteCount, old.first + offset, old.byteCount - offset)
            slot.pointee.end += UInt32(byteCount)
        } else {
            guard moveChunk(index, openingGapAt: offset, byteCount, limit: limit) else { return nil }
        }
        return slot.pointee.first + offset
    }

    /// The same for a chunk whose room on the right side is too small: its run moves within the chunk or to a larger.
    private func moveChunk(_ index: Int, openingGapAt offset: Int, _ byteCount: Int, limit: PackLimit) -> Bool {
        let slot = slot(index)
        let old = slot.pointee
        let needed = old.byteCount + byteCount
        // A run that is the only one grows by doubling; once there are others it is filled to the limit anyway.
        let wanted = chunkCount > 1 ? limit.byteCountMax : min(limit.byteCountMax, 2 * needed)
        var target = old
        if needed > Int(old.capacity) {
            let capacity = max(needed, limit.entryCountMax == .max ? wanted : min(wanted, 2 * needed))
            guard let base = allocateChunk(capacity: capacity) else { return false }
            (target.base, target.capacity) = (base, UInt32(capacity))
        }
        // All room goes to the side that grows.
        target.start = offset == 0 ? target.capacity - UInt32(needed) : 0
        target.end = target.start + UInt32(needed)
        if target.base == old.base {
            // The part that moves away from the other one goes first.
            let tail = { _ = memmove(target.first + offset + byteCount, old.first + offset, old.byteCount - offset) }
            let head = { _ = memmove(target.first, old.first, offset) }
            if target.start < old.start { head(); tail() } else { tail(); head() }
        } else {
            memcpy(target.first, old.first, offset)
            memcpy(target.first + offset + byteCount, old.first + offset, old.byteCount - offset)
            freeChunk(old)
        }
        slot.pointee = target
        return true
    }

    /// Takes bytes out of a chunk's run, moving the smaller part.
    func closeGap(inChunk index: Int, at offset: Int, _ byteCount: Int) {
        let slot = slot(index)
        let old = slot.pointee
        willChange(old)
        let behind = old.byteCount - offset - byteCount
        if offset < behind {
            slot.pointee.start += UInt32(byteCount)
            memmove(slot.pointee.first, old.first, offset)
        } else {
            memmove(old.first + offset, old.first + offset + byteCount, behind)
            slot.pointee.end -= UInt32(byteCount)
        }
    }

    // MARK: Changes

    /// Puts a value at an end. O(1), amortised.
    func push(_ value: StringValue, atHead: Bool, limit: PackLimit) -> Bool {
        let byteCount = PackedEntry.byteCount(of: value)
        var index = atHead ? 0 : chunkCount - 1
        let fits =
            chunkCount > 0
            && limit.allows(byteCount: chunk(index).byteCount + byteCount, entryCount: Int(chunk(index).count) + 1)
        if !fits {
            index = atHead ? 0 : chunkCount
            // The first chunk of several is filled to the limit, unless that is a number of entries.
            let isLikelyFull = chunkCount > 0 && limit.entryCountMax == .max
            let capacity = max(byteCount, isLikelyFull ? limit.byteCountMax : min(4 * byteCount, limit.byteCountMax))
            guard insertChunk(at: index, capacity: capacity, growsForwards: !atHead) else { return false }
        }
        let offset = atHead ? 0 : chunk(index).byteCount
        guard let gap = openGap(inChunk: index, at: offset, byteCount, limit: limit) else { return false }
        PackedEntry.write(value, at: gap)
        noteEntries(1, inChunk: index)
        return true
    }

    /// Entries have gone that their chunks do not count any more.
    func noteRemoved(_ count: Int) { header.pointee.count -= count }

    func noteEntries(_ change: Int, inChunk index: Int) {
        slot(index).pointee.count = UInt32(Int(slot(index).pointee.count) + change)
        header.pointee.count += change
    }

    /// Appends a run of `count` well-formed entries as a chunk of its own. O(bytes).
    func appendRun(_ run: ByteView, count: Int) -> Bool {
        guard insertChunk(at: chunkCount, capacity: max(1, run.count), growsForwards: true) else { return false }
        let slot = slot(chunkCount - 1)
        slot.pointee.base.copyMemory(from: run.base, byteCount: run.count)
        slot.pointee.end = UInt32(run.count)
        noteEntries(count, inChunk: chunkCount - 1)
        return true
    }

    /// Inserts a value before the entry at `position`, 0 to `count`.
    func insert(_ value: StringValue, at position: Int, limit: PackLimit) -> Bool {
        guard position > 0 else { return push(value, atHead: true, limit: limit) }
        guard position < count else { return push(value, atHead: false, limit: limit) }
        let byteCount = PackedEntry.byteCount(of: value)
        var place = locate(position)
        var chunk = chunk(place.chunk)
        if !limit.allows(byteCount: chunk.byteCount + byteCount, entryCount: Int(chunk.count) + 1) {
            // Full: the part behind the place becomes a chunk, and the value goes to the end of the one before it.
            if place.entry > 0 {
                guard split(place.chunk, atEntry: place.entry) else { return false }
                place = (place.chunk, place.entry)
            } else if place.chunk > 0 {
                place.chunk -= 1
                place.entry = Int(self.chunk(place.chunk).count)
            }
            chunk = self.chunk(place.chunk)
            if !limit.allows(byteCount: chunk.byteCount + byteCount, entryCount: Int(chunk.count) + 1) {
                let index = place.entry > 0 ? place.chunk + 1 : place.chunk
                guard insertChunk(at: index, capacity: byteCount, growsForwards: true) else { return false }
                place = (index, 0)
                chunk = self.chunk(index)
            }
        }
        let offset = chunk.address(ofEntry: place.entry) - chunk.first
        guard let gap = openGap(inChunk: place.chunk, at: offset, byteCount, limit: limit) else { return false }
        PackedEntry.write(value, at: gap)
        noteEntries(1, inChunk: place.chunk)
        return true
    }

    /// Makes two chunks of one: the entries from `entry` on go to the second.
    private func split(_ index: Int, atEntry entry: Int) -> Bool {
        let old = chunk(index)
        let offset = old.address(ofEntry: entry) - old.first
        let moved = old.byteCount - offset
        guard insertChunk(at: index + 1, capacity: max(1, moved), growsForwards: true) else { return false }
        let behind = slot(index + 1)
        memcpy(behind.pointee.base, old.first + offset, moved)
        behind.pointee.end = UInt32(moved)
        behind.pointee.count = old.count - UInt32(entry)
        slot(index).pointee.end -= UInt32(moved)
        slot(index).pointee.count = UInt32(entry)
        return true
    }

    /// Replaces the entry at `position`.
    func replace(_ value: StringValue, at position: Int, limit: PackLimit) -> Bool {
        let place = locate(position)
        let chunk = chunk(place.chunk)
        let address = chunk.address(ofEntry: place.entry)
        let (before, after) = (PackedEntry.byteCount(at: address), PackedEntry.byteCount(of: value))
        let fits = limit.allows(byteCount: chunk.byteCount + after - before, entryCount: Int(chunk.count))
        guard fits || chunk.count == 1 else {
            // In a chunk of its own: the new one first, so that without memory the old one stays.
            guard insert(value, at: position, limit: limit) else { return false }
            remove(position + 1..<position + 2)
            return true
        }
        willChange(chunk)
        let offset = address - chunk.first
        if after > before {
            guard openGap(inChunk: place.chunk, at: offset, after - before, limit: limit) != nil else { return false }
        } else if after < before {
            closeGap(inChunk: place.chunk, at: offset, before - after)
        }
        PackedEntry.write(value, at: self.chunk(place.chunk).first + offset)
        return true
    }

    // MARK: Reading

    /// The chunk of a position below `count`, and the number of the entry in it. O(chunks), from the nearer end.
    func locate(_ position: Int) -> (chunk: Int, entry: Int) {
        assert(position >= 0 && position < count)
        if position <= count / 2 {
            var rest = position
            var index = 0
            while rest >= Int(chunk(index).count) {
                rest -= Int(chunk(index).count)
                index += 1
            }
            return (index, rest)
        }
        var rest = count - position
        var index = chunkCount - 1
        while rest > Int(chunk(index).count) {
            rest -= Int(chunk(index).count)
            index -= 1
        }
        return (index, Int(chunk(index).count) - rest)
    }

    // MARK: Copies and the end

    /// A copy with the same chunks, each as large as its run; nil when memory is exhausted. O(bytes).
    func copy() -> PackedDeque? {
        guard let copy = PackedDeque.make(from: source) else { return nil }
        for index in 0..<chunkCount {
            let chunk = chunk(index)
            guard copy.appendRun(chunk.run, count: Int(chunk.count)) else {
                copy.release()
                return nil
            }
        }
        return copy
    }

    /// Frees about `byteLimit` bytes from the end, of a large chunk a part; true when the deque itself is gone.
    func releaseSome(byteLimit: Int) -> Bool {
        var left = byteLimit
        while chunkCount > 0 {
            guard left > 0 else { return false }
            let chunk = slot(chunkCount - 1)
            let capacity = Int(chunk.pointee.capacity)
            // Freeing a small one is work too.
            left -= max(min(capacity, byteLimit), 1024)
            if capacity > byteLimit, let base = realloc(chunk.pointee.base, capacity - byteLimit) {
                chunk.pointee.base = base
                chunk.pointee.capacity = UInt32(capacity - byteLimit)
                header.pointee.capacity -= byteLimit
                source.pointee.release(byteLimit)
            } else {
                removeChunks(chunkCount - 1..<chunkCount)
            }
        }
        let source = source
        source.pointee.deallocate(header.pointee.ring, count: header.pointee.ringCapacity)
        source.pointee.deallocate(header, count: 1)
        return true
    }

    func release() { _ = releaseSome(byteLimit: .max) }

    /// Walks the deque and traps when something does not hold. O(n).
    func checkInvariants() {
        var (entries, capacity) = (0, 0)
        for index in 0..<chunkCount {
            let chunk = chunk(index)
            precondition(chunk.start <= chunk.end && chunk.end <= chunk.capacity)
            precondition(chunk.count > 0, "no chunk is empty")
            precondition(packedEntryCount(chunk.run) == Int(chunk.count), "a run has the entries that are counted")
            entries += Int(chunk.count)
            capacity += Int(chunk.capacity)
        }
        precondition(entries == count && capacity == header.pointee.capacity)
        let ringCapacity = header.pointee.ringCapacity
        precondition(chunkCount <= ringCapacity && ringCapacity & (ringCapacity - 1) == 0)
    }
}
