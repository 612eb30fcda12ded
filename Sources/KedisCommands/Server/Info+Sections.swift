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
        text.add("server_name", "kedis")
        text.add("kedis_version", kedisVersion)
        text.add("redis_git_sha1", "00000000")
        text.add("redis_git_dirty", 0)
        text.add("redis_build_id", 0)
        text.add("redis_mode", "standalone")
        text.add("os", host.take("os", or: "unknown"))
        text.add("arch_bits", Int.bitWidth)
        text.add("monotonic_clock", host.take("monotonic_clock", or: "unknown"))
        text.add("multiplexing_api", host.take("multiplexing_api", or: "none"))
        text.add("atomicvar_api", "swift-synchronization")
        text.add("process_id", host.take("process_id", or: "0"))
        text.add("process_supervised", host.take("process_supervised", or: "no"))
        text.add("run_id", host.take("run_id", or: String(repeating: "0", count: 40)))
        text.add("tcp_port", host.take("tcp_port", or: "0"))
        text.add("server_time_usec", source.engine.clock.wallMicroseconds())
        text.add("uptime_in_seconds", upSeconds)
        text.add("uptime_in_days", upSeconds / 86_400)
        text.add("hz", source.engine.configuration.checksPerSecond.load(ordering: .relaxed))
        text.add("configured_hz", source.engine.configuration.text("hz"))
        text.add("lru_clock", source.nowMilliseconds / 1000 & 0xFF_FFFF)
        host.writeRest(&text)
    }

    static func writeClients(_ source: InfoSource, _ text: inout InfoText) {
        var host = HostFacts("clients", source)
        let clients = source.engine.clients.all
        let input = clients.map { $0.memory.input.load(ordering: .relaxed) }.max() ?? 0
        let output = clients.map { $0.memory.output.load(ordering: .relaxed) }.max() ?? 0
        text.add("connected_clients", clients.count)
        text.add("cluster_connections", 0)
        text.add("maxclients", host.take("maxclients", or: source.engine.configuration.text("maxclients")))
        text.add("client_recent_max_input_buffer", input)
        text.add("client_recent_max_output_buffer", output)
        text.add("blocked_clients", source.engine.blockedClientCount)
        text.add("tracking_clients", source.engine.tracking.clientCount)
        text.add("clients_in_timeout_table", source.engine.waiters.timedCount.load(ordering: .relaxed))
        text.add("total_blocking_keys", source.engine.waiters.keyCount.load(ordering: .relaxed))
        text.add("total_blocking_keys_on_nokey", source.engine.waiters.removalKeyCount.load(ordering: .relaxed))
        host.writeRest(&text)
    }

    static func writeReplication(_ source: InfoSource, _ text: inout InfoText) {
        text.add("role", "master")
        text.add("connected_slaves", 0)
        text.add("master_failover_state", "no-failover")
        text.add("master_replid", source.engine.replicationIdentifier)
        text.add("master_replid2", String(repeating: "0", count: 40))
        text.add("master_repl_offset", 0)
        text.add("second_repl_offset", -1)
        text.add("repl_backlog_active", 0)
        text.add("repl_backlog_size", source.engine.configuration.text("repl-backlog-size"))
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
