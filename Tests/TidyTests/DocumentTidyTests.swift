// The documentation points to what is there: relative links in all pages, and the paths that docs/ARCHITECTURE.md names.

import KedisTestSupport
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("Documents are tidy")
struct DocumentTidyTests {
    private static let root = TestFiles.packageRoot
    /// The paths of all files that are tracked, or would be: from the root, folders too.
    private static let tracked = trackedPaths()
    private static let pages = tracked.filter { $0.hasSuffix(".md") }.sorted()

    @Test("Relative links point to files of the repository")
    func links() {
        #expect(Self.pages.count > 10, "the pages are not found")
        var count = 0
        for page in Self.pages {
            let text = String(decoding: TestFiles.read("\(Self.root)/\(page)") ?? [], as: UTF8.self)
            let folder = page.split(separator: "/").dropLast().map(String.init)
            for target in Self.linkTargets(in: text) where !target.contains(":") && !target.hasPrefix("#") {
                count += 1
                let path = target.split(separator: "#", omittingEmptySubsequences: false).first.map(String.init) ?? ""
                let full = Self.resolve(path, in: folder)
                if !Self.tracked.contains(full) { Issue.record("\(page) links to \(target)") }
            }
        }
        #expect(count > 30, "the links are not found")
    }

    @Test("Paths in docs/ARCHITECTURE.md exist: from the root, from Sources or from Sources/KedisCommands")
    func architecture() throws {
        let bytes = try #require(TestFiles.read("\(Self.root)/docs/ARCHITECTURE.md"))
        var count = 0, folder = ""
        for word in Self.codeWords(in: String(decoding: bytes, as: UTF8.self)) {
            let isPath = word.contains("/") || word.hasSuffix(".swift")
            guard isPath, !word.contains(where: { " <…()␍".contains($0) }), !word.contains("**") else { continue }
            count += 1
            let starts = ["", "Sources/", "Sources/KedisCommands/", "Sources/KedisCommands/Session/", folder]
            let found = starts.first { Self.exists($0 + word) }
            if found == nil { Issue.record("docs/ARCHITECTURE.md names \(word)") }
            // A bare file name stands behind the path of another file of its folder.
            if let found, word.contains("/") { folder = (found + word).prefixThroughLastSlash }
        }
        #expect(count > 25, "the paths are not found")
    }

    /// A path whose last part may have one `*`; folders may end with a slash.
    private static func exists(_ path: String) -> Bool {
        let path = path.hasSuffix("/") ? String(path.dropLast()) : path
        guard let star = path.firstIndex(of: "*") else { return tracked.contains(path) }
        let (head, tail) = (path[..<star], path[path.index(after: star)...])
        return tracked.contains { $0.hasPrefix(head) && $0.hasSuffix(tail) }
    }

    private static func resolve(_ path: String, in folder: [String]) -> String {
        var parts = folder
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(String(part)) }
        }
        return parts.joined(separator: "/")
    }

    /// What stands in `](…)`, code left out.
    private static func linkTargets(in text: String) -> [String] {
        var targets: [String] = [], isCode = false
        for line in text.split(separator: "\n") {
            if line.hasPrefix("```") { isCode.toggle() }
            if isCode || line.hasPrefix("    ") { continue }
            var rest = line[...]
            while let start = rest.firstRange(of: "](") {
                rest = rest[start.upperBound...]
                guard let end = rest.firstIndex(of: ")") else { break }
                targets.append(String(rest[..<end]))
            }
        }
        return targets
    }

    /// What stands between single backquotes.
    private static func codeWords(in text: String) -> [String] {
        text.split(separator: "\n").flatMap { line in
            line.split(separator: "`", omittingEmptySubsequences: false).enumerated()
                .filter { $0.offset % 2 == 1 }.map { String($0.element) }
        }
    }

    /// Git's list; without git, all files that lie there.
    private static func trackedPaths() -> Set<String> {
        var files: [String] = []
        if let pipe = popen("git -C '\(root)' ls-files --cached --others --exclude-standard 2>/dev/null", "r") {
            var bytes: [UInt8] = [], chunk = [UInt8](repeating: 0, count: 65_536)
            while case let count = fread(&chunk, 1, chunk.count, pipe), count > 0 { bytes += chunk[..<count] }
            pclose(pipe)
            files = bytes.split(separator: 10).map { String(decoding: $0, as: UTF8.self) }
            // A file that was deleted is listed until that is committed.
            files = files.filter { access("\(root)/\($0)", F_OK) == 0 }
        }
        if files.isEmpty {
            files = TestFiles.list(below: root, suffix: "").map { String($0.dropFirst(root.utf8.count + 1)) }
        }
        var paths = Set(files)
        for file in files {
            var parts = file.split(separator: "/").dropLast()
            while !parts.isEmpty {
                paths.insert(parts.joined(separator: "/"))
                parts = parts.dropLast()
            }
        }
        return paths
    }
}

extension String {
    fileprivate var prefixThroughLastSlash: String {
        guard let slash = lastIndex(of: "/") else { return "" }
        return String(self[...slash])
    }
}
