// Memory of the whole store: figures, eviction, maintenance.

package import KedisUtilities

extension Store {
    /// How cells record accesses; the data path follows at once.
    package func setAccessTracking(_ tracking: AccessTracking) {
    }

    /// The live bytes, without locks: the figure that `maxmemory` is compared with. O(stripes).
    package var usedByteCount: Int { allocatedByteCount() }

    /// Locks one stripe at a time, but for those in `held`.
    package func memoryStatistics(held: StripeSet = StripeSet()) -> MemoryStatistics {
        var result = MemoryStatistics()
        result.cellByteCount = allocatedByteCount(held: held)
        return result
    }

    /// The shape of the tables of one database. O(segments); locks one stripe at a time, but for those in `held`.
    package func tableStatistics(databaseIndex: Int, held: StripeSet = StripeSet()) -> TableStatistics {
        TableStatistics()
    }

    /// Removes the key that `policy` finds best among at least `sampleCount` candidates; false when there is none.
    /// Locks by itself: call it without any stripe held.
    package func evictOne(
        _ policy: EvictionPolicy, sampleCount: Int, nowMilliseconds: Int64, using generator: inout RandomGenerator
    ) -> Bool {
        false
    }

    /// One bounded slice of background work (giving back memory, defragmentation, shrinking tables); true when there
    /// is more to do. Locks one stripe at a time, for less than about 100 microseconds.
    package func maintain(nowMilliseconds: Int64) -> Bool { false }

    /// Gives back what memory is kept for reuse (MEMORY PURGE). Locks like ``maintain(nowMilliseconds:)``.
    package func purge() {}
}

extension Entry {
    /// All bytes of the entry: its cell, its share of the table, its deadline's place in the wheel, its value outside.
    package var memoryByteCount: Int { allocatedByteCount }

    /// The access counter, 0 to 255 on a logarithmic scale, decayed to now. Means something while the store counts
    /// frequencies.
    package func accessFrequency(nowMilliseconds: Int64) -> Int { 0 }
}
