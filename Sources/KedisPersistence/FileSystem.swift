// The files of the machine as a struct of plain functions, so that a test can put a full or failing disk in their
// place.
//
// Every function is one system call; loops, retries and clean-up belong to the callers (FileSystem+Writing.swift).
// Threads: any. Failures are values of SystemError: what was tried, on which file, and the system's answer.

import CKedis
package import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A system call that failed.
package struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was tried: "open", "write" …
    package let operation: String
    package let path: String
    /// The `errno`.
    package let code: Int32

    package init(operation: String, path: String, code: Int32) {
        self.operation = operation
        self.path = path
        self.code = code
    }

    /// The system's words for the code.
    package var codeText: String { strerror(code).map { String(cString: $0) } ?? "error \(code)" }

    package var description: String { "\(operation) of \(path) failed: \(codeText)" }

    package var isInterruption: Bool { code == EINTR }
    package var isMissingFile: Bool { code == ENOENT }
    package var isExistingFile: Bool { code == EEXIST }

    static func tooLarge(_ path: String) -> SystemError { SystemError(operation: "read", path: path, code: EFBIG) }
    static func missing(_ path: String) -> SystemError { SystemError(operation: "open", path: path, code: ENOENT) }
    static func unreadable(_ path: String) -> SystemError { SystemError(operation: "read", path: path, code: EIO) }
    static func closed(_ path: String) -> SystemError { SystemError(operation: "write", path: path, code: EBADF) }
}

/// An open file: a plain number, closed by whoever opened it.
package struct FileHandle: Equatable, Sendable {
    package let descriptor: Int32
    /// For messages.
    package let path: String

    package init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }
}

package enum OpenMode: Sendable {
    case read
    /// Creates a file that must not exist.
    case create
    /// The same, readable by its owner only.
    case createPrivate
    /// Writes go on where a file ends that exists.
    case append
}

package struct FileSystem: Sendable {
    package var open: @Sendable (_ path: String, _ mode: OpenMode) throws(SystemError) -> FileHandle
    package var close: @Sendable (_ file: FileHandle) throws(SystemError) -> Void
    /// The file's length in bytes.
    package var size: @Sendable (_ file: FileHandle) throws(SystemError) -> Int
    /// Reads on from the file's position; 0 at its end. May give fewer bytes than there is room for.
    package var read: @Sendable (_ file: FileHandle, _ room: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int
    /// Reads from `offset` on, wherever the file's position is; 0 at its end. May give fewer bytes than there is room
    /// for.
    package var readAt:
        @Sendable (_ file: FileHandle, _ offset: Int, _ room: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int
    /// Writes on and returns how many bytes were taken, which may be fewer than given.
    package var write: @Sendable (_ file: FileHandle, _ bytes: ByteView) throws(SystemError) -> Int
    /// Writes zeros, wherever the file's position is, and returns how many, which may be fewer than asked for.
    package var writeZeros: @Sendable (_ file: FileHandle, _ range: Range<Int>) throws(SystemError) -> Int
    /// Returns when the file's bytes are on disk.
    package var synchronize: @Sendable (_ file: FileHandle) throws(SystemError) -> Void
    /// The same for what is needed to read the bytes again: the length too, but no times.
    package var synchronizeData: @Sendable (_ file: FileHandle) throws(SystemError) -> Void
    /// Has the disk begin with these bytes, or waits until it is through with them. Says nothing about what a crash
    /// leaves of them: `synchronize` alone does. Where the system has no such call, all is done by the one that waits.
    package var writeOut: @Sendable (_ file: FileHandle, _ range: Range<Int>, _ waits: Bool) throws(SystemError) -> Void
    /// Replaces `target` by `source` in one step; a directory takes a name that is free.
    package var rename: @Sendable (_ source: String, _ target: String) throws(SystemError) -> Void
    package var unlink: @Sendable (_ path: String) throws(SystemError) -> Void
    /// Returns when the directory's names are on disk.
    package var synchronizeDirectory: @Sendable (_ path: String) throws(SystemError) -> Void
    /// The names in a directory, in no order.
    package var names: @Sendable (_ path: String) throws(SystemError) -> [String]
    /// Makes a directory that must not exist; the one that holds it must.
    package var makeDirectory: @Sendable (_ path: String) throws(SystemError) -> Void
    /// Removes a directory that is empty.
    package var removeDirectory: @Sendable (_ path: String) throws(SystemError) -> Void
    /// When a file was changed last, in nanoseconds since 1970.
    package var modificationNanoseconds: @Sendable (_ path: String) throws(SystemError) -> Int64

    package init(
        open: @escaping @Sendable (String, OpenMode) throws(SystemError) -> FileHandle,
        close: @escaping @Sendable (FileHandle) throws(SystemError) -> Void,
        size: @escaping @Sendable (FileHandle) throws(SystemError) -> Int,
        read: @escaping @Sendable (FileHandle, UnsafeMutableRawBufferPointer) throws(SystemError) -> Int,
        readAt: @escaping @Sendable (FileHandle, Int, UnsafeMutableRawBufferPointer) throws(SystemError) -> Int,
        write: @escaping @Sendable (FileHandle, ByteView) throws(SystemError) -> Int,
        writeZeros: @escaping @Sendable (FileHandle, Range<Int>) throws(SystemError) -> Int,
        synchronize: @escaping @Sendable (FileHandle) throws(SystemError) -> Void,
        synchronizeData: @escaping @Sendable (FileHandle) throws(SystemError) -> Void,
        writeOut: @escaping @Sendable (FileHandle, Range<Int>, Bool) throws(SystemError) -> Void,
        rename: @escaping @Sendable (String, String) throws(SystemError) -> Void,
        unlink: @escaping @Sendable (String) throws(SystemError) -> Void,
        synchronizeDirectory: @escaping @Sendable (String) throws(SystemError) -> Void,
        names: @escaping @Sendable (String) throws(SystemError) -> [String],
        makeDirectory: @escaping @Sendable (String) throws(SystemError) -> Void,
        removeDirectory: @escaping @Sendable (String) throws(SystemError) -> Void,
        modificationNanoseconds: @escaping @Sendable (String) throws(SystemError) -> Int64
    ) {
        self.open = open
        self.close = close
        self.size = size
        self.read = read
        self.readAt = readAt
        self.write = write
        self.writeZeros = writeZeros
        self.synchronize = synchronize
        self.synchronizeData = synchronizeData
        self.writeOut = writeOut
        self.rename = rename
        self.unlink = unlink
        self.synchronizeDirectory = synchronizeDirectory
        self.names = names
        self.makeDirectory = makeDirectory
        self.removeDirectory = removeDirectory
        self.modificationNanoseconds = modificationNanoseconds
    }
}

extension FileSystem {
    /// The files of this machine.
    package static let system = FileSystem(
        open: systemOpen, close: systemClose, size: systemSize, read: systemRead, readAt: systemReadAt,
        write: systemWrite, writeZeros: systemWriteZeros, synchronize: systemSynchronize,
        synchronizeData: systemSynchronizeData, writeOut: systemWriteOut, rename: systemRename, unlink: systemUnlink,
        synchronizeDirectory: systemSynchronizeDirectory, names: systemNames, makeDirectory: systemMakeDirectory,
        removeDirectory: systemRemoveDirectory, modificationNanoseconds: systemModificationNanoseconds
    )
}

@Sendable private func systemOpen(_ path: String, _ mode: OpenMode) throws(SystemError) -> FileHandle {
    let flags =
        switch mode {
        case .read: O_RDONLY | O_CLOEXEC
        case .create, .createPrivate: O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC
        case .append: O_WRONLY | O_CLOEXEC
        }
    let descriptor = open(path, flags, mode == .createPrivate ? 0o600 : 0o644)
    guard descriptor >= 0 else { throw SystemError(operation: "open", path: path, code: errno) }
    // Tells others that it is being written, where the system has locks (TemporaryFiles.swift).
    if mode == .create || mode == .createPrivate { _ = flock(descriptor, LOCK_EX | LOCK_NB) }
    if mode == .append, lseek(descriptor, 0, SEEK_END) < 0 {
        let code = errno
        close(descriptor)
        throw SystemError(operation: "open", path: path, code: code)
    }
    return FileHandle(descriptor: descriptor, path: path)
}

@Sendable private func systemClose(_ file: FileHandle) throws(SystemError) {
    try check(close(file.descriptor), "close", file.path)
}

@Sendable private func systemSize(_ file: FileHandle) throws(SystemError) -> Int {
    var status = stat()
    try check(fstat(file.descriptor, &status), "stat", file.path)
    guard status.st_mode & S_IFMT != S_IFDIR else {
        throw SystemError(operation: "read", path: file.path, code: EISDIR)
    }
    return Int(status.st_size)
}

@Sendable private func systemRead(
    _ file: FileHandle, _ room: UnsafeMutableRawBufferPointer
) throws(SystemError) -> Int {
    let count = read(file.descriptor, room.baseAddress, room.count)
    guard count >= 0 else { throw SystemError(operation: "read", path: file.path, code: errno) }
    return count
}

@Sendable private func systemReadAt(
    _ file: FileHandle, _ offset: Int, _ room: UnsafeMutableRawBufferPointer
) throws(SystemError) -> Int {
    let count = pread(file.descriptor, room.baseAddress, room.count, off_t(offset))
    guard count >= 0 else { throw SystemError(operation: "read", path: file.path, code: errno) }
    return count
}

@Sendable private func systemWrite(_ file: FileHandle, _ bytes: ByteView) throws(SystemError) -> Int {
    let count = write(file.descriptor, bytes.base, bytes.count)
    guard count >= 0 else { throw SystemError(operation: "write", path: file.path, code: errno) }
    return count
}

/// Mapped and never written, so that it takes no memory of its own.
nonisolated(unsafe) private let zeros = UnsafeRawPointer(kedis_map(zeroByteCount))
private let zeroByteCount = 256 << 10

@Sendable private func systemWriteZeros(_ file: FileHandle, _ range: Range<Int>) throws(SystemError) -> Int {
    guard let zeros else { return 0 }
    let count = pwrite(file.descriptor, zeros, min(range.count, zeroByteCount), off_t(range.lowerBound))
    guard count >= 0 else { throw SystemError(operation: "write", path: file.path, code: errno) }
    return count
}

@Sendable private func systemSynchronize(_ file: FileHandle) throws(SystemError) {
    #if canImport(Darwin)
    // There fsync alone leaves the bytes in the drive's memory; some file systems have nothing but that.
    if fcntl(file.descriptor, F_FULLFSYNC) == 0 { return }
    guard errno == ENOTSUP || errno == EINVAL || errno == ENOTTY else {
        throw SystemError(operation: "fsync", path: file.path, code: errno)
    }
    #endif
    try check(fsync(file.descriptor), "fsync", file.path)
}

@Sendable private func systemSynchronizeData(_ file: FileHandle) throws(SystemError) {
    #if canImport(Darwin)
    try systemSynchronize(file)
    #else
    try check(fdatasync(file.descriptor), "fsync", file.path)
    #endif
}

@Sendable private func systemWriteOut(
    _ file: FileHandle, _ range: Range<Int>, _ waits: Bool
) throws(SystemError) {
    if kedis_write_out(file.descriptor, Int64(range.lowerBound), Int64(range.count), waits) { return }
    // Some systems, file systems and containers have no such call.
    guard errno == ENOSYS || errno == EINVAL || errno == ESPIPE || errno == EPERM else {
        throw SystemError(operation: "fsync", path: file.path, code: errno)
    }
    if waits { try systemSynchronizeData(file) }
}

@Sendable private func systemRename(_ source: String, _ target: String) throws(SystemError) {
    try check(rename(source, target), "rename", target)
}

@Sendable private func systemUnlink(_ path: String) throws(SystemError) {
    try check(unlink(path), "unlink", path)
}

@Sendable private func systemSynchronizeDirectory(_ path: String) throws(SystemError) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemError(operation: "open", path: path, code: errno) }
    let result = fsync(descriptor)
    let code = errno
    close(descriptor)
    // Some file systems have nothing to do here and say so.
    guard result == 0 || code == EINVAL else { throw SystemError(operation: "fsync", path: path, code: code) }
}

@Sendable private func systemNames(_ path: String) throws(SystemError) -> [String] {
    guard let directory = opendir(path) else { throw SystemError(operation: "open", path: path, code: errno) }
    defer { closedir(directory) }
    var names: [String] = []
    while true {
        // The end and a failure look the same but for the code.
        errno = 0
        guard let entry = readdir(directory) else {
            guard errno == 0 else { throw SystemError(operation: "read", path: path, code: errno) }
            return names
        }
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
            String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name != ".", name != ".." { names.append(name) }
    }
}

@Sendable private func systemMakeDirectory(_ path: String) throws(SystemError) {
    try check(mkdir(path, 0o755), "mkdir", path)
}

@Sendable private func systemRemoveDirectory(_ path: String) throws(SystemError) {
    try check(rmdir(path), "rmdir", path)
}

@Sendable private func systemModificationNanoseconds(_ path: String) throws(SystemError) -> Int64 {
    var status = stat()
    try check(stat(path, &status), "stat", path)
    #if canImport(Darwin)
    let time = status.st_mtimespec
    #else
    let time = status.st_mtim
    #endif
    return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
}

private func check(_ result: Int32, _ operation: String, _ path: String) throws(SystemError) {
    guard result == 0 else { throw SystemError(operation: operation, path: path, code: errno) }
}
