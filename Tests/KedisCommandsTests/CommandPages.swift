// The pages of docs/commands, written from the specs: one for each group, and a list of all.

import KedisCommands

enum CommandPages {
    /// Text by file name.
    static func make(_ specs: [CommandSpec]) -> [String: String] {
        var pages: [String: String] = [:]
        var index = """
            # Commands

            Written from the specs in the sources by `scripts/generate-command-docs`; a test fails when a page is out of date. The version is
            that of Redis that brought the command.

            """
        for group in CommandGroup.allCases {
            let members = specs.filter { $0.group == group }.sorted { $0.name < $1.name }
            guard !members.isEmpty else { continue }
            pages["\(group.rawValue).md"] = page(group, members)
            index += "\n## [\(title(group))](\(group.rawValue).md)\n\n| command | since | |\n|---|---|---|\n"
            for spec in members {
                index += "| [\(spec.name)](\(group.rawValue).md#\(anchor(spec.name))) | \(since(spec)) | \(spec.summary) |\n"
            }
        }
        pages["README.md"] = index + refusals(specs)
        return pages
    }

    /// The commands that are known but do nothing, and why: all of Redis 7.2 that is missing.
    private static func refusals(_ specs: [CommandSpec]) -> String {
        var text = """

            ## Refused

            Every command of Redis 7.2 is known: rules of users, COMMAND and a client's checks go by it. These are refused, as what they need
            is missing.

            | command | why |
            |---|---|

            """
        for spec in specs.sorted(by: { $0.name < $1.name }) {
            let refused = ([spec] + spec.subcommands).filter { $0.replies.first.map(isRefusal) ?? false }
            guard !refused.isEmpty else { continue }
            let isWhole = refused.count >= spec.subcommands.count && !refused.isEmpty
            let names = isWhole || spec.subcommands.isEmpty ? "" : " " + refused.map(\.name).sorted().joined(separator: ", ")
            let reasons = spec.differences.isEmpty ? refused.compactMap { $0.replies.first?.meaning } : spec.differences
            text += "| \(spec.name)\(names) | \(reasons.joined(separator: " ")) |\n"
        }
        return text
    }

    private static func isRefusal(_ reply: ReplySpec) -> Bool { reply.shape == .any && reply.meaning.hasPrefix("an error") }

    private static func title(_ group: CommandGroup) -> String {
        let words = group.rawValue.split(separator: "-").joined(separator: " ")
        return words.prefix(1).uppercased() + words.dropFirst()
    }

    private static func anchor(_ name: String) -> String {
        name.lowercased().split(separator: " ").joined(separator: "-")
    }

    private static func since(_ spec: CommandSpec) -> String { spec.name == "EXPLAIN" ? "Kedis" : spec.since }

    private static func page(_ group: CommandGroup, _ specs: [CommandSpec]) -> String {
        var text = """
            # \(title(group)) commands

            Written from the specs in the sources by `scripts/generate-command-docs`: change those, not this page. [All commands](README.md)

            """
        for spec in specs {
            text += section(spec, name: spec.name, heading: "##")
            for subcommand in spec.subcommands.sorted(by: { $0.name < $1.name }) {
                text += section(subcommand, name: "\(spec.name) \(subcommand.name)", heading: "###")
            }
        }
        return text
    }

    private static func section(_ spec: CommandSpec, name: String, heading: String) -> String {
        var text = "\n\(heading) \(name)\n\n\(spec.summary)\n"
        if spec.handler != nil {
            text += "\n    " + ([name] + spec.allArguments.map(\.usage)).joined(separator: " ") + "\n"
        }
        var facts = ["- Since \(since(spec) == "Kedis" ? "Kedis 0.1.0" : spec.since)"]
        if spec.handler != nil, !spec.complexity.isEmpty { facts.append("- Complexity: \(spec.complexity)") }
        if let deprecation = spec.deprecation {
            facts.append("- Deprecated since \(deprecation.since): use \(deprecation.replacement)")
        }
        for (version, change) in spec.history { facts.append("- New in \(version): \(change)") }
        for reply in spec.replies { facts.append("- Replies \(shapeName(reply.shape)): \(reply.meaning)") }
        for difference in spec.differences { facts.append("- Unlike Redis: \(difference)") }
        return text + "\n" + facts.joined(separator: "\n") + "\n"
    }

    private static func shapeName(_ shape: ReplySpec.Shape) -> String {
        switch shape {
        case .simple: "a simple string"
        case .integer: "an integer"
        case .bulk: "a bulk string"
        case .null: "null"
        case .array: "an array"
        case .map: "a map"
        case .set: "a set"
        case .double: "a double"
        case .boolean: "a boolean"
        case .verbatim: "a verbatim string"
        case .any: "something else"
        }
    }
}
