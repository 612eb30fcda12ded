// What a snapshot says of the journal that has what it has: by it a start can tell a snapshot of the same store from
// one that another has written since.
//
// Two facts among the first of the file (auxiliary fields, which other readers pass over), found by their bytes.
// Values; any thread.

import KedisUtilities

/// A journal, and a record that a snapshot has, with all before it.
package struct JournalMark: Equatable, Sendable {
    /// ``Journal/identifierText``
    package var identifierText: String
    package var sequence: UInt64

    package init(identifierText: String, sequence: UInt64) {
        self.identifierText = identifierText
        self.sequence = sequence
    }

    /// The sequence, written as no integer is, whose encoding would be another.
    var placeText: String { "s\(sequence)" }
}

/// What the snapshot at a path says of a journal.
package enum JournalMention: Equatable, Sendable {
    case none
    /// The journal has what the snapshot has, and maybe more.
    case named
    /// It has the same: the snapshot has all records up to the wanted one.
    case current
}

/// What the snapshot at `path` says of the journal of `mark`. A file that cannot be read says nothing.
package func mention(
    of mark: JournalMark, inSnapshot path: String, fileSystem: FileSystem = .system
) -> JournalMention {
    guard let (file, byteCount) = try? fileSystem.openForReading(path) else { return .none }
    defer { try? fileSystem.close(file) }
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, min(byteCount, 1024)), alignment: 1)
    defer { room.deallocate() }
    guard let count = try? fileSystem.readAt(file, 0, room), count > 0 else { return .none }
    let bytes = room.prefix(count)
    func has(_ name: String, _ value: String) -> Bool {
        let wanted = Array(name.utf8) + [UInt8(truncatingIfNeeded: value.utf8.count)] + Array(value.utf8)
        guard bytes.count >= wanted.count else { return false }
        return (0...bytes.count - wanted.count).contains { bytes[$0..<$0 + wanted.count].elementsEqual(wanted) }
    }
    guard has("kedis-journal", mark.identifierText) else { return .none }
    return has("kedis-journal-at", mark.placeText) ? .current : .named
}
