// What commands need of the world outside the engine: files, the log, the process. Plain functions, given by the
// composition root (KedisServer, Kedis), so that the engine itself opens nothing and runs deterministically under test.

package import KedisStore
package import KedisUtilities

/// How SHUTDOWN treats the data.
package enum ShutdownMode: Sendable {
    /// Save when save rules are configured.
    case asConfigured
    case save
    case noSave
}

/// What became of the wish to save in the background.
package enum BackgroundSaveStart: Equatable, Sendable {
    case started
    /// Another save is running.
    case busy
    /// There is nowhere to save to, or nothing to do it with: why.
    case failed(String)
}

/// Why SHUTDOWN does not end the process.
package enum ShutdownRefusal: Equatable, Sendable {
    /// The data is not safe: what went wrong.
    case saveFailed(String)
    /// The process is not the store's to end.
    case notPossible
}

/// The state of persistence, as LASTSAVE and INFO show it.
package struct PersistenceStatus: Sendable {
    package var lastSaveSeconds: Int64 = 0
    package var isSaving = false
    package var lastSaveSucceeded = true
    package var lastSaveDurationSeconds: Int64 = -1
    package var currentSaveDurationSeconds: Int64 = -1
    /// How many keys the current save has written, of how many.
    package var currentSaveKeyCount = 0
    package var currentSaveKeyTotal = 0
    package var saveCount: UInt64 = 0
    /// Changes up to the last good save, as the store counts them.
    package var changesAtLastSave: UInt64 = 0

    /// Nil where there was none since the start.
    package var journal: JournalInformation?

    /// What the snapshot had that was loaded at the start.
    package var loadedKeyCount = 0
    package var loadedExpiredCount = 0

    package init() {}
}

/// What INFO says of a journal.
package struct JournalInformation: Sendable {
    /// Changes are written to it; else what is known of one that was ended.
    package var isEnabled = true
    /// A base is needed, and will be made as soon as it can.
    package var isRewriteScheduled = false
    package var isRewriting = false
    /// Of the last rewrite, and of the one that goes on; -1 for none.
    package var lastRewriteSeconds: Int64 = -1
    package var currentRewriteSeconds: Int64 = -1
    package var lastRewriteSucceeded = true
    package var rewriteCount = 0
    package var failureCount = 0
    package var lastWriteSucceeded = true
    package var byteCount = 0
    package var baseByteCount = 0
    package var pendingByteCount = 0
    package var delayedSyncCount = 0
    package var appendedSequence: UInt64 = 0
    package var durableSequence: UInt64 = 0

    package init() {}
}

/// What became of CONFIG REWRITE.
package enum ConfigurationRewriteOutcome: Equatable, Sendable {
    case written
    /// The configuration did not come from a file.
    case noFile
    /// The system's words.
    case failed(String)
}

package enum LogLevel: Sendable { case debug, verbose, notice, warning }

/// Why a file cannot be read: the system's words.
package struct HostFileError: Error, Equatable, Sendable {
    package var text: String

    package init(_ text: String) { self.text = text }
}

package struct Host: Sendable {
    /// SAVE: writes the snapshot of `store`, whose stripes `held` are locked; returns nil or what went wrong.
    package var save: @Sendable (_ store: Store, _ held: StripeSet) -> String?
    /// DEBUG RELOAD: loads the snapshot into `store`, whose stripes `held` are locked; with `replacesKeys`, a key that
    /// is there is replaced, which is else a problem. Returns nil or what went wrong.
    package var load: @Sendable (_ store: Store, _ held: StripeSet, _ replacesKeys: Bool) -> String?
    /// BGSAVE: starts a save in the background.
    package var startBackgroundSave: @Sendable (_ store: Store) -> BackgroundSaveStart
    /// BGREWRITEAOF: begins a new base of the journal in the background.
    package var startJournalRewrite: @Sendable () -> BackgroundSaveStart
    package var persistenceStatus: @Sendable () -> PersistenceStatus
    /// SHUTDOWN: saves as `mode` says and ends the server; returns nil, or why it cannot. The caller holds no stripe,
    /// and after nil no reply leaves.
    package var shutDown: @Sendable (_ mode: ShutdownMode, _ isNow: Bool, _ isForced: Bool) -> ShutdownRefusal?
    /// SHUTDOWN ABORT: false when no shutdown is in progress.
    package var abortShutDown: @Sendable () -> Bool
    /// DEBUG SLEEP
    package var sleep: @Sendable (_ microseconds: Int64) -> Void
    package var log: @Sendable (_ level: LogLevel, _ message: String) -> Void
    /// Facts about the process for INFO: field and value, by section (`server`, `memory`, `cpu` …).
    package var information: @Sendable (_ section: String) -> [(field: String, value: String)]
    /// Told after CONFIG SET changed directives, which are valid; returns nil, or which cannot be applied and why.
    package var applyConfiguration: @Sendable (_ directives: [String]) -> ConfigurationProblem?
    /// Told when that was refused and the old values are back: what was applied nevertheless is to follow them.
    package var restoreConfiguration: @Sendable (_ directives: [String]) -> Void
    /// After CONFIG SET, when neither the configuration nor a stripe is locked: waits for what goes on elsewhere.
    package var awaitConfiguration: @Sendable () -> Void
    /// CONFIG REWRITE: writes the configuration into its file, and the users, unless they are in a file of their own.
    package var rewriteConfiguration: @Sendable (_ users: [UserState]?) -> ConfigurationRewriteOutcome
    /// MEMORY PURGE: gives back what the process keeps for reuse outside the store.
    package var releaseMemory: @Sendable () -> Void
    /// SHA-256 of a password: 32 bytes. Nil where there is none, and so no passwords.
    package var digest: @Sendable (_ bytes: ByteView) -> [UInt8]?
    /// As many bytes that nobody can foresee: ACL GENPASS.
    package var randomBytes: @Sendable (_ count: Int) -> [UInt8]
    /// The file of users at the path of `aclfile`.
    package var readAccessFile: @Sendable (_ path: String) -> Result<[UInt8], HostFileError>
    /// Replaces that file, whole or not at all; returns nil or what went wrong.
    package var writeAccessFile: @Sendable (_ path: String, _ text: [UInt8]) -> String?

    package init(
        save: @escaping @Sendable (Store, StripeSet) -> String? = { _, _ in "this store has no directory to save to" },
        load: @escaping @Sendable (Store, StripeSet, Bool) -> String? = { _, _, _ in
            "this store has no directory to load from"
        },
        startBackgroundSave: @escaping @Sendable (Store) -> BackgroundSaveStart = { _ in .started },
        startJournalRewrite: @escaping @Sendable () -> BackgroundSaveStart = {
            .failed("there is no journal: appendonly is no")
        },
        persistenceStatus: @escaping @Sendable () -> PersistenceStatus = { PersistenceStatus() },
        shutDown: @escaping @Sendable (ShutdownMode, Bool, Bool) -> ShutdownRefusal? = { _, _, _ in nil },
        abortShutDown: @escaping @Sendable () -> Bool = { false },
        sleep: @escaping @Sendable (Int64) -> Void = { _ in },
        log: @escaping @Sendable (LogLevel, String) -> Void = { _, _ in },
        information: @escaping @Sendable (String) -> [(field: String, value: String)] = { _ in [] },
        applyConfiguration: @escaping @Sendable ([String]) -> ConfigurationProblem? = { _ in nil },
        restoreConfiguration: @escaping @Sendable ([String]) -> Void = { _ in },
        awaitConfiguration: @escaping @Sendable () -> Void = {},
        rewriteConfiguration: @escaping @Sendable ([UserState]?) -> ConfigurationRewriteOutcome = { _ in .noFile },
        releaseMemory: @escaping @Sendable () -> Void = {},
        digest: @escaping @Sendable (ByteView) -> [UInt8]? = { _ in nil },
        randomBytes: @escaping @Sendable (Int) -> [UInt8] = systemRandomBytes,
        readAccessFile: @escaping @Sendable (String) -> Result<[UInt8], HostFileError> = { _ in
            .failure(HostFileError("this store has no files"))
        },
        writeAccessFile: @escaping @Sendable (String, [UInt8]) -> String? = { _, _ in "this store has no files" }
    ) {
        self.save = save
        self.load = load
        self.startBackgroundSave = startBackgroundSave
        self.startJournalRewrite = startJournalRewrite
        self.persistenceStatus = persistenceStatus
        self.shutDown = shutDown
        self.abortShutDown = abortShutDown
        self.sleep = sleep
        self.log = log
        self.information = information
        self.applyConfiguration = applyConfiguration
        self.restoreConfiguration = restoreConfiguration
        self.awaitConfiguration = awaitConfiguration
        self.rewriteConfiguration = rewriteConfiguration
        self.releaseMemory = releaseMemory
        self.digest = digest
        self.randomBytes = randomBytes
        self.readAccessFile = readAccessFile
        self.writeAccessFile = writeAccessFile
    }
}
