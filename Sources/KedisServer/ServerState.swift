// Saving and leaving: what a server does for SAVE, BGSAVE, SHUTDOWN, the save rules and signals.
//
// Ownership: KedisServer's. Threads: any. The snapshot keeper sees to it that one save runs at a time.

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisStore
import KedisUtilities
import Logging
import Synchronization

final class ServerState: Sendable {
    let configuration: Configuration
    let store: Store
    let keeper: SnapshotKeeper
    let logger: Logger
    let startSeconds: Int64
    /// 40 random hexadecimal digits: another one for each start.
    let runIdentifier: String
    /// The port of the metrics server that was bound.
    let metricsPort = Atomic<Int>(0)
    /// Function libraries that the snapshot had: they go into the next one as they are.
    let functions = Locked<[[UInt8]]>([])
    /// Keys of the snapshot at the start, and those of it that had expired.
    let loaded = Locked((keyCount: 0, expiredCount: 0))
    let journal: JournalKeeper
    /// Within CONFIG SET: the sockets follow the new values already.
    let hasMovedSockets = Atomic<Bool>(false)
    private let hooks = Locked(Hooks())

    /// What is only known when the engine exists.
    struct Hooks: Sendable {
        var setSaveFailed: @Sendable (Bool) -> Void = { _ in }
        /// No reply leaves any more.
        var silence: @Sendable () -> Void = {}
        var requestStop: @Sendable () -> Void = {}
        /// Applies what CONFIG SET has changed of TLS and the sockets to listen on; nil, or what cannot be.
        var applyNetwork: @Sendable ([String]) -> ConfigurationProblem? = { _ in nil }
        var boundPorts: @Sendable () -> (plain: Int, encrypted: Int) = { (0, 0) }
    }

    /// Where the snapshot is, and the right to write it: ServerState+Folder.swift.
    let place: Locked<SnapshotPlace>

    /// The file that the configuration was read from, or "".
    let configurationPath: String
    /// `dir` as it was at the start.
    let startFolder: String

    let process: ServerProcess
    /// `oom_score_adj` of the process at the start.
    private let initialMemoryScore = currentMemoryScore()

    init(
        configuration: Configuration, configurationPath: String, store: Store, logger: Logger, process: ServerProcess
    ) {
        self.process = process
        self.configurationPath = configurationPath
        self.configuration = configuration
        startFolder = configuration.text("dir")
        place = Locked(SnapshotPlace(folder: startFolder, name: configuration.text("dbfilename")))
        self.store = store
        self.logger = logger
        journal = JournalKeeper(
            configuration: configuration, store: store, log: { logger.log($0, $1, under: configuration) })
        var random = SystemRandomNumberGenerator()
        runIdentifier = String((0..<40).map { _ in Array("0123456789abcdef")[Int.random(in: 0..<16, using: &random)] })
        let now = wallClockMilliseconds()
        startSeconds = now / 1000
        keeper = SnapshotKeeper(store: store, nowMilliseconds: now)
    }

    func applyNetwork(_ names: [String]) -> ConfigurationProblem? { hooks.withLock { $0 }.applyNetwork(names) }

    func closeJournal() {
        do { try journal.close() } catch { log(.warning, error.description) }
    }

    /// The TCP ports that are listened on, 0 for none.
    var ports: (plain: Int, encrypted: Int) { hooks.withLock { $0 }.boundPorts() }

    func setHooks(_ new: Hooks) { hooks.withLock { $0 = new } }

    func log(_ level: KedisCommands.LogLevel, _ message: String) {
        logger.log(level, message, under: configuration)
    }

    // MARK: The process

    /// Tells the system what the configuration says of the process.
    func begin() {
        if configuration.isGiven("oom-score-adj"), let problem = setMemoryScore() {
            log(.warning, "oom-score-adj is not applied: \(problem)")
        }
        let path = processFilePath(configuration)
        if !path.isEmpty, let problem = writeProcessFile(path) {
            log(.warning, "The file \(path) of the process's number cannot be written: \(problem)")
        }
    }

    /// Nil, or the system's words.
    func setMemoryScore() -> String? { applyMemoryScore(configuration, initial: initialMemoryScore) }

    func showTitle() {
        guard let title = process.title else { return }
        let ports = ports
        title.set(
            processTitle(configuration, configurationPath: configurationPath, port: ports.plain,
                tlsPort: ports.encrypted))
    }

    var snapshotPath: String { place.withLock { $0.path } }

    private var request: SnapshotRequest {
        let options = SnapshotOptions(
            compress: configuration.boolean("rdbcompression"), checksum: configuration.boolean("rdbchecksum"),
            functions: functions.withLock { $0 }, syncsWhileWriting: configuration.boolean("rdb-save-incremental-fsync")
        )
        let path = snapshotPath
        return SnapshotRequest(path: path, options: options, journal: journal.beside(path))
    }

    var saveRules: SaveRules { SaveRules(configuration.text("save")) ?? .none }

    // MARK: Saving

    /// Saves on this thread; nil, or what went wrong.
    func save(held: StripeSet) -> String? {
        let outcome = keeper.save(request, held: held, nowMilliseconds: wallClockMilliseconds())
        return note(outcome, isInBackground: false)
    }

    func saveInBackground() -> BackgroundSaveStart {
        let problem = keeper.saveInBackground(
            request, nowMilliseconds: wallClockMilliseconds(),
            completion: { [self] outcome in _ = note(outcome, isInBackground: true) },
            preparation: { [self] in bindSavingThread() })
        switch problem {
        case .failed(let error): return .failed(error.description)
        case .some: return .busy
        case nil:
            log(.notice, "Background saving started")
            return .started
        }
    }

    private func bindSavingThread() {
        if let problem = bindThread(toProcessors: configuration.text("bgsave_cpulist")) {
            log(.warning, "cannot use the processors of bgsave_cpulist: \(problem)")
        }
    }

    /// Logs what became of a save and lets writes through or not; nil, or what went wrong.
    private func note(_ outcome: SaveOutcome, isInBackground: Bool) -> String? {
        switch outcome {
        case .saved(let summary):
            let size = "\(summary.keyCount) keys, \(summary.byteCount) bytes, \(summary.durationMilliseconds) ms"
            log(.notice, "DB saved on disk: \(size)")
            hooks.withLock { $0 }.setSaveFailed(false)
            return nil
        case .failed(let error):
            log(.warning, "Saving failed: \(error)")
            // As in Redis: a failed SAVE has told its client; and only who asked for saves is stopped from writing.
            let isStrict = configuration.boolean("stop-writes-on-bgsave-error") && !saveRules.rules.isEmpty
            if isInBackground, isStrict { hooks.withLock { $0 }.setSaveFailed(true) }
            return error.description
        case .busy:
            return "a save is already in progress"
        }
    }

    /// After CONFIG SET: writes that a failed save stopped may go on when nobody asks for saves, or for strictness, any
    /// more.
    func refreshSaveFailure() {
        let isStrict = configuration.boolean("stop-writes-on-bgsave-error") && !saveRules.rules.isEmpty
        if !isStrict { hooks.withLock { $0 }.setSaveFailed(false) }
    }

    /// Once a second: the save rules, and how far a long save is.
    func saveWhenDue() {
        tellProgress()
        guard keeper.isSaveDue(saveRules, nowMilliseconds: wallClockMilliseconds()) else { return }
        log(.notice, "Enough changes for a save rule. Saving...")
        _ = saveInBackground()
    }

    private func tellProgress() {
        let status = keeper.status
        guard let start = status.currentSaveStartMilliseconds, status.totalKeyCount > 0 else { return }
        let seconds = (wallClockMilliseconds() - start) / 1000
        guard seconds > 0, seconds % 5 == 0 else { return }
        log(.notice, "Saving: \(status.processedKeyCount) of \(status.totalKeyCount) keys after \(seconds) s")
    }

    // MARK: Leaving

    /// The last save, then silence: nil, or why the server stays up. The caller holds no stripe.
    func prepareToLeave(_ mode: ShutdownMode, isForced: Bool) -> String? {
        let isSaving: Bool =
            switch mode {
            case .asConfigured: !saveRules.rules.isEmpty
            case .save: true
            case .noSave: false
            }
        guard isSaving else {
            hooks.withLock { $0 }.silence()
            return nil
        }
        log(.notice, "Saving the final RDB snapshot before exiting.")
        // Under all locks up to the silence: no change that misses the snapshot is ever confirmed.
        lockWhenNothingSaves()
        defer { store.unlock(.all) }
        if let failure = save(held: .all), !isForced {
            log(.warning, "Error trying to save the DB, can't exit.")
            return failure
        }
        hooks.withLock { $0 }.silence()
        return nil
    }

    /// Locks all stripes, without a save that began before and waits for them.
    private func lockWhenNothingSaves() {
        while true {
            keeper.waitUntilIdle()
            store.lock(.all)
            if !keeper.status.isSaving { return }
            store.unlock(.all)
        }
    }

    func shutDown(_ mode: ShutdownMode, isForced: Bool) -> ShutdownRefusal? {
        log(.warning, "User requested shutdown...")
        if let failure = prepareToLeave(mode, isForced: isForced) { return .saveFailed(failure) }
        hooks.withLock { $0 }.requestStop()
        return nil
    }

    // MARK: Status

    var persistenceStatus: PersistenceStatus {
        var result = PersistenceStatus(of: keeper, journal, nowMilliseconds: wallClockMilliseconds())
        (result.loadedKeyCount, result.loadedExpiredCount) = loaded.withLock { $0 }
        return result
    }
}
