// Random commands, made from the specs of the command table: whatever is registered is covered at once.
//
// Arguments come from small pools, so that keys, members and fields collide and types do not match now and then; from
// numbers at limits; and from the tokens of the argument trees. One of fifteen commands is damaged on purpose.

package import KedisCommands
package import KedisUtilities

/// A request and how its replies are compared.
package struct FuzzCommand {
    package var arguments: [[UInt8]]
    package var rule: FuzzRule
}

package struct FuzzGenerator {
    package static let groups: Set<CommandGroup> = [
        .generic, .string, .bitmap, .hyperLogLog, .list, .hash, .set, .sortedSet, .geo, .stream,
    ]

    /// A command or subcommand that is generated.
    private struct Subject {
        var words: [String]
        var fullName: String
        var spec: CommandSpec
        var rule: FuzzRule
    }

    package var random: RandomGenerator
    private let subjects: [Subject]
    /// What DUMP gave: for RESTORE.
    package var payloads: [[UInt8]] = []
    /// The key of all commands; nil for those of the pools.
    package var onlyKey: String?

    /// - Parameter isKnown: whether redis-server has the command of this full name.
    package init(_ random: RandomGenerator, only names: Set<String>? = nil, isKnown: (String) -> Bool) {
        self.random = random
        var subjects: [Subject] = []
        for spec in allCommandSpecs where Self.groups.contains(spec.group) {
            let name = spec.name.lowercased()
            var found = spec.subcommands.map { ([spec.name, $0.name], "\(name)|\($0.name.lowercased())", $0) }
            if spec.subcommands.isEmpty { found.append(([spec.name], name, spec)) }
            for (words, fullName, spec) in found {
                guard FuzzRule.skipped[fullName] == nil, isKnown(fullName), names?.contains(name) ?? true else { continue }
                let rule = FuzzRule.byName[fullName] ?? .exact
                subjects.append(Subject(words: words, fullName: fullName, spec: spec, rule: rule))
            }
        }
        self.subjects = subjects
    }

    package var commandNames: [String] { subjects.map(\.fullName) }

    // MARK: Commands

    private var streamTime: UInt64 = 100

    package mutating func next() -> FuzzCommand {
        let subject = subjects[random.next(below: subjects.count)]
        var words = subject.words.map { Array(chance(10) ? $0.lowercased().utf8 : $0.utf8) }
        var builder = ArgumentBuilder(subject: subject.fullName, group: subject.spec.group)
        for argument in subject.spec.arguments { add(argument, &builder) }
        builder.resolveCounts(&random)
        words += builder.words
        if subject.fullName.hasSuffix("scan"), chance(70) { words += [Array("COUNT".utf8), Array("1000".utf8)] }
        if chance(7) { damage(&words, subject) }
        // WITHSCORE came with Redis 7.2, and with it another number of arguments.
        if subject.fullName == "zrank" || subject.fullName == "zrevrank" { words = Array(words.prefix(3)) }
        settleLexicalRange(&words)
        if subject.fullName == "xadd" { settleStreamTime(&words) }
        var command = FuzzCommand(arguments: words, rule: subject.rule)
        if subject.fullName.hasPrefix("sort") { settleSort(&command) }
        return command
    }

    /// A range of texts means something where all scores are equal: it gets keys of its own, which only this fills.
    private mutating func settleLexicalRange(_ words: inout [[UInt8]]) {
        let texts = words.map { String(decoding: $0, as: UTF8.self).lowercased() }
        guard texts[0].hasPrefix("z"), texts[0].contains("lex") || texts.contains("bylex") else { return }
        let key = Array("y\(random.next(below: 2))".utf8)
        if chance(40) {
            words = ["ZADD", "", "0", pick(FuzzPools.members)].map { Array($0.utf8) }
            words[1] = key
        } else {
            let index = texts[0] == "zrangestore" ? 2 : 1
            if index < words.count { words[index] = key }
            // Without its key, another argument of ZRANGESTORE would be the destination.
            if texts[0] == "zrangestore", words.count > 1 { words[1] = Array("z1".utf8) }
        }
    }

    /// The time of a new entry is given, mostly a later one than before: the two servers do not add it at the same time.
    private mutating func settleStreamTime(_ words: inout [[UInt8]]) {
        streamTime += UInt64(random.next(below: 3))
        words = words.map { $0 == Array("*".utf8) ? Array("\(streamTime)-*".utf8) : $0 }
    }

    /// With BY, texts that are equal come in any order on redis-server: then they are not asked for. With a constant, a
    /// set has no order, and a part of it can be any.
    private func settleSort(_ command: inout FuzzCommand) {
        let words = command.arguments.map { String(decoding: $0, as: UTF8.self).lowercased() }
        guard let by = words.firstIndex(of: "by"), by + 1 < words.count else { return }
        if words.contains(where: { $0.contains("*") }) {
            let kept = words.indices.filter { words[$0] != "alpha" }
            command.arguments = kept.map { command.arguments[$0] }
        }
        command.rule = words.contains("limit") ? .shape : .unordered
    }

    private mutating func chance(_ percent: Int) -> Bool { random.next(below: 100) < percent }

    private mutating func pick<Element>(_ elements: [Element]) -> Element { elements[random.next(below: elements.count)] }

    private mutating func damage(_ words: inout [[UInt8]], _ subject: Subject) {
        switch random.next(below: 5) {
        case 0: if words.count > 1 { words.removeLast() }
        case 1: words.append(Array(pick(FuzzPools.garbage).utf8))
        case 2: if words.count > 1 { words[1 + random.next(below: words.count - 1)] = Array(pick(FuzzPools.garbage).utf8) }
        case 3:
            let tokens = FuzzPools.tokens(of: subject.spec.arguments).filter { $0 != "BLOCK" }
            if !tokens.isEmpty { words.append(Array(pick(tokens).utf8)) }
        default: if words.count > 2 { words.swapAt(1, words.count - 1) }
        }
        // Such a word may be a count: what is damaged must not ask for a gigabyte.
        if ["setrange", "setbit", "bitfield"].contains(subject.fullName) {
            words = words.map { $0.count > 6 && $0.count < 19 ? Array("7".utf8) : $0 }
        }
    }

    // MARK: Arguments

    private struct ArgumentBuilder {
        var subject: String
        var group: CommandGroup
        var words: [[UInt8]] = []
        /// Where a count of keys stands, and how many keys came behind it.
        var countIndex: Int?
        var keyCount = 0
        var parents: [String] = []

        init(subject: String, group: CommandGroup) {
            self.subject = subject
            self.group = group
        }

        mutating func append(_ text: String) { words.append(Array(text.utf8)) }

        mutating func resolveCounts(_ random: inout RandomGenerator) {
            guard let countIndex, random.next(below: 100) < 92 else { return }
            words[countIndex] = Array("\(keyCount)".utf8)
        }
    }

    private mutating func add(_ argument: ArgumentSpec, _ builder: inout ArgumentBuilder) {
        // Who waits cannot be compared, nor go on.
        if FuzzGenerator.isNewer(argument.since) || argument.token == "BLOCK" { return }
        if argument.isOptional, !chance(argument.arguments.isEmpty ? 30 : 40) { return }
        let count = argument.isMultiple ? 1 + (chance(50) ? random.next(below: 4) : 0) : 1
        for index in 0..<count {
            if let token = argument.token, argument.kind != .pureToken, index == 0 || argument.repeatsToken {
                builder.append(chance(10) ? token.lowercased() : token)
            }
            addValue(argument, &builder)
        }
    }

    private mutating func addValue(_ argument: ArgumentSpec, _ builder: inout ArgumentBuilder) {
        switch argument.kind {
        case .pureToken:
            if let token = argument.token { builder.append(chance(10) ? token.lowercased() : token) }
        case .oneOf:
            let choices = argument.arguments.filter { !FuzzGenerator.isNewer($0.since) }
            if !choices.isEmpty { add(required(pick(choices)), &builder) }
        case .block:
            builder.parents.append(argument.token ?? argument.name)
            for inner in argument.arguments { add(inner, &builder) }
            builder.parents.removeLast()
        case .key:
            builder.keyCount += 1
            builder.append(key(for: builder.group))
        case .integer where argument.name == "numkeys":
            builder.countIndex = builder.words.count
            builder.append(pick(["0", "-1", "1", "2", "x", "9223372036854775807"]))
        default:
            if argument.name == "serialized-value" || argument.name == "serialized_value", !payloads.isEmpty {
                return builder.words.append(payload())
            }
            let pool = FuzzPools.pool(argument, of: builder.subject, in: builder.group)
            builder.append(pick(pool))
        }
    }

    private func required(_ argument: ArgumentSpec) -> ArgumentSpec {
        var argument = argument
        argument.isOptional = false
        return argument
    }

    /// Mostly a key of the family, so that the types match.
    private mutating func key(for group: CommandGroup) -> String {
        if let onlyKey, chance(90) { return onlyKey }
        let families = ["s", "b", "p", "l", "h", "t", "z", "g", "x"]
        let own: String? = switch group {
        case .string: "s"
        case .bitmap: "b"
        case .hyperLogLog: "p"
        case .list: "l"
        case .hash: "h"
        case .set: "t"
        case .sortedSet: "z"
        case .geo: "g"
        case .stream: "x"
        default: nil
        }
        let family = own.flatMap { chance(85) ? $0 : nil } ?? pick(families)
        return chance(2) ? "none" : "\(family)\(random.next(below: 3))"
    }

    private mutating func payload() -> [UInt8] {
        var bytes = pick(payloads)
        if chance(10), !bytes.isEmpty { bytes[random.next(below: bytes.count)] ^= 1 }
        return bytes
    }

    private static func isNewer(_ since: String?) -> Bool {
        guard let since else { return false }
        let numbers = since.split(separator: ".").compactMap { Int($0) }
        return numbers.count > 1 && (numbers[0], numbers[1]) > (7, 0)
    }
}
