// `kedis backup`: a copy of what a server would start with, made while it may run.
//
//      D/appendonlydir ─▶ E/incomplete-backup ─▶ (all on disk) ─▶ E/appendonlydir       one step, the last one
//      D/dump.rdb      ─▶ E/temp-….rdb        ─▶ (all on disk) ─▶ E/dump.rdb
//
// So whatever ends a backup early, E has nothing that a server, or `kedis check`, takes for data. What is read is
// verified: every record's checksum while it is copied, a snapshot by loading its copy into nothing. D is only read.
// Memory: the data of the snapshot, once.

import KedisCommands
package import KedisPersistence
import KedisStore
import KedisUtilities

/// What a backup has.
package struct BackupSummary: Sendable {
    package var path: String
    /// Nil when the snapshot was copied.
    package var journal: JournalCopy?
    /// Of the snapshot: the journal's base, or all there is.
    package var keyCount = 0
    package var byteCount = 0
    /// There is a snapshot beside the journal, which was not copied.
    package var ignoresSnapshot = false
}

private let incompleteName = "incomplete-backup"

/// Copies the journal of the server's folder `directory`, or the one that `directory` is itself, or else the snapshot
/// there, into the folder `target`, which is made, or empty. On return it is on disk.
///
/// - Parameters:
///   - snapshotName: `dbfilename`.
///   - prefersSnapshot: the snapshot is copied though there is a journal.
package func backUp(
    _ directory: String, into target: String, snapshotName: String = "dump.rdb", prefersSnapshot: Bool = false,
    databaseCount: Int = databaseCountMax, fileSystem: FileSystem = .system,
    progress: @escaping (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws(JournalToolError) -> BackupSummary {
    let source = try BackupSource(directory, snapshotName, prefersSnapshot: prefersSnapshot, fileSystem)
    let folder = try TargetFolder(target, fileSystem)
    let verify: SnapshotVerification = { (path) throws(JournalRefusal) in
        do throws(JournalToolError) {
            return try checkSnapshot(path, databaseCount: databaseCount, fileSystem: fileSystem).keyCount
        } catch {
            throw JournalRefusal(reason: error.description)
        }
    }
    do {
        var summary: BackupSummary
        if let journal = source.journalPath {
            summary = try copyJournal(journal, to: folder, fileSystem, progress, verify)
            summary.ignoresSnapshot = source.hasSnapshot
        } else {
            summary = try copySnapshot("\(directory)/\(snapshotName)", to: folder, fileSystem, progress, verify)
        }
        try folder.commit()
        return summary
    } catch {
        // What looks whole goes first by its name: a crash in between leaves nothing that does.
        let (whole, incomplete) = ("\(target)/\(usualJournalName)", "\(target)/\(incompleteName)")
        try? fileSystem.retrying { () throws(SystemError) in try fileSystem.rename(whole, incomplete) }
        folder.discard([incompleteName, snapshotName])
        throw JournalToolError(description: "\(error)")
    }
}

/// Loads a snapshot into nothing, and says how many keys it has.
private typealias SnapshotVerification = (_ path: String) throws(JournalRefusal) -> Int

/// What there is to be copied.
private struct BackupSource {
    /// Nil when it is the snapshot.
    private(set) var journalPath: String?
    private(set) var hasSnapshot = false

    init(
        _ directory: String, _ snapshotName: String, prefersSnapshot: Bool, _ fileSystem: FileSystem
    ) throws(JournalToolError) {
        do {
            let names = try fileSystem.retrying { () throws(SystemError) in try fileSystem.names(directory) }
            hasSnapshot = names.contains(snapshotName)
            if prefersSnapshot, hasSnapshot { return }
            // Beside a snapshot of another name programs and the shell have a journal of its own; servers have not.
            let candidates = [journalName(beside: snapshotName), usualJournalName]
            for name in candidates where journalPath == nil && names.contains(name) {
                if try isJournal("\(directory)/\(name)", fileSystem) { journalPath = "\(directory)/\(name)" }
            }
            if journalPath == nil, !prefersSnapshot, try isJournal(directory, fileSystem) {
                journalPath = directory
            }
            if let journalPath, hasSnapshot {
                let outline = try outlineJournal(directory: journalPath, fileSystem: fileSystem)
                if try isYounger("\(directory)/\(snapshotName)", than: outline, fileSystem) {
                    throw JournalToolError(
                        description: "\(directory)/\(snapshotName) is younger than the journal in \(journalPath), and "
                            + "not of it: a store without that journal has written it. --snapshot copies the snapshot, "
                            + "--dir \(journalPath) the journal")
                }
            }
            if journalPath == nil, !prefersSnapshot { try refuseForeign(directory, fileSystem) }
            guard prefersSnapshot || journalPath == nil && !hasSnapshot else { return }
        } catch let error as JournalToolError {
            throw error
        } catch {
            throw JournalToolError(description: "\(error)")
        }
        let what = prefersSnapshot ? snapshotName : "journal and no \(snapshotName)"
        throw JournalToolError(description: "there is no \(what) in \(directory)")
    }

    /// A start with `appendonly yes` would read append-only files of redis-server, not the snapshot beside them.
    private func refuseForeign(_ directory: String, _ fileSystem: FileSystem) throws {
        let found = try AppendOnlyFiles.find(
            directory: "\(directory)/\(usualJournalName)", fileName: "appendonly.aof", folder: directory,
            fileSystem: fileSystem)
        guard let found else { return }
        let snapshot = hasSnapshot ? "; --snapshot copies the snapshot, which may be older" : ""
        throw JournalToolError(
            description: "\(directory) has an append-only file of redis-server (\(found.path)), which is not copied: "
                + "start `kedis server --dir \(directory) --appendonly yes` first, which begins a journal with it"
                + snapshot)
    }
}

/// Whether a directory has files of a journal of Kedis.
private func isJournal(_ path: String, _ fileSystem: FileSystem) throws(SystemError) -> Bool {
    let names = try fileSystem.retrying { () throws(SystemError) in try fileSystem.names(path) }
    return names.contains { $0.hasSuffix(".kjl") || $0.hasPrefix("base-") && $0.hasSuffix(".rdb") }
}

private func copyJournal(
    _ journal: String, to folder: TargetFolder, _ fileSystem: FileSystem, _ progress: @escaping (Int, Int) -> Void,
    _ verify: SnapshotVerification
) throws -> BackupSummary {
    let incomplete = "\(folder.path)/\(incompleteName)"
    try fileSystem.retrying { () throws(SystemError) in try fileSystem.makeDirectory(incomplete) }
    var summary = BackupSummary(path: "\(folder.path)/\(usualJournalName)")
    let copy = try copyJournal(from: journal, to: incomplete, fileSystem: fileSystem, progress: progress) {
        (path) throws(JournalRefusal) in summary.keyCount = try verify(path)
    }
    let path = summary.path
    try fileSystem.retrying { () throws(SystemError) in try fileSystem.rename(incomplete, path) }
    summary.journal = copy
    summary.byteCount = copy.byteCount
    return summary
}

private func copySnapshot(
    _ source: String, to folder: TargetFolder, _ fileSystem: FileSystem, _ progress: @escaping (Int, Int) -> Void,
    _ verify: SnapshotVerification
) throws -> BackupSummary {
    let name = source.split(separator: "/").last.map(String.init) ?? ""
    var summary = BackupSummary(path: "\(folder.path)/\(name)")
    summary.byteCount = try copyFile(
        from: source, to: summary.path, fileSystem: fileSystem, progress: progress,
        verify: { (path) throws(JournalRefusal) in summary.keyCount = try verify(path) })
    return summary
}
