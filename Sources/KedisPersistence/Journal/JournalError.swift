// Why a journal cannot be read, opened or written, in words for the person who has to do something about it.

/// A place in a journal where something that was on disk once cannot be read any more.
package struct JournalDamage: Equatable, Sendable, CustomStringConvertible {
    package enum Kind: Equatable, Sendable {
        /// The first bytes of the segment are not a header.
        case header
        /// The segment's header belongs to another name or journal.
        case foreign
        /// The record with ``sequence`` is not there as it was written.
        case record
        /// The segment ends though records up to this sequence were written to it.
        case missingRecords(through: UInt64)
        /// A whole segment is not there: the one that should hold ``sequence``. ``path`` is the one beside it.
        case missingSegment
        /// ``path``, the snapshot that the record ``sequence`` goes on from, is not there, nor an older one.
        case missingBase
    }

    package var kind: Kind
    package var path: String
    package var offset: Int
    /// The first record that cannot be read.
    package var sequence: UInt64

    package init(kind: Kind, path: String, offset: Int, sequence: UInt64) {
        self.kind = kind
        self.path = path
        self.offset = offset
        self.sequence = sequence
    }

    package var description: String {
        let place = "\(path), byte \(offset)"
        switch kind {
        case .header: return "\(place): the header of this segment is damaged"
        case .foreign: return "\(path): this segment is not of this journal, or has the name of another one"
        case .record: return "\(place): record \(sequence) is damaged, though it was on disk once"
        case .missingRecords(let last): return "\(place): records \(sequence) to \(last) are missing"
        case .missingSegment: return "\(place): the segment with record \(sequence) is missing beside this one"
        case .missingBase: return "\(path) is missing: the base snapshot that record \(sequence) goes on from"
        }
    }

    /// Whether a repair can cut the journal here. What is missing at its beginning, no cut mends.
    package var canBeCut: Bool {
        switch kind {
        case .missingBase: false
        case .missingSegment: offset > 0
        case .header, .foreign, .record, .missingRecords: true
        }
    }
}

package enum JournalError: Error, Equatable, Sendable, CustomStringConvertible {
    case system(SystemError)
    /// Something that was on disk is gone. Nothing was changed.
    case damaged(JournalDamage)
    /// Written by a version of Kedis that is newer than this one.
    case newerVersion(path: String, version: UInt32)
    case outOfMemory(path: String)
    /// Whoever gets the records could not go on with one.
    case refused(path: String, offset: Int, sequence: UInt64, reason: String)
    /// No snapshot is as old as the wanted moment: from which record, and which moment (milliseconds since 1970) on
    /// there is one; nil where there is none.
    case noBase(directory: String, firstSequence: UInt64? = nil, firstMilliseconds: Int64? = nil)
    /// The journal was read up to a moment only, so nothing can be appended behind it.
    case notReadToItsEnd(directory: String)
    /// It was closed though records are not on disk: why.
    case notWritten(reason: String)

    package var description: String {
        switch self {
        case .system(let error): error.description
        case .damaged(let damage):
            damage.canBeCut
                ? "\(damage). Put the file back from a copy, or let `kedis check --repair` cut the journal here: it"
                    + " keeps what is before, and moves the rest aside"
                : "\(damage). Put it back from a copy, or move the folder away to go on without the journal"
        case .newerVersion(let path, let version):
            "\(path) has version \(version) of the format, which this Kedis is too old for"
        case .outOfMemory(let path): "no memory is left for \(path)"
        case .refused(let path, let offset, let sequence, let reason):
            "\(path), byte \(offset): record \(sequence) cannot be replayed: \(reason)"
        case .noBase(let directory, _, _): "\(directory) has no snapshot that is as old as the wanted moment"
        case .notReadToItsEnd(let directory): "\(directory) was read up to a moment only: it cannot be written on"
        case .notWritten(let reason): "the journal was closed with records that are not on disk: \(reason)"
        }
    }
}

/// What the receiver of records throws to end a recovery: why it cannot go on.
package struct JournalRefusal: Error, Equatable, Sendable {
    package let reason: String
    /// Which of the requests that it was given, from 0, where that is known.
    package let requestIndex: Int?

    package init(reason: String, requestIndex: Int? = nil) {
        self.reason = reason
        self.requestIndex = requestIndex
    }
}
