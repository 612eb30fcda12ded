// The right to write one snapshot file: held by one process at a time, so that two stores cannot overwrite each other's
// data.
//
// An advisory lock of the system on a file beside the snapshot, `.dump.rdb.lock`, which holds the owner's process
// number for messages. The system gives the lock back when its owner ends, however it ends; the file stays, because
// removing it would let two owners lock two files of one name. Threads: any.

import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Why a snapshot's lock was not given.
package enum SnapshotLockError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Another process, or another store of this one, has it.
    case inUse(path: String, processIdentifier: Int32?)
    case noDirectory(path: String)

    package var description: String {
        switch self {
        case .inUse(let path, let owner):
            "\(path) is in use\(owner.map { " by process \($0)" } ?? ""): two stores would overwrite each other's data"
        case .noDirectory(let path): "the directory \(path) does not exist"
        }
    }
}

package final class SnapshotLock: Sendable {
    private let descriptor: Atomic<Int32>

    private init(descriptor: Int32) {
        self.descriptor = Atomic(descriptor)
    }

    deinit { release() }

    /// Takes the lock of the snapshot at `path`; nil where the directory cannot be written to, so that there is nothing
    /// to guard.
    package static func acquire(forSnapshot path: String) throws(SnapshotLockError) -> SnapshotLock? {
        let directory = directoryPath(of: path)
        var status = stat()
        guard stat(directory, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw .noDirectory(path: directory)
        }
        let name = path.split(separator: "/").last.map(String.init) ?? path
        let file = open(directory + "/." + name + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard file >= 0 else { return nil }
        guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
            let isTaken = errno == EWOULDBLOCK
            let owner = readOwner(file)
            close(file)
            // File systems without locks guard nothing.
            if isTaken { throw .inUse(path: path, processIdentifier: owner) }
            return nil
        }
        writeOwner(file)
        return SnapshotLock(descriptor: file)
    }

    /// Gives the lock back. Again: does nothing.
    package func release() {
        let file = descriptor.exchange(-1, ordering: .relaxed)
        if file >= 0 { close(file) }
    }

    private static func readOwner(_ file: Int32) -> Int32? {
        var digits = [UInt8](repeating: 0, count: 16)
        let count = pread(file, &digits, digits.count, 0)
        return Int32(String(decoding: digits.prefix(max(0, count)).filter { $0 != 0x0A }, as: UTF8.self))
    }

    private static func writeOwner(_ file: Int32) {
        let digits = Array("\(getpid())\n".utf8)
        // Only a message depends on it.
        guard ftruncate(file, 0) == 0 else { return }
        _ = pwrite(file, digits, digits.count, 0)
    }
}
