// The server's journal: replayed at the start, written while the server runs, and begun anew from a snapshot when it
// has grown.
//
//      start: newest base snapshot ─▶ store ─▶ records behind it ─▶ JournalReplay ─▶ Journal opens behind them
//      then:  batch ─▶ JournalPort ─▶ Journal.append      round's end ─▶ ReplyGate (always)      tick ─▶ watch
//
// Ownership: ServerState's. Threads: any; what changes is atomic or under a lock. A rewrite runs on a thread of its
// own, one at a time.

import KedisCommands
import KedisPersistence
import KedisStore
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

final class JournalKeeper: Sendable {
    private let configuration: Configuration
    private let store: Store
    private let log: @Sendable (KedisCommands.LogLevel, String) -> Void
    private let opened = Locked<Journal?>(nil)
    private let rewrite = Locked(Rewrite())
    private let lock = Locked<SnapshotLock?>(nil)
    private let hasFailed = Atomic<Bool>(false)
    /// Records that were lost for want of memory: only a new base, of a later moment, makes the journal whole again.
    private let lossCount = Atomic<Int>(0)
    private let mendedLossCount = Atomic<Int>(0)
    /// The code of function libraries, which goes into each base.
    private let functions = Locked<[[UInt8]]>([])

    private struct Rewrite: Sendable {
        var startNanoseconds: UInt64?
        var lastSeconds: Int64 = -1
        var lastSucceeded = true
        var count = 0
        var failureCount = 0
        var baseByteCount = 0
        /// After a failure the next one by itself waits until then.
        var notBefore: UInt64 = 0
    }

    private static let retryNanoseconds: UInt64 = 60_000_000_000
    private static let overloadPauseMilliseconds: Int64 = 200

    init(
        configuration: Configuration, store: Store, log: @escaping @Sendable (KedisCommands.LogLevel, String) -> Void
    ) {
        self.configuration = configuration
        self.store = store
        self.log = log
        let folder = configuration.text("dir")
        directory = (folder.hasSuffix("/") ? folder : folder + "/") + configuration.text("appenddirname")
    }

    var isWanted: Bool { configuration.boolean("appendonly") }

    /// Absolute, and where it was at the start: the journal does not move with `dir`.
    let directory: String

    /// The journal that is written; nil without one.
    var journal: Journal? { opened.withLock { $0 } }

    // MARK: Start

    /// Makes this process the only one that writes the journal.
    func acquire() throws(StartError) {
        do {
            let acquired = try SnapshotLock.acquire(forSnapshot: directory)
            lock.withLock { $0 = acquired }
        } catch {
            throw StartError("\(error)\nGive each server a `dir` or `appenddirname` of its own.")
        }
    }

    /// Fills the store from the journal. Nil when there is none yet: then what else there is may be loaded, before
    /// ``open(after:_:)``.
    func load() throws(StartError) -> LoadedJournal? {
        var progress = ProgressLine(log: log)
        let start = monotonicNanoseconds()
        do {
            let loaded = try loadJournal(
                directory, into: store, configuration: configuration, removesLeftovers: true,
                progress: { done, total in progress.note(done, total) })
            let recovered = loaded.recovered
            guard recovered.basePath != nil || recovered.segmentCount > 0 else { return nil }
            if let cut = recovered.cut {
                log(
                    .warning,
                    "The last \(cut.byteCount) bytes of \(cut.path), from \(cut.offset) on, are what a crash has left "
                        + "of records that were not known to be on disk: they are left out")
            }
            log(
                .notice,
                "The journal is loaded: \(loaded.base?.keyCount ?? 0) keys of the base, \(recovered.recordCount) "
                    + "records (\(loaded.commandCount) commands) behind it, in \(millisecondsSince(start)) ms")
            return loaded
        } catch {
            throw StartError("the journal in \(directory): \(error)")
        }
    }

    /// Begins to write, behind what was recovered; without that, behind a base that has what the store holds now.
    func open(
        after recovered: RecoveredJournal?, functions code: [[UInt8]], engine: Engine, gate: ReplyGate,
        onDurable: @escaping @Sendable (UInt64) -> Void
    ) throws(StartError) {
        functions.withLock { $0 = code }
        do {
            let known: RecoveredJournal
            if let recovered {
                known = recovered
            } else {
                let begun = try beginJournal(
                    of: store, directory: directory, options: snapshotOptions,
                    nowMilliseconds: wallClockMilliseconds())
                noteBase(byteCount: begun.summary.byteCount)
                log(.notice, "The journal begins in \(directory) with a base of \(begun.summary.keyCount) keys")
                known = begun.recovered
            }
            var options = JournalOptions()
            options.policy = policy
            options.segmentByteCount = configuration.integer("journal-segment-size")
            options.retention = retention
            options.onDurable = { sequence in
                gate.noteDurable(sequence)
                onDurable(sequence)
            }
            let journal = try Journal.open(after: known, options: options)
            if let path = known.basePath { noteBase(byteCount: (try? FileSystem.system.byteCount(of: path)) ?? 0) }
            opened.withLock { $0 = journal }
            gate.connect(journal)
            connect(journal, engine, gate)
        } catch {
            throw StartError("the journal in \(directory) cannot be written: \(error)")
        }
    }

    private func connect(_ journal: Journal, _ engine: Engine, _ gate: ReplyGate) {
        store.lock(.all)
        engine.journal.connect(
            JournalSink(
                append: { journal.append($0, databaseIndex: $1, milliseconds: $2) },
                appendedSequence: { journal.appendedSequence },
                durableSequence: { [self] in
                    let hasHole =
                        lossCount.load(ordering: .relaxed) > mendedLossCount.load(ordering: .relaxed)
                    return hasHole ? 0 : journal.durableSequence
                },
                noteLoss: { [self] in lossCount.wrappingAdd(1, ordering: .relaxed) }))
        store.unlock(.all)
        applyPolicy(engine, gate)
    }

    private var snapshotOptions: SnapshotOptions {
        SnapshotOptions(
            compress: configuration.boolean("rdbcompression"), checksum: true,
            functions: functions.withLock { $0 },
            syncsWhileWriting: configuration.boolean("rdb-save-incremental-fsync"))
    }

    /// Names in the journal's folder that end so.
    private func hasFiles(endingWith suffix: String) -> Bool {
        ((try? FileSystem.system.names(directory)) ?? []).contains { $0.hasSuffix(suffix) }
    }

    /// Without `appendonly`: says that there is something that is not read.
    func warnIfIgnored() {
        let what: String
        if hasFiles(endingWith: ".kjl") {
            what = "is a journal in \(directory), which is"
        } else if let found = try? foreignFiles() {
            what = "are append-only files of Redis (\(found.path)), which are"
        } else {
            return
        }
        log(.warning, "There \(what) not read, as appendonly is no: only the snapshot is loaded")
    }

    private func foreignFiles() throws(AppendOnlyError) -> AppendOnlyFiles? {
        try AppendOnlyFiles.find(
            directory: directory, fileName: configuration.text("appendfilename"), folder: configuration.text("dir"))
    }

    /// With a journal: says that there is more, which was read when it began, or has come since.
    func warnOfForeign() {
        guard let found = try? foreignFiles() else { return }
        log(
            .notice,
            "There are append-only files of Redis as well (\(found.path)): they are not read, as there is a journal")
    }

    /// Fills the store from the append-only files of redis-server, which are left as they are; nil when there are none.
    func importAppendOnlyFiles() throws(StartError) -> LoadedAppendOnlyFiles? {
        var progress = ProgressLine(log: log)
        let start = monotonicNanoseconds()
        do {
            guard let found = try foreignFiles() else { return nil }
            let snapshot = configuration.text("dbfilename")
            if ((try? FileSystem.system.names(configuration.text("dir"))) ?? []).contains(snapshot) {
                log(
                    .warning,
                    "There is also \(snapshot), which is not read: with appendonly the append-only files count, as on "
                        + "redis-server (\(found.path)). If those are old, move them away and start again")
            }
            let loaded = try loadAppendOnlyFiles(
                found, into: store, configuration: configuration,
                progress: { done, total in progress.note(done, total) })
            if let cut = loaded.cut {
                let text = "the last \(cut.byteCount) bytes of \(cut.path), from \(cut.offset) on, are no whole request"
                guard configuration.boolean("aof-load-truncated") else {
                    throw StartError("\(text), and aof-load-truncated is no")
                }
                log(.warning, "\(text): they are left out")
            }
            log(
                .notice,
                "Loaded from redis-server (\(found.path)): \(loaded.base?.keyCount ?? 0) keys of a snapshot, "
                    + "\(loaded.requestCount) requests behind it, in \(millisecondsSince(start)) ms. "
                    + "Those files are not written on: the journal begins beside them")
            return loaded
        } catch {
            throw StartError("\(error)\nThe files were left as they are; without them the server would start empty.")
        }
    }

    // MARK: Settings

    private var policy: JournalPolicy {
        switch configuration.text("appendfsync") {
        case "always": .always
        case "no": .system
        default: .everySecond
        }
    }

    private var retention: JournalRetention {
        let seconds = configuration.integer("journal-retention-seconds")
        let byteCount = configuration.integer("journal-retention-size")
        return JournalRetention(
            milliseconds: seconds > 0 ? Int64(seconds) * 1000 : nil, byteCount: byteCount > 0 ? byteCount : nil)
    }

    /// After CONFIG SET, and at the start.
    func applyPolicy(_ engine: Engine, _ gate: ReplyGate) {
        guard let journal else { return }
        journal.setRetention(retention)
        let holds = policy == .always
        if holds {
            engine.journal.setHoldsReplies(true)
            gate.isOn.store(true, ordering: .relaxed)
        }
        journal.setPolicy(policy)
        guard !holds else { return }
        gate.isOn.store(false, ordering: .relaxed)
        engine.journal.setHoldsReplies(false)
    }

    // MARK: While the server runs

    /// Every tick: has writes refused while the disk takes nothing, and wait while it is too slow.
    func watch(_ engine: Engine) {
        guard let journal else { return }
        let isFailed = journal.isFailed
        if isFailed != hasFailed.exchange(isFailed, ordering: .relaxed) {
            engine.set(.journalFailed, to: isFailed)
            if isFailed {
                log(.warning, "The journal cannot be written, writes are refused: \(journal.failure ?? "unknown")")
            } else {
                log(.notice, "The journal is written again, writes are taken again")
            }
        }
        if journal.isOverloaded, !isFailed {
            engine.pause.begin(
                .writes, milliseconds: Self.overloadPauseMilliseconds,
                nowNanoseconds: engine.clock.monotonicNanoseconds())
        }
    }

    /// Once a second: begins the journal anew when it has grown, or lost a record.
    func rewriteWhenDue() {
        guard let journal, !journal.isFailed else { return }
        if lossCount.load(ordering: .relaxed) > mendedLossCount.load(ordering: .relaxed) {
            guard rewrite.withLock({ $0.startNanoseconds == nil }) else { return }
            log(.warning, "The journal has lost a record for want of memory: it begins anew")
            return _ = startRewrite()
        }
        let percentage = configuration.integer("auto-aof-rewrite-percentage")
        guard percentage > 0 else { return }
        let byteCount = journal.status.byteCountSinceBase
        let state = rewrite.withLock { $0 }
        guard byteCount >= max(1, configuration.integer("auto-aof-rewrite-min-size")),
            byteCount / max(1, percentage) >= state.baseByteCount / 100,
            state.startNanoseconds == nil, monotonicNanoseconds() >= state.notBefore
        else { return }
        log(.notice, "The journal has grown to \(byteCount) bytes behind its base: it begins anew")
        _ = startRewrite()
    }

    /// BGREWRITEAOF
    func startRewrite() -> BackgroundSaveStart {
        guard let journal else { return .failed("there is no journal: appendonly is no") }
        let isFree = rewrite.withLock { state in
            guard state.startNanoseconds == nil else { return false }
            state.startNanoseconds = monotonicNanoseconds()
            return true
        }
        guard isFree else { return .busy }
        log(.notice, "Background append only file rewriting started")
        guard startThread({ [self] in end(attempt(journal)) }) else {
            end(.failure(.outOfMemory(path: directory)))
            return .failed("no memory for a thread")
        }
        return .started
    }

    /// A new base, and what it makes needless goes.
    private func attempt(_ journal: Journal) -> Result<SnapshotSummary, SnapshotError> {
        do {
            var mended = 0
            let (summary, base) = try saveJournalBase(
                of: store, behind: journal, directory: directory, options: snapshotOptions,
                atInstant: { mended = lossCount.load(ordering: .relaxed) })
            mendedLossCount.store(mended, ordering: .relaxed)
            removeOld(journal, base: base)
            return .success(summary)
        } catch {
            return .failure(error)
        }
    }

    private func removeOld(_ journal: Journal, base: UInt64) {
        do {
            try removeJournalFiles(before: base, of: journal, directory: directory)
        } catch {
            log(.warning, "Files of the journal that are needless stay: \(error)")
        }
    }

    private func end(_ result: Result<SnapshotSummary, SnapshotError>) {
        rewrite.withLock { state in
            let start = state.startNanoseconds ?? 0
            state.lastSeconds = Int64((monotonicNanoseconds() &- start) / 1_000_000_000)
            state.startNanoseconds = nil
            switch result {
            case .success(let summary):
                (state.lastSucceeded, state.failureCount) = (true, 0)
                state.count += 1
                state.baseByteCount = summary.byteCount
            case .failure:
                state.lastSucceeded = false
                state.failureCount += 1
                state.notBefore = monotonicNanoseconds() &+ Self.retryNanoseconds
            }
        }
        switch result {
        case .success(let summary):
            log(.notice, "The journal has a new base: \(summary.keyCount) keys, \(summary.byteCount) bytes")
        case .failure(let error): log(.warning, "The journal gets no new base: \(error)")
        }
    }

    private func noteBase(byteCount: Int) { rewrite.withLock { $0.baseByteCount = byteCount } }

    /// Waits for a rewrite, then puts everything on disk. Nothing may be appended any more.
    func close() {
        defer { lock.withLock { $0?.release() } }
        while rewrite.withLock({ $0.startNanoseconds != nil }) { sleepBriefly() }
        guard let journal = opened.withLock({ opened in
            defer { opened = nil }
            return opened
        }) else { return }
        do {
            try journal.close()
        } catch {
            log(.warning, "The end of the journal is not on disk: \(error)")
        }
    }

    // MARK: Status

    var information: JournalInformation? {
        guard let journal else { return nil }
        let status = journal.status
        let state = rewrite.withLock { $0 }
        var result = JournalInformation()
        result.isRewriting = state.startNanoseconds != nil
        result.lastRewriteSeconds = state.lastSeconds
        if let start = state.startNanoseconds {
            result.currentRewriteSeconds = Int64((monotonicNanoseconds() &- start) / 1_000_000_000)
        }
        result.lastRewriteSucceeded = state.lastSucceeded
        result.rewriteCount = state.count
        result.failureCount = state.failureCount
        result.lastWriteSucceeded = status.lastWriteSucceeded
        result.byteCount = status.byteCountSinceBase + state.baseByteCount
        result.baseByteCount = state.baseByteCount
        result.pendingByteCount = status.pendingByteCount
        result.delayedSyncCount = status.delayedSyncCount
        result.appendedSequence = status.appendedSequence
        result.durableSequence = status.durableSequence
        return result
    }
}

/// A line of the log every so often while a journal is loaded.
private struct ProgressLine {
    private let log: @Sendable (KedisCommands.LogLevel, String) -> Void
    private var lastNanoseconds = monotonicNanoseconds()

    init(log: @escaping @Sendable (KedisCommands.LogLevel, String) -> Void) { self.log = log }

    mutating func note(_ done: Int, _ total: Int) {
        let now = monotonicNanoseconds()
        guard total > 0, now &- lastNanoseconds > 2_000_000_000 else { return }
        lastNanoseconds = now
        log(.notice, "Loading the journal: \(done / 1_048_576) of \(total / 1_048_576) MiB")
    }
}
