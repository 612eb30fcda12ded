// A journal into an empty store: its newest base snapshot, then its records, executed again. The same from the
// append-only files of redis-server.

package import KedisCommands
package import KedisPersistence
package import KedisStore

/// What a journal has put into a store.
package struct LoadedJournal {
    package var recovered: RecoveredJournal
    /// Of the base; nil without one.
    package var base: LoadSummary?
    package var commandCount: UInt64
}

/// Fills `store` with the state that the journal in `directory` had at `bound`. The error is a JournalError, or the
/// ReplayError of its last records.
package func loadJournal(
    _ directory: String, until bound: JournalBound = .end, into store: Store, configuration: Configuration,
    table: CommandTable? = nil, removesLeftovers: Bool, fileSystem: FileSystem = .system,
    progress: @escaping (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws -> LoadedJournal {
    var base: LoadSummary?
    var replay = JournalReplay(store: store, configuration: configuration, table: table)
    let recovered = try recoverJournal(
        directory: directory, until: bound, fileSystem: fileSystem, removesLeftovers: removesLeftovers,
        progress: progress,
        base: { (path, _) throws(JournalRefusal) in
            // Nothing is due yet: what was when the records were made, they say.
            try refusing {
                base = try loadSnapshot(
                    into: store, from: path, nowMilliseconds: 0, limits: configuration.loadLimits,
                    fileSystem: fileSystem)
            }
        },
        record: { (record) throws(JournalRefusal) in
            try refusing {
                try replay.add(record.payload, databaseIndex: record.databaseIndex, milliseconds: record.milliseconds)
            }
        })
    try replay.flush()
    return LoadedJournal(recovered: recovered, base: base, commandCount: replay.commandCount)
}

/// What append-only files of redis-server have put into a store.
package struct LoadedAppendOnlyFiles {
    /// Of the snapshot that they begin with; nil without one.
    package var base: LoadSummary?
    package var requestCount: UInt64
    package var cut: AppendOnlyCut?
}

/// Fills `store` from append-only files of redis-server. The error is an AppendOnlyError, or the ReplayError of the
/// last requests.
package func loadAppendOnlyFiles(
    _ files: AppendOnlyFiles, into store: Store, configuration: Configuration, fileSystem: FileSystem = .system,
    progress: @escaping (_ done: Int, _ total: Int) -> Void
) throws -> LoadedAppendOnlyFiles {
    var base: LoadSummary?
    // While they are read nothing is due, as on redis-server: deadlines may be taken back further on.
    var replay = JournalReplay(store: store, configuration: configuration)
    var reader = AppendOnlyReader(files, fileSystem: fileSystem, progress: progress)
    let cut = try reader.run(
        snapshot: { (path) throws(JournalRefusal) in
            let summary = try refusing {
                try loadSnapshot(
                    into: store, from: path, nowMilliseconds: 0, limits: configuration.loadLimits, allowsTail: true,
                    fileSystem: fileSystem)
            }
            if base == nil { base = summary }
            return summary?.byteCount ?? 0
        },
        requests: { (bytes, databaseIndex) throws(JournalRefusal) in
            // Executed at once, so that an error is about one of these.
            try refusing {
                try replay.add(bytes, databaseIndex: databaseIndex, milliseconds: 0)
                try replay.flush()
            }
        })
    return LoadedAppendOnlyFiles(base: base, requestCount: reader.requestCount, cut: cut)
}

/// What `body` gives; its error as the reason why whoever reads the files is to stop.
private func refusing<Result>(_ body: () throws -> Result) throws(JournalRefusal) -> Result {
    do {
        return try body()
    } catch {
        throw JournalRefusal(reason: "\(error)", requestIndex: (error as? ReplayError)?.requestIndex)
    }
}
