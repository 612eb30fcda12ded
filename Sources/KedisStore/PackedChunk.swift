// A run of packed entries with room at both ends, and when it is full.
//
// Ownership: the deque's (PackedDeque.swift), or a view of a list in its cell. Entries are walked to from the nearer
// end: O(entries).

import KedisUtilities

/// When a run of packed entries is full: the meaning of `list-max-listpack-size`.
package struct PackLimit: Equatable, Sendable {
    package var byteCountMax: Int
    package var entryCountMax: Int

    /// What Redis counts besides the entries.
    static let headerByteCount = 7
    private static let safeByteCountMax = 8192

    /// - Parameter setting: a number of entries if positive (of at most 8 KiB together); -1 to -5 are 4 to 64 KiB.
    @inline(__always)
    package init(setting: Int) {
        if setting >= 0 {
            (entryCountMax, byteCountMax) = (max(1, setting), PackLimit.safeByteCountMax)
        } else {
            (entryCountMax, byteCountMax) = (.max, 4096 << (min(5, -setting) - 1))
        }
    }

    @inline(__always)
    func allows(byteCount: Int, entryCount: Int) -> Bool {
        byteCount &+ PackLimit.headerByteCount <= byteCountMax && entryCount <= entryCountMax
    }
}

/// A run of entries with room at both ends.
struct PackedChunk {
    var base: UnsafeMutableRawPointer
    var start: UInt32
    var end: UInt32
    var capacity: UInt32
    var count: UInt32

    var byteCount: Int { Int(end &- start) }
    var first: UnsafeMutableRawPointer { base + Int(start) }
    var last: UnsafeMutableRawPointer { base + Int(end) }
    var run: ByteView { ByteView(base: first.assumingMemoryBound(to: UInt8.self), count: byteCount) }

    /// The address of an entry, walked to from the nearer end.
    func address(ofEntry index: Int) -> UnsafeMutableRawPointer {
        if index <= Int(count) / 2 {
            var address = first
            for _ in 0..<index { address += PackedEntry.byteCount(at: address) }
            return address
        }
        var address = last
        for _ in index..<Int(count) { address -= PackedEntry.byteCount(before: address) }
        return address
    }
}
