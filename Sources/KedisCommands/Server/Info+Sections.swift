// What the sections of INFO say. Facts about the process come from the host, under the names that they are printed by;
// a field that the host knows nothing of is printed with a neutral value where clients look for it. Fields of the host
// that are not named here follow.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// The host's facts of one section.
struct HostFacts {
    private var facts: [(field: String, value: String)]

    init(_ section: String, _ source: InfoSource) { facts = source.engine.host.information(section) }

    /// The value of a field, which is then not among the rest.
    mutating func take(_ field: String, or defaultValue: String) -> String {
        guard let index = facts.firstIndex(where: { $0.field == field }) else { return defaultValue }
        return facts.remove(at: index).value
    }

    func writeRest(_ text: inout InfoText) {
        for fact in facts where !text.fields.contains(fact.field) { text.add(fact.field, fact.value) }
    }
}

extension InfoCommand {
    static func writeServer(_ source: InfoSource, _ text: inout InfoText) {
        var host = HostFacts("server", source)
        let upSeconds = max(0, (source.nowMilliseconds - source.engine.startedMilliseconds) / 1000)
        text.add("redis_version", redisVersion)
        text.add("kedis_version", kedisVersion)
        text.add("redis_mode", "standalone")
        text.add("os", host.take("os", or: "unknown"))
        text.add("arch_bits", Int.bitWidth)
        text.add("process_id", host.take("process_id", or: "0"))
        text.add("run_id", host.take("run_id", or: String(repeating: "0", count: 40)))
        text.add("tcp_port", host.take("tcp_port", or: "0"))
        text.add("server_time_usec", source.engine.clock.wallMicroseconds())
        text.add("uptime_in_seconds", upSeconds)
        text.add("uptime_in_days", upSeconds / 86_400)
        host.writeRest(&text)
    }

    static func writeClients(_ source: InfoSource, _ text: inout InfoText) {
        var host = HostFacts("clients", source)
        let clients = source.engine.clients.all
        let input = clients.map { $0.pendingInputByteCount.load(ordering: .relaxed) }.max() ?? 0
        let output = clients.map { $0.pendingOutputByteCount.load(ordering: .relaxed) }.max() ?? 0
        text.add("connected_clients", clients.count)
        text.add("cluster_connections", 0)
        text.add("maxclients", host.take("maxclients", or: source.engine.configuration.text("maxclients")))
        text.add("client_recent_max_input_buffer", input)
        text.add("client_recent_max_output_buffer", output)
        text.add("blocked_clients", source.engine.waiters.blockedCount.load(ordering: .relaxed))
        text.add("tracking_clients", source.engine.tracking.clientCount)
        text.add("clients_in_timeout_table", source.engine.waiters.timedCount.load(ordering: .relaxed))
        host.writeRest(&text)
    }

    static func writePersistence(_ source: InfoSource, _ text: inout InfoText) {
        let engine = source.engine
        let status = engine.host.persistenceStatus()
        let changes = engine.store.statistics(held: source.held).changes
        text.add("loading", engine.conditions.contains(.loading) ? 1 : 0)
        text.add("async_loading", 0)
        text.add(
            "rdb_changes_since_last_save", changes >= status.changesAtLastSave ? changes - status.changesAtLastSave : 0)
        text.add("rdb_bgsave_in_progress", status.isSaving ? 1 : 0)
        text.add("rdb_last_save_time", engine.lastSaveSeconds(status))
        text.add("rdb_last_bgsave_status", status.lastSaveSucceeded ? "ok" : "err")
        text.add("rdb_last_bgsave_time_sec", status.lastSaveDurationSeconds)
        text.add("rdb_current_bgsave_time_sec", status.currentSaveDurationSeconds)
        text.add("rdb_saves", status.saveCount)
        text.add("aof_enabled", 0)
        text.add("aof_rewrite_in_progress", 0)
        text.add("aof_rewrite_scheduled", 0)
        HostFacts("persistence", source).writeRest(&text)
    }

    static func writeStatistics(_ source: InfoSource, _ text: inout InfoText) {
        let counters = source.engine.statistics
        let store = source.engine.store.statistics(held: source.held)
        let rare = source.engine.store.rareStatistics(held: source.held)
        text.add("total_connections_received", counters.connectionsReceived.load(ordering: .relaxed))
        text.add("total_commands_processed", counters.commandsProcessed.load(ordering: .relaxed))
        let now = source.engine.observability.throughput.perSecond
        text.add("instantaneous_ops_per_sec", now.commands)
        text.add("total_net_input_bytes", counters.inputByteCount.load(ordering: .relaxed))
        text.add("total_net_output_bytes", counters.outputByteCount.load(ordering: .relaxed))
        text.add("instantaneous_input_kbps", formatFixed(Double(now.inputByteCount) / 1024, 2))
        text.add("instantaneous_output_kbps", formatFixed(Double(now.outputByteCount) / 1024, 2))
        text.add("rejected_connections", counters.connectionsRejected.load(ordering: .relaxed))
        text.add("expired_keys", store.expired)
        text.add("expired_subkeys", rare.expiredMembers)
        text.add("evicted_keys", rare.evicted)
        text.add("evicted_clients", 0)
        let exceeded = source.engine.memory.exceededMilliseconds(
            nowNanoseconds: source.engine.clock.monotonicNanoseconds())
        text.add("total_eviction_exceeded_time", exceeded.total)
        text.add("current_eviction_exceeded_time", exceeded.current)
        text.add("keyspace_hits", store.hits)
        text.add("keyspace_misses", store.misses)
        text.add("pubsub_channels", source.engine.hub.channels.count)
        text.add("pubsub_patterns", source.engine.hub.patterns.count)
        text.add("pubsubshard_channels", source.engine.hub.shardChannels.count)
        let memory = source.engine.store.memoryStatistics(held: source.held)
        let maintenance = source.engine.memory.maintenanceMilliseconds
        text.add("active_defrag_hits", memory.movedCellCount)
        text.add("active_defrag_misses", 0)
        text.add("active_defrag_key_hits", memory.movedCellCount)
        text.add("active_defrag_key_misses", 0)
        text.add("total_active_defrag_time", maintenance.total)
        text.add("current_active_defrag_time", maintenance.current)
        text.add("tracking_total_keys", source.engine.tracking.keyCount)
        text.add("tracking_total_items", source.engine.tracking.itemCount)
        text.add("tracking_total_prefixes", source.engine.tracking.prefixes.count)
        text.add("total_error_replies", counters.errorReplies.load(ordering: .relaxed))
        for reason in AccessLogReason.allCases {
            text.add(reason.fieldName, source.engine.access.log.refusedCount(reason))
        }
        HostFacts("stats", source).writeRest(&text)
    }

    static func writeReplication(_ source: InfoSource, _ text: inout InfoText) {
        text.add("role", "master")
        text.add("connected_slaves", 0)
        text.add("master_failover_state", "no-failover")
        text.add("master_replid", String(repeating: "0", count: 40))
        text.add("master_replid2", String(repeating: "0", count: 40))
        text.add("master_repl_offset", 0)
        text.add("second_repl_offset", -1)
        text.add("repl_backlog_active", 0)
        text.add("repl_backlog_size", 0)
        text.add("repl_backlog_first_byte_offset", 0)
        text.add("repl_backlog_histlen", 0)
    }

    static func writeProcessor(_ source: InfoSource, _ text: inout InfoText) {
        var host = HostFacts("cpu", source)
        for field in ["used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children"] {
            text.add(field, host.take(field, or: "0.000000"))
        }
        host.writeRest(&text)
    }

    static func writeCommandStatistics(_ source: InfoSource, _ text: inout InfoText) {
        for entry in source.engine.table.entries {
            let counts = source.engine.commandStatistics[entry.pointee.identifier]
            guard !counts.isZero else { continue }
            let perCall = counts.calls > 0 ? Double(counts.nanoseconds) / 1000 / Double(counts.calls) : 0
            text.add(
                "cmdstat_\(entry.pointee.fullName.text)",
                """
                calls=\(counts.calls),usec=\(counts.nanoseconds / 1000),usec_per_call=\(formatFixed(perCall, 2)),\
                rejected_calls=\(counts.rejected),failed_calls=\(counts.failed)
                """
            )
        }
    }

    static func writeErrorStatistics(_ source: InfoSource, _ text: inout InfoText) {
        for (code, count) in source.engine.statistics.errorCounts { text.add("errorstat_\(code)", "count=\(count)") }
    }

    static func writeKeyspace(_ source: InfoSource, _ text: inout InfoText) {
        let store = source.engine.store
        for index in 0..<store.databaseCount {
            let keyspace = store.keyspace(index, nowMilliseconds: source.nowMilliseconds, held: source.held)
            let count = keyspace.count
            guard count > 0 else { continue }
            let deadlines = keyspace.deadlineCount
            let average = deadlines > 0 ? keyspace.averageTimeToLiveMilliseconds : 0
            text.add("db\(index)", "keys=\(count),expires=\(deadlines),avg_ttl=\(average)")
        }
    }
}
