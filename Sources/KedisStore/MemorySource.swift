// Where a store's memory comes from: mappings of the system, counted and limited, and 4 KiB pages cut from them.
//
// Ownership: the store's; its stripes point at it. Arenas map their chunks here; tables take their segments from the
// page pool. Threads: any; the pool has a lock of its own, taken under a stripe's lock and never the other way round.
// Nothing traps when the system refuses: nil goes up to the command, which answers with an error.

import CKedis
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct MemorySource: ~Copyable {
    static let pageByteCount = 4096
    static let lineByteCount = 64
    /// What a chunk is once it is large, and its alignment then: a multiple of the huge page.
    static let chunkByteCount = 4 << 20
    static let hugePageByteCount = 2 << 20

    /// Bytes mapped or allocated outside of the arenas now, and their limit: a test lowers it to see what a refusing
    /// system does.
    private let takenByteCount = Atomic<Int>(0)
    let byteCountMax = Atomic<Int>(.max)
    private let pool = Locked(PagePool())

    init() {}

    // MARK: Mappings

    /// Zeroed memory of `byteCount` bytes (a multiple of the page), aligned to a huge page from 2 MiB up.
    borrowing func map(_ byteCount: Int) -> UnsafeMutableRawPointer? {
        guard reserve(byteCount) else { return nil }
        let mapped = byteCount < Self.hugePageByteCount ? kedis_map(byteCount) : Self.mapAligned(byteCount)
        if mapped == nil { release(byteCount) }
        return mapped
    }

    borrowing func unmap(_ address: UnsafeMutableRawPointer, _ byteCount: Int) {
        kedis_unmap(address, byteCount)
        release(byteCount)
    }

    /// Counts bytes that are about to be taken; false when that is over the limit, or would leave the rest of the
    /// process without room for its buffers, which cannot answer with an error as the store can.
    borrowing func reserve(_ byteCount: Int) -> Bool {
        let before = takenByteCount.load(ordering: .relaxed)
        let (sum, overflow) = before.addingReportingOverflow(byteCount)
        guard !overflow, sum <= byteCountMax.load(ordering: .relaxed) else { return false }
        // Not each time: a look at the system takes some microseconds.
        if before / Self.probeByteCount != sum / Self.probeByteCount {
            let (total, overflow) = byteCount.addingReportingOverflow(Self.bufferByteCount)
            guard !overflow, hasHeadroom(beside: total) else { return false }
        }
        takenByteCount.wrappingAdd(byteCount, ordering: .relaxed)
        return true
    }

    /// Address space that a full store leaves to the buffers of requests and replies, so that they still work then, and
    /// what it takes between two looks.
    private static let bufferByteCount = 32 << 20
    private static let probeByteCount = 4 << 20

    borrowing func release(_ byteCount: Int) { takenByteCount.wrappingSubtract(byteCount, ordering: .relaxed) }

    private static func mapAligned(_ byteCount: Int) -> UnsafeMutableRawPointer? {
        guard let start = kedis_map(byteCount + hugePageByteCount) else { return nil }
        let lead = (0 &- Int(bitPattern: start)) & (hugePageByteCount - 1)
        if lead > 0 { kedis_unmap(start, lead) }
        if lead < hugePageByteCount { kedis_unmap(start + lead + byteCount, hugePageByteCount - lead) }
        return start + lead
    }

    // MARK: Blocks

    /// Room for `count` values, not initialised; nil when memory is exhausted. For tables, directories and what
    /// describes arenas: making or growing one must not trap.
    borrowing func allocate<Element: ~Copyable>(_ type: Element.Type, count: Int) -> UnsafeMutablePointer<Element>? {
        let byteCount = count * MemoryLayout<Element>.stride
        guard reserve(byteCount) else { return nil }
        var memory: UnsafeMutableRawPointer?
        // In cache lines of its own: what belongs to one stripe is not to be fetched for a change in another.
        let lines = (byteCount + Self.lineByteCount - 1) & ~(Self.lineByteCount - 1)
        guard posix_memalign(&memory, Self.lineByteCount, lines) == 0, let memory else {
            release(byteCount)
            return nil
        }
        return memory.bindMemory(to: Element.self, capacity: count)
    }

    borrowing func deallocate<Element: ~Copyable>(_ memory: UnsafeMutablePointer<Element>, count: Int) {
        free(memory)
        release(count * MemoryLayout<Element>.stride)
    }

    // MARK: Pages

    /// A zeroed page, or nil.
    borrowing func takePage() -> UnsafeMutableRawPointer? {
        let page: UInt? = pool.withLock { pool in pool.take(from: self).map { UInt(bitPattern: $0) } }
        return page.flatMap { UnsafeMutableRawPointer(bitPattern: $0) }
    }

    borrowing func returnPage(_ page: UnsafeMutableRawPointer) {
        let address = UInt(bitPattern: page)
        pool.withLock { $0.giveBack(address) }
    }

    /// Gives free pages back to the system, at most about `limit` of them; true when there are more.
    borrowing func trimPages(limit: Int, keeping spareCount: Int) -> Bool {
        pool.withLock { $0.trim(limit: limit, keeping: spareCount, to: self) }
    }

    /// See ``PagePool/takeFullHalf()``.
    borrowing func takeFullHalf() -> UnsafeMutableRawPointer? {
        pool.withLock { $0.takeFullHalf() }.flatMap { UnsafeMutableRawPointer(bitPattern: $0) }
    }

    /// Pages that are free but still resident.
    var sparePageCount: Int { pool.withLock { $0.spareCount } }

    borrowing func unmapPages() { pool.withLock { $0.removeAll(to: self) } }
}
