// Recovery: the newest base snapshot, then the records behind it, in order, to whoever rebuilds the store.
//
// Reads only, but for the temporary files of a process that has crashed, which it removes. A torn tail is left where it
// is: opening the journal (Journal.open) begins a segment that takes its place, so recovery can crash anywhere and be
// repeated. Damage ends it with file, offset and what to do. Memory: the longest record. Cost: one pass.

import KedisUtilities

/// How far to go.
package enum JournalBound: Equatable, Sendable {
    case end
    /// Up to the record with this sequence.
    case sequence(UInt64)
    /// Up to the last record before the first one that is younger than this, in milliseconds since 1970.
    case milliseconds(Int64)
}

/// What a recovery found, and what opening the journal needs to go on behind it.
package struct RecoveredJournal: Sendable {
    package let directory: String
    /// The snapshot that it began with.
    package internal(set) var basePath: String?
    /// Records up to this one are in that snapshot; 0 without one.
    package internal(set) var baseSequence: UInt64 = 0
    /// Records given to the callback.
    package internal(set) var recordCount = 0
    /// The last record, or that of the base.
    package internal(set) var lastSequence: UInt64 = 0
    /// The time of the last record that was given; 0 when none was.
    package internal(set) var lastMilliseconds: Int64 = 0
    package internal(set) var segmentCount = 0
    /// What a crash had torn and was left out.
    package internal(set) var cut: JournalCut?
    /// The journal was closed by whoever wrote it last, or is new.
    package internal(set) var wasClosed = true
    /// The journal was read to its end, not up to a moment only.
    package internal(set) var isComplete = true
    /// The journal ends before the moment or the record that was asked for.
    package internal(set) var endsBeforeBound = false

    /// All segments in the directory.
    var segments: [JournalSegment] = []
    var identifier: JournalIdentifier?
    /// The highest sequence that is known to be on disk; at least the base's.
    var durable: UInt64 = 0
    /// The last segment, and where the readable records end in it.
    var lastSegment: JournalDirectory.File?
    var endOffset = 0

    /// What snapshots name it by; nil without segments.
    package var identifierText: String? { identifier?.text }

    /// The sequence of the next record to be appended.
    package var nextSequence: UInt64 { lastSequence &+ 1 }

    init(directory: String) { self.directory = directory }
}

/// Gives the state of the journal in `directory`: `base` gets the path of the newest snapshot that is not younger than
/// `bound`, and its sequence, if there is one; then `record` gets each record behind it up to `bound`. Both may refuse,
/// which ends it. `progress` is told from time to time how many bytes of how many are done. A directory that is empty
/// or not there is an empty journal. `removesLeftovers` removes temporary files. With `needsBase`, records without
/// any base are damage: else they begin with an empty store.
package func recoverJournal(
    directory path: String, until bound: JournalBound = .end, fileSystem: FileSystem = .system,
    removesLeftovers: Bool = true, needsBase: Bool = true,
    progress: @escaping (_ bytesDone: Int, _ byteCount: Int) -> Void = { _, _ in },
    base: (_ path: String, _ sequence: UInt64) throws(JournalRefusal) -> Void,
    record: (JournalRecord) throws(JournalRefusal) -> Void
) throws(JournalError) -> RecoveredJournal {
    let directory = try JournalDirectory(path, fileSystem)
    if removesLeftovers {
        removeFiles(directory.temporaryPaths, fileSystem)
        do { try directory.tidy(withNotes: true, fileSystem) } catch { throw .system(error) }
    }
    if needsBase, let damage = directory.missingBase { throw .damaged(damage) }
    var recovered = RecoveredJournal(directory: path)
    recovered.segments = try directory.segments.map { file throws(JournalError) in try measure(file, fileSystem) }
    recovered.segmentCount = recovered.segments.count
    if let file = try chooseBase(directory, recovered.segments, bound, isNeeded: needsBase) {
        recovered.basePath = file.path
        recovered.baseSequence = file.sequence
        do throws(JournalRefusal) {
            try base(file.path, file.sequence)
        } catch {
            throw .refused(path: file.path, offset: 0, sequence: file.sequence, reason: error.reason)
        }
    }
    let needed = directory.segments(after: recovered.baseSequence)
    let byteCount = recovered.segments[needed.indices].reduce(0) { $0 + $1.byteCount }
    // The progress of this call is not kept behind it.
    var walk = JournalWalk(
        after: recovered.baseSequence, byteCount: byteCount, fileSystem: fileSystem, progress: progress)
    try walk.run(needed) { (next: JournalRecord, place: JournalWalk.Place) throws(JournalError) -> Bool in
        if !bound.includes(next) { return false }
        do throws(JournalRefusal) {
            try record(next)
        } catch {
            throw JournalError.refused(
                path: place.path, offset: place.offset, sequence: next.sequence, reason: error.reason)
        }
        return true
    }
    recovered.take(walk, last: needed.last, isBounded: bound != .end)
    recovered.endsBeforeBound = bound.isBehind(walk)
    return recovered
}

extension RecoveredJournal {
    mutating func take(_ walk: JournalWalk, last: JournalDirectory.File?, isBounded: Bool) {
        recordCount = walk.recordCount
        lastSequence = walk.lastSequence
        lastMilliseconds = walk.lastMilliseconds
        cut = walk.cut
        wasClosed = walk.isClosed || last == nil
        isComplete = !isBounded
        identifier = walk.identifier
        durable = walk.durable
        lastSegment = last
        endOffset = walk.endOffset
    }
}

extension JournalBound {
    func includes(_ record: JournalRecord) -> Bool {
        switch self {
        case .end: true
        case .sequence(let last): record.sequence <= last
        case .milliseconds(let last): record.milliseconds <= last
        }
    }

    /// Whether the end was met before this.
    func isBehind(_ walk: JournalWalk) -> Bool {
        switch self {
        case .end: false
        case .sequence(let last): walk.lastSequence < last
        case .milliseconds: !walk.isStopped
        }
    }
}

/// The newest base that is not younger than the bound; nil for none where the journal is there from its beginning.
private func chooseBase(
    _ directory: JournalDirectory, _ segments: [JournalSegment], _ bound: JournalBound, isNeeded: Bool
) throws(JournalError) -> JournalDirectory.File? {
    let chosen: JournalDirectory.File?
    // One that no segment goes on from was to go with the segments before them.
    let first = directory.segments.first?.sequence ?? 0
    let bases = directory.bases.filter { $0.sequence &+ 1 >= first }
    switch bound {
    case .end: return directory.bases.last
    case .sequence(let last): chosen = bases.last { $0.sequence <= last }
    case .milliseconds(let last):
        // A base has no time in its name; the segment that begins behind it was made when it was, or a little later.
        chosen = bases.last { base in
            segments.contains { $0.firstSequence == base.sequence &+ 1 && $0.createdMilliseconds <= last }
        }
    }
    let isWhole =
        directory.segments.first?.sequence == 1 ? !isNeeded : directory.bases.isEmpty && directory.segments.isEmpty
    guard chosen != nil || isWhole else {
        let begun = segments.filter { segment in bases.contains { $0.sequence &+ 1 == segment.firstSequence } }
        throw .noBase(
            directory: directory.path, firstSequence: bases.first?.sequence,
            firstMilliseconds: begun.map(\.createdMilliseconds).min())
    }
    return chosen
}

/// A segment's length, without room behind its records, and its time. One whose header cannot be read has no time:
/// whether that matters, the walk says.
private func measure(_ file: JournalDirectory.File, _ fileSystem: FileSystem) throws(JournalError) -> JournalSegment {
    var reader = try SegmentReader(path: file.path, fileSystem: fileSystem)
    var segment = JournalSegment(
        path: file.path, firstSequence: file.sequence, createdMilliseconds: 0,
        // What cannot be read there hinders no start.
        byteCount: (try? reader.byteCountWithoutRoom) ?? reader.byteCount)
    do {
        segment.createdMilliseconds = try reader.readHeader().createdMilliseconds
    } catch {
        if case .system = error { throw error }
    }
    return segment
}

/// Removes what it can: a file that stays is met again at the next start.
private func removeFiles(_ paths: [String], _ fileSystem: FileSystem) {
    for path in paths { try? fileSystem.retrying { () throws(SystemError) in try fileSystem.unlink(path) } }
}
