// INFO persistence and stats, in the order of Redis. What there is not (a process that is forked, an append-only file,
// replicas) has taken, sent and failed nothing: 0 is its true value.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension InfoCommand {
    static func writePersistence(_ source: InfoSource, _ text: inout InfoText) {
        let engine = source.engine
        let status = engine.host.persistenceStatus()
        text.add("loading", engine.conditions.contains(.loading) ? 1 : 0)
        text.add("async_loading", 0)
        text.add("current_cow_peak", 0)
        text.add("current_cow_size", 0)
        text.add("current_cow_size_age", 0)
        text.add("current_fork_perc", "0.00")
        text.add("current_save_keys_processed", status.currentSaveKeyCount)
        text.add("current_save_keys_total", status.currentSaveKeyTotal)
        text.add("rdb_changes_since_last_save", engine.unsavedChangeCount(status, held: source.held))
        text.add("rdb_bgsave_in_progress", status.isSaving ? 1 : 0)
        text.add("rdb_last_save_time", engine.lastSaveSeconds(status))
        text.add("rdb_last_bgsave_status", status.lastSaveSucceeded ? "ok" : "err")
        text.add("rdb_last_bgsave_time_sec", status.lastSaveDurationSeconds)
        text.add("rdb_current_bgsave_time_sec", status.currentSaveDurationSeconds)
        text.add("rdb_saves", status.saveCount)
        text.add("rdb_last_cow_size", 0)
        text.add("rdb_last_load_keys_expired", status.loadedExpiredCount)
        text.add("rdb_last_load_keys_loaded", status.loadedKeyCount)
        writeJournal(status.journal, &text)
        text.add("module_fork_in_progress", 0)
        text.add("module_fork_last_cow_size", 0)
        writeJournalSizes(status.journal, &text)
        HostFacts("persistence", source).writeRest(&text)
    }

    private static func writeJournal(_ journal: JournalInformation?, _ text: inout InfoText) {
        let shown = journal ?? JournalInformation()
        text.add("aof_enabled", journal?.isEnabled == true ? 1 : 0)
        text.add("aof_rewrite_in_progress", shown.isRewriting ? 1 : 0)
        text.add("aof_rewrite_scheduled", shown.isRewriteScheduled ? 1 : 0)
        text.add("aof_last_rewrite_time_sec", shown.lastRewriteSeconds)
        text.add("aof_current_rewrite_time_sec", shown.currentRewriteSeconds)
        text.add("aof_last_bgrewrite_status", shown.lastRewriteSucceeded ? "ok" : "err")
        text.add("aof_rewrites", shown.rewriteCount)
        text.add("aof_rewrites_consecutive_failures", shown.failureCount)
        text.add("aof_last_write_status", shown.lastWriteSucceeded ? "ok" : "err")
        text.add("aof_last_cow_size", 0)
    }

    /// What INFO shows only with a journal, at the end of the section.
    private static func writeJournalSizes(_ journal: JournalInformation?, _ text: inout InfoText) {
        guard let journal, journal.isEnabled else { return }
        text.add("aof_current_size", journal.byteCount)
        text.add("aof_base_size", journal.baseByteCount)
        text.add("aof_pending_rewrite", journal.isRewriteScheduled ? 1 : 0)
        text.add("aof_buffer_length", journal.pendingByteCount)
        text.add("aof_pending_bio_fsync", journal.durableSequence < journal.appendedSequence ? 1 : 0)
        text.add("aof_delayed_fsync", journal.delayedSyncCount)
        text.add("journal_appended_sequence", journal.appendedSequence)
        text.add("journal_durable_sequence", journal.durableSequence)
    }

    static func writeStatistics(_ source: InfoSource, _ text: inout InfoText) {
        let counters = source.engine.statistics
        writeTraffic(source, &text)
        writeKeys(source, &text)
        text.add("pubsub_channels", source.engine.hub.channels.count)
        text.add("pubsub_patterns", source.engine.hub.patterns.count)
        text.add("pubsubshard_channels", source.engine.hub.shardChannels.count)
        text.add("latest_fork_usec", 0)
        text.add("total_forks", 0)
        text.add("migrate_cached_sockets", 0)
        text.add("slave_expires_tracked_keys", 0)
        writeDefragmentation(source, &text)
        text.add("tracking_total_keys", source.engine.tracking.keyCount)
        text.add("tracking_total_items", source.engine.tracking.itemCount)
        text.add("tracking_total_prefixes", source.engine.tracking.prefixes.count)
        text.add("unexpected_error_replies", 0)
        text.add("total_error_replies", counters.errorReplies.load(ordering: .relaxed))
        text.add("dump_payload_sanitizations", counters.payloadsChecked.load(ordering: .relaxed))
        let traffic = counters.traffic.totals
        text.add("total_reads_processed", traffic.reads)
        text.add("total_writes_processed", traffic.writes)
        text.add("io_threaded_reads_processed", 0)
        text.add("io_threaded_writes_processed", 0)
        for reason in AccessLogReason.allCases {
            text.add(reason.fieldName, source.engine.access.log.refusedCount(reason))
        }
        text.add("tls_handshake_failures", counters.handshakeFailures.load(ordering: .relaxed))
        HostFacts("stats", source).writeRest(&text)
    }

    private static func writeTraffic(_ source: InfoSource, _ text: inout InfoText) {
        let counters = source.engine.statistics
        let traffic = counters.traffic.totals
        let rates = source.engine.observability.throughput.perSecond
        text.add("total_connections_received", counters.connectionsReceived.load(ordering: .relaxed))
        text.add("total_commands_processed", traffic.commands)
        text.add("instantaneous_ops_per_sec", rates.commands)
        text.add("total_net_input_bytes", traffic.inputByteCount)
        text.add("total_net_output_bytes", traffic.outputByteCount)
        text.add("total_net_repl_input_bytes", 0)
        text.add("total_net_repl_output_bytes", 0)
        text.add("instantaneous_input_kbps", formatFixed(Double(rates.inputByteCount) / 1024, 2))
        text.add("instantaneous_output_kbps", formatFixed(Double(rates.outputByteCount) / 1024, 2))
        text.add("instantaneous_input_repl_kbps", "0.00")
        text.add("instantaneous_output_repl_kbps", "0.00")
        text.add("rejected_connections", counters.connectionsRejected.load(ordering: .relaxed))
        text.add("sync_full", 0)
        text.add("sync_partial_ok", 0)
        text.add("sync_partial_err", 0)
    }

    private static func writeKeys(_ source: InfoSource, _ text: inout InfoText) {
        let store = source.engine.store.statistics(held: source.held)
        let rare = source.engine.store.rareStatistics(held: source.held)
        text.add("expired_keys", store.expired)
        text.add("expired_subkeys", rare.expiredMembers)
        text.add("expired_stale_perc", "0.00")
        text.add("expired_time_cap_reached_count", 0)
        let expiry = source.engine.statistics.expiryNanoseconds.load(ordering: .relaxed)
        text.add("expire_cycle_cpu_milliseconds", expiry / 1_000_000)
        text.add("evicted_keys", rare.evicted)
        text.add("evicted_clients", source.engine.clientMemory.evictedCount.load(ordering: .relaxed))
        let exceeded = source.engine.memory.exceededMilliseconds(
            nowNanoseconds: source.engine.clock.monotonicNanoseconds())
        text.add("total_eviction_exceeded_time", exceeded.total)
        text.add("current_eviction_exceeded_time", exceeded.current)
        text.add("keyspace_hits", store.hits)
        text.add("keyspace_misses", store.misses)
    }

    private static func writeDefragmentation(_ source: InfoSource, _ text: inout InfoText) {
        let memory = source.engine.store.memoryStatistics(held: source.held)
        let maintenance = source.engine.memory.maintenanceMilliseconds
        text.add("active_defrag_hits", memory.movedCellCount)
        text.add("active_defrag_misses", 0)
        text.add("active_defrag_key_hits", memory.movedCellCount)
        text.add("active_defrag_key_misses", 0)
        text.add("total_active_defrag_time", maintenance.total)
        text.add("current_active_defrag_time", maintenance.current)
    }
}
