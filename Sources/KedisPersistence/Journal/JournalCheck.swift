// Checking a journal without changing anything.
//
// Every segment in the directory is read, also those that a start does not need because the base snapshot has what is
// in them: going back to a moment does. Memory and cost as for recovery.

import KedisUtilities

/// What a check found.
package struct JournalCheck: Equatable, Sendable {
    package internal(set) var segmentCount = 0
    package internal(set) var byteCount = 0
    package internal(set) var recordCount = 0
    /// Of the first and the last record; 0 where there is none.
    package internal(set) var firstSequence: UInt64 = 0
    package internal(set) var lastSequence: UInt64 = 0
    /// The time of the last record.
    package internal(set) var lastMilliseconds: Int64 = 0
    /// The base snapshots, oldest first. What is in them is not looked at.
    package internal(set) var basePaths: [String] = []
    /// A torn tail, which the next start leaves out.
    package internal(set) var cut: JournalCut?
    package internal(set) var wasClosed = false
    /// The first damage that hinders a start, or else the first in what only going back needs.
    package internal(set) var damage: JournalDamage?
    /// A start reads nothing that is damaged.
    package internal(set) var canStart = true
    /// Where a journal was begun whose first base is not there yet: the record that it is to have. The journal's
    /// records, which do not count, are among ``needlessPaths``; what else is there counts as before.
    package internal(set) var awaitedSequence: UInt64?
    /// Files that do not count, which a start removes, oldest first: of a journal whose base has not come, or that
    /// another one has taken the place of. What is in them is not looked at.
    package internal(set) var needlessPaths: [String] = []
    /// Their bytes.
    package internal(set) var needlessByteCount = 0
}

/// Looks at all of the journal in `directory`. Damage is a result, not an error. `needsBase` as in a recovery.
package func checkJournal(
    directory path: String, needsBase: Bool = true, fileSystem: FileSystem = .system,
    progress: @escaping (_ bytesDone: Int, _ byteCount: Int) -> Void = { _, _ in }
) throws(JournalError) -> JournalCheck {
    let directory = try JournalDirectory(path, fileSystem)
    guard directory.exists else { throw .system(.missing(path)) }
    var checker = JournalChecker(fileSystem: fileSystem, progress: progress)
    checker.check.basePaths = directory.bases.map(\.path)
    try checker.noteNeedless(directory)
    try checker.measure(directory.segments)
    if needsBase, let damage = directory.missingBase {
        // The records are looked at all the same.
        try checker.readNeeded(directory.segments[...], after: damage.sequence &- 1)
        try checker.note(.damaged(damage))
        return checker.check
    }
    let needed = directory.segments(after: directory.bases.last?.sequence ?? 0)
    for index in directory.segments.indices where index < needed.startIndex {
        try checker.readOld(directory.segments[index], next: directory.segments[index + 1])
    }
    try checker.readNeeded(needed, after: directory.bases.last?.sequence ?? 0)
    return checker.check
}

/// Looks at one segment. Of what lies beside it, only whether the next one is there counts, if it says that it goes on.
package func checkJournalSegment(
    _ path: String, fileSystem: FileSystem = .system,
    progress: @escaping (_ bytesDone: Int, _ byteCount: Int) -> Void = { _, _ in }
) throws(JournalError) -> JournalCheck {
    var checker = JournalChecker(fileSystem: fileSystem, progress: progress)
    let name = path.split(separator: "/").last.map(String.init) ?? ""
    var file = JournalDirectory.File(path: path, sequence: JournalNames.segmentSequence(name) ?? 0)
    try checker.measure([file])
    if file.sequence == 0 {
        var reader = try SegmentReader(path: path, fileSystem: fileSystem)
        do {
            file.sequence = try reader.readHeader().firstSequence
        } catch {
            try checker.note(error)
            return checker.check
        }
    }
    try checker.readNeeded([file], after: file.sequence &- 1)
    return checker.check
}

private struct JournalChecker {
    var check = JournalCheck()
    let fileSystem: FileSystem
    let progress: (Int, Int) -> Void
    private var identifier: JournalIdentifier?
    private var bytesDone = 0

    init(fileSystem: FileSystem, progress: @escaping (Int, Int) -> Void) {
        self.fileSystem = fileSystem
        self.progress = progress
    }

    mutating func noteNeedless(_ directory: JournalDirectory) throws(JournalError) {
        if directory.isIncomplete { check.awaitedSequence = directory.awaited.last?.sequence }
        check.needlessPaths = directory.needless.map(\.path)
        for path in check.needlessPaths {
            do {
                check.needlessByteCount += try fileSystem.byteCount(of: path)
            } catch {
                // A server that runs removes them.
                if !error.isMissingFile { throw .system(error) }
            }
        }
    }

    mutating func measure(_ files: [JournalDirectory.File]) throws(JournalError) {
        check.segmentCount = files.count
        for file in files {
            var reader = try SegmentReader(path: file.path, fileSystem: fileSystem)
            check.byteCount += try reader.byteCountWithoutRoom
        }
    }

    /// A segment whose records the base has. Damage there does not hinder a start.
    mutating func readOld(_ segment: JournalDirectory.File, next: JournalDirectory.File) throws(JournalError) {
        var walk = makeWalk(after: segment.sequence &- 1)
        do {
            try walk.run(segment, next: next) { (_, _) throws(JournalError) in true }
        } catch {
            guard case .damaged(let damage) = error else { throw error }
            if check.damage == nil { check.damage = damage }
        }
        add(walk)
        bytesDone += walk.byteCountRead
    }

    /// What a start reads.
    mutating func readNeeded(
        _ segments: ArraySlice<JournalDirectory.File>, after base: UInt64
    ) throws(JournalError) {
        var walk = makeWalk(after: base)
        do {
            try walk.run(segments) { (_, _) throws(JournalError) in true }
        } catch {
            try note(error)
        }
        add(walk)
        check.cut = walk.cut
        check.wasClosed = walk.isClosed
    }

    mutating func note(_ error: JournalError) throws(JournalError) {
        guard case .damaged(let damage) = error else { throw error }
        check.damage = damage
        check.canStart = false
    }

    private func makeWalk(after sequence: UInt64) -> JournalWalk {
        let (before, total, tell) = (bytesDone, check.byteCount, progress)
        var walk = JournalWalk(after: sequence, byteCount: total, fileSystem: fileSystem) { done, _ in
            tell(min(total, before + done), total)
        }
        walk.identifier = identifier
        return walk
    }

    private mutating func add(_ walk: JournalWalk) {
        identifier = walk.identifier
        guard walk.readCount > 0 else { return }
        if check.recordCount == 0 { check.firstSequence = walk.firstSequence }
        check.recordCount += walk.readCount
        check.lastSequence = walk.lastReadSequence
        check.lastMilliseconds = walk.lastReadMilliseconds
    }
}
