// The hash table of one database in one stripe: open addressing, linear probing, in hash order.
//
//      slots   ┌──────────────────┬──────────────────┬─ …     16 bytes a slot: the full hash and the cell's address
//              │ hash     │ cell  │ hash     │ cell  │        (nil = empty)
//              └──────────────────┴──────────────────┴─ …
//
// The home of a key is given by the hash bits right below the stripe's, so slots are nearly in hash order: growing
// keeps that order and SCAN can use a threshold in hash space as its cursor (Table+Scan.swift).
//
// Ownership: the table owns its slots and their cells. Guarded by the stripe's lock.
// Invariants: count ≤ 3/4 of the slots; no empty slot between a key and its home.
// Cost: 16 bytes a slot, 21 to 43 a key; lookup O(1) expected, growth O(n) for the one stripe.

import CKedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct Table: ~Copyable {
    struct Slot {
        var hash: UInt64
        var cell: UnsafeMutableRawPointer?
    }

    static let slotCountLog2Min = 3
    /// Keeps a home's threshold on a multiple of 2^16, which SCAN's cursor relies on.
    static let slotCountLog2Max = 40

    var slots: UnsafeMutablePointer<Slot>?
    private(set) var slotCountLog2 = 0
    var count = 0
    /// Entries that have a deadline.
    var deadlineCount = 0
    var expiryQueue = ExpiryQueue()
    /// Bytes of all cells, as the allocator counts them.
    var cellByteCount = 0

    init() {}

    deinit { releaseMemory() }

    var slotCount: Int { slots == nil ? 0 : 1 << slotCountLog2 }
    var mask: Int { (1 << slotCountLog2) - 1 }

    var allocatedByteCount: Int {
        cellByteCount + slotCount * MemoryLayout<Slot>.stride + expiryQueue.allocatedByteCount
    }

    @inline(__always)
    func home(of hash: UInt64) -> Int {
        Int(truncatingIfNeeded: (hash << 6) >> (64 - UInt64(truncatingIfNeeded: slotCountLog2)))
    }

    /// The slot that holds `key`, or nil. O(1) expected.
    @inline(__always)
    func find(_ key: Key) -> Int? {
        guard let slots else { return nil }
        let mask = mask
        var index = home(of: key.hash)
        while let address = slots[index].cell {
            if slots[index].hash == key.hash, Cell(address).hasKey(key.bytes) { return index }
            index = (index + 1) & mask
        }
        return nil
    }

    func cell(at index: Int) -> Cell {
        guard let address = slots.unsafelyUnwrapped[index].cell else {
            preconditionFailure("an empty slot has no cell")
        }
        return Cell(address)
    }

    /// Puts a cell for a key that is not there; false when memory is exhausted (the table is then unchanged).
    mutating func insert(_ cell: Cell, hash: UInt64) -> Bool {
        if count * 4 >= slotCount * 3, !resize(toLog2: max(Self.slotCountLog2Min, slotCountLog2 + 1)) { return false }
        place(cell.address, hash: hash)
        count += 1
        cellByteCount += cell.allocatedByteCount
        if cell.header.pointee.deadlineMilliseconds != noDeadline { deadlineCount += 1 }
        return true
    }

    /// Takes the cell out of `index`; the caller owns it. Closes the gap by moving later keys back towards their homes.
    mutating func detach(at index: Int) -> Cell {
        guard let slots else { preconditionFailure("an empty table has no slots") }
        let removed = cell(at: index)
        let mask = mask
        var gap = index
        var next = (gap + 1) & mask
        while let address = slots[next].cell {
            let distance = (next - home(of: slots[next].hash)) & mask
            if distance >= (next - gap) & mask {
                slots[gap] = Slot(hash: slots[next].hash, cell: address)
                gap = next
            }
            next = (next + 1) & mask
        }
        slots[gap].cell = nil
        count -= 1
        cellByteCount -= removed.allocatedByteCount
        if removed.header.pointee.deadlineMilliseconds != noDeadline { deadlineCount -= 1 }
        return removed
    }

    mutating func remove(at index: Int) {
        detach(at: index).deallocate()
        if slotCountLog2 > Self.slotCountLog2Min, count * 8 < slotCount { shrinkSlowly() }
    }

    /// Puts another cell for the same key into `index` and frees the one that was there. Cannot fail.
    mutating func replace(at index: Int, with cell: Cell) {
        let old = self.cell(at: index)
        if old.header.pointee.deadlineMilliseconds != noDeadline { deadlineCount -= 1 }
        if cell.header.pointee.deadlineMilliseconds != noDeadline { deadlineCount += 1 }
        cellByteCount += cell.allocatedByteCount - old.allocatedByteCount
        slots.unsafelyUnwrapped[index].cell = cell.address
        old.deallocate()
    }

    /// Frees all cells and the slots; the table is not used afterwards.
    private func releaseMemory() {
        guard let slots else { return }
        for index in 0..<slotCount {
            if let address = slots[index].cell { free(address) }
        }
        free(slots)
    }

    @inline(__always)
    func prefetchSlot(_ hash: UInt64) {
        guard let slots else { return }
        kedis_prefetch(slots + home(of: hash))
    }

    @inline(__always)
    func prefetchCell(_ hash: UInt64) {
        guard let slots else { return }
        if let address = slots[home(of: hash)].cell { kedis_prefetch(address) }
    }

    @inline(__always)
    private func place(_ address: UnsafeMutableRawPointer, hash: UInt64) {
        let slots = slots.unsafelyUnwrapped
        let mask = mask
        var index = home(of: hash)
        while slots[index].cell != nil { index = (index + 1) & mask }
        slots[index] = Slot(hash: hash, cell: address)
    }

    @inline(never)
    private mutating func shrinkSlowly() {
        // Without memory for a smaller table the large one stays, which is only a waste.
        _ = resize(toLog2: max(Self.slotCountLog2Min, slotCountLog2 - 2))
    }

    @inline(never)
    private mutating func resize(toLog2 target: Int) -> Bool {
        guard target <= Self.slotCountLog2Max,
            let memory = calloc(1 << target, MemoryLayout<Slot>.stride)
        else { return false }
        let old = slots
        let oldCount = slotCount
        slots = memory.assumingMemoryBound(to: Slot.self)
        slotCountLog2 = target
        if let old {
            for index in 0..<oldCount {
                if let address = old[index].cell { place(address, hash: old[index].hash) }
            }
            free(old)
        }
        return true
    }
}
