// What COMMAND INFO and COMMAND DOCS say of every command here must be what redis-server says, but for the texts that are ours: summaries,
// what history tells, notes about keys, and the words around the notation of a complexity.

import KedisCommands
import KedisProtocol
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Descriptions of commands against redis-server")
struct CommandOracleTests {
    /// What redis-server 7.0 does not have.
    private static let ownNames: Set = [
        "explain", "hotkeys", "hotkeys|get", "hotkeys|help", "hotkeys|reset", "bigkeys", "bigkeys|get", "bigkeys|help",
        "bigkeys|reset",
    ]

    /// Commands whose cost here is not Redis's, or is told for strings and collections apart.
    private static let ownComplexities: Set = ["copy", "setrange"]

    /// Commands whose number of arguments is that of Redis 7.2, which they have more of.
    private static let newerArities: Set = ["zrank", "zrevrank"]

    private static let table = CommandTable(allCommandSpecs)
    private static let names = table.entries.filter { !isNewer($0.pointee.spec.since) }
        .map { $0.pointee.fullName.text }.filter { !ownNames.contains($0) }

    /// Whether Redis has it since a version behind 7.0.
    private static func isNewer(_ since: String) -> Bool {
        let numbers = since.split(separator: ".").compactMap { Int($0) }
        return numbers.count > 1 && (numbers[0], numbers[1]) > (7, 0)
    }

    @Test("INFO and DOCS of every command are those of redis-server",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"), arguments: [2, 3])
    func descriptions(protocolVersion: Int) throws {
        let server = try OracleServer()
        let oracle = try server.connect()
        let engine = TestEngine()
        let kedis = engine.connect(protocolVersion: protocolVersion)
        if protocolVersion == 3 { _ = try ask(oracle, "HELLO", "3") }
        for name in Self.names {
            let (wanted, got) = (try ask(oracle, "COMMAND", "INFO", name), try ask(kedis, "COMMAND", "INFO", name))
            compare(name, "INFO", Self.withoutSubcommands(wanted), Self.withoutSubcommands(got))
            let (wantedPage, gotPage) = (try ask(oracle, "COMMAND", "DOCS", name), try ask(kedis, "COMMAND", "DOCS", name))
            compare(name, "DOCS", Self.withoutTexts(wantedPage), Self.withoutTexts(gotPage))
        }
    }

    /// What a page of COMMAND DOCS names: commands, their subcommands and arguments, as paths.
    private struct DocumentedNames {
        /// Full names, of containers too.
        var commands: Set<String> = []
        /// `zadd: comparison/greater-than GT`: the command, the argument within its blocks, its token.
        var arguments: [String: Set<String>] = [:]

        init(_ reply: Reply, groups: Set<String>) {
            for page in CommandOracleTests.pairs(reply) ?? [] {
                guard let fields = Fields(page.value), let group = fields.text("group"), groups.contains(group) else {
                    continue
                }
                add(CommandOracleTests.text(page.key), fields)
            }
        }

        private mutating func add(_ name: String, _ fields: Fields) {
            commands.insert(name)
            arguments[name] = []
            addArguments(of: name, fields, path: "")
            for subcommand in fields.value("subcommands").flatMap(CommandOracleTests.pairs) ?? [] {
                guard let fields = Fields(subcommand.value) else { continue }
                add(CommandOracleTests.text(subcommand.key), fields)
            }
        }

        private mutating func addArguments(of name: String, _ fields: Fields, path: String) {
            guard case .array(let list)? = fields.value("arguments") else { return }
            for argument in list {
                guard let fields = Fields(argument), let own = fields.text("name") else { continue }
                let words = [path + own, fields.text("type"), fields.text("token"), fields.text("flags")]
                arguments[name]?.insert(words.compactMap(\.self).joined(separator: " "))
                addArguments(of: name, fields, path: "\(path)\(own)/")
            }
        }
    }

    /// The fields of a map, in either protocol.
    private struct Fields {
        let entries: [Reply.Entry]

        init?(_ reply: Reply) {
            guard let entries = CommandOracleTests.pairs(reply) else { return nil }
            self.entries = entries
        }

        func value(_ name: String) -> Reply? { entries.first { CommandOracleTests.text($0.key) == name }?.value }

        func text(_ name: String) -> String? { value(name).map(CommandOracleTests.text) }
    }

    /// A string, or the strings of an array or set.
    private static func text(_ reply: Reply) -> String {
        switch reply {
        case .bulk(let bytes), .simple(let bytes): String(decoding: bytes, as: UTF8.self)
        case .array(let elements), .set(let elements): elements.map(text).sorted().joined(separator: ",")
        default: reply.respLines().joined()
        }
    }

    @Test("No command of the groups of data is missing, no subcommand, and no argument of any",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"), arguments: [2, 3])
    func nothingIsMissing(protocolVersion: Int) throws {
        let server = try OracleServer()
        let oracle = try server.connect()
        let kedis = TestEngine().connect(protocolVersion: protocolVersion)
        if protocolVersion == 3 { _ = try ask(oracle, "HELLO", "3") }
        let groups = Set(FuzzGenerator.groups.map(\.rawValue))
        let wanted = DocumentedNames(try ask(oracle, "COMMAND", "DOCS"), groups: groups)
        let got = DocumentedNames(try ask(kedis, "COMMAND", "DOCS"), groups: groups)
        // It looks into blocks and subcommands.
        #expect(wanted.arguments["getex"]?.contains("expiration/persist pure-token PERSIST") == true)
        #expect(wanted.arguments["xgroup|create"]?.contains("mkstream pure-token MKSTREAM optional") == true)
        #expect(wanted.commands.count > 180 && wanted.arguments.values.map(\.count).reduce(0, +) > 700)
        #expect(wanted.commands.subtracting(got.commands).sorted() == [])
        for name in wanted.commands.intersection(got.commands).sorted() {
            let missing = (wanted.arguments[name] ?? []).subtracting(got.arguments[name] ?? [])
            #expect(missing.sorted() == [], "arguments of \(name)")
        }
    }

    @Test("No other command is missing, no subcommand, and no argument of any",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"))
    func nothingIsMissingAboutTheServer() throws {
        let server = try OracleServer()
        let kedis = TestEngine().connect(protocolVersion: 2)
        let groups: Set = ["connection", "server", "transactions", "pubsub", "cluster", "scripting"]
        let wanted = DocumentedNames(try ask(server.connect(), "COMMAND", "DOCS"), groups: groups)
        let got = DocumentedNames(try ask(kedis, "COMMAND", "DOCS"), groups: groups)
        #expect(wanted.commands.count > 150)
        for name in wanted.commands.sorted() {
            #expect(got.commands.contains(name), "\(name) is missing")
            let missing = (wanted.arguments[name] ?? []).subtracting(got.arguments[name] ?? [])
            #expect(missing.sorted() == [], "arguments of \(name)")
        }
    }

    @Test("COMMAND COUNT and LIST tell all that redis-server's do, and what there is here alone",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"))
    func lists() throws {
        let server = try OracleServer()
        let (oracle, kedis) = (try server.connect(), TestEngine().connect(protocolVersion: 2))
        let wanted = try Self.names(ask(oracle, "COMMAND", "LIST")), got = try Self.names(ask(kedis, "COMMAND", "LIST"))
        #expect(wanted.count > 300 && Set(got).count == got.count)
        #expect(Set(wanted).subtracting(got).sorted() == [])
        // What came with 7.2.
        for name in ["client|no-touch", "client|setinfo", "cluster|myshardid", "waitaof"] { #expect(got.contains(name)) }
        let known = Set(Self.names).subtracting(wanted)
        #expect(known.sorted() == [], "older than they say, or not of Redis")
        guard case .integer(let count) = try ask(kedis, "COMMAND", "COUNT") else { throw NoReply(request: []) }
        #expect(Int(count) == got.filter { !$0.contains("|") }.count)
    }

    private static func names(_ reply: Reply) throws -> [String] {
        guard case .array(let elements) = reply else { throw NoReply(request: reply.respLines()) }
        return elements.map(text)
    }

    @Test("HELP of containers has the shape of redis-server's, and every subcommand that both have",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"),
        arguments: [
            "ACL", "CLIENT", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "MEMORY", "MODULE", "OBJECT", "SCRIPT",
        ])
    func help(container: String) throws {
        let server = try OracleServer()
        let wanted = try Self.lines(ask(server.connect(), container, "HELP"))
        let got = try Self.lines(ask(TestEngine().connect(protocolVersion: 2), container, "HELP"))
        #expect(got.first == wanted.first)
        #expect(got.suffix(2) == wanted.suffix(2))
        // A subcommand's line begins with its name, and lines about it stand deeper.
        #expect(got.dropFirst().allSatisfy { $0.hasPrefix("    ") || $0.first?.isUppercase == true })
        let own = Set(Self.table.entries.map { $0.pointee.fullName.text.uppercased() })
        let named = Self.subcommands(got)
        for name in Self.subcommands(wanted) where own.contains("\(container)|\(name)") {
            #expect(named.contains(name))
        }
    }

    /// The texts of an array of simple strings.
    private static func lines(_ reply: Reply) throws -> [String] {
        guard case .array(let elements) = reply else { throw NoReply(request: reply.respLines()) }
        return try elements.map { element in
            guard case .simple(let bytes) = element else { throw NoReply(request: element.respLines()) }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    private static func subcommands(_ lines: [String]) -> Set<String> {
        Set(lines.dropFirst().filter { !$0.hasPrefix(" ") }.compactMap { $0.split(separator: " ").first.map(String.init) })
    }

    private struct NoReply: Error { let request: [String] }

    private func ask(_ peer: RespPeer, _ words: String...) throws -> Reply {
        peer.send(RespRunner.encode(words.map { Array($0.utf8) }))
        guard case .reply(let reply) = peer.receive(10_000) else { throw NoReply(request: words) }
        return reply
    }

    private func compare(_ name: String, _ what: String, _ wanted: Reply, _ got: Reply) {
        guard wanted != got else { return }
        let (wantedLines, gotLines) = (wanted.respLines(), got.respLines())
        let index = zip(wantedLines, gotLines).enumerated().first { $0.element.0 != $0.element.1 }?.offset
            ?? min(wantedLines.count, gotLines.count)
        let around = { (lines: [String]) in lines[max(0, index - 4)..<min(lines.count, index + 4)].joined(separator: "\n") }
        Issue.record("\(what) \(name): expected\n\(around(wantedLines))\ngot\n\(around(gotLines))")
    }

    /// The description with its subcommands left out: they are compared one by one, since their order is not promised.
    private static func withoutSubcommands(_ reply: Reply) -> Reply {
        guard case .array(let outer) = reply, case .array(var fields)? = outer.first, fields.count == 10 else { return reply }
        if newerArities.contains(where: { fields[0] == .bulk(Array($0.utf8)) }) { fields[1] = .null }
        fields[8] = withoutNotes(fields[8])
        fields[9] = .null
        return .array([.array(fields)])
    }

    /// The documentation without summaries, texts of history and subcommands; pairs in either protocol become arrays of two.
    private static func withoutTexts(_ reply: Reply) -> Reply {
        guard let page = pairs(reply)?.first, let fields = pairs(page.value) else { return reply }
        let isOwnComplexity = ownComplexities.contains { page.key == .bulk(Array($0.utf8)) }
        let kept = fields.compactMap { field -> Reply? in
            switch field.key {
            case .bulk(Array("doc_flags".utf8)) where field.value.respLines().contains { $0.hasSuffix("syscmd") }: nil
            case .bulk(Array("complexity".utf8)) where isOwnComplexity: nil
            case .bulk(Array("arguments".utf8)): .array([field.key, withoutNewer(field.value)])
            case .bulk(Array("summary".utf8)), .bulk(Array("subcommands".utf8)): nil
            case .bulk(Array("complexity".utf8)): .array([field.key, notation(field.value)])
            case .bulk(Array("history".utf8)): .array([field.key, versions(field.value)])
            default: .array([field.key, field.value])
            }
        }
        return .array([page.key] + kept)
    }

    /// Key specs whose notes are blank, if there are any.
    private static func withoutNotes(_ specs: Reply) -> Reply {
        let elements: [Reply]
        switch specs {
        case .array(let list), .set(let list): elements = list
        default: return specs
        }
        return .array(elements.map { element in
            guard let fields = pairs(element) else { return element }
            let notes = Reply.bulk(Array("notes".utf8))
            return .map(fields.map { $0.key == notes ? Reply.Entry(key: notes, value: .null) : $0 })
        })
    }

    /// The complexity up to where its words begin: `O(N*M)`; nothing when it is words alone.
    private static func notation(_ complexity: Reply) -> Reply {
        guard case .bulk(let bytes) = complexity else { return complexity }
        var depth = 0
        guard bytes.starts(with: Array("O(".utf8)) else { return .null }
        for (index, byte) in bytes.enumerated() {
            if byte == UInt8(ascii: "(") { depth += 1 }
            if byte == UInt8(ascii: ")") { depth -= 1 }
            if depth == 0, index > 0 { return .bulk(Array(bytes[...index])) }
        }
        return complexity
    }

    private static func versions(_ history: Reply) -> Reply {
        switch history {
        case .array(let changes), .set(let changes):
            .array(changes.compactMap { change in
                guard case .array(let parts) = change, let version = parts.first else { return change }
                return isNewer(version) ? nil : version
            })
        default: history
        }
    }

    /// Arguments without those that came after Redis 7.0, which the oracle cannot know.
    private static func withoutNewer(_ arguments: Reply) -> Reply {
        guard case .array(let elements) = arguments else { return arguments }
        return .array(elements.compactMap { element in
            guard let fields = pairs(element) else { return element }
            if fields.contains(where: { $0.key == .bulk(Array("since".utf8)) && isNewer($0.value) }) { return nil }
            return .map(fields.map { field in
                guard field.key == .bulk(Array("arguments".utf8)) else { return field }
                return Reply.Entry(key: field.key, value: withoutNewer(field.value))
            })
        })
    }

    private static func isNewer(_ version: Reply) -> Bool {
        guard case .bulk(let bytes) = version else { return false }
        let numbers = String(decoding: bytes, as: UTF8.self).split(separator: ".").compactMap { Int($0) }
        return numbers.count > 1 && (numbers[0], numbers[1]) > (7, 0)
    }

    private static func pairs(_ reply: Reply) -> [Reply.Entry]? {
        switch reply {
        case .map(let entries): entries
        case .array(let flat) where flat.count.isMultiple(of: 2):
            stride(from: 0, to: flat.count, by: 2).map { Reply.Entry(key: flat[$0], value: flat[$0 + 1]) }
        default: nil
        }
    }
}
