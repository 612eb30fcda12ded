// What may still be typed behind a line: the command's arguments minus those that are there.
//
// The words are matched against the argument tree from left to right, without going back: neighbouring optional
// arguments in any order, repetitions greedily up to a word that is a later argument's token. Cost: words times
// arguments, for a line that a person types.

import KedisProtocol

extension CommandCatalog {
    /// The text to show behind the line, with a blank before it if the line needs one. Nil if there is none.
    package func hint(for line: String) -> String? {
        guard let (words, isLastOpen) = typedWords(line), let (command, nameCount) = command(startingWith: words) else {
            return nil
        }
        let rest = Array(words.dropFirst(nameCount))
        let text: String
        if rest.isEmpty, !command.subcommandNames.isEmpty {
            text = command.subcommandNames.joined(separator: "|")
        } else {
            var matcher = ArgumentMatcher(words: rest)
            text = matcher.match(command.arguments).remaining
        }
        return text.isEmpty ? nil : (isLastOpen ? " " : "") + text
    }

    /// The words of a line, and whether the last may still grow. An open quote is closed for this.
    func typedWords(_ line: String) -> (words: [String], isLastOpen: Bool)? {
        let bytes = Array(line.utf8)
        if let arguments = splitArguments(bytes) {
            return (arguments.map { String(decoding: $0, as: UTF8.self) }, bytes.last.map { $0 != 32 } ?? false)
        }
        for quote in [UInt8(ascii: "\""), UInt8(ascii: "'")] {
            guard let arguments = splitArguments(bytes + [quote]) else { continue }
            return (arguments.map { String(decoding: $0, as: UTF8.self) }, true)
        }
        return nil
    }

    /// The command that the words name, and how many of them its name takes.
    func command(startingWith words: [String]) -> (command: Command, nameCount: Int)? {
        guard let first = words.first else { return nil }
        if words.count > 1, let command = command(named: first + " " + words[1]) { return (command, 2) }
        return command(named: first).map { ($0, 1) }
    }
}

struct ArgumentMatcher {
    private enum Match {
        case none
        case whole
        /// The words ended inside the argument: this is what is missing.
        case partial(String)
    }

    struct Outcome {
        var remaining: String
        var isComplete: Bool
    }

    private let words: [String]
    private var index = 0

    init(words: [String]) {
        self.words = words
    }

    private var isAtEnd: Bool { index >= words.count }

    /// Matches a sequence of arguments from the current word on.
    mutating func match(_ arguments: [CommandCatalog.Argument]) -> Outcome {
        var position = 0
        var skipped: [CommandCatalog.Argument] = []
        while position < arguments.count, !isAtEnd {
            let runEnd = arguments[position...].firstIndex { !$0.isOptional } ?? arguments.count
            if runEnd > position {
                skipped = Array(arguments[position..<runEnd])
                let following = Array(arguments[runEnd...])
                if let rest = matchOptional(&skipped, before: following) {
                    return outcome([rest], skipped + following)
                }
                position = runEnd
                if isAtEnd || position == arguments.count { break }
            }
            let following = Array(arguments[(position + 1)...])
            switch match(arguments[position], before: following) {
            case .none: return outcome([], skipped + arguments[position...])
            case .partial(let rest): return outcome([rest], following)
            case .whole:
                skipped = []
                position += 1
            }
        }
        return outcome([], skipped + arguments[position...])
    }

    /// Matches neighbouring optional arguments in any order and removes those that are there. Returns what is missing
    /// of the last one, if the words ended inside it.
    private mutating func matchOptional(
        _ candidates: inout [CommandCatalog.Argument], before following: [CommandCatalog.Argument]
    ) -> String? {
        var hasProgress = true
        while hasProgress, !isAtEnd {
            hasProgress = false
            for (offset, candidate) in candidates.enumerated() {
                let others = candidates[..<offset] + candidates[(offset + 1)...]
                switch match(candidate, before: others + following) {
                case .none: continue
                case .whole: hasProgress = true
                case .partial(let rest):
                    candidates.remove(at: offset)
                    return rest
                }
                candidates.remove(at: offset)
                break
            }
        }
        return nil
    }

    private func outcome(_ first: [String], _ rest: [CommandCatalog.Argument]) -> Outcome {
        let text = (first + rest.map(\.syntax)).filter { !$0.isEmpty }.joined(separator: " ")
        return Outcome(remaining: text, isComplete: first.isEmpty && rest.allSatisfy(\.isOptional))
    }

    private mutating func match(
        _ argument: CommandCatalog.Argument, before following: [CommandCatalog.Argument]
    ) -> Match {
        var isFirst = true
        let stops = Set(following.flatMap(\.leadingTokens))
        while true {
            let start = index
            if !isFirst, isAtEnd { return .partial(argument.repetitionSyntax) }
            if !isFirst, stops.contains(words[index].uppercased()) { return .whole }
            switch matchOnce(argument, hasToken: isFirst || argument.repeatsToken) {
            case .none:
                index = start
                return isFirst ? .none : .whole
            case .partial(let rest):
                return .partial(argument.isMultiple ? rest + " " + argument.repetitionSyntax : rest)
            case .whole:
                // Progress is required, so that an argument that matches nothing cannot repeat for ever.
                if !argument.isMultiple || index == start { return .whole }
            }
            isFirst = false
        }
    }

    private mutating func matchOnce(_ argument: CommandCatalog.Argument, hasToken: Bool) -> Match {
        if hasToken, let token = argument.token {
            guard words[index].uppercased() == token.uppercased() else { return .none }
            index += 1
            if argument.kind == .token { return .whole }
            if isAtEnd { return .partial(argument.valueSyntax) }
        }
        switch argument.kind {
        case .token: return .none
        case .text: break
        case .integer: if Int64(words[index]) == nil { return .none }
        case .double: if Double(words[index].hasPrefix("(") ? "0" : words[index]) == nil { return .none }
        case .oneOf: return matchAlternatives(argument.arguments)
        case .block: return matchBlock(argument.arguments)
        }
        index += 1
        return .whole
    }

    private mutating func matchAlternatives(_ alternatives: [CommandCatalog.Argument]) -> Match {
        let start = index
        for alternative in alternatives {
            index = start
            let result = match(alternative, before: [])
            if case .none = result { continue }
            return result
        }
        index = start
        return .none
    }

    private mutating func matchBlock(_ arguments: [CommandCatalog.Argument]) -> Match {
        let start = index
        let result = match(arguments)
        guard index > start else { return .none }
        if isAtEnd, !result.remaining.isEmpty { return .partial(result.remaining) }
        if result.isComplete { return .whole }
        index = start
        return .none
    }
}

extension CommandCatalog.Argument {
    /// The tokens that this argument can start with, in upper case.
    var leadingTokens: [String] {
        if let token { return [token.uppercased()] }
        switch kind {
        case .oneOf: return arguments.flatMap(\.leadingTokens)
        case .block: return arguments.first?.leadingTokens ?? []
        case .text, .integer, .double, .token: return []
        }
    }
}
