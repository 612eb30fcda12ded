// Files and folders for tests: reading, listing, temporary folders. Plain POSIX, so that tests of the layers below the
// server need no Foundation.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

package enum TestFiles {
    /// The root of the package, from where this file lies.
    package static var packageRoot: String {
        let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        return parts.dropLast(3).joined(separator: "/")
    }

    /// The content of the file, or nil if it cannot be read.
    package static func read(_ path: String) -> [UInt8]? {
        guard let file = fopen(path, "rb") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { return ferror(file) == 0 ? bytes : nil }
            bytes.append(contentsOf: chunk[..<count])
        }
    }

    /// Writes the file anew; false if that fails.
    package static func write(_ text: String, to path: String) -> Bool { write(Array(text.utf8), to: path) }

    package static func write(_ bytes: [UInt8], to path: String) -> Bool {
        guard let file = fopen(path, "wb") else { return false }
        let count = fwrite(bytes, 1, bytes.count, file)
        return fclose(file) == 0 && count == bytes.count
    }

    /// All files below `folder`, sorted, with their paths; hidden ones are left out.
    package static func list(below folder: String, suffix: String) -> [String] {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var paths: [String] = []
        while let entry = readdir(directory) {
            let name = name(of: entry)
            if name.hasPrefix(".") { continue }
            let path = "\(folder)/\(name)"
            if isFolder(path) {
                paths += list(below: path, suffix: suffix)
            } else if name.hasSuffix(suffix) {
                paths.append(path)
            }
        }
        return paths.sorted()
    }

    private static func name(of entry: UnsafeMutablePointer<dirent>) -> String {
        withUnsafeBytes(of: &entry.pointee.d_name) { raw in
            String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    private static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// The value of an environment variable, nil if it is unset or empty.
    package static func environment(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// What servers of tests are started with: the transport of `KEDIS_TRANSPORT` instead of the usual one.
    package static var transportDirectives: [String] {
        environment("KEDIS_TRANSPORT").map { ["--transport", $0] } ?? []
    }

    /// The full path of a program in PATH.
    package static func program(_ name: String) -> String? {
        if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
        let folders = environment("PATH")?.split(separator: ":") ?? []
        return folders.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    /// Makes a new, empty folder; nil if that fails.
    package static func makeTemporaryFolder() -> String? {
        let base = environment("TMPDIR") ?? "/tmp"
        var template = Array("\(base)/kedis-test-XXXXXX".utf8CString)
        return template.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress, mkdtemp(base) != nil else { return nil }
            return String(cString: base)
        }
    }

    /// Removes a folder of plain files and such folders, hidden ones too. Links are removed, not followed.
    package static func removeTemporaryFolder(_ folder: String) {
        guard let directory = opendir(folder) else { return }
        var names: [String] = []
        while let entry = readdir(directory) { names.append(name(of: entry)) }
        closedir(directory)
        for name in names where name != "." && name != ".." {
            let path = "\(folder)/\(name)"
            if unlink(path) != 0 { removeTemporaryFolder(path) }
        }
        rmdir(folder)
    }

    package static func sleep(milliseconds: Int) {
        sleep(microseconds: milliseconds * 1000)
    }

    /// Waits; none means that another thread may go first.
    package static func sleep(microseconds: Int) {
        if microseconds == 0 { sched_yield() } else { usleep(UInt32(clamping: microseconds)) }
    }
}

extension [UInt8] {
    /// A segment of a journal without the zeros behind its records.
    package var withoutRoom: [UInt8] { Array(prefix((lastIndex { $0 != 0 } ?? -1) + 1)) }
}
