// The lines typed before: in memory for the editor, in a file for the next run.
//
// The file is `~/.kedis_history` (`KEDIS_HISTFILE` names another one, `/dev/null` none), readable by its owner only.
// Each line is appended when it is entered, so shells that run side by side keep each other's lines; a file that has
// grown too long is rewritten when it is loaded. Lines that carry passwords are kept neither in memory nor in the file.

import KedisProtocol

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

package struct History: Sendable {
    package static let lineLimit = 1_000
    /// The most bytes of the file that are read: its end.
    private static let fileByteLimit = 4 << 20

    package private(set) var lines: [String] = []
    private let path: String?

    /// The history of the file at `path`; without one, of this run only.
    package init(path: String?) {
        self.path = path
        load()
    }

    /// Where the history of this user is kept, nil if nowhere.
    package static func defaultPath() -> String? {
        if let named = getenv("KEDIS_HISTFILE") {
            let path = String(cString: named)
            return path.isEmpty || path == "/dev/null" ? nil : path
        }
        guard let home = getenv("HOME") else { return nil }
        let path = String(cString: home)
        return path.isEmpty ? nil : path + "/.kedis_history"
    }

    /// Keeps a line, unless it is empty, begins with a blank, repeats the one before or is confidential.
    package mutating func add(_ line: String) {
        guard let first = line.first, !first.isWhitespace, line != lines.last, !History.isConfidential(line) else {
            return
        }
        lines.append(line)
        if lines.count > History.lineLimit { lines.removeFirst(lines.count - History.lineLimit) }
        guard let path else { return }
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        _ = fchmod(descriptor, 0o600)
        _ = writeBytes(Array((line + "\n").utf8), to: descriptor)
    }

    // MARK: The file

    private mutating func load() {
        guard let path else { return }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        let (bytes, isWhole) = History.readEnd(of: descriptor)
        close(descriptor)
        let all = bytes.split(separator: 10).map { String(decoding: $0, as: UTF8.self) }
        lines = Array(all.suffix(History.lineLimit))
        if all.count > 2 * History.lineLimit || !isWhole { rewrite(path) }
    }

    private static func readEnd(of descriptor: Int32) -> (bytes: [UInt8], isWhole: Bool) {
        let size = lseek(descriptor, 0, SEEK_END)
        let isWhole = size <= fileByteLimit
        // A pipe or a device has no size; it is read from where it stands, up to the limit.
        _ = lseek(descriptor, isWhole ? 0 : size - off_t(fileByteLimit), SEEK_SET)
        var bytes: [UInt8] = []
        while bytes.count < fileByteLimit, let part = readBytes(from: descriptor) { bytes += part }
        if !isWhole { bytes = Array(bytes.drop { $0 != 10 }) }
        return (bytes, isWhole)
    }

    private func rewrite(_ path: String) {
        let temporary = path + ".\(getpid())"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return }
        let isWritten = writeBytes(Array(lines.map { $0 + "\n" }.joined().utf8), to: descriptor)
        close(descriptor)
        if !isWritten || rename(temporary, path) != 0 { unlink(temporary) }
    }

    // MARK: Passwords

    /// True if the line holds, or may hold, a password.
    package static func isConfidential(_ line: String) -> Bool {
        let bytes = Array(line.utf8)
        // With an unbalanced quote the words are not what the server would see: judge by the bare text.
        let arguments = splitArguments(bytes) ?? bytes.split(separator: 32).map(Array.init)
        var words = arguments.map { String(decoding: $0, as: UTF8.self).uppercased() }
        if let first = words.first, Int(first) != nil { words.removeFirst() }
        // What is explained counts as if it were executed.
        words = Array(words.drop { $0 == "EXPLAIN" || $0 == "ANALYZE" })
        guard let command = words.first else { return false }
        let rest = words.dropFirst()
        switch command {
        case "AUTH": return true
        case "ACL": return rest.first == "SETUSER" || rest.first == "GETUSER" || rest.first == "DELUSER"
        case "CONFIG":
            let secrets = ["REQUIREPASS", "MASTERAUTH", "MASTERUSER", "PRIMARYAUTH", "TLS-KEY-FILE-PASS"]
            return rest.first == "SET" && rest.contains(where: secrets.contains)
        case "HELLO", "MIGRATE": return rest.contains("AUTH") || rest.contains("AUTH2")
        default: return false
        }
    }
}
