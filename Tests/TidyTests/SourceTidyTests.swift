// The house rules that a program can check: lengths, opening comments, words that have no place in a finished source,
// and the layers' imports, read from Package.swift so that the table has one place.

import KedisTestSupport
import Testing

/// A source file with what the checks look at.
struct SourceFile: Sendable, CustomTestStringConvertible {
    let path: String
    /// The target that it belongs to.
    let target: String
    let lines: [String]
    /// The lines without comments.
    let code: [String]

    var testDescription: String { path }

    init(path: String) {
        let root = TestFiles.packageRoot
        self.path = String(path.dropFirst(root.utf8.count + 1))
        let parts = self.path.split(separator: "/")
        target = parts.count > 1 ? String(parts[1]) : ""
        let text = String(decoding: TestFiles.read(path) ?? [], as: UTF8.self)
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        code = lines.map(Self.withoutComment)
    }

    private static func withoutComment(_ line: String) -> String {
        let bytes = Array(line.utf8)
        let slash = UInt8(ascii: "/")
        for index in bytes.indices.dropLast() where bytes[index] == slash && bytes[index + 1] == slash {
            // Two slashes after something else than a blank are part of an address in a string.
            if bytes[..<index].allSatisfy({ $0 == 0x20 }) || bytes[index - 1] == 0x20 {
                return String(decoding: bytes[..<index], as: UTF8.self)
            }
        }
        return line
    }

    static func all(below folder: String) -> [SourceFile] {
        [".swift", ".c", ".h"].flatMap { suffix in
            TestFiles.list(below: "\(TestFiles.packageRoot)/\(folder)", suffix: suffix).map(SourceFile.init(path:))
        }
    }

    /// Its functions and initialisers with their lengths, nested ones too: from the line of the name to the line that
    /// closes the body, which stands as deep as the name.
    var functions: [(name: String, line: Int, lineCount: Int)] {
        code.enumerated().compactMap { start, line in
            let words = line.split { $0 == " " || $0 == "(" || $0 == "<" }
            let position = words.firstIndex { $0 == "func" || $0 == "init" || $0 == "init?" || $0 == "deinit" }
            guard let position, words[..<position].allSatisfy({ Self.isModifier($0) }) else { return nil }
            let name = words[position] == "func" && position + 1 < words.count ? words[position + 1] : words[position]
            let indentation = String(line.prefix { $0 == " " })
            // A body that opens and closes on one line, or none, is short.
            let end = code[start...].firstIndex { $0 == indentation + "}" }
            let next = code[(start + 1)...].firstIndex { other in
                !other.isEmpty && other.prefix { $0 == " " }.count <= indentation.count
                    && ![")", "{", "-", "w", "}"].contains(other.drop { $0 == " " }.first ?? "x")
            }
            guard let end, end < next ?? code.endIndex else { return (String(name), start + 1, 1) }
            return (String(name), start + 1, end - start + 1)
        }
    }

    private static func isModifier(_ word: Substring) -> Bool {
        word.hasPrefix("@") || word.hasSuffix(")") || accessLevels.contains(word)
            || ["static", "mutating", "consuming", "borrowing", "final", "override", "convenience", "nonisolated"]
                .contains(word)
    }

    private static let accessLevels: Set<Substring> = ["package", "public", "internal", "private", "fileprivate"]

    /// The modules that it imports, with the numbers of their lines.
    var imports: [(module: String, line: Int)] {
        code.enumerated().compactMap { index, line in
            guard line.contains("import ") else { return nil }
            let words = line.split(separator: " ")
            guard let position = words.firstIndex(of: "import"), position + 1 < words.count,
                words[..<position].allSatisfy({ Self.accessLevels.contains($0) || $0.hasPrefix("@") })
            else { return nil }
            // `import struct Module.Name` names its module in the last word.
            let kinds = ["struct", "class", "enum", "protocol", "typealias", "func", "let", "var"]
            let name = kinds.contains(String(words[position + 1])) ? words[words.count - 1] : words[position + 1]
            return (String(name.prefix { $0 != "." }), index + 1)
        }
    }
}

@Suite("Sources are tidy")
struct SourceTidyTests {
    private static let sources = SourceFile.all(below: "Sources")
    private static let lowerLayers: Set = [
        "KedisUtilities", "KedisProtocol", "KedisStore", "KedisFormats", "KedisCommands",
    ]

    @Test("The checks see the sources")
    func sourcesAreFound() {
        #expect(Self.sources.count > 10)
        #expect(Self.sources.contains { !$0.imports.isEmpty })
    }

    @Test("No source file has more than 500 lines")
    func length() {
        for file in Self.sources + SourceFile.all(below: "Tests") where file.lines.count > 501 {
            Issue.record("\(file.path) has \(file.lines.count - 1) lines")
        }
    }

    @Test("No line of the sources has more than 120 columns")
    func width() {
        for file in Self.sources {
            for (index, line) in file.lines.enumerated() where line.count > 120 {
                Issue.record("\(file.path):\(index + 1) has \(line.count) columns")
            }
        }
    }

    /// Functions that are longer than they should be, with the length that they may have: it may only go down.
    private static let longFunctions: [String: Int] = [:]

    @Test("No function of the sources has more than 70 lines")
    func functionLength() {
        var count = 0
        for file in Self.sources where file.path.hasSuffix(".swift") {
            for function in file.functions {
                count += 1
                let limit = Self.longFunctions["\(file.path) \(function.name)"] ?? 70
                if function.lineCount > limit {
                    Issue.record("\(file.path):\(function.line): \(function.name) has \(function.lineCount) lines")
                }
            }
        }
        #expect(count > 300, "the functions are not found")
    }

    @Test("Every source file opens with a comment")
    func openingComment() {
        for file in Self.sources {
            #expect(file.lines.first?.hasPrefix("//") == true || file.lines.first?.hasPrefix("/*") == true, "\(file.path)")
        }
    }

    @Test("Nothing is left to do later, and nothing traps on purpose")
    func forbiddenWords() {
        let notes = ["TO" + "DO", "FIX" + "ME"]
        for file in Self.sources {
            for (index, line) in file.lines.enumerated() where notes.contains(where: { line.contains($0) }) {
                Issue.record("\(file.path):\(index + 1): \(line)")
            }
            for line in file.lines.indices where file.code[line].contains("fatalError") {
                Issue.record("\(file.path):\(line + 1): fatalError")
            }
        }
    }

    @Test("The lower layers know no Foundation, no network library, no concurrency runtime, no existentials")
    func lowerLayers() {
        let forbidden = ["Foundation", "FoundationEssentials", "Dispatch", "Logging", "ServiceLifecycle", "ArgumentParser"]
        for file in Self.sources where Self.lowerLayers.contains(file.target) {
            for (module, line) in file.imports where forbidden.contains(module) || module.hasPrefix("NIO") {
                Issue.record("\(file.path):\(line): import \(module)")
            }
            for (index, line) in file.code.enumerated() where Self.isForbiddenBelow(line) {
                Issue.record("\(file.path):\(index + 1): \(line)")
            }
        }
    }

    /// Whether the code suspends or names an existential. String literals are text.
    private static func isForbiddenBelow(_ line: String) -> Bool {
        guard !line.utf8.contains(UInt8(ascii: "\"")) else { return false }
        let words = line.split { !($0.isLetter || $0.isNumber || $0 == "_" || $0 == ".") }
        if words.contains("await") || words.first == "actor" { return true }
        if line.contains(") async") { return true }
        return zip(words, words.dropFirst()).contains { $0 == "any" && $1.first?.isUppercase == true }
    }

    @Test("Targets import what their line in Package.swift names, and nothing else")
    func layers() throws {
        let system: Set = [
            "Glibc", "Musl", "Darwin", "Synchronization", "Foundation", "FoundationEssentials", "Dispatch", "Swift",
        ]
        let allowed = try Self.declaredDependencies()
        for file in Self.sources where file.path.hasSuffix(".swift") {
            let names = try #require(allowed[file.target], "\(file.target) is not in Package.swift")
            for (module, line) in file.imports where !names.contains(module) && !system.contains(module) {
                Issue.record("\(file.path):\(line): \(file.target) does not declare \(module)")
            }
        }
    }

    @Test("Arrows between the layers only point down")
    func arrows() throws {
        let layers = [
            "CKedis", "KedisUtilities", "KedisProtocol", "KedisStore", "KedisFormats", "KedisCommands", "KedisPersistence",
            "KedisDurability", "KedisServer", "Kedis", "KedisShell", "KedisCLI",
        ]
        let allowed = try Self.declaredDependencies()
        for (index, layer) in layers.enumerated().dropFirst() {
            let names = try #require(allowed[layer], "\(layer) is not in Package.swift")
            for upper in layers[index...] where names.contains(upper) { Issue.record("\(layer) depends on \(upper)") }
        }
    }

    /// The quoted names in each target's declaration: from `layer("X", [` or `name: "X"` to the closing bracket.
    private static func declaredDependencies() throws -> [String: Set<String>] {
        let bytes = try #require(TestFiles.read("\(TestFiles.packageRoot)/Package.swift"))
        let text = String(decoding: bytes, as: UTF8.self)
        let body = try #require(text.split(separator: "targets: [\n", maxSplits: 1).last)
        var declared: [String: Set<String>] = [:]
        var strings: [String] = []
        var depth = 0
        var isInString = false
        var current = ""
        for character in body {
            if isInString {
                if character == "\"" { strings.append(current) } else { current.append(character) }
                isInString = character != "\""
                continue
            }
            switch character {
            case "\"": (isInString, current) = (true, "")
            case "(", "[": depth += 1
            case ")", "]":
                depth -= 1
                if depth == 0, let name = strings.first {
                    declared[name, default: []].formUnion(strings.dropFirst())
                    strings = []
                }
            default: break
            }
        }
        return declared
    }
}
