// The figures behind INFO memory, MEMORY STATS and MEMORY DOCTOR, taken at one time.
//
// `used` is what the store's live data takes: the figure that `maxmemory` is compared with. The allocator's figures are
// about the memory under it: what is allocated, what the slabs with live cells take, what of that is resident; here the
// last two are one. O(stripes); locks one stripe at a time.

import KedisStore
import KedisUtilities
import Synchronization

struct MemoryReport {
    let statistics: MemoryStatistics
    let used: Int
    let peak: Int
    /// What an empty store takes.
    let startup: Int
    /// What is not keys and values: the empty store, tables, wheels.
    let overhead: Int
    let limit: Int
    let policy: EvictionPolicy
    /// The memory of the process in RAM; what the store takes, where the host does not know.
    let resident: Int
    let systemByteCount: Int
    /// What the store has from the system: live data, free cells between, and what the background has yet to give back.
    let allocatorResident: Int
    /// Waiting input and output of all clients.
    let clientByteCount: Int
    let clientCount: Int

    init(_ engine: Engine, held: StripeSet) {
        let statistics = engine.store.memoryStatistics(held: held)
        self.statistics = statistics
        used = engine.store.usedByteCount
        peak = engine.memory.note(usedByteCount: used)
        startup = min(used, statistics.overheadByteCount)
        overhead = min(
            used, statistics.overheadByteCount + statistics.tableByteCount + statistics.wheelByteCount)
        limit = engine.configuration.memoryByteCountMax.load(ordering: .relaxed)
        policy = engine.configuration.evictionPolicy
        allocatorResident = used + statistics.freeCellByteCount + statistics.pendingByteCount
        let facts = engine.host.information("memory")
        func fact(_ name: String) -> Int { facts.first { $0.field == name }.flatMap { Int($0.value) } ?? 0 }
        resident = fact("used_memory_rss") > 0 ? fact("used_memory_rss") : allocatorResident
        systemByteCount = fact("total_system_memory")
        let clients = engine.clients.all
        clientCount = clients.count
        clientByteCount = engine.clientMemory.total
    }

    /// Keys and values.
    var dataset: Int { used - overhead }
    var datasetPercentage: Double { percentage(dataset, of: used - startup) }
    var peakPercentage: Double { percentage(used, of: peak) }
    /// The process against the live data.
    var fragmentation: Double { ratio(resident, to: used) }
    /// The slabs against the live data.
    var allocatorFragmentation: Double { ratio(allocatorResident, to: used) }
    /// The process against the store.
    var processOverhead: Double { ratio(resident, to: allocatorResident) }

    private func percentage(_ part: Int, of whole: Int) -> Double {
        whole > 0 ? Double(part) * 100 / Double(whole) : 0
    }

    private func ratio(_ value: Int, to base: Int) -> Double { base > 0 ? Double(value) / Double(base) : 1 }
}
