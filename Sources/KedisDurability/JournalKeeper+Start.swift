// The start of a journal: what it, or redis-server, has left goes into the empty store; then it is written on. Its end.

import KedisCommands
package import KedisPersistence
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

/// What a store was filled with that has a journal.
package struct JournalContents {
    /// Nil when it came from redis-server: the journal begins behind it.
    package var recovered: RecoveredJournal?
    /// Of the snapshot that it began with.
    package var base: LoadSummary?
}

extension JournalKeeper {
    /// Makes this process the only one that writes the journal.
    package func acquire() throws(JournalProblem) {
        do {
            let acquired = try SnapshotLock.acquire(forSnapshot: directory)
            lock.withLock { $0 = acquired }
            if acquired != nil { _ = removeLeftoverFiles(in: directory) }
        } catch {
            throw JournalProblem("\(error)\nGive each store a folder (`dir`) or `appenddirname` of its own.")
        }
    }

    func releaseLock() {
        lock.withLock { lock in
            lock?.release()
            lock = nil
        }
    }

    /// The same for a store that may be opened only to be read: where the folder takes no files there will be no
    /// journal, which is told. Whether there will be one.
    package func acquireIfPossible() throws(JournalProblem) -> Bool {
        guard let error = refusal(of: directoryPath(of: directory)) else {
            try acquire()
            return true
        }
        log(.warning, "\(error): the store is opened without a journal, what is changed in it is not kept")
        configuration.settle("appendonly", "no")
        return false
    }

    /// Why a folder takes no files, where that is so by its mode or that of its file system.
    private func refusal(of folder: String) -> SystemError? {
        do throws(SystemError) {
            try ReplacementFile(replacing: "\(folder)/probe", fileSystem: fileSystem).discard()
            return nil
        } catch {
            return [EROFS, EACCES, EPERM].contains(error.code) ? error : nil
        }
    }

    // MARK: Loading

    /// Fills the store from the journal, or else from the append-only files of redis-server. Nil when neither is there,
    /// or counts less than the snapshot at `snapshotPath`: then that may be loaded, before ``begin(after:)``.
    ///
    /// - Parameter takesYounger: the snapshot counts more than append-only files, and more than the journal when it is
    ///   younger and not of it: a store without a journal has written it. Else that is only told.
    package func load(beside snapshotPath: String, takesYounger: Bool) throws(JournalProblem) -> JournalContents? {
        let outline: JournalOutline
        do { outline = try outlineJournal(directory: directory, fileSystem: fileSystem) } catch { throw problem(error) }
        let isYounger: Bool
        do {
            isYounger = try KedisDurability.isYounger(snapshotPath, than: outline, fileSystem)
        } catch {
            throw problem(error)
        }
        if isYounger {
            let text = "\(snapshotPath) is younger than the journal in \(directory), and not of it"
            guard !takesYounger else {
                log(.warning, "\(text): a store without a journal has written it. It is loaded, the journal put aside")
                isOutdated.store(true, ordering: .relaxed)
                return nil
            }
            log(.warning, "\(text). It is not read: with appendonly the journal counts")
        }
        if try isSurpassed(outline, by: snapshotPath) {
            log(
                .warning,
                "The journal in \(directory) was begun, but ended before it had its first base: it begins anew from "
                    + snapshotPath)
            isOutdated.store(!outline.paths.isEmpty, ordering: .relaxed)
            return nil
        }
        if let loaded = try loadJournal() {
            if try isBehind(snapshotPath, loaded.recovered) { return nil }
            if try takesYounger ? !isNamed(loaded.recovered, in: snapshotPath) : isYounger {
                try noteOther(snapshotPath)
            }
            warnOfForeign()
            return JournalContents(recovered: loaded.recovered, base: loaded.base)
        }
        if takesYounger, let found = try? foreignFiles(), try hasFile(snapshotPath) {
            log(
                .warning,
                "There are append-only files of Redis as well (\(found.path)): they are not read, as there is "
                    + "\(snapshotPath). If that is older, move it away and open again")
            return nil
        }
        guard let imported = try importAppendOnlyFiles(beside: snapshotPath) else { return nil }
        return JournalContents(base: imported.base)
    }

    func problem(_ error: some Error) -> JournalProblem {
        JournalProblem("the journal in \(directory): \(error)")
    }

    /// Nil when there is none yet.
    private func loadJournal() throws(JournalProblem) -> LoadedJournal? {
        var progress = ProgressLine(log: log)
        let start = monotonicNanoseconds()
        let loaded: LoadedJournal
        do {
            loaded = try KedisDurability.loadJournal(
                directory, into: store, configuration: configuration, table: commandTable, removesLeftovers: isWanted,
                fileSystem: fileSystem,
                progress: { done, total in progress.note(done, total) })
        } catch {
            throw problem(error)
        }
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
    }

    /// Fills the store from the append-only files of redis-server, which are left as they are; nil when there are none.
    private func importAppendOnlyFiles(
        beside snapshotPath: String
    ) throws(JournalProblem) -> LoadedAppendOnlyFiles? {
        var progress = ProgressLine(log: log)
        let start = monotonicNanoseconds()
        do {
            guard let found = try foreignFiles() else { return nil }
            if try hasFile(snapshotPath) {
                log(
                    .warning,
                    "There is also \(configuration.text("dbfilename")), which is not read: with appendonly the "
                        + "append-only files count, as on redis-server (\(found.path)). "
                        + "If those are old, move them away and start again")
            }
            let loaded = try loadAppendOnlyFiles(
                found, into: store, configuration: configuration, fileSystem: fileSystem,
                progress: { done, total in progress.note(done, total) })
            if let cut = loaded.cut {
                let text = "the last \(cut.byteCount) bytes of \(cut.path), from \(cut.offset) on, are no whole request"
                guard configuration.boolean("aof-load-truncated") else {
                    throw JournalProblem("\(text), and aof-load-truncated is no")
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
            throw JournalProblem("\(error)\nThe files were left as they are; without them the store would be empty.")
        }
    }

    /// Names in the journal's folder that end so.
    private func hasFiles(endingWith suffix: String) -> Bool {
        ((try? fileSystem.names(directory)) ?? []).contains { $0.hasSuffix(suffix) }
    }

    /// Without `appendonly`: says that there is something that is not read, and what to do where nothing else is.
    package func warnIfIgnored(beside snapshotPath: String) {
        let what: String
        if hasFiles(endingWith: ".kjl") {
            what = "is a journal in \(directory), which is"
        } else if let found = try? foreignFiles() {
            what = "are append-only files of Redis (\(found.path)), which are"
        } else {
            return
        }
        let isAll = (try? hasFile(snapshotPath)) == false
        let rest =
            isAll
            ? "there is no snapshot, so the store begins EMPTY. To have what is there, end this one without a save "
                + "(SHUTDOWN NOSAVE) and start again with appendonly yes"
            : "only the snapshot is loaded"
        log(.warning, "There \(what) not read, as appendonly is no: \(rest)")
    }

    func foreignFiles() throws(AppendOnlyError) -> AppendOnlyFiles? {
        try AppendOnlyFiles.find(
            directory: directory, fileName: configuration.text("appendfilename"), folder: configuration.text("dir"),
            fileSystem: fileSystem)
    }

    /// With a journal: says that there is more, which was read when it began, or has come since.
    private func warnOfForeign() {
        guard let found = try? foreignFiles() else { return }
        log(
            .notice,
            "There are append-only files of Redis as well (\(found.path)): they are not read, as there is a journal")
    }

    // MARK: Writing

    /// From now on the journal may be begun, here or by `CONFIG SET appendonly yes`; `code` is that of the function
    /// libraries that were loaded.
    package func prepare(functions code: [[UInt8]], owner new: JournalOwner) {
        functions.withLock { $0 = code }
        owner.withLock { $0 = new }
    }

    /// Begins to write, behind what was recovered; without that, behind a base that has what the store holds now.
    package func begin(after recovered: RecoveredJournal?) throws(JournalProblem) {
        guard let owner = owner.withLock({ $0 }) else { return }
        do {
            let known = try recovered ?? writeFirstBase()
            let journal = try open(after: known, owner)
            if let path = known.basePath { noteBase(byteCount: (try? fileSystem.byteCount(of: path)) ?? 0) }
            current.withLock { $0 = Current(journal: journal) }
            connect(journal, owner)
        } catch {
            throw JournalProblem("the journal in \(directory) cannot be written: \(error)")
        }
    }

    func open(after known: RecoveredJournal, _ owner: JournalOwner) throws(JournalError) -> Journal {
        let journal = try Journal.open(after: known, options: options(owner), fileSystem: fileSystem)
        owner.hasOpened(journal)
        return journal
    }

    /// Has the engine write to `journal`, unless that was ended meanwhile. The caller holds no stripe.
    func connect(_ journal: Journal, _ owner: JournalOwner) {
        guard let engine = owner.engine() else { return }
        store.lock(.all)
        let isWanted = current.withLock { current in
            guard current.journal === journal, !current.isEnding else { return false }
            current.isConnected = true
            return true
        }
        if isWanted {
            engine.journal.connect(sink(journal))
            // Before any batch, so that it is known of every record which keys it is about.
            if policy == .always { engine.journal.setHoldsReplies(true) }
        }
        store.unlock(.all)
        if isWanted { applyPolicy() }
    }

    private func sink(_ journal: Journal) -> JournalSink {
        JournalSink(
            append: { journal.append($0, databaseIndex: $1, milliseconds: $2) },
            appendedSequence: { journal.appendedSequence },
            durableSequence: { [self] in
                hasHole || awaitsBase.load(ordering: .acquiring) ? 0 : journal.durableSequence
            },
            noteLoss: { [self] in lossCount.wrappingAdd(1, ordering: .relaxed) })
    }

    /// A base with what the store holds; what the directory has beside it does not count any more.
    private func writeFirstBase() throws -> RecoveredJournal {
        if isOutdated.load(ordering: .relaxed) { try putAside() }
        let begun = try beginJournal(
            of: store, directory: directory, options: snapshotOptions, nowMilliseconds: wallClockMilliseconds(),
            fileSystem: fileSystem)
        noteBase(byteCount: begun.summary.byteCount)
        log(.notice, "The journal begins in \(directory) with a base of \(begun.summary.keyCount) keys")
        return begun.recovered
    }

    var snapshotOptions: SnapshotOptions {
        SnapshotOptions(
            compress: configuration.boolean("rdbcompression"), checksum: true,
            functions: functions.withLock { $0 },
            syncsWhileWriting: configuration.boolean("rdb-save-incremental-fsync"))
    }

    func noteBase(byteCount: Int) { rewrite.withLock { $0.baseByteCount = byteCount } }

    // MARK: The end

    /// Waits for a rewrite, then puts everything on disk. Nothing may be appended any more. What is not on disk then
    /// is the error.
    package func close() throws(JournalProblem) {
        awaitEnd()
        defer { releaseLock() }
        while rewrite.withLock({ $0.startNanoseconds != nil }) { sleepBriefly() }
        if let journal, current.withLock({ $0.generation != nil }), !journal.isFailed, case .started = claimRewrite() {
            end(attempt(journal), of: journal)
        }
        let last = current.withLock { current in
            defer { current = Current() }
            return current
        }
        guard let journal = last.journal else { return }
        // Its files go when nobody writes them any more.
        defer { if let generation = last.generation { abandon(generation) } }
        do {
            try journal.close()
        } catch {
            throw JournalProblem("The end of the journal is not on disk: \(error)")
        }
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
