// Memory for the runs of kept elements (KeptElements.swift): taken and given back without the allocator, by whoever
// holds the lock of the pieces.
//
//      slabs     ┌─ … ─┬─────┬─────┬─────┬─ … ─┐      each twice as long as the one before, from 1 KiB to 64 KiB
//                │ run │ run │ run │     │     │
//                └─ … ─┴─────┴─────┴─────┴─ … ─┘
//      free      those that were given back
//
// All have one size, so that one that was given back fits whoever wants one; only an element that has no place in it
// gets a longer one, from the allocator.
//
// Ownership: the pieces of a collection; slabs are there until its walk is over, longer runs until they are given back.
// Cost: a few nanoseconds. Memory: as much as was used at once, and up to one slab more.

import CKedis
import KedisUtilities

struct KeptRuns: ~Copyable {
    /// Two cache lines.
    static let runByteCount = 128

    private static let lineByteCount = 64
    private static let slabByteCountMin = 1 << 10
    private static let slabByteCountMax = 64 << 10

    private let backlog: SnapshotBacklog
    /// Last in, first out.
    private var free: UnsafeMutablePointer<UnsafeMutableRawPointer>?
    private var freeCapacity = 0
    private var freeCount = 0
    /// The first bytes of a slab say where the one before is.
    private var slab: UnsafeMutableRawPointer?
    private var slabByteCount = 0
    private var usedByteCount = 0

    init(_ backlog: SnapshotBacklog) { self.backlog = backlog }

    /// A run, whose bytes wait for the snapshot from now on; nil when memory is exhausted.
    mutating func take(byteCount: Int) -> UnsafeMutableRawPointer? {
        let run = byteCount > Self.runByteCount ? allocate(byteCount) : pop() ?? carve()
        if run != nil { backlog.noteKept(byteCount: byteCount) }
        return run
    }

    mutating func give(_ run: UnsafeMutableRawPointer, byteCount: Int) {
        if byteCount > Self.runByteCount { deallocateBuffer(run) } else { push(run) }
        backlog.noteKept(byteCount: -byteCount)
    }

    private mutating func pop() -> UnsafeMutableRawPointer? {
        guard let free, freeCount > 0 else { return nil }
        freeCount &-= 1
        // The next one will be wanted soon.
        if freeCount > 0 { kedis_prefetch(free[freeCount &- 1]) }
        return free[freeCount]
    }

    /// Forgets the run when memory is exhausted: it lies in a slab.
    private mutating func push(_ run: UnsafeMutableRawPointer) {
        if freeCount == freeCapacity {
            let wanted = max(16, 2 * freeCapacity)
            guard let longer = resizeBuffer(free, capacity: wanted) else { return }
            (free, freeCapacity) = (longer, wanted)
        }
        free?[freeCount] = run
        freeCount &+= 1
    }

    private mutating func carve() -> UnsafeMutableRawPointer? {
        if slab == nil || usedByteCount + Self.runByteCount > slabByteCount {
            let wanted = min(max(Self.slabByteCountMin, 2 * slabByteCount), Self.slabByteCountMax)
            guard let made = allocate(wanted) else { return nil }
            made.storeBytes(of: slab, as: UnsafeMutableRawPointer?.self)
            (slab, slabByteCount) = (made, wanted)
            let first = made.advanced(by: MemoryLayout<UnsafeMutableRawPointer>.stride)
            usedByteCount = made.distance(to: first.alignedUp(toMultipleOf: Self.lineByteCount))
        }
        defer { usedByteCount += Self.runByteCount }
        return slab.map { $0 + usedByteCount }
    }

    /// Some bits of the address are used for other things, which no system in sight needs.
    private func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? {
        guard let memory = backlog.allocate(byteCount: byteCount) else { return nil }
        if UInt(bitPattern: memory) >> KeptElements.addressBitCount == 0 { return memory }
        deallocateBuffer(memory)
        return nil
    }

    deinit { freeMemory() }

    /// Frees all runs but longer ones.
    mutating func freeAll() {
        freeMemory()
        (slab, slabByteCount, usedByteCount) = (nil, 0, 0)
        (free, freeCapacity, freeCount) = (nil, 0, 0)
    }

    private func freeMemory() {
        var next = slab
        while let slab = next {
            next = slab.load(as: UnsafeMutableRawPointer?.self)
            deallocateBuffer(slab)
        }
        deallocateBuffer(free)
    }
}
