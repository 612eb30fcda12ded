// Texts and candidates made of the catalog: completion of a line, `help`, `help SET`, `help @string`.

extension CommandCatalog {
    // MARK: Completion

    /// The lines that `line` may be completed to: command names, subcommands, option words, topics of `help`.
    package func completions(for line: String) -> [String] {
        let candidates: [String]
        if line.uppercased().hasPrefix("HELP ") {
            candidates = helpTopics(startingWith: String(line.dropFirst(5))).map { "help " + $0 }
        } else {
            candidates = nameCompletions(line) + tokenCompletions(line)
        }
        return candidates.filter { $0 != line }
    }

    private func nameCompletions(_ line: String) -> [String] {
        let typed = line.uppercased()
        guard !typed.isEmpty else { return [] }
        let hasBlank = typed.contains(" ")
        return (names + ["CLEAR", "EXIT", "HELP"])
            .filter { $0.hasPrefix(typed) && $0.count > typed.count && $0.contains(" ") == hasBlank }
            .map { matchingCase(of: line, $0) }
    }

    /// Completes an option such as `NX`, where the line has come to the options.
    private func tokenCompletions(_ line: String) -> [String] {
        guard let blank = line.lastIndex(of: " ") else { return [] }
        let head = String(line[...blank])
        let typed = String(line[line.index(after: blank)...])
        guard !typed.isEmpty, let (words, _) = typedWords(head), let (command, _) = command(startingWith: words),
            let remaining = hint(for: head), remaining.hasPrefix("[") || remaining.hasPrefix(typed.uppercased())
        else { return [] }
        let shown = Set(remaining.split { "[]| ".contains($0) }.map(String.init))
        // A token that is there is offered again only where the syntax repeats it.
        let used = Set(words.dropFirst().map { $0.uppercased() })
            .subtracting(command.arguments.flatMap(\.repeatedTokens))
        let tokens = Set(command.arguments.flatMap(\.allTokens)).subtracting(used)
        return tokens.filter { $0.hasPrefix(typed.uppercased()) && shown.contains($0) }.sorted()
            .map { head + matchingCase(of: typed, $0) }
    }

    private func matchingCase(of typed: String, _ name: String) -> String {
        typed.contains(where: \.isLowercase) && !typed.contains(where: \.isUppercase) ? name.lowercased() : name
    }

    private func helpTopics(startingWith typed: String) -> [String] {
        if typed.hasPrefix("@") { return groups.map { "@" + $0 }.filter { $0.hasPrefix(typed.lowercased()) } }
        return names.filter { $0.hasPrefix(typed.uppercased()) }
    }

    // MARK: Help

    /// Whether there is something that ``help(_:)`` can tell of.
    package func isHelpTopic(_ words: [String]) -> Bool {
        guard let first = words.first else { return true }
        if first.hasPrefix("@") { return groups.contains(String(first.dropFirst()).lowercased()) }
        return command(named: words.joined(separator: " ")) != nil
    }

    /// The answer to `help` with the words behind it.
    package func help(_ words: [String]) -> String {
        guard let first = words.first else { return overview }
        if first.hasPrefix("@") { return groupHelp(String(first.dropFirst()).lowercased()) }
        let name = words.joined(separator: " ")
        guard let command = command(named: name) else { return unknownHelp(name) }
        let subcommands = command.subcommandNames.compactMap { self.command(named: command.name + " " + $0) }
        return ([command] + subcommands).map { description(of: $0, hasGroup: true) }.joined(separator: "\n") + "\n"
    }

    private var overview: String {
        var lines = ["Type a command, Tab to complete it, up and down for earlier lines, Ctrl-R to search them.", ""]
        lines += ["  help <command>   what a command does", "  help @<group>    the commands of a group"]
        lines += ["  clear            clears the screen", "  quit             leaves", "", "Groups:"]
        for group in groups {
            let count = commands(inGroup: group).count
            lines.append("  @\(group)" + String(repeating: " ", count: max(1, 16 - group.count)) + "\(count) commands")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func groupHelp(_ group: String) -> String {
        let members = commands(inGroup: group)
        guard !members.isEmpty else {
            return "No group @\(group). Groups: " + groups.map { "@" + $0 }.joined(separator: " ") + "\n"
        }
        return members.map { description(of: $0, hasGroup: false) }.joined(separator: "\n") + "\n"
    }

    private func description(of command: Command, hasGroup: Bool) -> String {
        var lines = ["", "  " + [command.name, command.syntax].filter { !$0.isEmpty }.joined(separator: " ")]
        lines.append("  summary: " + command.summary)
        if !command.since.isEmpty { lines.append("  since: " + command.since) }
        if hasGroup, !command.complexity.isEmpty { lines.append("  complexity: " + command.complexity) }
        if hasGroup, !command.group.isEmpty { lines.append("  group: " + command.group) }
        return lines.joined(separator: "\n")
    }

    private func unknownHelp(_ name: String) -> String {
        let near = nearNames(name)
        let suggestion = near.isEmpty
            ? "There is no command of this name, nor one like it. Type help for all groups."
            : "Near: " + near.joined(separator: ", ")
        return "No help for '\(name)'. \(suggestion)\n"
    }

    /// Names that begin alike or differ in two letters at most, in short names in one.
    package func nearNames(_ name: String) -> [String] {
        let typed = name.uppercased()
        guard !typed.isEmpty, typed.count <= 64 else { return [] }
        let starting = names.filter { $0.hasPrefix(typed) }
        if !starting.isEmpty { return Array(starting.prefix(8)) }
        let limit = typed.count <= 4 ? 1 : 2
        return Array(names.filter { editDistance($0, typed) <= limit }.prefix(8))
    }

    private func editDistance(_ left: String, _ right: String) -> Int {
        let columns = Array(right.utf8)
        var row = Array(0...columns.count)
        for (lineIndex, byte) in left.utf8.enumerated() {
            var diagonal = row[0]
            row[0] = lineIndex + 1
            for (index, other) in columns.enumerated() {
                let cost = diagonal + (byte == other ? 0 : 1)
                diagonal = row[index + 1]
                row[index + 1] = min(cost, diagonal + 1, row[index] + 1)
            }
        }
        return row[columns.count]
    }
}

extension CommandCatalog.Argument {
    fileprivate var allTokens: [String] { [token].compactMap { $0 } + arguments.flatMap(\.allTokens) }

    /// The tokens that may be there more than once.
    fileprivate var repeatedTokens: [String] { isMultiple ? allTokens : arguments.flatMap(\.repeatedTokens) }
}
