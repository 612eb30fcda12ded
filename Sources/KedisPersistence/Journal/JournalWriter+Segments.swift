// Beginning segments: when the journal is opened, when one is full, at a boundary that a compaction wants, after a
// failure. See JournalWriter.swift for what always holds.

import KedisUtilities
import Synchronization

extension JournalWriter {
    /// The open segment is full: all of it on disk, then a successor.
    func continueInNewSegment() throws(SystemError) {
        try synchronize()
        try beginSegment(from: durable)
        makesRoom = true
    }

    /// A segment is wanted from `place` on, up to which all is written.
    func continueInNewSegment(from place: JournalPosition) throws(SystemError) {
        try synchronize()
        durable = place
        cursor = place
        // One without records is new enough.
        guard durable.sequence &+ 1 == segmentFirst else { return try beginSegment(from: durable) }
        _ = core.queue.take(from: place, passesMark: true)
    }

    /// Writes all that lies behind `start`, the end of what is on disk, to a new segment. On return that is on disk
    /// too, and the segment is open.
    func beginSegment(from start: JournalPosition) throws(SystemError) {
        var slices: [JournalSlice] = []
        var end = start
        while case .slice(let slice) = core.queue.take(from: end, passesMark: slices.isEmpty && end == start) {
            slices.append(slice)
            end = slice.end
        }
        let first = start.sequence &+ 1
        let begin = core.options.nanoseconds()
        let segment = try writeSegment(first: first, durable: end.sequence) { (replacement) throws(SystemError) in
            for slice in slices where !replacement.write(slice.bytes) { return }
        }
        noteSync(since: begin)
        // The predecessor says that there is more, unless it has failed or was replaced.
        if file != nil, segmentFirst != first { writeMark(RecordFlags.continued, isSynced: false) }
        try use(segment)
        let byteCount = slices.reduce(0) { $0 + $1.bytes.count }
        core.writtenSequence.store(
            max(end.sequence, core.writtenSequence.load(ordering: .relaxed)), ordering: .releasing)
        unsyncedByteCount = 0
        advance(to: end, byteCount: byteCount)
    }

    /// Writes a segment beside its name, `body` giving its records, and gives it the name once it is on disk.
    private func writeSegment(
        first: UInt64, durable: UInt64, _ body: (ReplacementFile) throws(SystemError) -> Void
    ) throws(SystemError) -> JournalSegment {
        let path = "\(directory)/\(JournalNames.segment(first))"
        // A segment that takes the place of another keeps its time, by which a base is found for a moment.
        let created = first == segmentFirst ? segmentCreated : core.options.milliseconds()
        let header = SegmentHeader(
            identifier: core.identifier, firstSequence: first, createdMilliseconds: created, durable: durable)
        let replacement = try ReplacementFile(replacing: path, suffix: "kjl", fileSystem: fileSystem)
        header.bytes.withUnsafeBytes { _ = replacement.write(ByteView($0)) }
        do throws(SystemError) {
            try body(replacement)
        } catch {
            replacement.discard()
            throw error
        }
        try replacement.commit()
        return JournalSegment(
            path: path, firstSequence: first, createdMilliseconds: created, byteCount: replacement.byteCount)
    }

    /// Goes on in a segment that has its name.
    private func use(_ segment: JournalSegment) throws(SystemError) {
        if let file { try? fileSystem.close(file) }
        file = nil
        core.segments.add(segment)
        segmentFirst = segment.firstSequence
        segmentCreated = segment.createdMilliseconds
        segmentByteCount = segment.byteCount
        roomEnd = segmentByteCount
        file = try fileSystem.retrying { () throws(SystemError) in try fileSystem.open(segment.path, .append) }
    }

    /// The first segment of an opened journal: with the records that were read and may not be on disk.
    func open(_ recovered: RecoveredJournal) throws(JournalError) {
        do throws(SystemError) {
            try makeDirectory()
        } catch {
            throw .system(error)
        }
        let first = recovered.durable &+ 1
        if let last = recovered.segments.last, last.firstSequence == first {
            segmentFirst = first
            segmentCreated = last.createdMilliseconds
        }
        var failure: JournalError?
        do throws(SystemError) {
            let segment = try writeSegment(first: first, durable: recovered.lastSequence) {
                (replacement) throws(SystemError) in
                do throws(JournalError) {
                    try copyRecords(of: recovered, from: first, to: replacement)
                } catch {
                    failure = error
                    throw SystemError.unreadable(directory)
                }
            }
            try use(segment)
        } catch {
            throw failure ?? .system(error)
        }
    }

    private func makeDirectory() throws(SystemError) {
        do {
            try fileSystem.retrying { () throws(SystemError) in try fileSystem.makeDirectory(directory) }
        } catch {
            if !error.isExistingFile { throw error }
        }
        // Also when it was there: whoever made it may have crashed.
        let parent = directoryPath(of: directory)
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(parent) }
        // The names that the recovery has gone by may not be on disk: a segment that is begun behind them must not
        // outlive them.
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(directory) }
    }

    /// Copies the records from `first` to the last one that was read: nothing says that they are on disk, though they
    /// can be read, for the system may have them in memory only and never try again.
    private func copyRecords(
        of recovered: RecoveredJournal, from first: UInt64, to replacement: ReplacementFile
    ) throws(JournalError) {
        guard first <= recovered.lastSequence, let last = recovered.lastSegment else { return }
        var reader = try SegmentReader(path: last.path, fileSystem: fileSystem)
        _ = try reader.readHeader()
        var offset = try reader.offset(of: first, first: last.sequence)
        while offset < recovered.endOffset {
            let count = min(SegmentReader.windowByteCount, recovered.endOffset - offset)
            guard replacement.write(try reader.view(offset, count)) else { return }
            offset += count
        }
    }
}
