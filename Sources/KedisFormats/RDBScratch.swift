// Memory that the reader and the writer of RDB files own: allocated once, grown when an item is larger.
//
// From malloc, because its failure must be an error of the file's reader and not a trap.

import KedisUtilities

/// A block of memory, freed with the value. Its address is valid until the next ``resize(to:keeping:)``.
struct RDBScratch: ~Copyable {
    private var memory: UnsafeMutableRawPointer?
    private(set) var capacity = 0

    /// Makes an empty block, which has no memory yet.
    init() {}

    deinit { deallocateBuffer(memory) }

    var base: UnsafeMutableRawPointer {
        memory ?? UnsafeMutableRawPointer(mutating: ByteView.nowhere)
    }

    /// Gives the block exactly `byteCount` bytes of room, the first `kept` being kept; false when memory is exhausted
    /// (the block is then unchanged).
    mutating func resize(to byteCount: Int, keeping kept: Int) -> Bool {
        assert(kept <= min(capacity, byteCount))
        guard let moved = allocateBuffer(byteCount: byteCount) else { return false }
        if kept > 0 { moved.copyMemory(from: base, byteCount: kept) }
        deallocateBuffer(memory)
        memory = moved
        capacity = byteCount
        return true
    }

    /// Makes room for at least `byteCount` bytes, contents lost; false when memory is exhausted.
    mutating func reserve(_ byteCount: Int) -> Bool {
        byteCount <= capacity || resize(to: byteCount, keeping: 0)
    }

    func view(_ range: Range<Int>) -> ByteView {
        ByteView(UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
    }
}
