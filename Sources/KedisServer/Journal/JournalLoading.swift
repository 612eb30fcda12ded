// A journal into an empty store: its newest base snapshot, then its records, executed again. The same from the
// append-only files of redis-server.

import KedisCommands
import KedisPersistence
import KedisStore

/// What a journal has put into a store.
struct LoadedJournal {
    var recovered: RecoveredJournal
    /// Of the base; nil without one.
    var base: LoadSummary?
    var commandCount: UInt64
}

/// Fills `store` with the state that the journal in `directory` had at `bound`. The error is a JournalError, or the
/// ReplayError of its last records.
func loadJournal(
    _ directory: String, until bound: JournalBound = .end, into store: Store, configuration: Configuration,
    removesLeftovers: Bool, progress: @escaping (_ done: Int, _ total: Int) -> Void
) throws -> LoadedJournal {
    var base: LoadSummary?
    var replay = JournalReplay(store: store, configuration: configuration)
    let recovered = try recoverJournal(
        directory: directory, until: bound, removesLeftovers: removesLeftovers, progress: progress,
        base: { (path, _) throws(JournalRefusal) in
            // Nothing is due yet: what was when the records were made, they say.
            do {
                base = try loadSnapshot(into: store, from: path, nowMilliseconds: 0, limits: configuration.loadLimits)
            } catch {
                throw JournalRefusal(reason: "\(error)")
            }
        },
        record: { (record) throws(JournalRefusal) in
            do {
                try replay.add(record.payload, databaseIndex: record.databaseIndex, milliseconds: record.milliseconds)
            } catch {
                throw JournalRefusal(reason: "\(error)")
            }
        })
    try replay.flush()
    return LoadedJournal(recovered: recovered, base: base, commandCount: replay.commandCount)
}

/// What append-only files of redis-server have put into a store.
struct LoadedAppendOnlyFiles {
    /// Of the snapshot that they begin with; nil without one.
    var base: LoadSummary?
    var requestCount: UInt64
    var cut: AppendOnlyCut?
}

/// Fills `store` from append-only files of redis-server. The error is an AppendOnlyError, or the ReplayError of the
/// last requests.
func loadAppendOnlyFiles(
    _ files: AppendOnlyFiles, into store: Store, configuration: Configuration,
    progress: @escaping (_ done: Int, _ total: Int) -> Void
) throws -> LoadedAppendOnlyFiles {
    var base: LoadSummary?
    // While they are read nothing is due, as on redis-server: deadlines may be taken back further on.
    var replay = JournalReplay(store: store, configuration: configuration)
    var reader = AppendOnlyReader(files, progress: progress)
    let cut = try reader.run(
        snapshot: { (path) throws(JournalRefusal) in
            do {
                let summary = try loadSnapshot(
                    into: store, from: path, nowMilliseconds: 0, limits: configuration.loadLimits, allowsTail: true)
                if base == nil { base = summary }
                return summary?.byteCount ?? 0
            } catch {
                throw JournalRefusal(reason: "\(error)")
            }
        },
        requests: { (bytes, databaseIndex) throws(JournalRefusal) in
            do {
                try replay.add(bytes, databaseIndex: databaseIndex, milliseconds: 0)
            } catch {
                throw JournalRefusal(reason: "\(error)")
            }
        })
    try replay.flush()
    return LoadedAppendOnlyFiles(base: base, requestCount: reader.requestCount, cut: cut)
}
