// Names of files that are being written, and what is left of those whose process was killed.
//
//      temp-<process>-<number>.<suffix>        a number is given once in the life of a process
//
// A file with such a name is somebody's as long as its process lives, in this name space of processes or, on a volume
// that containers share, in another one: so its maker has a lock on it, too, which the system takes back whatever ends
// the process. Threads: any.

import KedisStore
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct TemporaryName: Equatable {
    /// Those of all files that are written so.
    private static let suffixes: Set<Substring> = ["rdb", "kjl", "acl", "conf"]

    var process: Int32
    var number: Int

    init(process: Int32, number: Int) {
        self.process = process
        self.number = number
    }

    /// What a name says; nil of files that are none of ours. Redis's own have one number only.
    init?(_ name: String) {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, Self.suffixes.contains(parts[1]) else { return nil }
        let words = parts[0].split(separator: "-", omittingEmptySubsequences: false)
        guard words.count == 3, words[0] == "temp", let process = Int32(words[1]), let number = Int(words[2]),
            process > 0, number > 0, "temp-\(process)-\(number)" == parts[0]
        else { return nil }
        self.init(process: process, number: number)
    }

    func text(_ suffix: String) -> String { "temp-\(process)-\(number).\(suffix)" }
}

/// The numbers of files that this process writes at the moment.
enum LiveTemporaryFiles {
    private static let lastNumber = Atomic<Int>(0)
    private static let numbers = Locked<Set<Int>>([])

    /// A number that no file of this process has had.
    static func takeNumber() -> Int {
        let number = lastNumber.wrappingAdd(1, ordering: .relaxed).newValue
        numbers.withLock { _ = $0.insert(number) }
        return number
    }

    static func release(_ number: Int) { numbers.withLock { _ = $0.remove(number) } }

    static func contains(_ number: Int) -> Bool { numbers.withLock { $0.contains(number) } }
}

/// Removes the files in `folder` that a process which has ended was writing. What is somebody's, or may be, stays; what
/// cannot be removed, too. Returns the names of those that are gone. For who has the lock of something in the folder,
/// before much is done there: O(names).
package func removeLeftoverFiles(in folder: String) -> [String] {
    let names = (try? FileSystem.system.names(folder)) ?? []
    return names.filter { name in
        guard let owner = TemporaryName(name), isGone(owner) else { return false }
        return removeUnlessLocked("\(folder)/\(name)")
    }
}

/// Whether the process that has made a file of this name cannot write it any more, as far as numbers tell.
private func isGone(_ owner: TemporaryName) -> Bool {
    // One before us may have had our number: in a container it always has.
    if owner.process == getpid() { return !LiveTemporaryFiles.contains(owner.number) }
    return kill(owner.process, 0) != 0 && errno == ESRCH
}

private func removeUnlessLocked(_ path: String) -> Bool {
    // Nothing but a plain file: what links point at is not ours.
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard file >= 0 else { return false }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return false }
    // File systems without locks tell nothing.
    guard flock(file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else { return false }
    return unlink(path) == 0
}
