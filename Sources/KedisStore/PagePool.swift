// Pages of 4 KiB for the segments of all tables of a store, cut from larger mappings.
//
//      chunk    ┌──────┬──────┬──────┬─ … ┐    16 pages at first, then 64, 256, 1024
//               │ page │ page │ page │    │    used: one bit each; spare: free but still resident
//               └──────┴──────┴──────┴─ … ┘
//
// Guarded by the lock of its `MemorySource`. Splits and merges of segments are rare, so one lock for the store does.
// Low pages are taken first, so that late chunks empty and can be unmapped. Cost: two bits a page; O(chunks) to take
// one. Nothing here traps when memory is refused: the list and the bits come from the source, as pages do.

import CKedis

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct PagePool: @unchecked Sendable {
    // Sendable: it owns what it points at, and the lock of its source guards it.

    private struct Chunk {
        var base: UInt
        var pageCount: Int
        var freeCount: Int
        /// One bit for each page, 64 in a word: `wordCount` words, and those of `spare` behind them.
        var used: UnsafeMutableBufferPointer<UInt64>
        var spare: UnsafeMutableBufferPointer<UInt64>
        /// Halves of 2 MiB that were given as full, as bits.
        var fullHalves: UInt8 = 0

        var byteCount: Int { pageCount * MemorySource.pageByteCount }
    }

    private var chunks = UnsafeMutableBufferPointer<Chunk>(start: nil, count: 0)
    private var chunkCapacity = 0
    /// No chunk before this one has a free page.
    private var firstFree = 0
    private(set) var spareCount = 0

    mutating func take(from source: borrowing MemorySource) -> UnsafeMutableRawPointer? {
        while firstFree < chunks.count, chunks[firstFree].freeCount == 0 { firstFree += 1 }
        if firstFree == chunks.count, !grow(from: source) { return nil }
        let index = firstFree
        for word in chunks[index].used.indices where chunks[index].used[word] != .max {
            let bit = (~chunks[index].used[word]).trailingZeroBitCount
            let page = word * 64 + bit
            guard page < chunks[index].pageCount else { continue }
            chunks[index].used[word] |= 1 << UInt64(bit)
            chunks[index].freeCount -= 1
            if chunks[index].spare[word] & (1 << UInt64(bit)) != 0 {
                chunks[index].spare[word] &= ~(1 << UInt64(bit))
                spareCount -= 1
            }
            let address = UnsafeMutableRawPointer(
                bitPattern: chunks[index].base + UInt(page * MemorySource.pageByteCount))
            // Always: what was given back to the system need not be zero everywhere (Darwin).
            if let address { memset(address, 0, MemorySource.pageByteCount) }
            return address
        }
        preconditionFailure("a chunk with free pages has one")
    }

    private mutating func grow(from source: borrowing MemorySource) -> Bool {
        let pageCount = min(1024, 16 << (2 * min(chunks.count, 3)))
        guard let base = source.map(pageCount * MemorySource.pageByteCount) else { return false }
        let wordCount = (pageCount + 63) / 64
        guard chunks.count < chunkCapacity || growList(from: source),
            let words = source.allocate(UInt64.self, count: 2 * wordCount)
        else {
            source.unmap(base, pageCount * MemorySource.pageByteCount)
            return false
        }
        words.initialize(repeating: 0, count: 2 * wordCount)
        chunks = UnsafeMutableBufferPointer(start: chunks.baseAddress, count: chunks.count + 1)
        chunks.initializeElement(
            at: chunks.count - 1,
            to: Chunk(
                base: UInt(bitPattern: base), pageCount: pageCount, freeCount: pageCount,
                used: UnsafeMutableBufferPointer(start: words, count: wordCount),
                spare: UnsafeMutableBufferPointer(start: words + wordCount, count: wordCount)))
        return true
    }

    private mutating func growList(from source: borrowing MemorySource) -> Bool {
        let capacity = max(16, 2 * chunkCapacity)
        guard let moved = source.allocate(Chunk.self, count: capacity) else { return false }
        if let list = chunks.baseAddress {
            moved.initialize(from: list, count: chunks.count)
            source.deallocate(list, count: chunkCapacity)
        }
        chunks = UnsafeMutableBufferPointer(start: moved, count: chunks.count)
        chunkCapacity = capacity
        return true
    }

    private func release(_ chunk: Chunk, to source: borrowing MemorySource) {
        if let base = UnsafeMutableRawPointer(bitPattern: chunk.base) { source.unmap(base, chunk.byteCount) }
        if let words = chunk.used.baseAddress { source.deallocate(words, count: 2 * chunk.used.count) }
    }

    mutating func giveBack(_ address: UInt) {
        guard let index = chunks.firstIndex(where: { address >= $0.base && address < $0.base + UInt($0.byteCount) })
        else { preconditionFailure("a page goes back to the pool that it came from") }
        let page = Int(address - chunks[index].base) / MemorySource.pageByteCount
        let bit: UInt64 = 1 << UInt64(page % 64)
        assert(chunks[index].used[page / 64] & bit != 0, "a page is given back once")
        chunks[index].used[page / 64] &= ~bit
        chunks[index].spare[page / 64] |= bit
        chunks[index].freeCount += 1
        spareCount += 1
        firstFree = min(firstFree, index)
    }

    /// Unmaps chunks that are free and discards spare pages of others, about `limit` pages, from the last chunk on.
    mutating func trim(limit: Int, keeping keptCount: Int, to source: borrowing MemorySource) -> Bool {
        var rest = limit
        var index = chunks.count - 1
        while index >= 0, spareCount > keptCount {
            guard rest > 0 else { return true }
            if chunks[index].freeCount == chunks[index].pageCount {
                rest -= chunks[index].pageCount
                spareCount -= chunks[index].spare.reduce(0) { $0 + $1.nonzeroBitCount }
                release(chunks[index], to: source)
                for next in index + 1..<chunks.count { chunks[next - 1] = chunks[next] }
                chunks = UnsafeMutableBufferPointer(start: chunks.baseAddress, count: chunks.count - 1)
                firstFree = min(firstFree, index)
            } else {
                discardSpare(of: index, keeping: keptCount, rest: &rest)
            }
            index -= 1
        }
        return rest <= 0 && spareCount > keptCount
    }

    private mutating func discardSpare(of index: Int, keeping keptCount: Int, rest: inout Int) {
        for word in chunks[index].spare.indices {
            while chunks[index].spare[word] != 0, rest > 0, spareCount > keptCount {
                let bit = chunks[index].spare[word].trailingZeroBitCount
                chunks[index].spare[word] &= chunks[index].spare[word] &- 1
                spareCount -= 1
                rest -= 1
                let offset = UInt((word * 64 + bit) * MemorySource.pageByteCount)
                chunks[index].fullHalves &= ~(1 << UInt8(offset / UInt(MemorySource.hugePageByteCount)))
                if let page = UnsafeMutableRawPointer(bitPattern: chunks[index].base + offset) {
                    kedis_discard(page, MemorySource.pageByteCount)
                }
            }
        }
    }

    /// The address of 2 MiB of which every page is in use, worth a huge page; nil when there are none. Each is given
    /// once, until pages of it have gone back to the system.
    mutating func takeFullHalf() -> UInt? {
        let wordsPerHalf = MemorySource.hugePageByteCount / MemorySource.pageByteCount / 64
        for index in chunks.indices where chunks[index].byteCount == MemorySource.chunkByteCount {
            for half in 0..<2 where chunks[index].fullHalves & (1 << UInt8(half)) == 0 {
                let words = chunks[index].used[half * wordsPerHalf..<(half + 1) * wordsPerHalf]
                guard words.allSatisfy({ $0 == .max }) else { continue }
                chunks[index].fullHalves |= 1 << UInt8(half)
                return chunks[index].base + UInt(half * MemorySource.hugePageByteCount)
            }
        }
        return nil
    }

    /// Unmaps everything: no page is in use any more.
    mutating func removeAll(to source: borrowing MemorySource) {
        for chunk in chunks { release(chunk, to: source) }
        if let list = chunks.baseAddress { source.deallocate(list, count: chunkCapacity) }
        chunks = UnsafeMutableBufferPointer(start: nil, count: 0)
        chunkCapacity = 0
        firstFree = 0
        spareCount = 0
    }
}
