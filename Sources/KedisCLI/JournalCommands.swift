// `kedis check`, `kedis restore` and `kedis backup`: whether journal and snapshot can be read, the state of an earlier
// moment, and a copy of what there is.

import ArgumentParser
import KedisDurability
import KedisPersistence
import KedisProtocol
import KedisServer
import KedisShell

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Verifies a journal, a snapshot, or what redis-server has.",
        discussion: """
            Reads every byte and every checksum and changes nothing, unless --repair is given. Exits with 0 when a \
            server would start with it, else with 1.
            """)

    @Argument(
        help:
            "A server's folder, a journal's (appendonlydir), a .kjl file, a dump.rdb, or files of redis-server."
    )
    var path: String
    @Flag(help: "Cut the journal at the first damage; what is cut off is kept beside it.") var repair = false

    func run() throws {
        try explaining {
            var status = stat()
            guard stat(path, &status) == 0 else { throw missing(path) }
            if status.st_mode & S_IFMT == S_IFDIR { return try checkDirectory() }
            guard !repair else { throw JournalToolError(description: "--repair is for the folder of a journal") }
            if path.hasSuffix(".kjl") { return try show(checkJournalSegment(path, progress: showProgress)) }
            if path.hasSuffix(".aof") || path.hasSuffix(".manifest") {
                return show(try checkAppendOnlyFiles(path, isFolder: false, progress: showProgress))
            }
            show(try KedisDurability.checkSnapshot(path, progress: showProgress), of: path)
        }
    }

    private func checkDirectory() throws {
        let folder = withoutSlash(path)
        // A repair is the journal's affair.
        let isSnapshotGood = repair ? nil : checkSnapshot(in: folder)
        try checkJournal(in: journalFolder(folder), hasSnapshot: isSnapshotGood != nil)
        if isSnapshotGood == false { throw ExitCode.failure }
    }

    /// Reads the snapshot of a server's folder and says what is in it, or what is wrong; nil when there is none.
    private func checkSnapshot(in folder: String) -> Bool? {
        let snapshot = "\(folder)/dump.rdb"
        guard access(snapshot, F_OK) == 0 else { return nil }
        do throws(JournalToolError) {
            show(try KedisDurability.checkSnapshot(snapshot, progress: showProgress), of: snapshot)
            return true
        } catch {
            complain("\(error)")
            return false
        }
    }

    private func show(_ summary: LoadSummary, of path: String) {
        let keys = counted(summary.keyCount, "key")
        print("\(path): version \(summary.version), \(keys), \(summary.byteCount) bytes: good")
    }

    private func checkJournal(in path: String, hasSnapshot: Bool) throws {
        // What is beside a journal of Kedis was read when that began.
        if !repair, !hasJournal(path) {
            let check = try checkAppendOnlyFiles(path, isFolder: true, progress: showProgress)
            if let check { return show(check) }
        }
        let isWhole = try repair && !mend(path)
        let (check, bases) = try readJournal(path)
        let isThere = check.segmentCount > 0 || !check.basePaths.isEmpty
        guard isThere || check.awaitedSequence != nil else {
            if hasSnapshot { return }
            throw JournalToolError(description: "there is no journal in \(path)")
        }
        showNeedless(check)
        guard isThere else {
            if isWhole { print("nothing to repair") }
            if let other = try checkAppendOnlyFiles(path, isFolder: true, progress: showProgress) { return show(other) }
            return print("no other journal: a start loads the snapshot, or is empty, and begins one anew: good")
        }
        for (path, summary) in zip(check.basePaths, bases) {
            print("\(path): \(counted(summary.keyCount, "key")), \(summary.byteCount) bytes")
        }
        if isWhole { print("nothing to repair") }
        try show(check, folder: path)
    }

    /// Reads a journal and its bases: anew when its server has begun or removed files meanwhile, and something could
    /// not be read, or not be found.
    private func readJournal(_ path: String) throws -> (JournalCheck, bases: [LoadSummary]) {
        var damage: JournalDamage?
        for _ in 1..<Self.attemptCountMax {
            let names = journalNames(path)
            do {
                let (check, bases) = try readJournalOnce(path)
                // The same once more has nothing to do with what has changed.
                if check.damage == damage || journalNames(path) == names { return (check, bases) }
                damage = check.damage
            } catch {
                guard journalNames(path) != names else { throw error }
            }
        }
        return try readJournalOnce(path)
    }

    private func readJournalOnce(_ path: String) throws -> (JournalCheck, bases: [LoadSummary]) {
        let check = try KedisPersistence.checkJournal(directory: path, progress: showProgress)
        return (check, try check.basePaths.map { try KedisDurability.checkSnapshot($0) })
    }

    private static let attemptCountMax = 20

    private func journalNames(_ path: String) -> Set<String> {
        let names = (try? FileSystem.system.names(path)) ?? []
        return Set(names.filter { $0.hasPrefix("journal-") || $0.hasPrefix("base-") })
    }

    /// Cuts the journal where it is damaged, and says what was done; false when nothing was.
    private func mend(_ path: String) throws -> Bool {
        // Not under the hands of a server.
        let lock = try SnapshotLock.acquire(forSnapshot: path)
        defer { lock?.release() }
        let repaired = try repairJournal(directory: path)
        for damage in repaired.damages { print("cut: \(damage)") }
        for path in repaired.cutPaths { print("kept: \(path)") }
        return !repaired.damages.isEmpty
    }

    /// What is there beside the journal that counts, if there is one.
    private func showNeedless(_ check: JournalCheck) {
        let what = "\(counted(check.needlessPaths.count, "file")), \(check.needlessByteCount) bytes"
        if let sequence = check.awaitedSequence {
            print("a journal that was begun behind record \(sequence) awaits its first base snapshot")
            print("nothing of it counts before (\(what)): its server writes the base, or has crashed before")
        } else if !check.needlessPaths.isEmpty {
            print("of an earlier journal, in whose place this one is: \(what), which a start removes")
        }
    }

    private func hasJournal(_ path: String) -> Bool {
        ((try? FileSystem.system.names(path)) ?? []).contains { $0.hasSuffix(".kjl") }
    }

    private func show(_ check: AppendOnlyCheck?) {
        guard let check else { return }
        for path in check.paths { print(path) }
        if let count = check.baseKeyCount { print("\(counted(count, "key")) of the snapshot at the start") }
        print(counted(Int(clamping: check.requestCount), "request"))
        if let cut = check.cut { showTornTail(cut.byteCount, at: cut.offset, of: cut.path) }
        print("good")
    }

    private func showTornTail(_ byteCount: Int, at offset: Int, of path: String) {
        print("torn tail, which a start leaves out: \(byteCount) bytes at \(offset) of \(path)")
    }

    /// - Parameter folder: that of the journal; nil for one file of it, which cannot be cut by itself.
    private func show(_ check: JournalCheck, folder: String? = nil) throws {
        print("\(counted(check.segmentCount, "file")) of records, \(check.byteCount) bytes")
        if check.recordCount > 0 {
            print("\(counted(check.recordCount, "record")), \(check.firstSequence) to \(check.lastSequence)")
            print("last record: \(moment(check.lastMilliseconds))")
        }
        let end = check.wasClosed ? "closed: nothing is missing at its end" : "not closed: in use, crashed, or cut off"
        print(end)
        if let cut = check.cut { showTornTail(cut.byteCount, at: cut.offset, of: cut.path) }
        guard let damage = check.damage else { return print("good") }
        complain("\(damage)")
        if let folder, damage.canBeCut {
            complain("kedis check --repair \(folder) cuts the journal here and keeps what it cuts off")
        }
        guard check.canStart else { throw ExitCode.failure }
        print("a start does not read that part: good but for going back in time")
    }
}

struct RestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Writes the state that a journal had at some moment into a new folder.",
        discussion: """
            The journal is only read, also while its server runs. The new folder gets a dump.rdb, which kedis server \
            --dir loads. How far back one can go, journal-retention-seconds and journal-retention-size say.
            """)

    @Option(help: "The folder of the server (its dir), or of the journal itself.") var dir: String
    @Option(help: "A moment (2026-11-23T10:15:00Z), or the sequence of a record; the end if not given.")
    var until: String?
    @Option(help: "The folder to make.") var into: String

    func run() throws {
        try explaining {
            let bound = until.map(journalBound) ?? .end
            guard let bound else {
                complain("--until is a moment like 2026-11-23T10:15:00Z, or a number")
                throw ExitCode.validationFailure
            }
            let journal = journalFolder(withoutSlash(dir))
            guard access(journal, F_OK) == 0 else { throw missing(journal) }
            let summary = try restoreJournal(
                journal, until: bound, into: withoutSlash(into), progress: showProgress)
            let last = summary.lastMilliseconds > 0 ? " of \(moment(summary.lastMilliseconds))" : ""
            let keys = counted(summary.keyCount, "key")
            print("\(summary.path): \(keys), the state after record \(summary.lastSequence)\(last)")
            if summary.endsBeforeBound {
                complain("the journal ends before that: record \(summary.lastSequence) is its last one")
            }
            if summary.databaseCount > 16 {
                print("a server needs --databases \(summary.databaseCount) to load it")
            }
        }
    }
}

struct BackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Copies what a server would start with, verified, while it may run.",
        discussion: """
            With a journal: its newest base snapshot and all records behind it, into NEW/appendonlydir; kedis server \
            --dir NEW --appendonly yes starts with it, kedis check reads it, kedis restore goes back to any record \
            behind the base. Without: the snapshot. All that was on disk when the command began is in the copy. The \
            folder is only read. Exits with 0 when the copy is whole and on disk, else with 1, and there is none.
            """)

    @Option(help: "The folder of the server (its dir), or of the journal itself.") var dir: String
    @Option(help: "The folder to make, or an empty one.") var into: String
    @Option(help: "The name of the snapshot, if it is not dump.rdb.") var dbfilename = "dump.rdb"
    @Flag(help: "Copy the snapshot, though there is a journal.") var snapshot = false
    @Flag(help: "Print what was copied as one line of JSON.") var json = false

    func run() throws {
        try explaining {
            guard !dbfilename.isEmpty, !dbfilename.contains("/") else {
                complain("--dbfilename is a name without a folder")
                throw ExitCode.validationFailure
            }
            let summary = try backUp(
                withoutSlash(dir), into: withoutSlash(into), snapshotName: dbfilename, prefersSnapshot: snapshot,
                progress: showProgress)
            if json { return printJSON(summary) }
            guard let journal = summary.journal else {
                let keys = counted(summary.keyCount, "key")
                return print("\(summary.path): \(keys), \(summary.byteCount) bytes: verified")
            }
            show(journal, summary)
        }
    }

    private func printJSON(_ summary: BackupSummary) {
        func text(_ text: String) -> Reply { .bulk(Array(text.utf8)) }
        func count(_ count: some BinaryInteger) -> Reply { .integer(Int64(clamping: count)) }
        let journal = summary.journal
        var fields: [(String, Reply)] = [
            ("path", text(summary.path)), ("kind", text(journal == nil ? "snapshot" : "journal")),
            ("bytes", count(summary.byteCount)), ("keys", count(summary.keyCount)),
        ]
        if let journal {
            let last = journal.lastMilliseconds > 0 ? text(moment(journal.lastMilliseconds)) : .null
            fields += [
                ("base_sequence", journal.basePath == nil ? .null : count(journal.baseSequence)),
                ("records", count(journal.recordCount)), ("files", count(journal.segmentCount)),
                ("last_sequence", count(journal.lastSequence)), ("last_time", last),
                ("retries", count(journal.retryCount)), ("ignores_snapshot", .boolean(summary.ignoresSnapshot)),
            ]
        }
        let line = ReplyFormatter.json(.map(fields.map { Reply.Entry(key: text($0.0), value: $0.1) }))
        print(String(decoding: line, as: UTF8.self), terminator: "")
    }

    private func show(_ journal: JournalCopy, _ summary: BackupSummary) {
        if journal.basePath != nil {
            print("a base of \(counted(summary.keyCount, "key")), the state after record \(journal.baseSequence)")
        }
        let last = journal.lastMilliseconds > 0 ? " of \(moment(journal.lastMilliseconds))" : ""
        let records = "\(counted(journal.recordCount, "record")) in \(counted(journal.segmentCount, "file"))"
        print("\(records), to record \(journal.lastSequence)\(last)")
        if journal.retryCount > 0 { print("begun anew \(journal.retryCount) times, as the journal was") }
        print("\(summary.path): \(summary.byteCount) bytes: verified")
        if summary.ignoresSnapshot {
            print("\(dbfilename) was not copied: with a journal that counts, but for a server without appendonly yes")
        }
    }
}

/// `1 key`, `2 keys`.
private func counted(_ count: Int, _ noun: String) -> String { count == 1 ? "1 \(noun)" : "\(count) \(noun)s" }

private func withoutSlash(_ path: String) -> String {
    path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
}

/// What `errno` says of a file.
private func missing(_ path: String) -> JournalToolError {
    JournalToolError(description: "\(path): \(String(cString: strerror(errno)))")
}

/// Says what went wrong, and exits with 1.
private func explaining(_ body: () throws -> Void) throws {
    do {
        try body()
    } catch let code as ExitCode {
        throw code
    } catch {
        complain("\(error)")
        throw ExitCode.failure
    }
}

/// A line that stays in its place, for people.
private func showProgress(_ done: Int, _ total: Int) {
    guard isatty(2) != 0, total > 64 << 20 else { return }
    let text = "\r\(100 * done / max(1, total)) % of \(total >> 20) MiB"
    _ = text.withCString { write(2, $0, strlen($0)) }
    if done >= total { _ = write(2, "\n", 1) }
}
