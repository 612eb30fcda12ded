// A leaf of a sorted tree: elements in order, packed into one block.
//
//      ┌────────┬─────────────────────────────────┬────────┬───────────────────────────────┐
//      │ header │ records: score 8, place 2 bytes │  free  │ members, in no certain order  │
//      │ 28     │ in the order of the elements    │        │ length 1 or 2, bytes          │
//      └────────┴─────────────────────────────────┴────────┴───────────────────────────────┘
//
//      member    0xxxxxxx                bytes    up to 127
//                1xxxxxxx xxxxxxxx       bytes    up to 500
//                11111111 count address           longer ones, outside of the leaf, 8 bytes each
//
// A place is counted from the end of the block, so that a block that grows moves its members in one piece. Records are
// together, so that a search reads scores and little else. What was removed leaves a hole among the members until the
// block is built anew.
//
// Ownership: the tree's (SortedTree.swift), which allocates and frees; this is a handle. Cost: 11 bytes an element
// besides a member of up to 127 bytes.

import CKedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct TreeLeaf: Equatable {
    private struct Header {
        var next: UnsafeMutableRawPointer?
        var previous: UnsafeMutableRawPointer?
        var capacity: UInt16
        var count: UInt16
        /// Of the members, holes included.
        var heapByteCount: UInt16
        var holeByteCount: UInt16
        var instant: UInt32
    }

    static let headerByteCount = 28
    static let recordByteCount = 10
    /// With what malloc adds, half a page: what a change moves, and what a search can miss in the cache, stay small.
    static let capacityMax = 2048 - 8
    /// Longer members lie outside, so that a full leaf has three elements at least.
    static let inlineByteCountMax = 500
    private static let outsideMark: UInt8 = 0xFF
    private static let outsideByteCount = 17

    let base: UnsafeMutableRawPointer

    @inline(__always)
    init(_ base: UnsafeMutableRawPointer) { self.base = base }

    /// Makes an empty leaf of a block, behind the last instant of its tree.
    static func make(_ base: UnsafeMutableRawPointer, capacity: Int, instant: UInt32) -> TreeLeaf {
        assert(capacity <= capacityMax && MemoryLayout<Header>.size == headerByteCount)
        base.assumingMemoryBound(to: Header.self)
            .initialize(
                to: Header(
                    capacity: UInt16(capacity), count: 0, heapByteCount: 0, holeByteCount: 0, instant: instant))
        return TreeLeaf(base)
    }

    /// Starts to load what a search among the records touches, so that its cache misses overlap.
    @inline(__always)
    func prefetch() {
        for line in 0..<6 { kedis_prefetch(base + line &* 128) }
    }

    @inline(__always)
    private var header: UnsafeMutablePointer<Header> { base.assumingMemoryBound(to: Header.self) }

    var next: TreeLeaf? {
        @inline(__always) get { header.pointee.next.map { TreeLeaf($0) } }
        nonmutating set { header.pointee.next = newValue?.base }
    }

    var previous: TreeLeaf? {
        @inline(__always) get { header.pointee.previous.map { TreeLeaf($0) } }
        nonmutating set { header.pointee.previous = newValue?.base }
    }

    /// The last instant of its tree for which nothing of it is to be kept any more.
    @inline(__always)
    var instant: UInt32 {
        get { header.pointee.instant }
        nonmutating set { header.pointee.instant = newValue }
    }

    @inline(__always)
    var count: Int { Int(header.pointee.count) }
    var capacity: Int { Int(header.pointee.capacity) }

    /// What the elements take without holes.
    var liveByteCount: Int {
        count &* TreeLeaf.recordByteCount &+ Int(header.pointee.heapByteCount &- header.pointee.holeByteCount)
    }

    var holeByteCount: Int { Int(header.pointee.holeByteCount) }

    private var freeByteCount: Int {
        capacity &- TreeLeaf.headerByteCount &- count &* TreeLeaf.recordByteCount
            &- Int(header.pointee.heapByteCount)
    }

    /// The capacity of a block for elements of so many bytes: in steps, so that little stays free.
    static func capacity(liveByteCount: Int) -> Int {
        let needed = liveByteCount + headerByteCount + 8
        let step = needed <= 1024 ? 64 : 256
        return min(capacityMax, (needed + step - 1) / step * step - 8)
    }

    /// The most that elements may take.
    static let liveByteCountMax = capacityMax - headerByteCount

    // MARK: Elements

    @inline(__always)
    private func record(_ index: Int) -> UnsafeMutableRawPointer {
        assert(index >= 0 && index <= count)
        return base + (TreeLeaf.headerByteCount &+ index &* TreeLeaf.recordByteCount)
    }

    @inline(__always)
    func score(_ index: Int) -> Double { record(index).loadUnaligned(as: Double.self) }

    func setScore(_ index: Int, _ score: Double) { record(index).storeBytes(of: score, as: Double.self) }

    @inline(__always)
    private func place(_ index: Int) -> UInt16 { record(index).loadUnaligned(fromByteOffset: 8, as: UInt16.self) }

    @inline(__always)
    private func element(_ index: Int) -> UnsafeMutableRawPointer { base + (capacity &- Int(place(index))) }

    @inline(__always)
    func member(_ index: Int) -> ByteView {
        let element = element(index)
        let first = element.load(as: UInt8.self)
        if first < 0x80 {
            return ByteView(base: (element + 1).assumingMemoryBound(to: UInt8.self), count: Int(first))
        }
        return TreeLeaf.longMember(element, first)
    }

    private static func longMember(_ element: UnsafeMutableRawPointer, _ first: UInt8) -> ByteView {
        if first == outsideMark {
            let count = element.loadUnaligned(fromByteOffset: 1, as: Int.self)
            guard let address = element.loadUnaligned(fromByteOffset: 9, as: UnsafeMutableRawPointer?.self) else {
                return .empty
            }
            return ByteView(base: address.assumingMemoryBound(to: UInt8.self), count: count)
        }
        let count = Int(first & 0x7F) << 8 | Int(element.load(fromByteOffset: 1, as: UInt8.self))
        return ByteView(base: (element + 2).assumingMemoryBound(to: UInt8.self), count: count)
    }

    /// The block of a member that lies outside.
    func outsideBlock(_ index: Int) -> (address: UnsafeMutableRawPointer, byteCount: Int)? {
        let element = element(index)
        guard element.load(as: UInt8.self) == TreeLeaf.outsideMark,
            let address = element.loadUnaligned(fromByteOffset: 9, as: UnsafeMutableRawPointer?.self)
        else { return nil }
        return (address, element.loadUnaligned(fromByteOffset: 1, as: Int.self))
    }

    /// The bytes of a member in the block.
    @inline(__always)
    private static func elementByteCount(_ element: UnsafeMutableRawPointer) -> Int {
        let first = element.load(as: UInt8.self)
        if first < 0x80 { return 1 &+ Int(first) }
        if first == outsideMark { return outsideByteCount }
        return 2 &+ (Int(first & 0x7F) << 8 | Int(element.load(fromByteOffset: 1, as: UInt8.self)))
    }

    /// The bytes that an element takes, its record included.
    static func byteCount(ofMember byteCount: Int) -> Int {
        if byteCount < 0x80 { return recordByteCount + 1 + byteCount }
        return recordByteCount + (byteCount <= inlineByteCountMax ? 2 + byteCount : outsideByteCount)
    }

    func byteCount(_ index: Int) -> Int { TreeLeaf.recordByteCount &+ TreeLeaf.elementByteCount(element(index)) }

    // MARK: Search

    /// The first element that is not below (`score`, `member`).
    func lowerBound(_ score: Double, _ member: ByteView) -> Int {
        var index = firstIndex(atLeast: score)
        // Among equal scores the members decide.
        var end = firstIndex(above: score, from: index)
        while index < end {
            let middle = (index &+ end) >> 1
            if self.member(middle) < member { index = middle &+ 1 } else { end = middle }
        }
        return index
    }

    /// The place of (`score`, `member`), or nil.
    func index(of score: Double, _ member: ByteView) -> Int? {
        let index = lowerBound(score, member)
        return index < count && self.score(index) == score && self.member(index) == member ? index : nil
    }

    /// The first element with a score of at least `score`.
    func firstIndex(atLeast score: Double) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low &+ high) >> 1
            if self.score(middle) < score { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    /// The first element with a score above `score`; those before `start` are not.
    func firstIndex(above score: Double, from start: Int = 0) -> Int {
        // Mostly there is none or one that is equal.
        if start < count, self.score(start) > score { return start }
        var (low, high) = (start, count)
        while low < high {
            let middle = (low &+ high) >> 1
            if self.score(middle) <= score { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    // MARK: Changes

    func hasRoom(_ byteCount: Int) -> Bool { freeByteCount >= byteCount }

    /// Puts an element at `index`; there is room. A long member lies at `outside`.
    func insert(_ score: Double, _ member: ByteView, outside: UnsafeMutableRawPointer?, at index: Int) {
        let byteCount = TreeLeaf.byteCount(ofMember: member.count) - TreeLeaf.recordByteCount
        assert(hasRoom(byteCount + TreeLeaf.recordByteCount))
        openRecord(at: index)
        header.pointee.heapByteCount &+= UInt16(truncatingIfNeeded: byteCount)
        let place = header.pointee.heapByteCount
        setRecord(index, score, place)
        let element = base + (capacity &- Int(place))
        if let outside {
            element.storeBytes(of: TreeLeaf.outsideMark, as: UInt8.self)
            element.storeBytes(of: member.count, toByteOffset: 1, as: Int.self)
            element.storeBytes(of: outside, toByteOffset: 9, as: UnsafeMutableRawPointer.self)
        } else if member.count < 0x80 {
            element.storeBytes(of: UInt8(truncatingIfNeeded: member.count), as: UInt8.self)
            memcpy(element + 1, member.base, member.count)
        } else {
            element.storeBytes(of: 0x80 | UInt8(truncatingIfNeeded: member.count >> 8), as: UInt8.self)
            element.storeBytes(of: UInt8(truncatingIfNeeded: member.count), toByteOffset: 1, as: UInt8.self)
            memcpy(element + 2, member.base, member.count)
        }
    }

    private func openRecord(at index: Int) {
        let record = record(index)
        memmove(record + TreeLeaf.recordByteCount, record, (count &- index) &* TreeLeaf.recordByteCount)
        header.pointee.count &+= 1
    }

    private func setRecord(_ index: Int, _ score: Double, _ place: UInt16) {
        let record = record(index)
        record.storeBytes(of: score, as: Double.self)
        record.storeBytes(of: place, toByteOffset: 8, as: UInt16.self)
    }

    /// Moves an element in front of that at `target`, which is at neither end of the leaf, with another score.
    func move(_ index: Int, to target: Int, _ score: Double) {
        let size = TreeLeaf.recordByteCount
        let place = place(index)
        let final = target > index ? target &- 1 : target
        if final > index {
            memmove(record(index), record(index &+ 1), (final &- index) &* size)
        } else {
            memmove(record(final &+ 1), record(final), (index &- final) &* size)
        }
        setRecord(final, score, place)
    }

    /// Takes elements out; blocks outside are the caller's.
    func remove(_ range: Range<Int>) {
        for index in range {
            let byteCount = UInt16(truncatingIfNeeded: TreeLeaf.elementByteCount(element(index)))
            if place(index) == header.pointee.heapByteCount {
                header.pointee.heapByteCount &-= byteCount
            } else {
                header.pointee.holeByteCount &+= byteCount
            }
        }
        let tail = (count &- range.upperBound) &* TreeLeaf.recordByteCount
        memmove(record(range.lowerBound), record(range.upperBound), tail)
        header.pointee.count &-= UInt16(truncatingIfNeeded: range.count)
        if count == 0 { (header.pointee.heapByteCount, header.pointee.holeByteCount) = (0, 0) }
    }

    /// Appends elements of another leaf, long members as they are; there is room.
    func append(_ other: TreeLeaf, _ range: Range<Int>) {
        if count == 0, range.count == other.count, other.holeByteCount == 0 { return appendAll(other) }
        for index in range {
            let element = other.element(index)
            let byteCount = TreeLeaf.elementByteCount(element)
            assert(hasRoom(byteCount + TreeLeaf.recordByteCount))
            header.pointee.count &+= 1
            header.pointee.heapByteCount &+= UInt16(truncatingIfNeeded: byteCount)
            let place = header.pointee.heapByteCount
            setRecord(count &- 1, other.score(index), place)
            memcpy(base + (capacity &- Int(place)), element, byteCount)
        }
    }

    private func appendAll(_ other: TreeLeaf) {
        let heapByteCount = Int(other.header.pointee.heapByteCount)
        memcpy(record(0), other.record(0), other.count &* TreeLeaf.recordByteCount)
        memcpy(base + (capacity &- heapByteCount), other.base + (other.capacity &- heapByteCount), heapByteCount)
        header.pointee.count = other.header.pointee.count
        header.pointee.heapByteCount = other.header.pointee.heapByteCount
    }

    /// Makes a long member of a copied element refer to a block of its own.
    func setOutsideBlock(_ index: Int, _ address: UnsafeMutableRawPointer) {
        element(index).storeBytes(of: address, toByteOffset: 9, as: UnsafeMutableRawPointer.self)
    }

    // MARK: Copies of a whole leaf

    /// Copies the leaf to memory of its capacity, long members to blocks of their own; false when memory is exhausted.
    /// Its neighbours are not looked at: others may be changing them.
    func copyWhole(to memory: UnsafeMutableRawPointer, _ backlog: SnapshotBacklog) -> Bool {
        let linksByteCount = 2 * MemoryLayout<UnsafeMutableRawPointer?>.stride
        memset(memory, 0, linksByteCount)
        memcpy(memory + linksByteCount, base + linksByteCount, capacity &- linksByteCount)
        let copy = TreeLeaf(memory)
        for index in 0..<count {
            guard let outside = outsideBlock(index) else { continue }
            guard let block = backlog.allocate(byteCount: outside.byteCount) else {
                copy.freeCopiedOutside(0..<index)
                return false
            }
            memcpy(block, outside.address, outside.byteCount)
            copy.setOutsideBlock(index, block)
        }
        return true
    }

    /// Whether a long member lies outside. O(elements).
    var hasOutside: Bool { (0..<count).contains { outsideBlock($0) != nil } }

    /// Frees the blocks of long members of such a copy.
    func freeCopiedOutside(_ range: Range<Int>) {
        for index in range { if let block = outsideBlock(index) { deallocateBuffer(block.address) } }
    }

    /// Traps when something does not hold.
    func checkInvariants() {
        let header = header.pointee
        var heap = Int(header.holeByteCount)
        precondition(capacity <= TreeLeaf.capacityMax && heap <= Int(header.heapByteCount))
        precondition(
            TreeLeaf.headerByteCount + count * TreeLeaf.recordByteCount + Int(header.heapByteCount) <= capacity)
        for index in 0..<count {
            precondition(place(index) <= header.heapByteCount && place(index) > 0)
            heap += TreeLeaf.elementByteCount(element(index))
            precondition(!score(index).isNaN)
            guard index > 0 else { continue }
            precondition(
                score(index - 1) < score(index)
                    || (score(index - 1) == score(index) && member(index - 1) < member(index)), "elements are in order")
        }
        precondition(heap == Int(header.heapByteCount), "all bytes are members or holes")
    }
}
