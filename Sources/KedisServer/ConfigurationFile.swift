// Files in the form of redis.conf: a directive and its values a line, `#` comments, quotes and escapes, `include`.
//
// Lines take effect in order, so later ones win; `save` lines add up. All wrong lines are reported at once. Bounds:
// depth of includes, number and size of files, number of errors, so no file can make the start run for ever.

import KedisCommands
import KedisProtocol
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What is wrong with files or an argument: for people, a line for each problem.
package struct ConfigurationFileError: Error, Equatable, CustomStringConvertible {
    package var description: String
}

struct ConfigurationFile {
    static let depthMax = 16
    static let fileCountMax = 1000
    static let byteCountMax = 16 << 20
    static let problemCountMax = 20

    let configuration: Configuration
    private var fileCount = 0
    private var problems: [String] = []

    init(_ configuration: Configuration) { self.configuration = configuration }

    /// Applies the file at `path`, `-` for standard input, and what it includes; throws all that is wrong with them.
    mutating func load(_ path: String) throws(ConfigurationFileError) {
        try load(path, depth: 0)
        if !problems.isEmpty { throw ConfigurationFileError(description: problems.joined(separator: "\n")) }
    }

    /// Applies a file and notes its wrong lines; throws when it cannot be read at all.
    private mutating func load(_ path: String, depth: Int) throws(ConfigurationFileError) {
        guard depth < Self.depthMax, fileCount < Self.fileCountMax else {
            throw ConfigurationFileError(description: "\(path): too many files include each other")
        }
        fileCount += 1
        let bytes = try readConfigurationFile(path)
        var number = 0
        for line in bytes.split(separator: 0x0A, omittingEmptySubsequences: false) {
            number += 1
            guard problems.count < Self.problemCountMax else { return }
            do throws(ConfigurationFileError) {
                try apply(Array(line), depth: depth)
            } catch {
                problems.append("\(path):\(number): \(error)")
            }
        }
    }

    private mutating func apply(_ line: [UInt8], depth: Int) throws(ConfigurationFileError) {
        let start = line.firstIndex { !isASCIISpace($0) } ?? line.count
        guard start < line.count, line[start] != 0x23 else { return }
        let text = String(decoding: line[start...].reversed().drop(while: isASCIISpace).reversed(), as: UTF8.self)
        guard let pieces = splitArguments(Array(line[start...])) else {
            throw ConfigurationFileError(description: "'\(text)' Unbalanced quotes in configuration line")
        }
        if let first = pieces.first, first.map(asciiLowercased) == Array("user".utf8) {
            if let reason = declareUser(configuration, Array(pieces.dropFirst())) {
                throw ConfigurationFileError(description: "'\(redacted(text))' \(reason)")
            }
            return
        }
        let words = pieces.compactMap { String(validating: $0, as: UTF8.self) }
        guard words.count == pieces.count else {
            throw ConfigurationFileError(description: "'\(text)' is not UTF-8")
        }
        guard let name = words.first else { return }
        if name == "include" || name == "INCLUDE" {
            guard words.count == 2 else {
                throw ConfigurationFileError(description: "'\(text)' wrong number of arguments")
            }
            do throws(ConfigurationFileError) {
                return try include(words[1], depth: depth)
            } catch {
                throw ConfigurationFileError(description: "'\(text)' \(error)")
            }
        }
        if let reason = configure(configuration, name, Array(words.dropFirst())) {
            throw ConfigurationFileError(description: "'\(text)' \(reason)")
        }
    }

    /// A line of a user, as it may stand in a log.
    private func redacted(_ line: String) -> String {
        line.split(separator: " ").prefix(2).joined(separator: " ") + " …"
    }

    /// Applies the files that a pattern names, in the order of their names. A pattern that matches none is fine, a
    /// plain name that is not there is not.
    private mutating func include(_ pattern: String, depth: Int) throws(ConfigurationFileError) {
        var found = glob_t()
        defer { globfree(&found) }
        let status = glob(pattern, 0, nil, &found)
        let isPattern = pattern.contains { "*?[".contains($0) }
        var paths: [String] = []
        if status == 0, let names = found.gl_pathv {
            for index in 0..<Int(found.gl_pathc) { if let name = names[index] { paths.append(String(cString: name)) } }
        } else if !isPattern {
            paths = [pattern]
        }
        for path in paths { try load(path, depth: depth + 1) }
    }

}

/// The bytes of a file, or of standard input for `-`.
func readConfigurationFile(_ path: String) throws(ConfigurationFileError) -> [UInt8] {
    let descriptor = path == "-" ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw unreadable(path) }
    defer { close(descriptor) }
    switch readAll(descriptor, byteCountMax: ConfigurationFile.byteCountMax) {
    case .bytes(let bytes): return bytes
    case .unreadable: throw unreadable(path)
    case .tooLong: throw ConfigurationFileError(description: "\(path): the file is too long for a configuration")
    }
}

private func unreadable(_ path: String) -> ConfigurationFileError {
    ConfigurationFileError(description: "cannot read the configuration file \(path): \(systemText())")
}

/// Declares a user, whose name and rules may be any bytes; nil, or why not.
private func declareUser(_ configuration: Configuration, _ words: [[UInt8]]) -> String? {
    do throws(ConfigurationError) {
        try configuration.declareUser(words)
        return nil
    } catch {
        return error.reason
    }
}

/// Sets a directive; nil, or why not.
func configure(_ configuration: Configuration, _ name: String, _ arguments: [String]) -> String? {
    do throws(ConfigurationError) {
        try configuration.configure(name, arguments)
        return nil
    } catch {
        switch error {
        case .refused(_, let reason): return reason
        case .unknown(let name):
            guard let suggestion = configuration.suggestion(for: name) else { return "unknown directive '\(name)'" }
            return "unknown directive '\(name)', did you mean '\(suggestion)'?"
        }
    }
}
