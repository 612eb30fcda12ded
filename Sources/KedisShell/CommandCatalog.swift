// What the shell knows about commands: names, summaries and syntax, all from a `COMMAND DOCS` reply.
//
// So help, hints and completion fit whatever answers: Kedis in the process, a Kedis server, a Redis server. Built once,
// immutable. A reply of another shape gives an empty catalog, never a trap; nesting is limited. Cost: about 1 MB for
// Redis' 400 commands.

package import KedisProtocol

package struct CommandCatalog: Sendable {
    package struct Command: Sendable {
        /// In upper case, a subcommand with its container: `CONFIG GET`.
        package let name: String
        package let summary: String
        package let since: String
        package let group: String
        package let complexity: String
        package let arguments: [Argument]
        package let subcommandNames: [String]

        /// The arguments as text: `key value [NX|XX] …`.
        package var syntax: String { arguments.map(\.syntax).joined(separator: " ") }
    }

    package struct Argument: Sendable {
        enum Kind: Sendable { case text, integer, double, token, oneOf, block }

        let name: String
        let kind: Kind
        let token: String?
        let isOptional: Bool
        let isMultiple: Bool
        /// Each repetition has its own token.
        let repeatsToken: Bool
        let arguments: [Argument]
    }

    /// The names of all commands and subcommands, sorted.
    package let names: [String]
    /// The names of the groups, sorted.
    package let groups: [String]
    private let commands: [String: Command]

    /// Reads a reply of `COMMAND DOCS`, of RESP2 (flat arrays) or RESP3 (maps).
    package init(documentation: Reply) {
        var builder = CatalogBuilder()
        builder.addCommands(documentation, container: nil)
        commands = builder.commands
        names = builder.commands.keys.sorted()
        groups = Set(builder.commands.values.map(\.group)).filter { !$0.isEmpty }.sorted()
    }

    package var isEmpty: Bool { commands.isEmpty }

    /// The command of that name in any case, a subcommand as `config get` or `config|get`.
    package func command(named name: String) -> Command? {
        commands[name.uppercased().split { $0 == " " || $0 == "|" }.joined(separator: " ")]
    }

    package func commands(inGroup group: String) -> [Command] {
        names.compactMap { commands[$0] }.filter { $0.group == group }
    }
}

private struct CatalogBuilder {
    /// Redis nests five deep. Each level may double the text of a repeated argument, so there must be a limit.
    private static let nestingLimit = 8
    var commands: [String: CommandCatalog.Command] = [:]

    mutating func addCommands(_ documentation: Reply, container: String?) {
        for (key, value) in documentation.pairs {
            guard let own = key.text?.uppercased(), !own.isEmpty else { continue }
            let last = own.split(separator: "|").last.map(String.init) ?? own
            add(value, name: container.map { $0 + " " + last } ?? own, isTop: container == nil)
        }
    }

    private mutating func add(_ documentation: Reply, name: String, isTop: Bool) {
        let fields = documentation.fields
        let subcommands = isTop ? fields["subcommands"] ?? .null : .null
        addCommands(subcommands, container: name)
        commands[name] = CommandCatalog.Command(
            name: name,
            summary: fields["summary"]?.text ?? "",
            since: fields["since"]?.text ?? "",
            group: fields["group"]?.text ?? "",
            complexity: fields["complexity"]?.text ?? "",
            arguments: arguments(fields["arguments"], depth: 0),
            subcommandNames: subcommands.pairs.compactMap { pair in
                pair.0.text?.uppercased().split(separator: "|").last.map(String.init)
            }.sorted()
        )
    }

    private func arguments(_ reply: Reply?, depth: Int) -> [CommandCatalog.Argument] {
        guard let reply, depth < CatalogBuilder.nestingLimit else { return [] }
        return reply.elements.map { argument($0.fields, depth: depth) }
    }

    private func argument(_ fields: [String: Reply], depth: Int) -> CommandCatalog.Argument {
        let flags = (fields["flags"]?.elements ?? []).compactMap(\.text)
        return CommandCatalog.Argument(
            name: fields["name"]?.text ?? "",
            kind: kind(fields["type"]?.text ?? ""),
            token: fields["token"]?.text,
            isOptional: flags.contains("optional"),
            isMultiple: flags.contains("multiple"),
            repeatsToken: flags.contains("multiple_token"),
            arguments: arguments(fields["arguments"], depth: depth + 1)
        )
    }

    private func kind(_ type: String) -> CommandCatalog.Argument.Kind {
        switch type {
        case "integer", "unix-time": .integer
        case "double": .double
        case "pure-token": .token
        case "oneof": .oneOf
        case "block": .block
        default: .text
        }
    }
}

extension CommandCatalog.Argument {
    /// The argument as text: tokens as they are, alternatives with bars, what may be left out in brackets.
    var syntax: String { isOptional ? "[" + requiredSyntax + "]" : requiredSyntax }

    var requiredSyntax: String {
        // The empty token of MIGRATE is shown as it has to be typed.
        let shownToken = token.map { $0.isEmpty ? "\"\"" : $0 }
        var text = [shownToken, valueSyntax.isEmpty ? nil : valueSyntax].compactMap { $0 }.joined(separator: " ")
        if isMultiple { text += " " + repetitionSyntax }
        return text
    }

    /// What may follow once the argument is there: `[key ...]`.
    var repetitionSyntax: String {
        "[" + [repeatsToken ? token : nil, valueSyntax].compactMap { $0 }.joined(separator: " ") + " ...]"
    }

    /// The argument without its token and repetition.
    var valueSyntax: String {
        switch kind {
        case .token: ""
        case .oneOf: arguments.map(\.syntax).joined(separator: "|")
        case .block: arguments.map(\.syntax).joined(separator: " ")
        case .text, .integer, .double: name
        }
    }
}

extension Reply {
    /// The keys and values of a map, or of an array that stands for one.
    fileprivate var pairs: [(Reply, Reply)] {
        switch self {
        case .map(let entries): return entries.map { ($0.key, $0.value) }
        case .array(let elements):
            return stride(from: 0, to: elements.count - 1, by: 2).map { (elements[$0], elements[$0 + 1]) }
        default: return []
        }
    }

    fileprivate var fields: [String: Reply] {
        let named = pairs.compactMap { key, value in key.text.map { ($0, value) } }
        return Dictionary(named, uniquingKeysWith: { first, _ in first })
    }

    fileprivate var elements: [Reply] {
        switch self {
        case .array(let elements), .set(let elements): elements
        default: []
        }
    }

    fileprivate var text: String? {
        switch self {
        case .bulk(let bytes), .simple(let bytes), .verbatim(_, let bytes): String(decoding: bytes, as: UTF8.self)
        default: nil
        }
    }
}
