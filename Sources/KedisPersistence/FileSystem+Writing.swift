// What every user of files needs: whole reads and writes, interruptions met again, and a file that appears whole or not
// at all.

package import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension FileSystem {
    /// Writes all of `bytes`: goes on after short writes and interruptions. A write that takes nothing is an error.
    package func writeAll(_ file: FileHandle, _ bytes: ByteView) throws(SystemError) {
        var written = 0
        while written < bytes.count {
            let rest = bytes[written..<bytes.count]
            let count = try retrying { () throws(SystemError) in try write(file, rest) }
            guard count > 0, count <= rest.count else {
                throw SystemError(operation: "write", path: file.path, code: EIO)
            }
            written += count
        }
    }

    /// Opens a file to be read, and says how long it is. What is opened is the caller's to close.
    package func openForReading(_ path: String) throws(SystemError) -> (file: FileHandle, byteCount: Int) {
        let file = try retrying { () throws(SystemError) in try open(path, .read) }
        do throws(SystemError) {
            return (file, try retrying { () throws(SystemError) in try size(file) })
        } catch {
            try? close(file)
            throw error
        }
    }

    /// How long a file is.
    package func byteCount(of path: String) throws(SystemError) -> Int {
        let (file, byteCount) = try openForReading(path)
        try? close(file)
        return byteCount
    }

    /// All bytes of a file of at most `byteCountMax`; a longer one is an error.
    package func readAll(_ path: String, byteCountMax: Int) throws(SystemError) -> [UInt8] {
        // Refuses a directory, too.
        let file = try openForReading(path).file
        defer { try? close(file) }
        var bytes: [UInt8] = []
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 1)
        defer { room.deallocate() }
        while true {
            let count = try retrying { () throws(SystemError) in try read(file, room) }
            guard count > 0 else { return bytes }
            bytes.append(contentsOf: room[0..<min(count, room.count)])
            guard bytes.count <= byteCountMax else { throw .tooLarge(path) }
        }
    }

    /// Calls `body` until it is not interrupted by a signal.
    package func retrying<Result>(_ body: () throws(SystemError) -> Result) throws(SystemError) -> Result {
        while true {
            do {
                return try body()
            } catch {
                if !error.isInterruption { throw error }
            }
        }
    }
}

/// The directory that holds `path`.
package func directoryPath(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: 0x2F) else { return "." }
    return slash == path.utf8.startIndex ? "/" : String(path[..<slash])
}

/// A file that is written beside its target and takes the target's name when it is whole and on disk.
///
/// One thread. Ends with ``commit()`` or ``discard()``; a discarded file leaves nothing behind, and the target as it
/// was.
package final class ReplacementFile {
    private let fileSystem: FileSystem
    /// Whose place the file will take; may change until ``commit()``.
    package var targetPath: String
    private var file: FileHandle
    private let number: Int
    private var isOpen = true
    private let syncsWhileWriting: Bool
    /// The disk has begun with what comes before this.
    private var begunByteCount = 0
    /// It is through with what comes before this.
    private var doneByteCount = 0
    private static let pieceByteCount = 4 << 20
    private static let pendingByteCountMax = 32 << 20
    /// What was written so far.
    package private(set) var byteCount = 0
    /// Where the file is until it takes the target's name.
    package var temporaryPath: String { file.path }
    /// Why ``write(_:)`` answered false.
    package private(set) var failure: SystemError?

    /// Creates `temp-<pid>-<number>.rdb`, or with another suffix, in the directory of `targetPath`.
    package init(
        replacing targetPath: String, suffix: String = "rdb", isPrivate: Bool = false, fileSystem: FileSystem,
        syncsWhileWriting: Bool = false
    ) throws(SystemError) {
        self.syncsWhileWriting = syncsWhileWriting
        self.fileSystem = fileSystem
        self.targetPath = targetPath
        (file, number) = try Self.create(beside: targetPath, suffix, isPrivate ? .createPrivate : .create, fileSystem)
    }

    deinit { LiveTemporaryFiles.release(number) }

    private static func create(
        beside path: String, _ suffix: String, _ mode: OpenMode, _ fileSystem: FileSystem
    ) throws(SystemError) -> (FileHandle, number: Int) {
        // A process before us may have had our number and crashed: its file is passed over.
        var attemptsLeft = 100
        while true {
            let name = TemporaryName(process: getpid(), number: LiveTemporaryFiles.takeNumber())
            let temporary = "\(directoryPath(of: path))/\(name.text(suffix))"
            do {
                let file = try fileSystem.retrying { () throws(SystemError) in try fileSystem.open(temporary, mode) }
                return (file, name.number)
            } catch {
                LiveTemporaryFiles.release(name.number)
                attemptsLeft -= 1
                if !error.isExistingFile || attemptsLeft == 0 { throw error }
            }
        }
    }

    /// Appends `bytes`; false after the first failure, which ``failure`` tells.
    package func write(_ bytes: ByteView) -> Bool {
        if failure != nil { return false }
        do {
            try fileSystem.writeAll(file, bytes)
            byteCount += bytes.count
            if syncsWhileWriting, byteCount - begunByteCount >= Self.pieceByteCount { try writeOut() }
            return true
        } catch {
            failure = error
            return false
        }
    }

    /// Keeps the disk busy, and what waits for it small, without waiting for what was written just now.
    private func writeOut() throws(SystemError) {
        let fresh = begunByteCount..<byteCount
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.writeOut(file, fresh, false) }
        begunByteCount = fresh.upperBound
        let old = doneByteCount..<max(doneByteCount, begunByteCount - Self.pendingByteCountMax)
        guard !old.isEmpty else { return }
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.writeOut(file, old, true) }
        doneByteCount = old.upperBound
    }

    /// Puts the file in the target's place, whole and on disk. On failure the file is gone and the target untouched;
    /// only when the last step fails (the directory's fsync) is the target replaced though not surely on disk.
    package func commit() throws(SystemError) {
        do throws(SystemError) {
            if let failure { throw failure }
            try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronize(file) }
            isOpen = false
            try fileSystem.close(file)
            try fileSystem.rename(file.path, targetPath)
        } catch {
            discard()
            throw error
        }
        let directory = directoryPath(of: targetPath)
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(directory) }
    }

    /// Removes the file. What fails here cannot be helped: the first failure is the one to report.
    package func discard() {
        if isOpen {
            isOpen = false
            try? fileSystem.close(file)
        }
        try? fileSystem.unlink(file.path)
    }
}

extension FileSystem {
    /// Makes a directory; false when it is there already.
    package func makeDirectoryUnlessThere(_ path: String) throws(SystemError) -> Bool {
        do {
            try retrying { () throws(SystemError) in try makeDirectory(path) }
            return true
        } catch {
            if !error.isExistingFile { throw error }
            return false
        }
    }
}

/// Why a file was not copied.
package enum FileCopyError: Error, Equatable, Sendable {
    case system(SystemError)
    /// The copy is not what it should be.
    case refused(JournalRefusal)
}

/// Copies the file at `source`, as it is when it is opened, to `target`, where it appears whole and on disk or not at
/// all. `verify` reads the copy before that. Returns its length.
package func copyFile(
    from source: String, to target: String, fileSystem: FileSystem,
    progress: (_ bytesDone: Int, _ byteCount: Int) -> Void = { _, _ in },
    verify: (_ path: String) throws(JournalRefusal) -> Void
) throws(FileCopyError) -> Int {
    let copy: ReplacementFile
    do throws(SystemError) {
        copy = try ReplacementFile(replacing: target, fileSystem: fileSystem, syncsWhileWriting: true)
        try fill(copy, from: source, fileSystem, progress)
    } catch {
        throw .system(error)
    }
    do {
        try verify(copy.temporaryPath)
    } catch {
        copy.discard()
        throw .refused(error)
    }
    do {
        try copy.commit()
        return copy.byteCount
    } catch {
        throw .system(error)
    }
}

/// Writes what a file has to `copy`, which is discarded on failure.
private func fill(
    _ copy: ReplacementFile, from source: String, _ fileSystem: FileSystem, _ progress: (Int, Int) -> Void
) throws(SystemError) {
    do throws(SystemError) {
        let (file, byteCount) = try fileSystem.openForReading(source)
        defer { try? fileSystem.close(file) }
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 1)
        defer { room.deallocate() }
        while true {
            let count = try fileSystem.retrying { () throws(SystemError) in try fileSystem.read(file, room) }
            guard count > 0 else { return }
            let bytes = UnsafeRawBufferPointer(rebasing: room[0..<min(count, room.count)])
            if !copy.write(ByteView(bytes)), let failure = copy.failure { throw failure }
            progress(copy.byteCount, byteCount)
        }
    } catch {
        copy.discard()
        throw error
    }
}
