// Copying a journal while its server may write, begin segments and compact.
//
// The newest base and the segments behind it, record by record: a record is copied only when its checksum is right,
// from the bytes that were summed up. What is read through is what a start would read, so that the same rules tell the
// end that is being written, or that a crash has torn, from damage: the first is left out, the second is an error. Each
// copied segment ends with a mark (continued, closed), so that nothing can go missing from a copy unseen.
//
// The directory may change meanwhile: a base and segments that are needed no more go. What cannot be read is therefore
// an error only when the names are still the same; otherwise the copy is thrown away and begun anew. Memory: a
// reader's, and what `verifyBase` takes. One thread. Cost: one pass.

import KedisUtilities

/// What was copied.
package struct JournalCopy: Equatable, Sendable {
    /// The snapshot that the copy begins with; nil before it is copied.
    package internal(set) var basePath: String?
    /// Records up to this one are in that snapshot.
    package internal(set) var baseSequence: UInt64 = 0
    package internal(set) var segmentCount = 0
    package internal(set) var recordCount = 0
    /// The last record, or that of the base.
    package internal(set) var lastSequence: UInt64 = 0
    /// The time of the last record; 0 when there is none behind the base.
    package internal(set) var lastMilliseconds: Int64 = 0
    /// Of all files.
    package internal(set) var byteCount = 0
    /// How often the journal had begun anew meanwhile.
    package internal(set) var retryCount = 0
}

/// So often a copy is begun before the journal is taken to begin anew without end.
private let attemptCountMax = 20

/// Copies the journal in `source` into the directory `target`, which is there and empty: its newest base and the
/// records behind it up to the last whole one. All that is on disk at the time of the call is in the copy. On return
/// the copy is on disk but for the name of `target`; on failure `target` is empty again, if files can be removed.
/// `verifyBase` reads the copy of the base.
package func copyJournal(
    from source: String, to target: String, fileSystem: FileSystem = .system,
    progress: @escaping (_ bytesDone: Int, _ byteCount: Int) -> Void = { _, _ in },
    verifyBase: (_ path: String) throws(JournalRefusal) -> Void
) throws(JournalError) -> JournalCopy {
    for attempt in 0... {
        let directory = try JournalDirectory(source, fileSystem)
        guard directory.exists else { throw .system(.missing(source)) }
        var copier = JournalCopier(directory: directory, target: target, fileSystem: fileSystem, progress: progress)
        do {
            try copier.run(verifyBase)
            copier.copy.retryCount = attempt
            return copier.copy
        } catch {
            copier.removeCopies()
            guard attempt + 1 < attemptCountMax, let now = try? JournalDirectory(source, fileSystem),
                now.bases != directory.bases || now.segments != directory.segments
            else { throw error }
        }
    }
    throw .system(.missing(source))
}

private struct JournalCopier {
    var copy = JournalCopy()
    private let directory: JournalDirectory
    private let target: String
    private let fileSystem: FileSystem
    private let progress: (Int, Int) -> Void
    private var paths: [String] = []

    init(
        directory: JournalDirectory, target: String, fileSystem: FileSystem, progress: @escaping (Int, Int) -> Void
    ) {
        self.directory = directory
        self.target = target
        self.fileSystem = fileSystem
        self.progress = progress
    }

    mutating func run(_ verifyBase: (String) throws(JournalRefusal) -> Void) throws(JournalError) {
        let base = directory.bases.last
        copy.baseSequence = base?.sequence ?? 0
        copy.lastSequence = copy.baseSequence
        let segments = directory.segments(after: copy.baseSequence)
        if let damage = directory.missingBase { throw .damaged(damage) }
        guard base != nil else { throw .noBase(directory: directory.path) }
        if let first = segments.first, first.sequence > copy.baseSequence &+ 1 {
            throw .damaged(
                JournalDamage(kind: .missingSegment, path: first.path, offset: 0, sequence: copy.baseSequence &+ 1))
        }
        if let base { try copyBase(base, verifyBase) }
        try copySegments(segments)
    }

    /// What was made is removed; what stays is for the caller to report.
    func removeCopies() {
        for path in paths { try? fileSystem.retrying { () throws(SystemError) in try fileSystem.unlink(path) } }
    }

    private mutating func copyBase(
        _ base: JournalDirectory.File, _ verify: (String) throws(JournalRefusal) -> Void
    ) throws(JournalError) {
        let path = journalBasePath(directory: target, sequence: base.sequence)
        paths.append(path)
        do throws(FileCopyError) {
            copy.byteCount += try copyFile(from: base.path, to: path, fileSystem: fileSystem, verify: verify)
        } catch {
            switch error {
            case .system(let error): throw .system(error)
            case .refused(let refusal):
                throw .refused(path: base.path, offset: 0, sequence: base.sequence, reason: refusal.reason)
            }
        }
        copy.basePath = path
    }

    private mutating func copySegments(_ segments: ArraySlice<JournalDirectory.File>) throws(JournalError) {
        guard let first = segments.first else { return }
        var byteCount = 0
        for segment in segments {
            byteCount += try SegmentReader(path: segment.path, fileSystem: fileSystem).byteCount
        }
        // The first one may begin before the end of the base: all that it has is copied.
        var walk = JournalWalk(
            after: first.sequence - 1, byteCount: byteCount, fileSystem: fileSystem, progress: progress)
        for index in segments.indices {
            let next = index + 1 < segments.endIndex ? segments[index + 1] : nil
            try copySegment(segments[index], next, &walk)
        }
        progress(byteCount, byteCount)
        copy.recordCount = walk.recordCount
        copy.lastSequence = max(copy.baseSequence, walk.lastSequence)
        copy.lastMilliseconds = walk.lastMilliseconds
        guard walk.lastSequence >= copy.baseSequence else {
            // A base is made when the records before it are on disk.
            throw .damaged(
                JournalDamage(
                    kind: .missingRecords(through: copy.baseSequence), path: segments[segments.endIndex - 1].path,
                    offset: walk.endOffset, sequence: walk.lastSequence &+ 1))
        }
    }

    private mutating func copySegment(
        _ segment: JournalDirectory.File, _ next: JournalDirectory.File?, _ walk: inout JournalWalk
    ) throws(JournalError) {
        // Read before the records: a segment that takes its place meanwhile has all that this one says.
        var reader = try SegmentReader(path: segment.path, fileSystem: fileSystem)
        let header = try reader.readHeader()
        let path = "\(target)/\(JournalNames.segment(segment.sequence))"
        paths.append(path)
        let file: ReplacementFile
        do {
            file = try ReplacementFile(replacing: path, suffix: "kjl", fileSystem: fileSystem, syncsWhileWriting: true)
        } catch {
            throw .system(error)
        }
        _ = header.bytes.withUnsafeBytes { file.write(ByteView($0)) }
        do {
            try walk.run(segment, next: next) { (record, _) throws(JournalError) in
                if !file.write(record.encoded), let failure = file.failure { throw .system(failure) }
                return true
            }
        } catch {
            file.discard()
            throw error
        }
        _ = Self.mark(header, behind: walk, isLast: next == nil).withUnsafeBytes { file.write(ByteView($0)) }
        copy.byteCount += file.byteCount
        do {
            try file.commit()
        } catch {
            throw .system(error)
        }
        copy.segmentCount += 1
    }

    /// What ends a segment: there is another one behind it, or none.
    private static func mark(_ header: SegmentHeader, behind walk: JournalWalk, isLast: Bool) -> [UInt8] {
        let mark = RecordHeader(
            payloadByteCount: 0, sequence: walk.lastSequence &+ 1, milliseconds: walk.lastMilliseconds,
            durable: walk.lastSequence, database: 0, flags: isLast ? RecordFlags.closing : RecordFlags.continued,
            mark: header.identifier.mark)
        return mark.markBytes(continuing: header.identifier.seed)
    }
}
