// What /metrics says: the figures of INFO under Prometheus's rules for names and units, and the histograms.
//
// No key, no value and no client is named: what is counted by command, database, error code, stage or event has few
// kinds, whatever clients send. Cost: a walk over the commands that were called, and one look into each stripe, which
// is locked by itself.

import KedisStore
import KedisUtilities
import Synchronization

/// The text of /metrics. The caller holds no stripe.
package func metricsText(_ engine: Engine) -> [UInt8] {
    var text = MetricsText()
    writeServer(engine, &text)
    writeClients(engine, &text)
    writeMemory(engine, &text)
    writeKeys(engine, &text)
    writePersistence(engine, &text)
    writeCommands(engine, &text)
    writeLatency(engine, &text)
    return text.bytes
}

private func writeServer(_ engine: Engine, _ text: inout MetricsText) {
    text.begin("build_info", .gauge, "Always 1; the versions are labels.")
    text.sample([("version", "\(kedisVersion)"), ("redis_version", "\(redisVersion)")], value: 1)
    let upMilliseconds = max(0, engine.clock.wallMilliseconds - engine.startedMilliseconds)
    text.add("uptime_seconds", .gauge, "Time since the start.", upMilliseconds / 1000)
    let facts = engine.host.information("cpu")
    text.begin("cpu_seconds_total", .counter, "Processor time of the process.")
    for (field, mode) in [("used_cpu_user", "user"), ("used_cpu_sys", "system")] {
        guard let seconds = facts.first(where: { $0.field == field }) else { continue }
        text.sample([("mode", mode)], value: MetricFact(metricText: seconds.value))
    }
}

/// A number that the host has written already.
private struct MetricFact: MetricValue {
    var metricText: String
}

private func writeClients(_ engine: Engine, _ text: inout MetricsText) {
    let counters = engine.statistics
    let traffic = counters.traffic.totals
    text.add("connected_clients", .gauge, "Connections of clients.", engine.clients.count)
    text.add(
        "blocked_clients", .gauge, "Clients that wait in blocking commands, or for the end of a pause.",
        engine.blockedClientCount)
    text.add("monitor_clients", .gauge, "Clients that are shown every command.", engine.observability.monitors.count)
    text.add(
        "max_clients", .gauge, "The limit of connections.", engine.configuration.integer("maxclients"))
    text.add(
        "connections_received_total", .counter, "Connections that were accepted.",
        counters.connectionsReceived.load(ordering: .relaxed))
    text.add(
        "connections_rejected_total", .counter, "Connections that were refused.",
        counters.connectionsRejected.load(ordering: .relaxed))
    text.add(
        "tls_handshake_failures_total", .counter, "Connections of the TLS port whose handshake failed.",
        counters.handshakeFailures.load(ordering: .relaxed))
    text.add(
        "evicted_clients_total", .counter, "Clients that were closed because of maxmemory-clients.",
        engine.clientMemory.evictedCount.load(ordering: .relaxed))
    text.add(
        "input_bytes_total", .counter, "Bytes that clients have sent.",
        traffic.inputByteCount)
    text.add(
        "output_bytes_total", .counter, "Bytes that clients were sent.",
        traffic.outputByteCount)
    text.begin("pubsub_topics", .gauge, "What clients listen to.")
    let hub = engine.hub
    for (kind, count) in [
        ("channel", hub.channels.count), ("pattern", hub.patterns.count), ("shardchannel", hub.shardChannels.count),
    ] {
        text.sample([("kind", kind)], value: count)
    }
}

private func writeMemory(_ engine: Engine, _ text: inout MetricsText) {
    let report = MemoryReport(engine, held: StripeSet())
    text.add("memory_used_bytes", .gauge, "What live data takes.", report.used)
    text.add("memory_peak_bytes", .gauge, "The most that live data has taken.", report.peak)
    text.add("memory_dataset_bytes", .gauge, "Keys and values.", report.dataset)
    text.add("memory_max_bytes", .gauge, "maxmemory; 0 for no limit.", report.limit)
    text.add("memory_resident_bytes", .gauge, "Memory of the process in RAM.", report.resident)
    text.add(
        "memory_client_buffer_bytes", .gauge, "What clients take: buffers, transactions, subscriptions.",
        report.clientByteCount)
}

private func writeKeys(_ engine: Engine, _ text: inout MetricsText) {
    let store = engine.store.statistics(held: StripeSet())
    let rare = engine.store.rareStatistics(held: StripeSet())
    text.add("keyspace_hits_total", .counter, "Reads that found their key.", store.hits)
    text.add("keyspace_misses_total", .counter, "Reads that did not.", store.misses)
    text.add("expired_keys_total", .counter, "Keys whose deadline has passed.", store.expired)
    text.add("expired_members_total", .counter, "Members whose deadline has passed.", rare.expiredMembers)
    text.add("evicted_keys_total", .counter, "Keys that went for want of memory.", rare.evicted)
    let now = engine.clock.wallMilliseconds
    let counts = (0..<engine.store.databaseCount).map { index in
        let keyspace = engine.store.keyspace(index, nowMilliseconds: now)
        return (index: index, count: keyspace.count, deadlineCount: keyspace.deadlineCount)
    }
    // Database 0 always, so that there is a series from the start.
    let shown = counts.filter { $0.index == 0 || $0.count > 0 }
    text.begin("keys", .gauge, "Keys in a database.")
    for one in shown { text.sample([("database", String(one.index))], value: one.count) }
    text.begin("keys_with_deadline", .gauge, "Keys in a database that have a deadline.")
    for one in shown { text.sample([("database", String(one.index))], value: one.deadlineCount) }
}

private func writePersistence(_ engine: Engine, _ text: inout MetricsText) {
    let status = engine.host.persistenceStatus()
    text.add(
        "changes_since_last_save", .gauge, "Changes that are in no snapshot.",
        engine.unsavedChangeCount(status, held: StripeSet()))
    text.add("save_in_progress", .gauge, "1 while a snapshot is written.", status.isSaving)
    text.add("last_save_timestamp_seconds", .gauge, "When the last snapshot was.", engine.lastSaveSeconds(status))
    text.add("last_save_succeeded", .gauge, "0 when the last attempt failed.", status.lastSaveSucceeded)
    if let journal = status.journal, journal.isEnabled { writeJournal(journal, &text) }
}

private func writeJournal(_ journal: JournalInformation, _ text: inout MetricsText) {
    text.add("journal_records_total", .counter, "Records since the journal began.", journal.appendedSequence)
    text.add(
        "journal_records_not_durable", .gauge, "Records that are not known to be on disk.",
        journal.appendedSequence - min(journal.appendedSequence, journal.durableSequence))
    text.add("journal_bytes", .gauge, "What the journal's files take, with their newest base.", journal.byteCount)
    text.add("journal_base_bytes", .gauge, "What the newest base takes.", journal.baseByteCount)
    text.add("journal_pending_bytes", .gauge, "What is yet to be written.", journal.pendingByteCount)
    text.add("journal_delayed_syncs_total", .counter, "Syncs that took longer than a second.", journal.delayedSyncCount)
    text.add("journal_write_succeeded", .gauge, "0 while the journal cannot be written.", journal.lastWriteSucceeded)
    text.add("journal_rewrite_in_progress", .gauge, "1 while a base is made.", journal.isRewriting)
    text.add("journal_rewrites_total", .counter, "Bases that were made.", journal.rewriteCount)
    text.add("journal_rewrite_failures", .gauge, "Attempts in a row that made no base.", journal.failureCount)
}

private func writeCommands(_ engine: Engine, _ text: inout MetricsText) {
    text.add(
        "commands_processed_total", .counter, "Commands that were executed or refused.",
        engine.statistics.traffic.totals.commands)
    let used = engine.table.entries.map { ($0, engine.commandStatistics[$0.pointee.identifier]) }
        .filter { !$0.1.isZero }
    text.begin("command_duration_seconds", .histogram, "How long commands took; calls and sum are exact.")
    for (entry, counts) in used where counts.calls > 0 {
        text.histogram(
            ("command", entry.pointee.fullName.text), engine.commandStatistics.durations(entry.pointee.identifier),
            count: counts.calls, nanoseconds: counts.nanoseconds)
    }
    text.begin("commands_failed_total", .counter, "Calls that ended with an error.")
    for (entry, counts) in used where counts.failed > 0 {
        text.sample([("command", entry.pointee.fullName.text)], value: counts.failed)
    }
    text.begin("commands_rejected_total", .counter, "Calls that were refused before they were executed.")
    for (entry, counts) in used where counts.rejected > 0 {
        text.sample([("command", entry.pointee.fullName.text)], value: counts.rejected)
    }
    text.begin("errors_total", .counter, "Error replies by their code.")
    for (code, count) in engine.statistics.errorCounts { text.sample([("code", code)], value: count) }
}

private func writeLatency(_ engine: Engine, _ text: inout MetricsText) {
    let observability = engine.observability
    text.begin(
        "stage_duration_seconds", .histogram, "Stages of requests: a sample, each entered for all its commands.")
    for stage in RequestStage.allCases {
        let durations = observability.stages.durations(stage)
        guard durations.count > 0 else { continue }
        text.histogram(
            ("stage", stage.name), durations, count: durations.count,
            nanoseconds: observability.stages.sumNanoseconds(stage))
    }
    text.add(
        "slowlog_entries_total", .counter, "Commands that were entered into the slow log.",
        observability.slowLog.lastIdentifier + 1)
    let events = observability.latency.all
    text.begin("latency_events_total", .counter, "Events of the latency monitor, until LATENCY RESET.")
    for series in events { text.sample([("event", series.event.rawValue)], value: series.count) }
    text.begin("latency_event_longest_seconds", .gauge, "The longest event, until LATENCY RESET.")
    for series in events {
        let nanoseconds = UInt64(clamping: series.longestMilliseconds).multipliedReportingOverflow(by: 1_000_000)
        text.sample(
            [("event", series.event.rawValue)],
            value: MetricSeconds(nanoseconds: nanoseconds.overflow ? .max : nanoseconds.partialValue))
    }
}
