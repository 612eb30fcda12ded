// Opening a directory: the journal, or else the snapshot, and what commands need of the outside.

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisStore
import KedisUtilities
import Synchronization

/// What a database has in its directory, from its opening to its close.
final class DatabaseFiles: Sendable {
    let snapshotPath: String
    let functions = Locked<[[UInt8]]>([])
    /// Keeps others from writing the snapshot.
    let lock: SnapshotLock?
    let journal: JournalKeeper
    let fileSystem: FileSystem
    /// The journal had more than the snapshot may have.
    let isSnapshotStale = Atomic<Bool>(false)

    init(snapshotPath: String, lock: SnapshotLock?, journal: JournalKeeper, fileSystem: FileSystem) {
        self.fileSystem = fileSystem
        self.snapshotPath = snapshotPath
        self.lock = lock
        self.journal = journal
    }

    /// Where and how to save.
    var request: SnapshotRequest {
        SnapshotRequest(
            path: snapshotPath, options: SnapshotOptions(functions: functions.withLock { $0 }),
            journal: journal.beside(snapshotPath))
    }
}

extension KedisDatabase {
    /// Opens the database of a directory: loads its newest base and replays the journal behind it; where there is no
    /// journal, the snapshot, or the append-only files of redis-server. Then changes go to the journal, unless
    /// ``Options/journal`` is off. The directory must exist, and no other store may have it open, here or in another
    /// process. What a crash has torn off at the journal's end is left out and told to ``Options/warn``. A snapshot
    /// that a store without a journal has written since the journal ended is loaded instead, and the journal put aside.
    ///
    /// - Throws: ``KedisError/snapshot(_:)`` when the directory is missing or in use, or the snapshot is damaged, too
    ///   new or unreadable; ``KedisError/journal(_:)`` when the journal is: with file, position and what to do. The
    ///   files are left alone.
    /// - Complexity: O(size of snapshot and journal)
    public static func open(directory: String, options: Options = Options()) throws(KedisError) -> KedisDatabase {
        try open(directory: directory, options: options, fileSystem: .system)
    }

    /// The same with files that a test may let fail.
    static func open(
        directory: String, options: Options, fileSystem: FileSystem
    ) throws(KedisError) -> KedisDatabase {
        let (database, contents) = try load(directory: directory, options: options, fileSystem: fileSystem)
        try database.begin(after: contents)
        // Not before: what it evicts or expires has to be in the journal.
        database.ticker.start()
        return database
    }

    /// A database with what its directory has, whose journal is yet to begin.
    static func load(
        directory: String, options: Options, fileSystem: FileSystem
    ) throws(KedisError) -> (KedisDatabase, JournalContents?) {
        let folder = directory.isEmpty ? "." : directory
        try check(options)
        let configuration = makeConfiguration(options)
        configuration.settle("dir", folder)
        let store = makeStore(options, configuration)
        let warn = options.warn
        let journal = JournalKeeper(
            configuration: configuration, store: store, fileSystem: fileSystem,
            log: { level, text in if level == .warning { warn?(text) } })
        let path = folder + "/" + options.snapshotName
        let lock: SnapshotLock?
        do {
            lock = try SnapshotLock.acquire(forSnapshot: path)
        } catch {
            throw .snapshot("\(error)")
        }
        if lock != nil { _ = removeLeftoverFiles(in: folder) }
        let files = DatabaseFiles(snapshotPath: path, lock: lock, journal: journal, fileSystem: fileSystem)
        let contents = try load(files, into: store, configuration)
        return (KedisDatabase(store: store, configuration: configuration, files: files), contents)
    }

    private static func check(_ options: Options) throws(KedisError) {
        func isName(_ name: String) -> Bool { !name.isEmpty && !name.utf8.contains(0x2F) && !name.utf8.contains(0) }
        guard isName(options.snapshotName) else {
            throw .snapshot("the snapshot's name can't be a path, just a filename: '\(options.snapshotName)'")
        }
        let journalName = options.usedJournalName
        guard isName(journalName), journalName != ".", journalName != ".." else {
            throw .journal("the journal's name can't be a path, just a filename: '\(journalName)'")
        }
    }

    /// Fills the store; nil when nothing came out of a journal.
    private static func load(
        _ files: DatabaseFiles, into store: Store, _ configuration: Configuration
    ) throws(KedisError) -> JournalContents? {
        if files.journal.isWanted {
            do throws(JournalProblem) {
                let isWritable = try files.journal.acquireIfPossible()
                if let contents = try files.journal.load(beside: files.snapshotPath, takesYounger: true) {
                    files.functions.withLock { $0 = contents.base?.functions ?? [] }
                    let isCurrent = contents.recovered.map {
                        files.journal.isCurrent(files.snapshotPath, with: $0)
                    }
                    files.isSnapshotStale.store(isWritable && isCurrent != true, ordering: .relaxed)
                    return contents
                }
            } catch {
                throw .journal(error.description)
            }
        } else {
            files.journal.warnIfIgnored(beside: files.snapshotPath)
        }
        do {
            let summary = try loadSnapshot(
                into: store, from: files.snapshotPath, nowMilliseconds: wallClockMilliseconds(),
                fileSystem: files.fileSystem)
            files.functions.withLock { $0 = summary?.functions ?? [] }
        } catch {
            throw .snapshot("\(error)")
        }
        return nil
    }

    static func makeConfiguration(_ options: Options) -> Configuration {
        let configuration = Configuration()
        configuration.settle("maxmemory", String(max(0, options.memoryByteCountMax)))
        configuration.settle("maxmemory-policy", options.evictionPolicy.rawValue)
        configuration.settle("dbfilename", options.snapshotName)
        configuration.settle("appenddirname", options.usedJournalName)
        if options.journal != .off { configuration.settle("appendfsync", options.journal.rawValue) }
        configuration.settle("appendonly", options.journal == .off ? "no" : "yes")
        if options.allowsDebug { configuration.settle("enable-debug-command", "yes") }
        return configuration
    }

    static func makeStore(_ options: Options, _ configuration: Configuration) -> Store {
        let store = Store(
            databaseCount: min(max(options.databaseCount, 1), 16_384), seed: HashSeed(systemEntropy(), systemEntropy())
        )
        // Before a snapshot is loaded: its keys get the clocks that the policy reads.
        store.setAccessTracking(configuration.accessTracking)
        return store
    }
}

// MARK: The host

extension KedisDatabase {
    /// What commands need of the outside, for a store in a program.
    static func host(keeper: SnapshotKeeper, files: DatabaseFiles?) -> Host {
        let noDirectory = "this database has no directory to save to"
        return Host(
            save: { _, held in
                guard let files else { return noDirectory }
                switch keeper.save(files.request, held: held, nowMilliseconds: wallClockMilliseconds()) {
                case .saved: return nil
                case .failed(let error): return "\(error)"
                case .busy: return "another save is in progress"
                }
            },
            load: { store, held, replacesKeys in
                guard let files else { return noDirectory }
                return load(files.snapshotPath, into: store, held: held, replacesKeys: replacesKeys)
            },
            startBackgroundSave: { _ in
                guard let files else { return .failed(noDirectory) }
                switch keeper.saveInBackground(files.request, nowMilliseconds: wallClockMilliseconds()) {
                case nil: return .started
                case .failed(let error): return .failed("\(error)")
                case .some: return .busy
                }
            },
            startJournalRewrite: {
                files?.journal.startRewrite() ?? .failed("there is no journal: this database has no directory")
            },
            persistenceStatus: {
                PersistenceStatus(of: keeper, files?.journal, nowMilliseconds: wallClockMilliseconds())
            },
            shutDown: { _, _, _ in .notPossible },
            information: { section in section == "memory" ? memoryInformation() : [] },
            applyConfiguration: { names in apply(names, files) },
            awaitConfiguration: { files?.journal.awaitEnd() },
            releaseMemory: releaseFreeMemory, digest: { sha256($0) }
        )
    }

    private static func load(_ path: String, into store: Store, held: StripeSet, replacesKeys: Bool) -> String? {
        do {
            let summary = try loadSnapshot(
                into: store, held: held, from: path, nowMilliseconds: wallClockMilliseconds(),
                replacesKeys: replacesKeys)
            return summary == nil ? "there is no snapshot at \(path)" : nil
        } catch {
            return "\(error)"
        }
    }

    private static func apply(_ names: [String], _ files: DatabaseFiles?) -> ConfigurationProblem? {
        guard let journal = files?.journal else {
            guard names.contains("appendonly") else { return nil }
            return ConfigurationProblem(name: "appendonly", reason: "this database has no directory for a journal")
        }
        return journal.follow(names)
    }
}
