// The figures of a store's memory, and the settings that concern it.

import Synchronization

extension Store {
    /// How cells record accesses; the data path follows at once.
    package func setAccessTracking(_ tracking: AccessTracking) { shared.pointee.setTracking(tracking) }

    /// The live bytes, without locks: the figure that `maxmemory` is compared with. O(stripes).
    package var usedByteCount: Int {
        var sum = Store.overheadByteCount(databaseCount: databaseCount)
        for index in 0..<Store.stripeCount { sum += stripes[index].usedByteCount.pointee.current }
        return sum
    }

    /// What an empty store takes.
    private static func overheadByteCount(databaseCount: Int) -> Int {
        stripeCount * (MemoryLayout<Stripe>.stride + databaseCount * MemoryLayout<UnsafeRawPointer>.stride)
            + MemoryLayout<StoreShared>.stride
    }

    /// Limits what the store may take from the system, in bytes: beyond it commands get an error, as when the system
    /// itself refuses. For tests.
    package func setMemoryByteCountMax(_ byteCount: Int) {
        shared.pointee.source.pointee.byteCountMax.store(byteCount, ordering: .relaxed)
    }

    /// Gives copies that are made for snapshots so many more allocations, and then none, as if the system refused;
    /// `.max` takes that back. For tests.
    package func setSnapshotAllocationCount(_ count: Int) {
        shared.pointee.snapshotAllocationCount.store(count, ordering: .relaxed)
    }

    /// Locks one stripe at a time, but for those in `held`.
    package func memoryStatistics(held: StripeSet = StripeSet()) -> MemoryStatistics {
        var sum = MemoryStatistics()
        withEachStripe(held: held) { $0.pointee.add(to: &sum) }
        sum.overheadByteCount = Store.overheadByteCount(databaseCount: databaseCount)
        let pending = shared.pointee.reclaimer.figures
        sum.pendingCount = pending.count
        sum.pendingByteCount = pending.byteCount
        sum.reclaimedCount = pending.reclaimedCount
        sum.arenaResidentByteCount += shared.pointee.source.pointee.sparePageCount * MemorySource.pageByteCount
        return sum
    }

    /// Cells and bytes that slow paths of one stripe have touched since the store was opened: what a single command
    /// adds to it is the work that it did beside its own. Locks the stripe unless it is in `held`.
    package func slowPathWork(
        stripeIndex: Int, held: StripeSet = StripeSet()
    ) -> (cellCount: UInt64, byteCount: UInt64) {
        var sum = SlowPathWork()
        withStripe(stripeIndex, held: held) { sum = $0.pointee.slowPathWork }
        return (sum.cellCount, sum.byteCount)
    }

    /// The shape of the tables of one database. O(segments); locks one stripe at a time, but for those in `held`.
    package func tableStatistics(databaseIndex: Int, held: StripeSet = StripeSet()) -> TableStatistics {
        var sum = TableStatistics()
        withEachStripe(held: held) { stripe in
            if let table = stripe.pointee.table(databaseIndex) { table.pointee.add(to: &sum) }
        }
        return sum
    }
}

extension Stripe {
    var slowPathWork: SlowPathWork {
        var sum = former.slowPaths
        forEachTable { _, table in sum.add(table.pointee.work) }
        return sum
    }

    func add(to sum: inout MemoryStatistics) {
        var (cells, blobs, segments, wheels, rest) = (0, 0, 0, 0, 0)
        forEachTable { _, table in
            sum.keyCount += table.pointee.count
            sum.deadlineCount += table.pointee.deadlineCount
            sum.blobCount += table.pointee.outsideCount
            cells += table.pointee.cellByteCount
            blobs += table.pointee.blobByteCount
            segments += table.pointee.segmentCount
            wheels += table.pointee.expiry.byteCount
            rest += table.pointee.byteCount
        }
        sum.cellByteCount += cells
        sum.blobByteCount += blobs
        sum.segmentCount += segments
        sum.wheelByteCount += wheels
        sum.tableByteCount += rest - cells - blobs - wheels
        let work = slowPathWork
        sum.slowPathCellCount &+= work.cellCount
        sum.slowPathByteCount &+= work.byteCount
        sum.movedCellCount &+= former.movedCellCount
        sum.releasedSlabCount &+= former.releasedSlabCount
        guard let arena else { return }
        let footprint = arena.pointee.footprint
        sum.arenaMappedByteCount += footprint.mappedByteCount
        sum.arenaResidentByteCount += footprint.residentByteCount
        sum.movedCellCount &+= arena.pointee.movedCellCount
        sum.releasedSlabCount &+= arena.pointee.releasedSlabCount
    }
}

extension Table {
    func add(to sum: inout TableStatistics) {
        sum.keyCount += count
        sum.tableCount += 1
        sum.segmentCount += segmentCount
        sum.slotCount += segmentCount * Segment.slotCount
        if directory != nil { sum.directoryEntryCount += 1 << depth }
        forEachSegment { segment in
            while sum.segmentsByDepth.count <= segment.depth { sum.segmentsByDepth.append(0) }
            sum.segmentsByDepth[segment.depth] += 1
            for index in 0..<Segment.bucketCount {
                let bucket = segment.bucket(index)
                guard index < Segment.homeCount else {
                    sum.stashKeyCount += bucket.count
                    continue
                }
                sum.bucketsByFill[bucket.count] += 1
                sum.homeKeyCount += bucket.own.nonzeroBitCount
                sum.neighbourKeyCount += bucket.displaced.nonzeroBitCount
            }
        }
    }
}
