// Giving an arena's memory back: thin slabs are emptied, free slabs and chunks go to the system, full ones become huge
// pages. All of it is background work under the stripe's lock, in slices that the caller bounds.

import CKedis

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension Arena {
    /// A class is worth a walk over the tables when more than an eighth of its carved cells is free.
    private static let wasteShare = 8

    /// Chooses the slabs to empty, so that the cells of all fit what stays, and frees those without cells. O(slabs).
    mutating func planEvacuation() {
        var classes = [(carved: Int, live: Int)](repeating: (0, 0), count: SizeClass.count)
        forEachUsedSlab { _, record in
            let sizeClass = Int(record.pointee.sizeClass)
            classes[sizeClass].carved += Int(record.pointee.carvedCount)
            classes[sizeClass].live += Int(record.pointee.liveCount)
        }
        for (sizeClass, sum) in classes.enumerated() where (sum.carved - sum.live) * Self.wasteShare > sum.carved {
            let wasted = (sum.carved - sum.live) * SizeClass.units(ofClass: sizeClass)
            if wasted >= Arena.unitsPerSlab / 4 { planEvacuation(ofClass: sizeClass) }
        }
    }

    /// Marks the thinnest slabs of a class for as long as their cells fit the free cells of the others, and one more
    /// when it is thin: of the fresh slab that takes its cells only the first pages become resident.
    private mutating func planEvacuation(ofClass sizeClass: Int) {
        let capacity = Arena.unitsPerSlab / SizeClass.units(ofClass: sizeClass)
        var candidates: [(slab: UInt32, live: Int)] = []
        var next = firstListedSlab(ofClass: sizeClass)
        while next != 0 {
            let record = record(ofSlab: next - 1)
            candidates.append((next - 1, Int(record.pointee.liveCount)))
            next = record.pointee.next
        }
        candidates.sort { $0.live < $1.live }
        var room = candidates.reduce(0) { $0 + capacity - $1.live }
        for candidate in candidates {
            // Its own free cells are no room, and its live ones need some.
            room -= capacity
            guard room >= 0 || 4 * candidate.live < 3 * capacity else { return }
            beginEvacuation(of: candidate.slab)
            guard room >= 0 else { return }
        }
    }

    /// Whether the cell at `reference` lies in a slab that is being emptied.
    @inline(__always)
    func isEvacuating(_ reference: UInt32) -> Bool {
        record(ofSlab: Arena.slab(of: reference)).pointee.isEvacuating
    }

    /// Copies a cell of `units` to another slab and frees the old one; nil when there is no memory for it.
    mutating func move(_ reference: UInt32, units: Int) -> UInt32? {
        guard let moved = allocate(units: units) else { return nil }
        memcpy(address(moved), address(reference), units * SizeClass.unitByteCount)
        free(reference, units: units)
        movedCellCount &+= 1
        return moved
    }

    /// Lets slabs that could not be emptied take cells again. O(slabs).
    mutating func endEvacuation() {
        guard evacuatingSlabCount > 0 else { return }
        var rest: [UInt32] = []
        forEachUsedSlab { slab, record in
            if record.pointee.isEvacuating { rest.append(slab) }
        }
        for slab in rest { endEvacuation(of: slab) }
    }

    /// Gives the pages of one free slab, or of a whole free chunk, back to the system; false when there is none.
    mutating func discardSpareSlab() -> Bool {
        guard spareSlabCount > 0 else { return false }
        for index in 0..<chunkCount {
            guard let base = chunks[index].base, let records = chunks[index].records else { continue }
            var free = chunks[index].freeSlabs
            while free != 0 {
                let slab = free.trailingZeroBitCount
                free &= free &- 1
                guard records[slab].isSpare else { continue }
                records[slab].isSpare = false
                noteSlabDiscarded()
                chunks[index].collapsedHalves &= ~(1 << UInt8(slab / 32))
                kedis_discard(base + slab * Arena.slabByteCount, Arena.slabByteCount)
                unmapWhenEmpty(index)
                return true
            }
        }
        return false
    }

    /// Unmaps a chunk of which all slabs are free and discarded. The first one stays.
    private mutating func unmapWhenEmpty(_ index: Int) {
        let chunk = chunks[index]
        guard index > 0, chunk.freeSlabs.nonzeroBitCount == chunk.slabCount, let base = chunk.base,
            let records = chunk.records, !(0..<chunk.slabCount).contains(where: { records[$0].isSpare })
        else { return }
        releaseRecords(ofChunk: index)
        source.pointee.unmap(base, chunk.byteCount)
        chunks[index] = Chunk()
    }

    /// The address of a full half of a chunk, 2 MiB, that is worth a huge page, which saves most misses of the address
    /// cache; nil when there is none. Only full halves: so it costs no resident memory. Each is given once, as a system
    /// that refuses is not asked again.
    mutating func takeFullHalf() -> UnsafeMutableRawPointer? {
        for index in 0..<chunkCount where chunks[index].slabCount == Arena.slabsPerChunk {
            for half in 0..<2 where chunks[index].collapsedHalves & (1 << UInt8(half)) == 0 {
                guard isFull(chunks[index], half: half), let base = chunks[index].base else { continue }
                chunks[index].collapsedHalves |= 1 << UInt8(half)
                return base + half * MemorySource.hugePageByteCount
            }
        }
        return nil
    }

    /// Whether all slabs are carved, but for less than a page each.
    private func isFull(_ chunk: Chunk, half: Int) -> Bool {
        guard let records = chunk.records else { return false }
        return (half * 32..<half * 32 + 32).allSatisfy { slab in
            let record = records[slab]
            guard record.sizeClass != SlabRecord.free else { return false }
            let units = SizeClass.units(ofClass: Int(record.sizeClass))
            let restByteCount = (Arena.unitsPerSlab - Int(record.carvedCount) * units) * SizeClass.unitByteCount
            return restByteCount < MemorySource.pageByteCount
        }
    }

    /// Unmaps a part of a chunk that nothing refers to any more; true when nothing is mapped. For an arena that goes.
    mutating func unmapSome() -> Bool {
        let partByteCount = 1 << 20
        for index in 0..<chunkCount {
            guard let base = chunks[index].base else { continue }
            releaseRecords(ofChunk: index)
            let rest = chunks[index].byteCount
            let part = min(partByteCount, rest)
            // From the end, so that what is left is a shorter chunk.
            source.pointee.unmap(base + rest - part, part)
            chunks[index].slabCount -= part / Arena.slabByteCount
            if chunks[index].slabCount == 0 { chunks[index] = Chunk() }
            return false
        }
        return true
    }

    func forEachUsedSlab(_ body: (UInt32, UnsafeMutablePointer<SlabRecord>) -> Void) {
        for index in 0..<chunkCount {
            guard let records = chunks[index].records else { continue }
            for slab in 0..<chunks[index].slabCount where records[slab].sizeClass != SlabRecord.free {
                body(UInt32(truncatingIfNeeded: index << 6 | slab), records + slab)
            }
        }
    }

    /// Bytes mapped, and the bytes of those that were carved or not given back: what is resident at most.
    var footprint: (mappedByteCount: Int, residentByteCount: Int) {
        var mapped = 0
        var resident = spareSlabCount * Arena.slabByteCount
        for index in 0..<chunkCount where chunks[index].base != nil { mapped += chunks[index].byteCount }
        forEachUsedSlab { _, record in
            let units = SizeClass.units(ofClass: Int(record.pointee.sizeClass))
            let carved = Int(record.pointee.carvedCount) * units * SizeClass.unitByteCount
            resident += (carved + MemorySource.pageByteCount - 1) & ~(MemorySource.pageByteCount - 1)
        }
        return (mapped, resident)
    }

    /// Walks all records and asserts what must hold. For tests.
    func checkInvariants() {
        var liveUnits = 0
        var carvedUnits = 0
        var listed = 0
        var evacuating = 0
        forEachUsedSlab { slab, record in
            let units = SizeClass.units(ofClass: Int(record.pointee.sizeClass))
            let (live, carved) = (Int(record.pointee.liveCount), Int(record.pointee.carvedCount))
            precondition(live <= carved && carved * units <= Arena.unitsPerSlab)
            liveUnits += live * units
            carvedUnits += carved * units
            var free = 0
            var next = record.pointee.firstFree
            while next != 0 {
                free += 1
                precondition(free <= carved, "a free list is a cycle")
                precondition(Int(next - 1) % units == 0, "a free cell is a cell")
                next = address(slab << Arena.slabUnitLog2 + UInt32(next - 1)).load(as: UInt16.self)
            }
            precondition(live + free == carved, "a cell is live or free")
            if record.pointee.isListed { listed += 1 }
            if record.pointee.isEvacuating { evacuating += 1 }
            let isFull = free == 0 && (carved + 1) * units > Arena.unitsPerSlab
            precondition(record.pointee.isListed != (isFull || record.pointee.isEvacuating))
        }
        precondition(liveUnits == liveUnitCount && carvedUnits == carvedUnitCount)
        precondition(evacuating == evacuatingSlabCount)
        for sizeClass in 0..<SizeClass.count {
            var next = firstListedSlab(ofClass: sizeClass)
            while next != 0 {
                let record = record(ofSlab: next - 1)
                precondition(Int(record.pointee.sizeClass) == sizeClass && record.pointee.isListed)
                listed -= 1
                next = record.pointee.next
            }
        }
        precondition(listed == 0, "a slab is in the list of its class, once")
    }
}
