// A journal into an empty store: its newest base snapshot, then its records, executed again.

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
