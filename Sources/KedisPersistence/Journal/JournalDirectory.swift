// What lies in a journal's directory, by its names: segments, base snapshots, left-over temporary files.
//
// A value, read once. Other names (a lock, what a repair has put aside) are left alone. Where a journal was begun on a
// running server, a note says which base it awaits (JournalGeneration.swift): what does not count, because that base
// never came, or because it did and is younger, is not among segments and bases.

import KedisUtilities

struct JournalDirectory {
    struct File: Equatable {
        var path: String
        /// A segment's first sequence, a base's last one.
        var sequence: UInt64
    }

    let path: String
    /// In order.
    private(set) var segments: [File] = []
    /// In order.
    private(set) var bases: [File] = []
    private(set) var temporaryPaths: [String] = []
    /// Notes about bases that are awaited.
    private(set) var awaited: [File] = []
    /// Segments and bases that do not count.
    private(set) var needless: [File] = []
    /// A journal was begun, and its first base never came.
    private(set) var isIncomplete = false
    private(set) var exists = true

    /// Reads the directory; one that is not there is empty.
    init(_ path: String, _ fileSystem: FileSystem) throws(JournalError) {
        self.path = path
        var names: [String] = []
        do {
            names = try fileSystem.retrying { () throws(SystemError) in try fileSystem.names(path) }
        } catch {
            guard error.isMissingFile else { throw .system(error) }
            exists = false
        }
        for name in names.sorted() {
            let filePath = "\(path)/\(name)"
            if let sequence = JournalNames.segmentSequence(name), sequence > 0 {
                segments.append(File(path: filePath, sequence: sequence))
            } else if let sequence = JournalNames.baseSequence(name) {
                bases.append(File(path: filePath, sequence: sequence))
            } else if let sequence = JournalNames.awaitedSequence(name) {
                awaited.append(File(path: filePath, sequence: sequence))
            } else if JournalNames.isTemporary(name) {
                temporaryPaths.append(filePath)
            }
        }
        for note in awaited { leaveOut(note.sequence) }
    }

    /// Leaves out what is on the wrong side of `sequence`, whose base is awaited, or has come.
    private mutating func leaveOut(_ sequence: UInt64) {
        let hasCome = bases.last.map { $0.sequence >= sequence } ?? false
        if hasCome {
            needless += segments.filter { $0.sequence <= sequence } + bases.filter { $0.sequence < sequence }
            segments.removeAll { $0.sequence <= sequence }
            bases.removeAll { $0.sequence < sequence }
        } else {
            needless += segments.filter { $0.sequence > sequence }
            segments.removeAll { $0.sequence > sequence }
            isIncomplete = true
        }
    }

    /// Removes what does not count, for good, and then, if `withNotes`, what says so.
    func tidy(withNotes: Bool, _ fileSystem: FileSystem) throws(SystemError) {
        guard !awaited.isEmpty else { return }
        for file in needless { try fileSystem.removeIfThere(file.path) }
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(path) }
        guard withNotes else { return }
        for file in awaited { try fileSystem.removeIfThere(file.path) }
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(path) }
    }

    /// The base that is missing: records are there, and no base at all that they could go on from. Whoever keeps a
    /// store writes a base before the first record (JournalBase.swift), an empty one too, so that none means a loss.
    var missingBase: JournalDamage? {
        guard bases.isEmpty, let first = segments.first else { return nil }
        return JournalDamage(
            kind: .missingBase, path: journalBasePath(directory: path, sequence: first.sequence &- 1), offset: 0,
            sequence: first.sequence)
    }

    /// The segments that hold what comes after the record `sequence`: from the last one that begins at or before the
    /// next record on. When all begin later, these are all.
    func segments(after sequence: UInt64) -> ArraySlice<File> {
        let start = segments.lastIndex { $0.sequence <= sequence &+ 1 } ?? 0
        return segments[start...]
    }
}

extension FileSystem {
    /// Removes a file, unless it is gone already.
    func removeIfThere(_ path: String) throws(SystemError) {
        do {
            try retrying { () throws(SystemError) in try unlink(path) }
        } catch {
            if !error.isMissingFile { throw error }
        }
    }
}

/// Removes the base snapshots that are older than `base` and that no segment goes on from: the first record that there
/// is has the sequence `first`. What cannot be removed stays, and does no harm.
package func removeJournalBases(
    directory path: String, before base: UInt64, neededFrom first: UInt64, fileSystem: FileSystem = .system
) {
    guard let directory = try? JournalDirectory(path, fileSystem) else { return }
    for file in directory.bases where file.sequence < base && file.sequence &+ 1 < first {
        try? fileSystem.retrying { () throws(SystemError) in try fileSystem.unlink(file.path) }
    }
}
