// The append-only files of redis-server: which there are, and in what order they are read.
//
//      appendonlydir/appendonly.aof.manifest        file appendonly.aof.1.base.rdb seq 1 type b
//                                                   file appendonly.aof.1.incr.aof seq 1 type i
//
// Redis 7 has a base, then files of what came behind it, in the order of their numbers; "h" are those that it is about
// to delete. Older ones have one file, `appendonly.aof` beside the snapshot. All are only ever read here.
// Source of the format: the files of redis-server 7.0, and its description of the manifest.

import KedisUtilities

/// Why append-only files cannot be read: with file and place, and what to do.
package struct AppendOnlyError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }

    init(path: String, offset: Int, _ reason: String) { self.init("\(path), byte \(offset): \(reason)") }
}

/// Append-only files that belong together.
package struct AppendOnlyFiles: Equatable, Sendable {
    /// What was found: the manifest, or the only file.
    package var path: String
    /// In the order in which they are read.
    package var paths: [String]

    package init(path: String, paths: [String]) {
        self.path = path
        self.paths = paths
    }

    /// Those that a server with this folder of append-only files, and this name for them, would read; nil when there
    /// are none. Without a manifest that is the file of an older Redis, `folder` being where its snapshot is.
    package static func find(
        directory: String, fileName: String, folder: String, fileSystem: FileSystem = .system
    ) throws(AppendOnlyError) -> AppendOnlyFiles? {
        let manifests = try names(in: directory, fileSystem).filter {
            $0.hasSuffix(".manifest") && !$0.hasPrefix("temp")
        }
        let expected = fileName + ".manifest"
        if let name = manifests.contains(expected) ? expected : manifests.first {
            guard name == expected || manifests.count == 1 else {
                throw AppendOnlyError(
                    "\(directory) has several manifests, and none is \(expected): set `appendfilename`")
            }
            return try read(manifest: "\(directory)/\(name)", fileSystem: fileSystem)
        }
        guard try names(in: folder, fileSystem).contains(fileName) else { return nil }
        let single = (folder.hasSuffix("/") ? folder : folder + "/") + fileName
        return AppendOnlyFiles(path: single, paths: [single])
    }

    /// None where there is no such directory.
    private static func names(in directory: String, _ fileSystem: FileSystem) throws(AppendOnlyError) -> [String] {
        do {
            return try fileSystem.names(directory)
        } catch {
            if error.isMissingFile { return [] }
            throw AppendOnlyError(error.description)
        }
    }

    /// The files that a manifest names.
    package static func read(
        manifest path: String, fileSystem: FileSystem = .system
    ) throws(AppendOnlyError) -> AppendOnlyFiles {
        let bytes: [UInt8]
        do {
            bytes = try fileSystem.readAll(path, byteCountMax: manifestByteCountMax)
        } catch {
            throw AppendOnlyError(error.description)
        }
        do throws(AppendOnlyError) {
            let names = try manifestFiles(String(decoding: bytes, as: UTF8.self))
            return AppendOnlyFiles(path: path, paths: names.map { "\(directoryPath(of: path))/\($0)" })
        } catch {
            throw AppendOnlyError("\(path): \(error)")
        }
    }

    private static let manifestByteCountMax = 1 << 20

    /// The names in a manifest's text, in the order in which they are read.
    static func manifestFiles(_ text: String) throws(AppendOnlyError) -> [String] {
        var base: String?
        var later: [(number: Int, name: String)] = []
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            if line.isEmpty || line.hasPrefix("#") { continue }
            let words = manifestWords(line)
            guard let words, words.count >= 6, words.count % 2 == 0 else {
                throw AppendOnlyError("line \(index + 1) is not one of a manifest")
            }
            var facts: [String: String] = [:]
            for position in stride(from: 0, to: words.count, by: 2) { facts[words[position]] = words[position + 1] }
            guard let name = facts["file"], let number = facts["seq"].flatMap({ Int($0) }), let type = facts["type"],
                !name.contains("/"), !name.isEmpty
            else { throw AppendOnlyError("line \(index + 1) does not name a file, its number and its type") }
            switch type {
            case "b" where base == nil: base = name
            case "i" where number > later.last?.number ?? 0: later.append((number, name))
            case "h": break
            default: throw AppendOnlyError("line \(index + 1) is out of place")
            }
        }
        return (base.map { [$0] } ?? []) + later.map(\.name)
    }

    /// The words of a line; one with special characters is quoted.
    private static func manifestWords(_ line: Substring) -> [String]? {
        var words: [String] = []
        var rest = line[...]
        while let first = rest.first(where: { $0 != " " }) {
            rest = rest.drop { $0 == " " }
            if first == "\"" {
                // What names of files need: a quote, a backslash.
                var word = ""
                var isEscaped = false
                var isClosed = false
                rest = rest.dropFirst()
                while let next = rest.first, !isClosed {
                    rest = rest.dropFirst()
                    if isEscaped || next != "\\" && next != "\"" {
                        word.append(next)
                        isEscaped = false
                    } else if next == "\\" {
                        isEscaped = true
                    } else {
                        isClosed = true
                    }
                }
                guard isClosed else { return nil }
                words.append(word)
            } else {
                let word = rest.prefix { $0 != " " }
                words.append(String(word))
                rest = rest.dropFirst(word.count)
            }
        }
        return words
    }
}
