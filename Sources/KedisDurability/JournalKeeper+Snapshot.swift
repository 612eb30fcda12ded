// The journal and the snapshot beside it: which of both a start takes, and that what it does not take is kept.
//
//     the snapshot names the journal, and no later record than the journal has      the journal has more: it counts
//     it names a later one: the disk did not take the journal's end                  the snapshot counts
//     it names no journal, or another one                                            times of files, and who asks
//
// Nothing that was not loaded is overwritten: a journal goes aside before another one begins, a snapshot before another
// one takes its name. Threads: any.

import KedisCommands
package import KedisPersistence
import KedisStore
import KedisUtilities
import Synchronization

extension JournalKeeper {
    /// What a save to `snapshotPath` asks.
    package func beside(_ snapshotPath: String) -> SnapshotJournal {
        SnapshotJournal(
            journal: { [self] in journal },
            willReplace: { [self] () throws(SystemError) in try keepOther(snapshotPath) })
    }

    /// Whether the process before had begun a journal, whose first base never came, and the snapshot is younger than
    /// what older files there may be, and not of theirs.
    func isSurpassed(_ outline: JournalOutline, by snapshotPath: String) throws(JournalProblem) -> Bool {
        let foreign: AppendOnlyFiles?
        guard outline.isIncomplete, let saved = try time(of: snapshotPath) else { return false }
        if let name = outline.identifierText, try mention(of: name, in: snapshotPath) != nil { return false }
        do { foreign = try foreignFiles() } catch { throw problem(error) }
        for path in outline.paths + (foreign?.paths ?? []) where try time(of: path) ?? 0 >= saved { return false }
        return true
    }

    // What cannot be told is no answer: the one or the other would be loaded, and the next save would settle it.

    /// The last record of a journal that a snapshot says it has.
    private func mention(of name: String, in snapshotPath: String) throws(JournalProblem) -> UInt64? {
        do {
            return try KedisPersistence.mention(of: name, inSnapshot: snapshotPath, fileSystem: fileSystem)
        } catch {
            throw problem(error)
        }
    }

    private func time(of path: String) throws(JournalProblem) -> Int64? {
        do { return try fileSystem.time(of: path) } catch { throw problem(error) }
    }

    /// Whether the snapshot has records that the journal has not: a loss of power, or a failing disk, took them. Then
    /// the store is empty again, for the snapshot.
    func isBehind(_ snapshotPath: String, _ recovered: RecoveredJournal) throws(JournalProblem) -> Bool {
        guard let name = recovered.identifierText, let last = try mention(of: name, in: snapshotPath),
            last > recovered.lastSequence
        else { return false }
        log(
            .warning,
            "The journal in \(directory) ends at record \(recovered.lastSequence), and \(snapshotPath) has all up to "
                + "\(last): it is loaded, the journal put aside")
        store.lock(.all)
        for index in 0..<store.databaseCount {
            _ = store.keyspace(index, nowMilliseconds: 0, held: .all).removeAll()
        }
        store.unlock(.all)
        isOutdated.store(true, ordering: .relaxed)
        return true
    }

    func isNamed(_ recovered: RecoveredJournal, in snapshotPath: String) throws(JournalProblem) -> Bool {
        guard let name = recovered.identifierText else { return false }
        return try mention(of: name, in: snapshotPath) != nil
    }

    /// Whether the snapshot has all that was recovered.
    package func isCurrent(_ snapshotPath: String, with recovered: RecoveredJournal) -> Bool {
        guard let name = recovered.identifierText else { return false }
        return (try? mention(of: name, in: snapshotPath)) == recovered.lastSequence
    }

    func hasFile(_ path: String) throws(JournalProblem) -> Bool { try time(of: path) != nil }

    // MARK: What was not loaded is kept

    /// The snapshot is not loaded, and nothing says that the journal has what it has.
    func noteOther(_ snapshotPath: String) throws(JournalProblem) {
        if try hasFile(snapshotPath) { otherSnapshot.withLock { $0 = snapshotPath } }
    }

    private func keepOther(_ snapshotPath: String) throws(SystemError) {
        guard otherSnapshot.withLock({ $0 == snapshotPath }) else { return }
        do throws(SystemError) {
            let kept = try renameAside(snapshotPath)
            log(.warning, "\(snapshotPath) was not of the journal in \(directory): it is kept as \(kept)")
        } catch {
            if !error.isMissingFile { throw error }
        }
        otherSnapshot.withLock { $0 = nil }
    }

    /// Renames the directory of a journal that another one takes the place of.
    func putAside() throws(SystemError) {
        let kept = try renameAside(directory)
        isOutdated.store(false, ordering: .relaxed)
        log(.warning, "The journal that was there is kept in \(kept)")
    }

    /// Renames what is at `path` to `path.old`, or `path.old-2` and so on, and returns that.
    private func renameAside(_ path: String) throws(SystemError) -> String {
        let (files, folder) = (fileSystem, directoryPath(of: path))
        let names = Set(try files.retrying { () throws(SystemError) in try files.names(folder) })
        let own = path.split(separator: "/").last.map(String.init) ?? ""
        var (suffix, number) = (".old", 1)
        while names.contains(own + suffix) {
            number += 1
            suffix = ".old-\(number)"
        }
        try files.rename(path, path + suffix)
        try files.retrying { () throws(SystemError) in try files.synchronizeDirectory(folder) }
        return path + suffix
    }
}

/// Whether a store without this journal has written the snapshot since the journal was written. An empty one does not
/// count: a server that passed the journal over, and found nothing else, leaves one.
func isYounger(
    _ snapshotPath: String, than outline: JournalOutline, _ fileSystem: FileSystem
) throws(SystemError) -> Bool {
    guard !outline.paths.isEmpty, !outline.isIncomplete, let saved = try fileSystem.time(of: snapshotPath)
    else { return false }
    for path in outline.paths where try fileSystem.time(of: path) ?? 0 >= saved { return false }
    if try isEmptySnapshot(snapshotPath, fileSystem) { return false }
    // Of a journal whose last file is damaged nobody knows: that is to be told, not passed over.
    guard let name = outline.identifierText else { return !outline.hasSegments }
    return try mention(of: name, inSnapshot: snapshotPath, fileSystem: fileSystem) == nil
}

/// Whether a snapshot has neither keys nor functions. What a call of the system refuses is no answer; a damaged
/// snapshot is told by whoever loads it. Cost: nothing for one that is too long to be empty.
private func isEmptySnapshot(_ path: String, _ fileSystem: FileSystem) throws(SystemError) -> Bool {
    let byteCount = try fileSystem.retrying { () throws(SystemError) in try fileSystem.byteCount(of: path) }
    guard byteCount <= 4096 else { return false }
    let store = Store(databaseCount: databaseCountMax, seed: HashSeed(systemEntropy(), systemEntropy()))
    do throws(SnapshotError) {
        let summary = try loadSnapshot(into: store, from: path, nowMilliseconds: 0, fileSystem: fileSystem)
        return summary.map { $0.keyCount == 0 && $0.functions.isEmpty } ?? false
    } catch {
        guard case .system(let error) = error else { return false }
        throw error
    }
}

extension FileSystem {
    /// When a file was changed last; nil for one that is not there.
    fileprivate func time(of path: String) throws(SystemError) -> Int64? {
        do {
            return try retrying { () throws(SystemError) in try modificationNanoseconds(path) }
        } catch {
            guard error.isMissingFile else { throw error }
            return nil
        }
    }
}
