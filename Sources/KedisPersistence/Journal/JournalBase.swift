// Bases of a journal: the snapshots that a start begins with, in place of the records before them.
//
//      instant:   all stripes locked; the next record begins a segment       base = the record before it
//      then:      the snapshot is written beside its name, writers go on
//      at last:   the journal is on disk up to the base ─▶ the snapshot gets its name ─▶ older files go
//
// The order is what makes a crash harmless: a base has its name only when it is whole and all records up to it are on
// disk, and files go only when it has. Threads: any, one at a time. Cost: as for a snapshot.

package import KedisStore
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Begins a journal with a base that has what `store` holds, and makes its directory; what the directory has beside it
/// does not count any more. Returns what a recovery finds then.
package func beginJournal(
    of store: Store, directory: String, options: SnapshotOptions, nowMilliseconds: Int64,
    fileSystem: FileSystem = .system
) throws -> (recovered: RecoveredJournal, summary: SnapshotSummary) {
    let outline = try outlineJournal(directory: directory, fileSystem: fileSystem)
    let isFirst = outline.paths.isEmpty && !outline.isIncomplete
    let generation =
        isFirst
        ? try JournalGeneration.first(directory: directory, fileSystem: fileSystem)
        : try JournalGeneration.begin(directory: directory, fileSystem: fileSystem)
    let summary = try saveSnapshot(
        of: store, to: generation.basePath, options: options, nowMilliseconds: nowMilliseconds, fileSystem: fileSystem)
    if !isFirst { try generation.finish(fileSystem: fileSystem) }
    return (generation.recovered, summary)
}

/// Writes a base of this moment, and returns the last record that it has. On failure everything is as it was. No stripe
/// may be held.
///
/// - Parameters:
///   - atInstant: called at the moment whose state it is, with all stripes locked.
///   - betweenSlices: called while it is written, nothing being locked.
///   - isWanted: once it says no the base is given up.
///   - mayCommit: asked when everything is on disk, before the base counts.
///   - pause: called while the journal is not on disk up to the base.
package func saveJournalBase(
    of store: Store, behind journal: Journal, directory: String, options: SnapshotOptions,
    fileSystem: FileSystem = .system, atInstant: () -> Void = {}, betweenSlices: () -> Void = {},
    isWanted: @escaping () -> Bool = { true }, mayCommit: () -> Bool = { true }, pause: () -> Void = sleepBriefly
) throws(SnapshotError) -> (summary: SnapshotSummary, sequence: UInt64) {
    var sequence: UInt64 = 0
    let summary = try saveSnapshotInBackground(
        of: store, to: journalBasePath(directory: directory, sequence: 0), options: options, nowMilliseconds: 0,
        fileSystem: fileSystem,
        atInstant: {
            atInstant()
            sequence = journal.rotate() &- 1
            return journalBasePath(directory: directory, sequence: sequence)
        },
        betweenSlices: betweenSlices, isWanted: isWanted,
        mayCommit: {
            // A base is never ahead of the journal: a start goes on behind it.
            while isWanted(), !journal.isFailed, journal.durableSequence < sequence { pause() }
            guard journal.isFailed || !mayCommit() else { return nil }
            return SystemError(operation: "sync", path: directory, code: EIO)
        })
    journal.noteBase(sequence)
    return (summary, sequence)
}

/// Removes what the base `sequence` makes needless, but for what the retention keeps. The base is on disk.
package func removeJournalFiles(
    before sequence: UInt64, of journal: Journal, directory: String, fileSystem: FileSystem = .system
) throws(JournalError) {
    // Bases may go whatever became of the segments: one is kept for each that is left.
    defer {
        removeJournalBases(
            directory: directory, before: sequence, neededFrom: journal.firstSequence, fileSystem: fileSystem)
    }
    _ = try journal.removeSegments(before: sequence &+ 1)
}
