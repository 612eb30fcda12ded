// A file system in memory whose power can fail at any system call, and whose calls can fail, stop short or be
// interrupted: what a real disk and kernel may do to a program that writes files, as far as POSIX promises no better.
//
// What was written is in the page cache until it is synced. When the power fails, each 512-byte sector that was written
// since the last sync holds what was on disk before or any of the later contents, each sector on its own; a file's
// length is the old one, the new one or one between; bytes that no write reached are zeros or leftovers. Names (create,
// rename, unlink, mkdir) that were not synced by their directory are there or not, in any combination; a rename is one
// step. A sync that fails may have written any part and may have forgotten the rest: the next one then succeeds and
// writes nothing of it, though it can still be read until the power fails. A file's time is that of its last write, or,
// after a loss of power, of the last one that was synced, or any between.
//
// Deterministic for a seed and a sequence of calls. Threads: any, one lock. Directories form a tree below one that is
// always there.

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
        case makeDirectory(String, Directory)
        case removeDirectory(String)
        case unlink(String)
        case rename(String, String, SimulatedFile)
        case renameDirectory(String, String, Directory)
    }

    private final class Directory {
        var files: [String: SimulatedFile] = [:]
        var directories: [String: Directory] = [:]
        var durableFiles: [String: SimulatedFile] = [:]
        var durableDirectories: [String: Directory] = [:]
        /// Since the last sync.
        var changes: [Change] = []

        func apply(_ change: Change) {
            switch change {
            case .link(let name, let file): durableFiles[name] = file
            case .makeDirectory(let name, let directory): durableDirectories[name] = directory
            case .removeDirectory(let name): durableDirectories[name] = nil
            case .unlink(let name): durableFiles[name] = nil
            case .rename(let source, let target, let file):
                durableFiles[source] = nil
                durableFiles[target] = file
            case .renameDirectory(let source, let target, let directory):
                durableDirectories[source] = nil
                durableDirectories[target] = directory
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
    private let rootPath: String
    private let root = Directory()
    private var openFiles: [Int32: OpenFile] = [:]
    private var lastDescriptor: Int32 = 1000
    private var lastFileNumber = 0
    private var lastModificationNumber: Int64 = 0
    private var currentFaults = DiskFaults()
    private var crashCall: Int?
    private var failingCall: Int?
    private var failingCode: Int32 = EIO
    private var crashed = false
    private var calls = 0

    /// A disk with one directory.
    package init(seed: UInt64, directory: String) {
        generator = RandomGenerator(seed: seed)
        rootPath = directory
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

    /// Has the call fail that comes so many calls from now (1: the next), with this code; nil takes that back.
    package func fail(afterCalls count: Int?, code: Int32 = EIO) {
        locked {
            failingCall = count.map { calls + $0 }
            failingCode = code
        }
    }

    /// Whether the crash has come: all calls fail until ``restart(losesPower:)``.
    package var isCrashed: Bool { locked { crashed } }

    /// Begins anew, with what a crash leaves: everything that was written if only the process has died, or what the
    /// disk had when the power failed.
    package func restart(losesPower: Bool) {
        locked {
            openFiles = [:]
            crashed = false
            crashCall = nil
            failingCall = nil
            if losesPower { losePower(root) }
        }
    }

    /// The bytes of a file as they can be read; nil when there is none.
    package func contents(_ path: String) -> [UInt8]? { locked { file(path)?.bytes } }

    /// Puts a file there that is on disk, for tests of damage.
    package func put(_ bytes: [UInt8], at path: String) {
        locked {
            let (directory, name) = (find(directoryPath(of: path)), name(of: path))
            let file = makeFile()
            file.write(bytes, at: 0, modificationNumber: nextModificationNumber())
            file.synchronize()
            directory?.files[name] = file
            directory?.durableFiles[name] = file
        }
    }

    package func remove(_ path: String) {
        locked {
            let (directory, name) = (find(directoryPath(of: path)), name(of: path))
            directory?.files[name] = nil
            directory?.durableFiles[name] = nil
        }
    }

    /// The paths of all files, sorted.
    package var paths: [String] {
        locked { paths(below: root, rootPath).sorted() }
    }

    private func paths(below directory: Directory, _ path: String) -> [String] {
        directory.files.keys.map { "\(path)/\($0)" }
            + directory.directories.flatMap { paths(below: $1, "\(path)/\($0)") }
    }

    // MARK: The power fails

    /// In a fixed order, so that a seed gives the same disk.
    private func losePower(_ directory: Directory) {
        let isOrdered = generator.next(below: 2) == 0
        let count = generator.next(below: directory.changes.count + 1)
        for (index, change) in directory.changes.enumerated() where isOrdered ? index < count : coin() {
            directory.apply(change)
        }
        directory.changes = []
        directory.files = directory.durableFiles
        // One that has no name is gone with what it held.
        directory.directories = directory.durableDirectories
        // Temporary names hold a number of the process, which the seed does not know.
        for file in directory.files.values.sorted(by: { $0.number < $1.number }) { file.losePower(&generator) }
        for (_, inner) in directory.directories.sorted(by: { $0.key < $1.key }) { losePower(inner) }
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
            writeZeros: { [self] (file, range) throws(SystemError) in try writeZeros(file, range) },
            synchronize: { [self] (file) throws(SystemError) in try synchronize(file) },
            synchronizeData: { [self] (file) throws(SystemError) in try synchronize(file) },
            // Nothing is promised by it, so nothing of it survives.
            writeOut: { [self] (file, _, _) throws(SystemError) in
                try call("write", file.path) { () throws(SystemError) in _ = try openFile(file) }
            },
            rename: { [self] (source, target) throws(SystemError) in try rename(source, target) },
            unlink: { [self] (path) throws(SystemError) in try unlink(path) },
            synchronizeDirectory: { [self] (path) throws(SystemError) in try synchronizeDirectory(path) },
            names: { [self] (path) throws(SystemError) in
                try call("open", path) { () throws(SystemError) in
                    let directory = try directory(path)
                    return Array(directory.files.keys) + Array(directory.directories.keys)
                }
            },
            makeDirectory: { [self] (path) throws(SystemError) in try makeDirectory(path) },
            removeDirectory: { [self] (path) throws(SystemError) in try removeDirectory(path) },
            modificationNanoseconds: { [self] (path) throws(SystemError) in
                try call("stat", path) { () throws(SystemError) in
                    guard let file = file(path) else { throw SystemError(operation: "stat", path: path, code: ENOENT) }
                    return file.modificationNumber
                }
            }
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
        if operation == "fsync" { return try body() }
        if let failure = takeFailure(operation, path) {
            if operation == "close" { _ = try body() }
            throw failure
        }
        if operation != "close", happens(currentFaults.errors) { throw isStopped }
        return try body()
    }

    /// The failure that a test wants of this call.
    private func takeFailure(_ operation: String, _ path: String) -> SystemError? {
        guard calls == failingCall else { return nil }
        return SystemError(operation: operation, path: path, code: failingCode)
    }

    private func happens(_ thousandths: Int) -> Bool { thousandths > 0 && generator.next(below: 1000) < thousandths }

    private func open(_ path: String, _ mode: OpenMode) throws(SystemError) -> FileHandle {
        try call("open", path) { () throws(SystemError) in
            let (directory, name) = (try directory(directoryPath(of: path)), name(of: path))
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
            openFiles[lastDescriptor] = OpenFile(
                file: file, mode: mode, position: mode == .append ? file.bytes.count : 0)
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
            let position = try openFile(handle).position
            let count = try write(handle, bytes.bytes, at: position)
            openFiles[handle.descriptor]?.position = position + count
            return count
        }
    }

    private func writeZeros(_ handle: FileHandle, _ range: Range<Int>) throws(SystemError) -> Int {
        try call("write", handle.path) { () throws(SystemError) in
            try write(handle, [UInt8](repeating: 0, count: range.count), at: range.lowerBound)
        }
    }

    private func write(_ handle: FileHandle, _ bytes: [UInt8], at offset: Int) throws(SystemError) -> Int {
        let open = try openFile(handle)
        guard open.mode != .read else { throw SystemError(operation: "write", path: handle.path, code: EBADF) }
        var count = bytes.count
        if count > 1, happens(currentFaults.shortCounts) { count = 1 + generator.next(below: count - 1) }
        if currentFaults.capacity < Int.max {
            let room = open.file.bytes.count - offset + max(0, currentFaults.capacity - usedByteCount)
            count = min(count, max(0, room))
            if count == 0, !bytes.isEmpty {
                throw SystemError(operation: "write", path: handle.path, code: ENOSPC)
            }
        }
        open.file.write(Array(bytes[0..<count]), at: offset, modificationNumber: nextModificationNumber())
        return count
    }

    private var usedByteCount: Int { byteCount(of: root) }

    private func byteCount(of directory: Directory) -> Int {
        directory.files.values.reduce(0) { $0 + $1.bytes.count }
            + directory.directories.values.reduce(0) { $0 + byteCount(of: $1) }
    }

    private func synchronize(_ handle: FileHandle) throws(SystemError) {
        try call("fsync", handle.path) { () throws(SystemError) in
            let open = try openFile(handle)
            let failure = takeFailure("fsync", handle.path)
            guard failure == nil, !happens(currentFaults.errors) else {
                open.file.failToSynchronize(&generator)
                throw failure ?? SystemError(operation: "fsync", path: handle.path, code: EIO)
            }
            open.file.synchronize()
        }
    }

    private func rename(_ source: String, _ target: String) throws(SystemError) {
        try call("rename", target) { () throws(SystemError) in
            let directory = try directory(directoryPath(of: source))
            let (sourceName, targetName) = (name(of: source), name(of: target))
            guard directoryPath(of: source) == directoryPath(of: target) else {
                throw SystemError(operation: "rename", path: target, code: EXDEV)
            }
            if let file = directory.files[sourceName] {
                directory.files[sourceName] = nil
                directory.files[targetName] = file
                directory.changes.append(.rename(sourceName, targetName, file))
            } else if let inner = directory.directories[sourceName] {
                guard directory.directories[targetName] == nil, directory.files[targetName] == nil else {
                    throw SystemError(operation: "rename", path: target, code: ENOTEMPTY)
                }
                directory.directories[sourceName] = nil
                directory.directories[targetName] = inner
                directory.changes.append(.renameDirectory(sourceName, targetName, inner))
            } else {
                throw SystemError(operation: "rename", path: target, code: ENOENT)
            }
        }
    }

    private func unlink(_ path: String) throws(SystemError) {
        try call("unlink", path) { () throws(SystemError) in
            let (directory, name) = (try directory(directoryPath(of: path)), name(of: path))
            guard directory.files[name] != nil else { throw SystemError(operation: "unlink", path: path, code: ENOENT) }
            directory.files[name] = nil
            directory.changes.append(.unlink(name))
        }
    }

    private func synchronizeDirectory(_ path: String) throws(SystemError) {
        try call("fsync", path) { () throws(SystemError) in
            let directory = try directory(path)
            let failure = takeFailure("fsync", path)
            let isFailing = failure != nil || happens(currentFaults.errors)
            // What a sync that fails has done already stays done.
            let count = isFailing ? generator.next(below: directory.changes.count + 1) : directory.changes.count
            for change in directory.changes.prefix(count) { directory.apply(change) }
            directory.changes.removeFirst(count)
            if isFailing { throw failure ?? SystemError(operation: "fsync", path: path, code: EIO) }
        }
    }

    private func makeDirectory(_ path: String) throws(SystemError) {
        try call("mkdir", path) { () throws(SystemError) in
            let (holder, name) = (try directory(directoryPath(of: path)), name(of: path))
            guard holder.directories[name] == nil, holder.files[name] == nil else {
                throw SystemError(operation: "mkdir", path: path, code: EEXIST)
            }
            let new = Directory()
            holder.directories[name] = new
            holder.changes.append(.makeDirectory(name, new))
        }
    }

    private func removeDirectory(_ path: String) throws(SystemError) {
        try call("rmdir", path) { () throws(SystemError) in
            let (old, name) = (try directory(path), name(of: path))
            guard old.files.isEmpty, old.directories.isEmpty, let holder = find(directoryPath(of: path)) else {
                throw SystemError(operation: "rmdir", path: path, code: ENOTEMPTY)
            }
            holder.directories[name] = nil
            holder.changes.append(.removeDirectory(name))
        }
    }

    // MARK: Finding things

    private func locked<Result>(_ body: () -> Result) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return body()
    }

    private func name(of path: String) -> String { path.split(separator: "/").last.map(String.init) ?? "" }

    private func find(_ path: String) -> Directory? {
        if path == rootPath { return root }
        guard path.utf8.count > rootPath.utf8.count, path.hasPrefix("\(rootPath)/") else { return nil }
        return find(directoryPath(of: path))?.directories[name(of: path)]
    }

    private func directory(_ path: String) throws(SystemError) -> Directory {
        guard let directory = find(path) else { throw SystemError(operation: "open", path: path, code: ENOENT) }
        return directory
    }

    private func makeFile() -> SimulatedFile {
        lastFileNumber += 1
        return SimulatedFile(number: lastFileNumber, modificationNumber: nextModificationNumber())
    }

    /// The time of a change: each has a later one.
    private func nextModificationNumber() -> Int64 {
        lastModificationNumber += 1
        return lastModificationNumber
    }

    private func file(_ path: String) -> SimulatedFile? {
        find(directoryPath(of: path))?.files[name(of: path)]
    }

    private func openFile(_ handle: FileHandle) throws(SystemError) -> OpenFile {
        guard let open = openFiles[handle.descriptor] else {
            throw SystemError(operation: "use", path: handle.path, code: EBADF)
        }
        return open
    }
}
