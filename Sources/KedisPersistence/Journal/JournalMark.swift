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

/// The last record of a journal that the snapshot at `path` says it has, with all before it: 0 where the snapshot names
/// the journal and no record; nil where it does not name it, or there is no such file.
package func mention(
    of identifierText: String, inSnapshot path: String, fileSystem: FileSystem = .system
) throws(SystemError) -> UInt64? {
    let bytes: [UInt8]
    do throws(SystemError) {
        bytes = try firstBytes(of: path, byteCountMax: 1024, fileSystem)
    } catch {
        guard error.isMissingFile else { throw error }
        return nil
    }
    guard let name = value(of: "kedis-journal", in: bytes), name == identifierText else { return nil }
    return value(of: "kedis-journal-at", in: bytes).flatMap { $0.first == "s" ? UInt64($0.dropFirst()) : nil } ?? 0
}

private func firstBytes(
    of path: String, byteCountMax: Int, _ fileSystem: FileSystem
) throws(SystemError) -> [UInt8] {
    let file = try fileSystem.openForReading(path).file
    defer { try? fileSystem.close(file) }
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCountMax, alignment: 1)
    defer { room.deallocate() }
    var count = 0
    while count < byteCountMax {
        let rest = UnsafeMutableRawBufferPointer(rebasing: room[count...])
        let got = try fileSystem.retrying { () throws(SystemError) in try fileSystem.readAt(file, count, rest) }
        guard got > 0 else { break }
        count += got
    }
    return Array(room.prefix(count))
}

/// The short text of a fact; nil for none.
private func value(of name: String, in bytes: [UInt8]) -> String? {
    let wanted = [UInt8(truncatingIfNeeded: name.utf8.count)] + Array(name.utf8)
    guard bytes.count > wanted.count else { return nil }
    for start in 0..<bytes.count - wanted.count
    where bytes[start] == wanted[0] && bytes[start..<start + wanted.count].elementsEqual(wanted) {
        let length = Int(bytes[start + wanted.count])
        let rest = bytes[(start + wanted.count + 1)...]
        // Longer texts have other lengths: these are not.
        guard length < 64, length <= rest.count else { return nil }
        return String(decoding: rest.prefix(length), as: UTF8.self)
    }
    return nil
}
