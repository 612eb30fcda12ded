// The folder of the snapshot: the right to write there, at the start and when CONFIG SET moves it.
//
// A server that saves by itself, or that was moved, is the only one that writes its snapshot: it has the lock of that.
// One with `save ""` writes when it is told to, and may share the folder that it starts in, as with Redis.
// Threads: any; CONFIG SET comes one at a time.

import KedisCommands
import KedisPersistence
import KedisStore
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct SnapshotPlace: Sendable {
    /// Absolute: `dir` as it was last applied.
    var folder: String
    /// `dbfilename` as it was last applied.
    var name: String
    var lock: SnapshotLock?
    /// The file that the lock is of.
    var lockedPath: String?

    /// The path of the snapshot.
    var path: String { (folder.hasSuffix("/") ? folder : folder + "/") + name }
}

extension ServerState {
    /// At the start.
    func lockSnapshot() throws(StartError) {
        guard !configuration.text("save").isEmpty else { return }
        do throws(SnapshotLockError) {
            let path = snapshotPath
            guard let lock = try newLock(path) else { return }
            replaceLock(lock, of: path)
            for name in removeLeftoverFiles(in: place.withLock { $0.folder }) {
                log(.notice, "Removed \(name), which a save had left that was killed")
            }
        } catch {
            throw StartError("\(error)\nGive each server a `dir` or `dbfilename` of its own, or `save \"\"`.")
        }
    }

    /// The lock of a snapshot; nil when the server has it already.
    private func newLock(_ path: String) throws(SnapshotLockError) -> SnapshotLock? {
        guard place.withLock({ $0.lockedPath }) != path else { return nil }
        return try SnapshotLock.acquire(forSnapshot: path)
    }

    private func replaceLock(_ lock: SnapshotLock, of path: String) {
        let old = place.withLock { place in
            defer { (place.lock, place.lockedPath) = (lock, path) }
            return place.lock
        }
        old?.release()
    }

    func releaseSnapshotLock() {
        let lock = place.withLock { place in
            defer { (place.lock, place.lockedPath) = (nil, nil) }
            return place.lock
        }
        lock?.release()
    }

    /// After CONFIG SET of `dir`, `dbfilename` or `save`: nil, or why not. `beforeMoving` may refuse, too: it is called
    /// when nothing else can fail, and before anything has changed.
    func applySnapshotPlace(
        _ names: [String], beforeMoving: () -> ConfigurationProblem?
    ) -> ConfigurationProblem? {
        let moving = names.first { $0 == "dir" || $0 == "dbfilename" }
        let isSavingByItself = names.contains("save") && !configuration.text("save").isEmpty
        guard moving != nil || isSavingByItself else { return beforeMoving() }
        if let moving, keeper.status.isSaving {
            return ConfigurationProblem(name: moving, reason: "a save is in progress, and ends where it began")
        }
        let folder: String
        switch reachableFolder(configuration.text("dir")) {
        case .success(let path): folder = path
        case .failure(let error): return ConfigurationProblem(name: moving ?? "save", reason: error.text)
        }
        let new = SnapshotPlace(folder: folder, name: configuration.text("dbfilename"))
        let path = new.path
        let lock: SnapshotLock?
        do throws(SnapshotLockError) { lock = try newLock(path) } catch {
            return ConfigurationProblem(name: moving ?? "save", reason: "\(error)")
        }
        // What else changes goes by the new place.
        configuration.settleWithinChange("dir", folder)
        if let problem = beforeMoving() {
            lock?.release()
            return problem
        }
        if let lock { replaceLock(lock, of: path) }
        place.withLock { ($0.folder, $0.name) = (new.folder, new.name) }
        return nil
    }

    /// The absolute path of a folder that can be entered, seen from the one that holds now; or the system's words.
    private func reachableFolder(_ path: String) -> Result<String, HostFileError> {
        let current = place.withLock { $0.folder }
        let wanted = path.hasPrefix("/") ? path : "\(current)/\(path)"
        var status = stat()
        guard stat(wanted, &status) == 0 else { return .failure(HostFileError(systemText())) }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            errno = ENOTDIR
            return .failure(HostFileError(systemText()))
        }
        guard access(wanted, X_OK) == 0, let absolute = absolutePath(wanted) else {
            return .failure(HostFileError(systemText()))
        }
        return .success(absolute)
    }
}
