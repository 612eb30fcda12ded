// Going through the segments of a journal, record by record: what recovery, check and repair have in common.
//
// What tells a tail that the last crash has torn, which was never promised to anybody, from damage to what was on disk
// once: a record says how far the journal was on disk when it was encoded, a segment begins only when all before it is
// on disk, and a closed journal ends with a mark. If anything intact says that the unreadable record, or a later one
// that the base does not have, was on disk, it is damage. Otherwise the tail is cut. The system may write what is not
// synced in any order, so that intact records behind an unreadable one prove nothing by being there.
//
// Memory: a reader's (SegmentReader). Nothing is changed. One thread.

package import KedisUtilities

/// A record as it is read. Valid during the call that gets it.
package struct JournalRecord {
    package let sequence: UInt64
    /// When it was appended, since 1970.
    package let milliseconds: Int64
    package let databaseIndex: Int
    package let payload: ByteView
    /// All of it, as it lies in the file.
    let encoded: ByteView
}

/// What was left out at the end of a journal because a crash had torn it: never acknowledged as being on disk.
package struct JournalCut: Equatable, Sendable {
    package let path: String
    package let offset: Int
    package let byteCount: Int
    /// The record that cannot be read.
    package let sequence: UInt64

    package init(path: String, offset: Int, byteCount: Int, sequence: UInt64) {
        self.path = path
        self.offset = offset
        self.byteCount = byteCount
        self.sequence = sequence
    }
}

/// A segment as it lies in the directory.
struct JournalSegment: Equatable, Sendable {
    var path: String
    var firstSequence: UInt64
    var createdMilliseconds: Int64
    var byteCount: Int
}

struct JournalWalk {
    /// Records up to this one are in the base.
    let baseSequence: UInt64
    /// The last record that can be read, or the base.
    var lastSequence: UInt64
    var lastMilliseconds: Int64 = 0
    /// Records given to the visitor.
    var recordCount = 0
    /// Of the records that were read, those that the base has too.
    var readCount = 0
    var firstSequence: UInt64 = 0
    var lastReadSequence: UInt64 = 0
    var lastReadMilliseconds: Int64 = 0
    /// Of the segments that were gone through.
    var byteCountRead = 0
    /// The highest sequence that anything says was on disk.
    var durable: UInt64
    /// Where the records end that can be read, in the last segment.
    var endOffset = 0
    var cut: JournalCut?
    /// The journal was closed, so that nothing is missing at its end.
    var isClosed = false
    var isStopped = false
    var identifier: JournalIdentifier?

    private let fileSystem: FileSystem
    private let byteCount: Int
    private let progress: (Int, Int) -> Void

    init(
        after baseSequence: UInt64, byteCount: Int, fileSystem: FileSystem, progress: @escaping (Int, Int) -> Void
    ) {
        self.baseSequence = baseSequence
        lastSequence = baseSequence
        durable = baseSequence
        self.byteCount = byteCount
        self.fileSystem = fileSystem
        self.progress = progress
    }

    /// Where a visitor finds the record that it is given.
    struct Place {
        let path: String
        let offset: Int
    }

    typealias Visitor = (JournalRecord, Place) throws(JournalError) -> Bool

    /// Gives the records behind the base to `visit`, in order, until it answers false. `segments` follow one another,
    /// the first one holding or preceding what comes after the base.
    mutating func run(_ segments: ArraySlice<JournalDirectory.File>, _ visit: Visitor) throws(JournalError) {
        guard let first = segments.first else { return }
        guard first.sequence <= baseSequence &+ 1 else {
            throw .damaged(
                JournalDamage(kind: .missingSegment, path: first.path, offset: 0, sequence: baseSequence &+ 1))
        }
        for index in segments.indices where !isStopped {
            let next = segments.index(after: index) < segments.endIndex ? segments[index + 1] : nil
            try run(segments[index], next: next, visit)
        }
        progress(byteCount, byteCount)
    }

    /// Goes through one segment; `next` is the one that follows it.
    mutating func run(
        _ segment: JournalDirectory.File, next: JournalDirectory.File?, _ visit: Visitor
    ) throws(JournalError) {
        var reader = try SegmentReader(path: segment.path, fileSystem: fileSystem)
        let header = try reader.readHeader()
        guard header.firstSequence == segment.sequence, identifier == nil || identifier == header.identifier else {
            throw .damaged(JournalDamage(kind: .foreign, path: segment.path, offset: 0, sequence: segment.sequence))
        }
        identifier = header.identifier
        // The segment is there, so all before it was on disk. What it says of itself ends where the next one begins.
        durable = max(durable, segment.sequence - 1, min(header.durable, (next?.sequence ?? .max) - 1))
        var expected = segment.sequence
        var offset = SegmentHeader.byteCount
        var shown = 0
        while next == nil || expected < next?.sequence ?? 0 {
            guard case .record(let header, let bytes) = try reader.record(at: offset), header.sequence == expected
            else {
                if try end(&reader, at: offset, expected, next) { break }
                continue
            }
            if header.flags != 0 {
                try endAtMark(header, &reader, offset, next)
                break
            }
            offset += header.byteCount
            expected += 1
            noteRead(header)
            durable = max(durable, header.durable)
            let place = Place(path: segment.path, offset: offset - header.byteCount)
            guard try give(header, bytes, place, visit) else { break }
            if offset - shown >= SegmentReader.windowByteCount {
                shown = offset
                progress(min(byteCountRead + offset, byteCount), byteCount)
            }
        }
        endOffset = offset
        byteCountRead += reader.byteCount
    }

    private mutating func noteRead(_ header: RecordHeader) {
        if readCount == 0 { firstSequence = header.sequence }
        readCount += 1
        lastReadSequence = header.sequence
        lastReadMilliseconds = header.milliseconds
    }

    /// Gives a record to the visitor, if the base does not have it; false when the visitor wants no more.
    private mutating func give(
        _ header: RecordHeader, _ bytes: ByteView, _ place: Place, _ visit: Visitor
    ) throws(JournalError) -> Bool {
        guard header.sequence > baseSequence else { return true }
        let record = JournalRecord(
            sequence: header.sequence, milliseconds: header.milliseconds, databaseIndex: Int(header.database),
            payload: bytes[RecordHeader.byteCount..<bytes.count], encoded: bytes)
        guard try visit(record, place) else {
            isStopped = true
            return false
        }
        recordCount += 1
        lastSequence = header.sequence
        lastMilliseconds = header.milliseconds
        return true
    }

    /// A mark ends the segment: the journal was closed here, or goes on in another segment, which then must be there.
    private mutating func endAtMark(
        _ mark: RecordHeader, _ reader: inout SegmentReader, _ offset: Int, _ next: JournalDirectory.File?
    ) throws(JournalError) {
        durable = max(durable, mark.durable)
        if next != nil {
            // The mark stands where records should be that come before the next segment.
            throw .damaged(missingRecords(reader.path, offset, mark.sequence, before: next))
        }
        if mark.flags & RecordFlags.continued != 0 {
            // Begun by a server since the names were read; what it holds is younger than that.
            if try isThere(JournalNames.segment(mark.sequence), beside: reader.path) { return }
            throw .damaged(
                JournalDamage(kind: .missingSegment, path: reader.path, offset: offset, sequence: mark.sequence))
        }
        isClosed = true
        let rest = try reader.byteCount(from: offset + mark.byteCount)
        if rest > 0 {
            cut = JournalCut(
                path: reader.path, offset: offset + mark.byteCount, byteCount: rest, sequence: mark.sequence)
        }
    }

    private func isThere(_ name: String, beside path: String) throws(JournalError) -> Bool {
        do {
            let (file, _) = try fileSystem.openForReading("\(directoryPath(of: path))/\(name)")
            try? fileSystem.close(file)
            return true
        } catch {
            guard error.isMissingFile else { throw .system(error) }
            return false
        }
    }

    /// No record can be read at `offset`: the end, a torn tail, or damage. False if it can be by now: a server may be
    /// writing, and what lies behind was read later.
    private mutating func end(
        _ reader: inout SegmentReader, at offset: Int, _ expected: UInt64, _ next: JournalDirectory.File?
    ) throws(JournalError) -> Bool {
        let rest = try reader.byteCount(from: offset)
        if next != nil {
            if rest == 0 { throw .damaged(missingRecords(reader.path, offset, expected, before: next)) }
            throw .damaged(JournalDamage(kind: .record, path: reader.path, offset: offset, sequence: expected))
        }
        let said = max(durable, try reader.durableSequence(behind: offset, above: expected))
        if rest > 0 || said >= expected {
            reader.forget()
            if case .record(let header, _) = try reader.record(at: offset), header.sequence == expected { return false }
        }
        // What the base has is not missed.
        if said >= max(expected, baseSequence &+ 1) {
            let kind = rest == 0 ? JournalDamage.Kind.missingRecords(through: said) : .record
            throw .damaged(JournalDamage(kind: kind, path: reader.path, offset: offset, sequence: expected))
        }
        durable = said
        // A record that did not fit a file that is being written is not torn.
        if rest > 0, try !reader.hasGrown() {
            cut = JournalCut(path: reader.path, offset: offset, byteCount: rest, sequence: expected)
        }
        return true
    }

    private func missingRecords(
        _ path: String, _ offset: Int, _ sequence: UInt64, before next: JournalDirectory.File?
    ) -> JournalDamage {
        JournalDamage(
            kind: .missingRecords(through: (next?.sequence ?? 1) - 1), path: path, offset: offset, sequence: sequence)
    }
}
