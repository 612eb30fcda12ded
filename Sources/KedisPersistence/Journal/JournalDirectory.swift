// What lies in a journal's directory, by its names: segments, base snapshots, left-over temporary files.
//
// A value, read once. Other names (a lock, what a repair has put aside) are left alone.

import KedisUtilities

struct JournalDirectory {
    struct File: Equatable {
        var path: String
        /// A segment's first sequence, a base's last one.
        var sequence: UInt64
    }

    let path: String
    /// In order.
    private(set) var segments: [File] = []
    /// In order.
    private(set) var bases: [File] = []
    private(set) var temporaryPaths: [String] = []
    private(set) var exists = true

    /// Reads the directory; one that is not there is empty.
    init(_ path: String, _ fileSystem: FileSystem) throws(JournalError) {
        self.path = path
        var names: [String] = []
        do {
            names = try fileSystem.retrying { () throws(SystemError) in try fileSystem.names(path) }
        } catch {
            guard error.isMissingFile else { throw .system(error) }
            exists = false
        }
        for name in names.sorted() {
            let filePath = "\(path)/\(name)"
            if let sequence = JournalNames.segmentSequence(name), sequence > 0 {
                segments.append(File(path: filePath, sequence: sequence))
            } else if let sequence = JournalNames.baseSequence(name) {
                bases.append(File(path: filePath, sequence: sequence))
            } else if JournalNames.isTemporary(name) {
                temporaryPaths.append(filePath)
            }
        }
    }

    /// The segments that hold what comes after the record `sequence`: from the last one that begins at or before the
    /// next record on. When all begin later, these are all.
    func segments(after sequence: UInt64) -> ArraySlice<File> {
        let start = segments.lastIndex { $0.sequence <= sequence &+ 1 } ?? 0
        return segments[start...]
    }
}

/// Removes the base snapshots that are older than `base` and that no segment goes on from: the first record that there
/// is has the sequence `first`. What cannot be removed stays, and does no harm.
package func removeJournalBases(
    directory path: String, before base: UInt64, neededFrom first: UInt64, fileSystem: FileSystem = .system
) {
    guard let directory = try? JournalDirectory(path, fileSystem) else { return }
    for file in directory.bases where file.sequence < base && file.sequence &+ 1 < first {
        try? fileSystem.retrying { () throws(SystemError) in try fileSystem.unlink(file.path) }
    }
}
