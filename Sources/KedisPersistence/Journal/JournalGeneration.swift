// A journal that begins while there may be older files in its directory: on a running server (CONFIG SET appendonly
// yes), or at a start that has reason not to trust them.
//
//     begin      base-G.awaited is on disk        nothing counts yet behind G, a sequence above all that is there
//     open       journal-G+1.kjl, records         written and synced as ever, but a start leaves them out
//     base       base-G.rdb, or a later one       in one step the journal counts, and what is older does not
//     finish     older files go, then the note
//
// So at each moment exactly one state is the journal's: the one from before, or the one with the new base. Whatever a
// crash leaves, JournalDirectory says what counts by names alone. No record is ever replayed behind a base of another
// journal. Threads: one for a directory.

import KedisUtilities

/// What is known of a directory before a recovery.
package struct JournalOutline: Sendable {
    /// A journal was begun on a running server, and its first base never came: its records do not count.
    package var isIncomplete = false
    /// Paths of what counts: segments and bases.
    package var paths: [String] = []
    /// What snapshots name the journal by; nil where no segment tells.
    package var identifierText: String?
    package var hasSegments = false
}

package func outlineJournal(
    directory path: String, fileSystem: FileSystem = .system
) throws(JournalError) -> JournalOutline {
    let directory = try JournalDirectory(path, fileSystem)
    var outline = JournalOutline(
        isIncomplete: directory.isIncomplete, paths: (directory.segments + directory.bases).map(\.path))
    if let last = directory.segments.last {
        outline.hasSegments = true
        var reader = try SegmentReader(path: last.path, fileSystem: fileSystem)
        do {
            outline.identifierText = try reader.readHeader().identifier.text
        } catch {
            // Damage is the recovery's affair.
            if case .system = error { throw error }
        }
    }
    return outline
}

/// A journal whose first base is awaited.
package struct JournalGeneration: Sendable {
    package let directory: String
    /// That of the first base; records come behind it.
    package let sequence: UInt64

    /// Makes the directory, where needed, and the note that a base is awaited. What is there counts as before.
    ///
    /// - Parameter used: sequences up to this one were given away by this process.
    package static func begin(
        directory path: String, above used: UInt64 = 0, fileSystem: FileSystem = .system
    ) throws(JournalError) -> JournalGeneration {
        do throws(SystemError) {
            try makeDirectory(path, fileSystem)
        } catch {
            throw .system(error)
        }
        let known = try JournalDirectory(path, fileSystem)
        do throws(SystemError) {
            let sequence = max(used, try lastSequence(in: known, fileSystem))
            let note = try ReplacementFile(
                replacing: "\(path)/\(JournalNames.awaited(sequence))", fileSystem: fileSystem)
            let text = "The journal behind this sequence counts when its base snapshot is here.\n"
            text.utf8.withContiguousStorageIfAvailable { _ = note.write(ByteView(UnsafeRawBufferPointer($0))) }
            try note.commit()
            // What an earlier beginning has left, which did not count, goes before anything new can be mistaken for it.
            try known.tidy(withNotes: false, fileSystem)
            for old in known.awaited where old.sequence != sequence { try fileSystem.removeIfThere(old.path) }
            return JournalGeneration(directory: path, sequence: sequence)
        } catch {
            throw .system(error)
        }
    }

    /// The journal of a directory that has none: its base comes before its first segment, so nothing has to be noted.
    package static func first(
        directory path: String, fileSystem: FileSystem = .system
    ) throws(JournalError) -> JournalGeneration {
        do { try makeDirectory(path, fileSystem) } catch { throw .system(error) }
        return JournalGeneration(directory: path, sequence: 0)
    }

    private static func makeDirectory(_ path: String, _ fileSystem: FileSystem) throws(SystemError) {
        _ = try fileSystem.makeDirectoryUnlessThere(path)
        let parent = directoryPath(of: path)
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(parent) }
    }

    /// A sequence that is not below any in the directory, and above those of bases: one with the same sequence would be
    /// taken for the one that is awaited. Of a segment's records only the number of its bytes is known, so this may be
    /// too high, whatever the bytes are.
    private static func lastSequence(
        in directory: JournalDirectory, _ fileSystem: FileSystem
    ) throws(SystemError) -> UInt64 {
        var last: UInt64 = 0
        for file in directory.awaited { last = max(last, file.sequence) }
        for file in directory.bases { last = max(last, file.sequence &+ 1) }
        for file in directory.segments + directory.needless where file.path.hasSuffix(".kjl") {
            let recordCountMax = try fileSystem.byteCount(of: file.path) / RecordHeader.byteCount
            last = max(last, file.sequence &+ UInt64(recordCountMax))
        }
        for file in directory.needless where file.path.hasSuffix(".rdb") { last = max(last, file.sequence &+ 1) }
        guard last < SegmentHeader.sequenceMax / 2 else { throw .tooLarge(directory.path) }
        return last
    }

    /// What ``Journal/open(after:options:fileSystem:)`` needs to begin to write it.
    package var recovered: RecoveredJournal {
        var recovered = RecoveredJournal(directory: directory)
        recovered.baseSequence = sequence
        recovered.lastSequence = sequence
        recovered.durable = sequence
        return recovered
    }

    package var basePath: String { journalBasePath(directory: directory, sequence: sequence) }

    /// Its base is on disk: what is older goes. What cannot be removed now goes at the next start.
    package func finish(fileSystem: FileSystem = .system) throws(JournalError) {
        let directory = try JournalDirectory(directory, fileSystem)
        assert(!directory.isIncomplete)
        do { try directory.tidy(withNotes: true, fileSystem) } catch { throw .system(error) }
    }

    /// Nobody writes it any more, and its base never came: its records go.
    package func abandon(fileSystem: FileSystem = .system) throws(JournalError) {
        let directory = try JournalDirectory(directory, fileSystem)
        do { try directory.tidy(withNotes: true, fileSystem) } catch { throw .system(error) }
    }
}
