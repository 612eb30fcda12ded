// Pages of 4 KiB for the segments of all tables of a store, cut from larger mappings.
//
//      chunk    ┌──────┬──────┬──────┬─ … ┐    16 pages at first, then 64, 256, 1024
//               │ page │ page │ page │    │    used: one bit each; spare: free but still resident
//               └──────┴──────┴──────┴─ … ┘
//
// Guarded by the lock of its `MemorySource`. Splits and merges of segments are rare, so one lock for the store does.
// Low pages are taken first, so that late chunks empty and can be unmapped. Cost: two bits a page; O(chunks) to take
// one.

import CKedis

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct PagePool {
    private struct Chunk {
        var base: UInt
        var pageCount: Int
        var freeCount: Int
        /// One bit for each page, 64 in a word.
        var used: [UInt64]
        var spare: [UInt64]
        /// Halves of 2 MiB that were given as full, as bits.
        var fullHalves: UInt8 = 0

        var byteCount: Int { pageCount * MemorySource.pageByteCount }
    }

    private var chunks: [Chunk] = []
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
        let words = (pageCount + 63) / 64
        chunks.append(
            Chunk(
                base: UInt(bitPattern: base), pageCount: pageCount, freeCount: pageCount,
                used: [UInt64](repeating: 0, count: words), spare: [UInt64](repeating: 0, count: words)))
        return true
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
                let chunk = chunks.remove(at: index)
                if let base = UnsafeMutableRawPointer(bitPattern: chunk.base) { source.unmap(base, chunk.byteCount) }
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
        for chunk in chunks {
            if let base = UnsafeMutableRawPointer(bitPattern: chunk.base) { source.unmap(base, chunk.byteCount) }
        }
        chunks = []
        firstFree = 0
        spareCount = 0
    }
}
