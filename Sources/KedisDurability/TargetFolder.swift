// The new folder that a restore or a backup makes: on disk when it is done, gone when it failed.
//
// One thread. Ends with ``commit()`` or ``discard()``. A folder that is there already is taken when it is empty, and
// stays then.

import KedisPersistence

final class TargetFolder {
    let path: String
    private let fileSystem: FileSystem
    private let isNew: Bool

    /// Makes the folder, or takes an empty one.
    init(_ path: String, _ fileSystem: FileSystem) throws(JournalToolError) {
        self.path = path
        self.fileSystem = fileSystem
        do {
            isNew = try fileSystem.makeDirectoryUnlessThere(path)
            guard !isNew, let other = try fileSystem.names(path).filter({ !$0.hasPrefix(".") }).min() else { return }
            throw JournalToolError(description: "\(path) is not empty (\(other))")
        } catch let error as JournalToolError {
            throw error
        } catch {
            throw JournalToolError(description: "\(error)")
        }
    }

    /// The names in the folder, and its own, are on disk when this returns.
    func commit() throws(SystemError) {
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(path) }
        guard isNew else { return }
        let parent = directoryPath(of: path)
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(parent) }
    }

    /// Removes what this process has put there: files, and folders of files. What cannot be removed stays.
    func discard(_ names: [String]) {
        for name in names { remove("\(path)/\(name)") }
        if isNew { try? fileSystem.retrying { () throws(SystemError) in try fileSystem.removeDirectory(path) } }
    }

    private func remove(_ path: String) {
        for name in (try? fileSystem.retrying { () throws(SystemError) in try fileSystem.names(path) }) ?? [] {
            try? fileSystem.retrying { () throws(SystemError) in try fileSystem.unlink("\(path)/\(name)") }
        }
        try? fileSystem.retrying { () throws(SystemError) in try fileSystem.removeDirectory(path) }
        try? fileSystem.retrying { () throws(SystemError) in try fileSystem.unlink(path) }
    }
}
