// A file system in memory whose power can fail at any system call, and whose calls can fail, stop short or be
// interrupted: what a real disk and kernel may do to a program that writes files, as far as POSIX promises no better.
//
// What was written is in the page cache until it is synced. When the power fails, each 512-byte sector that was written
// since the last sync holds what was on disk before or any of the later contents, each sector on its own; a file's
// length is the old one, the new one or one between; bytes that no write reached are zeros or leftovers. Names (create,
// rename, unlink, mkdir) that were not synced by their directory are there or not, in any combination; a rename is one
// step. A sync that fails may have written any part and may have forgotten the rest: the next one then succeeds and
// writes nothing of it, though it can still be read until the power fails.
//
// Deterministic for a seed and a sequence of calls. Threads: any, one lock. Files are found by path; one level of
// directories is enough for the journal, but any depth works.

package import KedisPersistence
import KedisStore
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// What can go wrong without a crash. Probabilities are in thousandths of the calls.
package struct DiskFaults: Sendable {
    package var errors = 0
    package var interruptions = 0
    package var shortCounts = 0
    /// The bytes of all files together; a write beyond is short, then fails with ENOSPC.
    package var capacity = Int.max

    package init(errors: Int = 0, interruptions: Int = 0, shortCounts: Int = 0, capacity: Int = .max) {
        self.errors = errors
        self.interruptions = interruptions
        self.shortCounts = shortCounts
        self.capacity = capacity
    }
}

package final class SimulatedDisk: @unchecked Sendable {
    // Sendable: everything that changes is touched under the lock.

    private enum Change {
        case link(String, SimulatedFile)
        case makeDirectory(String)
        case unlink(String)
        case rename(String, String, SimulatedFile)
    }

    private final class Directory {
        var files: [String: SimulatedFile] = [:]
        var directories: Set<String> = []
        var durableFiles: [String: SimulatedFile] = [:]
        var durableDirectories: Set<String> = []
        /// Since the last sync.
        var changes: [Change] = []

        func apply(_ change: Change) {
            switch change {
            case .link(let name, let file): durableFiles[name] = file
            case .makeDirectory(let name): durableDirectories.insert(name)
            case .unlink(let name): durableFiles[name] = nil
            case .rename(let source, let target, let file):
                durableFiles[source] = nil
                durableFiles[target] = file
            }
        }
    }

    private struct OpenFile {
        let file: SimulatedFile
        let mode: OpenMode
        var position = 0
    }

    private let lock = StripeLock()
    private var generator: RandomGenerator
    private var directories: [String: Directory]
    private var openFiles: [Int32: OpenFile] = [:]
    private var lastDescriptor: Int32 = 1000
    private var lastFileNumber = 0
    private var currentFaults = DiskFaults()
    private var crashCall: Int?
    private var crashed = false
    private var calls = 0

    /// A disk with one directory.
    package init(seed: UInt64, directory: String) {
        generator = RandomGenerator(seed: seed)
        directories = [directory: Directory()]
    }

    // MARK: What a test controls

    package var faults: DiskFaults {
        get { locked { currentFaults } }
        set { locked { currentFaults = newValue } }
    }

    /// The calls so far.
    package var callCount: Int { locked { calls } }

    /// Stops everything at the call that comes so many calls from now (1: the next), before or after its effect; nil
    /// takes that back.
    package func crash(afterCalls count: Int?) { locked { crashCall = count.map { calls + $0 } } }

    /// Whether the crash has come: all calls fail until ``restart(losesPower:)``.
    package var isCrashed: Bool { locked { crashed } }

    /// Begins anew, with what a crash leaves: everything that was written if only the process has died, or what the
    /// disk had when the power failed.
    package func restart(losesPower: Bool) {
        locked {
            openFiles = [:]
            crashed = false
            crashCall = nil
            if losesPower { losePower() }
        }
    }

    /// The bytes of a file as they can be read; nil when there is none.
    package func contents(_ path: String) -> [UInt8]? { locked { file(path)?.bytes } }

    /// Puts a file there that is on disk, for tests of damage.
    package func put(_ bytes: [UInt8], at path: String) {
        locked {
            let (directory, name) = split(path)
            let file = makeFile()
            file.write(bytes)
            file.synchronize()
            directories[directory]?.files[name] = file
            directories[directory]?.durableFiles[name] = file
        }
    }

    package func remove(_ path: String) {
        locked {
            let (directory, name) = split(path)
            directories[directory]?.files[name] = nil
            directories[directory]?.durableFiles[name] = nil
        }
    }

    /// The paths of all files, sorted.
    package var paths: [String] {
        locked { directories.flatMap { path, directory in directory.files.keys.map { "\(path)/\($0)" } }.sorted() }
    }

    // MARK: The power fails

    private func losePower() {
        // In a fixed order, so that a seed gives the same disk.
        for path in directories.keys.sorted() {
            guard let directory = directories[path] else { continue }
            let isOrdered = generator.next(below: 2) == 0
            let count = generator.next(below: directory.changes.count + 1)
            for (index, change) in directory.changes.enumerated() where isOrdered ? index < count : coin() {
                directory.apply(change)
            }
            directory.changes = []
            directory.files = directory.durableFiles
            directory.directories = directory.durableDirectories
            // Temporary names hold a number of the process, which the seed does not know.
            let files = directory.files.values.sorted { $0.number < $1.number }
            for file in files { file.losePower(&generator) }
        }
        // A directory that has no name is gone with what it held.
        for path in directories.keys.sorted(by: { $0.utf8.count < $1.utf8.count }) {
            let (parent, name) = split(path)
            if let holder = directories[parent], !holder.directories.contains(name) { directories[path] = nil }
        }
    }

    private func coin() -> Bool { generator.next(below: 2) == 0 }

    // MARK: Calls

    /// The file system that a program gets.
    package var fileSystem: FileSystem {
        FileSystem(
            open: { [self] (path, mode) throws(SystemError) in try open(path, mode) },
            close: { [self] (file) throws(SystemError) in
                try call("close", file.path) { () throws(SystemError) in openFiles[file.descriptor] = nil }
            },
            size: { [self] (file) throws(SystemError) in
                try call("stat", file.path) { () throws(SystemError) in try openFile(file).file.bytes.count }
            },
            read: { [self] (file, room) throws(SystemError) in try read(file, nil, room) },
            readAt: { [self] (file, offset, room) throws(SystemError) in try read(file, offset, room) },
            write: { [self] (file, bytes) throws(SystemError) in try write(file, bytes) },
            synchronize: { [self] (file) throws(SystemError) in try synchronize(file) },
            synchronizeData: { [self] (file) throws(SystemError) in try synchronize(file) },
            rename: { [self] (source, target) throws(SystemError) in try rename(source, target) },
            unlink: { [self] (path) throws(SystemError) in try unlink(path) },
            synchronizeDirectory: { [self] (path) throws(SystemError) in try synchronizeDirectory(path) },
            names: { [self] (path) throws(SystemError) in
                try call("open", path) { () throws(SystemError) in
                    let directory = try directory(path)
                    return Array(directory.files.keys) + Array(directory.directories)
                }
            },
            makeDirectory: { [self] (path) throws(SystemError) in try makeDirectory(path) }
        )
    }

    /// One system call: may crash before or after its effect, be interrupted or fail.
    private func call<Result>(
        _ operation: String, _ path: String, _ body: () throws(SystemError) -> Result
    ) throws(SystemError) -> Result {
        lock.lock()
        defer { lock.unlock() }
        calls += 1
        let isStopped = SystemError(operation: operation, path: path, code: EIO)
        if crashed { throw isStopped }
        if calls == crashCall {
            crashed = true
            if coin() { _ = try body() }
            throw isStopped
        }
        if happens(currentFaults.interruptions) { throw SystemError(operation: operation, path: path, code: EINTR) }
        // A close that fails has closed nevertheless, and a sync that fails has effects of its own.
        if operation != "close", operation != "fsync", happens(currentFaults.errors) { throw isStopped }
        return try body()
    }

    private func happens(_ thousandths: Int) -> Bool { thousandths > 0 && generator.next(below: 1000) < thousandths }

    private func open(_ path: String, _ mode: OpenMode) throws(SystemError) -> FileHandle {
        try call("open", path) { () throws(SystemError) in
            let (directoryPath, name) = split(path)
            let directory = try directory(directoryPath)
            let file: SimulatedFile
            switch (mode, directory.files[name]) {
            case (.create, let old?), (.createPrivate, let old?):
                _ = old
                throw SystemError(operation: "open", path: path, code: EEXIST)
            case (.create, nil), (.createPrivate, nil):
                file = makeFile()
                directory.files[name] = file
                directory.changes.append(.link(name, file))
            case (_, let old?): file = old
            case (_, nil): throw SystemError(operation: "open", path: path, code: ENOENT)
            }
            lastDescriptor += 1
            openFiles[lastDescriptor] = OpenFile(file: file, mode: mode)
            return FileHandle(descriptor: lastDescriptor, path: path)
        }
    }

    private func read(
        _ handle: FileHandle, _ offset: Int?, _ room: UnsafeMutableRawBufferPointer
    ) throws(SystemError) -> Int {
        try call("read", handle.path) { () throws(SystemError) in
            let open = try openFile(handle)
            guard open.mode == .read else { throw SystemError(operation: "read", path: handle.path, code: EBADF) }
            let start = min(offset ?? open.position, open.file.bytes.count)
            var count = min(room.count, open.file.bytes.count - start)
            if count > 1, happens(currentFaults.shortCounts) { count = 1 + generator.next(below: count - 1) }
            open.file.bytes.withUnsafeBytes { bytes in
                room.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]))
            }
            if offset == nil { openFiles[handle.descriptor]?.position = start + count }
            return count
        }
    }

    private func write(_ handle: FileHandle, _ bytes: ByteView) throws(SystemError) -> Int {
        try call("write", handle.path) { () throws(SystemError) in
            let open = try openFile(handle)
            guard open.mode != .read else { throw SystemError(operation: "write", path: handle.path, code: EBADF) }
            var count = bytes.count
            if count > 1, happens(currentFaults.shortCounts) { count = 1 + generator.next(below: count - 1) }
            if currentFaults.capacity < Int.max {
                count = min(count, max(0, currentFaults.capacity - usedByteCount))
                if count == 0, bytes.count > 0 {
                    throw SystemError(operation: "write", path: handle.path, code: ENOSPC)
                }
            }
            open.file.write(bytes[0..<count].bytes)
            return count
        }
    }

    private var usedByteCount: Int {
        directories.values.reduce(0) { sum, directory in
            directory.files.values.reduce(sum) { $0 + $1.bytes.count }
        }
    }

    private func synchronize(_ handle: FileHandle) throws(SystemError) {
        try call("fsync", handle.path) { () throws(SystemError) in
            let open = try openFile(handle)
            guard !happens(currentFaults.errors) else {
                open.file.failToSynchronize(&generator)
                throw SystemError(operation: "fsync", path: handle.path, code: EIO)
            }
            open.file.synchronize()
        }
    }

    private func rename(_ source: String, _ target: String) throws(SystemError) {
        try call("rename", target) { () throws(SystemError) in
            let (sourceDirectory, sourceName) = split(source)
            let (targetDirectory, targetName) = split(target)
            let directory = try directory(sourceDirectory)
            guard sourceDirectory == targetDirectory, let file = directory.files[sourceName] else {
                throw SystemError(operation: "rename", path: target, code: ENOENT)
            }
            directory.files[sourceName] = nil
            directory.files[targetName] = file
            directory.changes.append(.rename(sourceName, targetName, file))
        }
    }

    private func unlink(_ path: String) throws(SystemError) {
        try call("unlink", path) { () throws(SystemError) in
            let (directoryPath, name) = split(path)
            let directory = try directory(directoryPath)
            guard directory.files[name] != nil else { throw SystemError(operation: "unlink", path: path, code: ENOENT) }
            directory.files[name] = nil
            directory.changes.append(.unlink(name))
        }
    }

    private func synchronizeDirectory(_ path: String) throws(SystemError) {
        try call("fsync", path) { () throws(SystemError) in
            let directory = try directory(path)
            let isFailing = happens(currentFaults.errors)
            // What a sync that fails has done already stays done.
            let count = isFailing ? generator.next(below: directory.changes.count + 1) : directory.changes.count
            for change in directory.changes.prefix(count) { directory.apply(change) }
            directory.changes.removeFirst(count)
            if isFailing { throw SystemError(operation: "fsync", path: path, code: EIO) }
        }
    }

    private func makeDirectory(_ path: String) throws(SystemError) {
        try call("mkdir", path) { () throws(SystemError) in
            let (parent, name) = split(path)
            let holder = try directory(parent)
            guard directories[path] == nil else { throw SystemError(operation: "mkdir", path: path, code: EEXIST) }
            directories[path] = Directory()
            holder.directories.insert(name)
            holder.changes.append(.makeDirectory(name))
        }
    }

    // MARK: Finding things

    private func locked<Result>(_ body: () -> Result) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return body()
    }

    private func split(_ path: String) -> (directory: String, name: String) {
        (directoryPath(of: path), path.split(separator: "/").last.map(String.init) ?? "")
    }

    private func directory(_ path: String) throws(SystemError) -> Directory {
        guard let directory = directories[path] else { throw SystemError(operation: "open", path: path, code: ENOENT) }
        return directory
    }

    private func makeFile() -> SimulatedFile {
        lastFileNumber += 1
        return SimulatedFile(number: lastFileNumber)
    }

    private func file(_ path: String) -> SimulatedFile? {
        let (directory, name) = split(path)
        return directories[directory]?.files[name]
    }

    private func openFile(_ handle: FileHandle) throws(SystemError) -> OpenFile {
        guard let open = openFiles[handle.descriptor] else {
            throw SystemError(operation: "use", path: handle.path, code: EBADF)
        }
        return open
    }
}
