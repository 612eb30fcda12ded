// A block of a large hash or set: the elements whose hashes begin with the same bits, in the order of their hashes.
//
//      ┌────────┬───────────────┬───────────────┬─ … ─┬─────────┬─────────┬─ … ─┬─────────┐
//      │ header │ tags, sorted  │ offsets       │free │ element │ element │     │ element │
//      │ 24     │ 2 bytes each  │ 2 bytes each  │     │ newest  │         │     │ oldest  │
//      └────────┴───────────────┴───────────────┴─ … ─┴─────────┴─────────┴─ … ─┴─────────┘
//
// A tag is the 16 bits of the hash behind those that all elements of the block share. Tags lie where they should when
// they are spread evenly, so a search compares 32 of them at once around that place and nearly always ends there.
// An offset counts from the end of the block to the start of the element, so a block grows by copying both ends.
//
// Ownership: the table's (MemberTable.swift). Invariants: see `checkInvariants(depth:prefix:…)`.
// Cost: 4 bytes an element beside its own bytes (MemberElement.swift); an insertion moves 3 bytes for each element.

import CKedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A handle on a block: trivially copied, owns nothing.
struct MemberBlock {
    struct Header {
        var capacity: UInt32
        /// From the start of the newest element to the end of the block.
        var heapByteCount: UInt16
        /// What no element takes of that.
        var garbageByteCount: UInt16
        var count: UInt16
        /// How many leading bits the hashes share.
        var depth: UInt8
        /// The last instant of its table for which nothing of it is to be kept any more.
        var instant: UInt32
        /// No element has an earlier one.
        var earliestDeadline: Int64
    }

    static let headerByteCount = MemoryLayout<Header>.size
    /// The tag and the offset of an element.
    static let slotByteCount = 4
    /// With malloc's word before it: what blocks are split for, and what they begin as. The smallest has room for the
    /// tags that every search reads.
    static let byteCountMax = 4096 - 8
    static let byteCountMin = 256 - 8
    /// Offsets have 16 bits. Only blocks of a few large elements get longer than ``byteCountMax``.
    static let wideByteCountMax = 60 << 10

    let address: UnsafeMutableRawPointer

    @inline(__always)
    init(_ address: UnsafeMutableRawPointer) { self.address = address }

    @inline(__always)
    var header: UnsafeMutablePointer<Header> { address.assumingMemoryBound(to: Header.self) }

    @inline(__always)
    var count: Int { Int(header.pointee.count) }

    @inline(__always)
    var depth: Int { Int(header.pointee.depth) }

    @inline(__always)
    var capacity: Int { Int(header.pointee.capacity) }

    @inline(__always)
    var tags: UnsafeMutablePointer<UInt16> {
        (address + MemberBlock.headerByteCount).assumingMemoryBound(to: UInt16.self)
    }

    @inline(__always)
    private var offsets: UnsafeMutablePointer<UInt16> { tags + count }

    @inline(__always)
    var freeByteCount: Int {
        capacity &- MemberBlock.headerByteCount &- MemberBlock.slotByteCount &* count
            &- Int(header.pointee.heapByteCount)
    }

    /// What its elements need.
    var liveByteCount: Int {
        MemberBlock.headerByteCount + MemberBlock.slotByteCount * count + Int(header.pointee.heapByteCount)
            - Int(header.pointee.garbageByteCount)
    }

    /// A capacity from `byteCount` on that blocks use, in few sizes, so that malloc finds freed ones.
    static func capacity(atLeast byteCount: Int) -> Int {
        let step = byteCount + 8 <= 1024 ? 128 : byteCount + 8 <= 8192 ? 512 : 4096
        return max(byteCountMin, (byteCount + 8 + step - 1) / step * step - 8)
    }

    /// The 16 bits of a hash behind the first `depth`.
    @inline(__always)
    static func tag(of hash: UInt64, depth: Int) -> UInt16 {
        UInt16(truncatingIfNeeded: (hash &<< UInt64(truncatingIfNeeded: depth)) &>> 48)
    }

    // MARK: Search

    @inline(__always)
    func elementAddress(_ index: Int) -> UnsafeMutableRawPointer {
        assert(index >= 0 && index < count)
        return address + (capacity &- Int(offsets[index]))
    }

    /// Calls `body` with every blob that an element refers to.
    func forEachBlob(isValued: Bool, _ body: (Blob) -> Void) {
        for index in 0..<count {
            let element = MemberElement(at: elementAddress(index), isValued: isValued)
            if let blob = element.memberBlob { body(blob) }
            if let blob = element.valueBlob { body(blob) }
        }
    }

    /// The first index whose tag is at least `tag`.
    @inline(__always)
    func lowerBound(_ tag: UInt16) -> Int { kedis_find_tag(tags, count, tag) }

    // MARK: Changes

    /// Room for a new element before the one at `index`, its bytes undefined. There is enough of it.
    @inline(__always)
    func insert(at index: Int, tag: UInt16, byteCount: Int) -> UnsafeMutableRawPointer {
        assert(freeByteCount >= byteCount + MemberBlock.slotByteCount)
        let count = count
        let tags = tags
        let (old, new) = (tags + count, tags + count + 1)
        memmove(new + index + 1, old + index, 2 &* (count &- index))
        memmove(new, old, 2 &* index)
        memmove(tags + index + 1, tags + index, 2 &* (count &- index))
        tags[index] = tag
        header.pointee.count &+= 1
        return place(at: index, byteCount: byteCount)
    }

    /// Room for an element in place of the one at `index`, whose bytes stay as garbage.
    @inline(__always)
    func replace(at index: Int, byteCount: Int, oldByteCount: Int) -> UnsafeMutableRawPointer {
        assert(freeByteCount >= byteCount)
        header.pointee.garbageByteCount &+= UInt16(truncatingIfNeeded: oldByteCount)
        return place(at: index, byteCount: byteCount)
    }

    @inline(__always)
    private func place(at index: Int, byteCount: Int) -> UnsafeMutableRawPointer {
        header.pointee.heapByteCount &+= UInt16(truncatingIfNeeded: byteCount)
        offsets[index] = header.pointee.heapByteCount
        return address + (capacity &- Int(header.pointee.heapByteCount))
    }

    /// The element at an index was overwritten by a shorter one.
    func noteGarbage(_ byteCount: Int) { header.pointee.garbageByteCount += UInt16(byteCount) }

    /// Takes an element out; its bytes stay as garbage unless it is the newest.
    func remove(at index: Int, byteCount: Int) {
        let count = count
        let tags = tags
        let (old, new) = (tags + count, tags + count - 1)
        let isNewest = old[index] == header.pointee.heapByteCount
        memmove(tags + index, tags + index + 1, 2 &* (count &- index &- 1))
        memmove(new, old, 2 &* index)
        memmove(new + index, old + index + 1, 2 &* (count &- index &- 1))
        header.pointee.count &-= 1
        if count == 1 {
            header.pointee.heapByteCount = 0
            header.pointee.garbageByteCount = 0
        } else if isNewest {
            header.pointee.heapByteCount -= UInt16(byteCount)
        } else {
            header.pointee.garbageByteCount += UInt16(byteCount)
        }
    }

    // MARK: Whole blocks

    /// An empty block in fresh memory of `capacity` bytes, behind the last instant of its table.
    static func initialize(
        _ address: UnsafeMutableRawPointer, capacity: Int, depth: Int, instant: UInt32
    ) -> MemberBlock {
        address.initializeMemory(
            as: Header.self,
            to: Header(
                capacity: UInt32(capacity), heapByteCount: 0, garbageByteCount: 0, count: 0, depth: UInt8(depth),
                instant: instant, earliestDeadline: .max))
        return MemberBlock(address)
    }

    /// Fills an empty block with everything of another one, at the same depth, without its garbage.
    func fill(from other: MemberBlock, isValued: Bool) {
        header.pointee.earliestDeadline = other.header.pointee.earliestDeadline
        guard other.header.pointee.garbageByteCount > 0 else {
            let slots = MemberBlock.slotByteCount * other.count
            let heap = Int(other.header.pointee.heapByteCount)
            memcpy(tags, other.tags, slots)
            memcpy(address + (capacity - heap), other.address + (other.capacity - heap), heap)
            header.pointee.heapByteCount = other.header.pointee.heapByteCount
            header.pointee.count = other.header.pointee.count
            return
        }
        append(other, 0..<other.count, isValued: isValued) { index, _ in other.tags[index] }
    }

    /// Puts elements of another block behind those that are there, which have lower tags.
    func append(
        _ other: MemberBlock, _ range: Range<Int>, isValued: Bool, tag: (Int, MemberElement) -> UInt16
    ) {
        let before = count
        let (oldOffsets, newOffsets) = (tags + before, tags + before + range.count)
        memmove(newOffsets, oldOffsets, 2 * before)
        var heap = Int(header.pointee.heapByteCount)
        for (position, index) in range.enumerated() {
            let element = MemberElement(at: other.elementAddress(index), isValued: isValued)
            heap += element.byteCount
            memcpy(address + (capacity - heap), element.address, element.byteCount)
            tags[before + position] = tag(index, element)
            newOffsets[before + position] = UInt16(heap)
        }
        header.pointee.heapByteCount = UInt16(heap)
        header.pointee.count = UInt16(before + range.count)
    }

    /// Brings tags that are nearly in order into it. O(count).
    func sort() {
        let (tags, offsets) = (tags, offsets)
        for start in stride(from: 1, to: count, by: 1) {
            var index = start
            while index > 0, tags[index - 1] > tags[index] {
                (tags[index - 1], tags[index]) = (tags[index], tags[index - 1])
                (offsets[index - 1], offsets[index]) = (offsets[index], offsets[index - 1])
                index -= 1
            }
        }
    }
}
