// INFO memory: the fields of Redis in its order; what has no counterpart here but is looked for is 0.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension InfoCommand {
    static func writeMemory(_ source: InfoSource, _ text: inout InfoText) {
        let report = MemoryReport(source.engine, held: source.held)
        writeUse(report, &text)
        writeScripts(&text)
        text.addByteCount("maxmemory", report.limit)
        text.add("maxmemory_policy", report.policy.name)
        writeFragmentation(report, &text)
        writeBuffers(report, &text)
        var host = HostFacts("memory", source)
        text.add("mem_allocator", host.take("mem_allocator", or: "libc"))
        let percentage = source.engine.configuration.maintenancePercentage.load(ordering: .relaxed)
        let isRunning = source.engine.memory.isMaintaining.load(ordering: .relaxed)
        text.add("active_defrag_running", isRunning ? percentage : 0)
        text.add("lazyfree_pending_objects", report.statistics.pendingCount)
        text.add("lazyfreed_objects", report.statistics.reclaimedCount)
        host.writeRest(&text)
    }

    private static func writeUse(_ report: MemoryReport, _ text: inout InfoText) {
        text.addByteCount("used_memory", report.used)
        text.addByteCount("used_memory_rss", report.resident)
        text.addByteCount("used_memory_peak", report.peak)
        text.add("used_memory_peak_perc", formatFixed(report.peakPercentage, 2) + "%")
        text.add("used_memory_overhead", report.overhead)
        text.add("used_memory_startup", report.startup)
        text.add("used_memory_dataset", report.dataset)
        text.add("used_memory_dataset_perc", formatFixed(report.datasetPercentage, 2) + "%")
        text.add("allocator_allocated", report.used)
        text.add("allocator_active", report.allocatorResident)
        text.add("allocator_resident", report.allocatorResident)
        text.addByteCount("total_system_memory", report.systemByteCount)
    }

    /// There are no scripts and no functions.
    private static func writeScripts(_ text: inout InfoText) {
        text.add("used_memory_lua", 0)
        text.add("used_memory_vm_eval", 0)
        text.add("used_memory_lua_human", humanByteCount(0))
        text.add("used_memory_scripts_eval", 0)
        text.add("number_of_cached_scripts", 0)
        text.add("number_of_functions", 0)
        text.add("number_of_libraries", 0)
        text.add("used_memory_vm_functions", 0)
        text.addByteCount("used_memory_vm_total", 0)
        text.add("used_memory_functions", 0)
        text.addByteCount("used_memory_scripts", 0)
    }

    private static func writeFragmentation(_ report: MemoryReport, _ text: inout InfoText) {
        text.add("allocator_frag_ratio", formatFixed(report.allocatorFragmentation, 2))
        text.add("allocator_frag_bytes", report.allocatorResident - report.used)
        text.add("allocator_rss_ratio", formatFixed(1, 2))
        text.add("allocator_rss_bytes", 0)
        text.add("rss_overhead_ratio", formatFixed(report.processOverhead, 2))
        text.add("rss_overhead_bytes", report.resident - report.allocatorResident)
        text.add("mem_fragmentation_ratio", formatFixed(report.fragmentation, 2))
        text.add("mem_fragmentation_bytes", report.resident - report.used)
    }

    private static func writeBuffers(_ report: MemoryReport, _ text: inout InfoText) {
        text.add("mem_not_counted_for_evict", 0)
        text.add("mem_replication_backlog", 0)
        text.add("mem_total_replication_buffers", 0)
        text.add("mem_clients_slaves", 0)
        text.add("mem_clients_normal", report.clientByteCount)
        text.add("mem_cluster_links", 0)
        text.add("mem_aof_buffer", 0)
    }
}
