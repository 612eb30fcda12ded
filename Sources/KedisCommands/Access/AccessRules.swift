// How rules are read: `on`, `>password`, `+@read`, `~key:*`, `(…)` and their relatives, one after another.
//
// Source: the pages of ACL SETUSER and of access control of Redis; which error wins is as redis-server 7.0.15 has it.
// Words are looked at in any case, commands under their own names whatever `rename-command` made of them.

import KedisProtocol
import KedisUtilities

/// Reads rules. Allocates; not on the data path.
struct AccessRules: Sendable {
    let table: CommandTable
    /// SHA-256; nil when there is none.
    let digest: @Sendable (ByteView) -> [UInt8]?
    /// `acl-pubsub-default`: new users, and those that are reset, may use all channels.
    let givesAllChannels: Bool

    var emptyDefinition: UserDefinition {
        UserDefinition(commandCount: table.entries.count, hasAllChannels: givesAllChannels)
    }

    var standardDefinition: UserDefinition { .standard(commandCount: table.entries.count) }

    /// Applies one rule, which has its selector's parentheses together; an empty one changes nothing.
    func apply(_ rule: ByteView, to user: inout UserDefinition) throws(AccessRuleError) {
        guard rule.count > 0 else { return }
        guard user.ruleCount < UserDefinition.ruleCountMax else { throw .tooManyRules }
        if applyWord(rule, to: &user) { return }
        let rest = rule[1..<rule.count]
        switch rule[0] {
        case UInt8(ascii: ">"): add(try hash(of: rest), to: &user)
        case UInt8(ascii: "#"): add(try checkedHash(rest), to: &user)
        case UInt8(ascii: "<"): try remove(try hash(of: rest), from: &user)
        case UInt8(ascii: "!"): try remove(try checkedHash(rest), from: &user)
        case UInt8(ascii: "(") where rule[rule.count - 1] == UInt8(ascii: ")") && rule.count > 1:
            user.selectors.append(try selector(rule[1..<rule.count - 1]))
        default: try apply(rule, to: &user.root)
        }
    }

    /// The rules that are one word and about the user; false for others.
    private func applyWord(_ rule: ByteView, to user: inout UserDefinition) -> Bool {
        if rule.equalsIgnoringCase("on") {
            user.isEnabled = true
        } else if rule.equalsIgnoringCase("off") {
            user.isEnabled = false
        } else if rule.equalsIgnoringCase("skip-sanitize-payload") {
            user.skipsSanitizing = true
        } else if rule.equalsIgnoringCase("sanitize-payload") {
            user.skipsSanitizing = false
        } else if rule.equalsIgnoringCase("nopass") {
            user.needsNoPassword = true
            user.passwords = []
        } else if rule.equalsIgnoringCase("resetpass") {
            user.needsNoPassword = false
            user.passwords = []
        } else if rule.equalsIgnoringCase("clearselectors") {
            user.selectors = []
        } else if rule.equalsIgnoringCase("reset") {
            user = emptyDefinition
        } else {
            return false
        }
        return true
    }

    // MARK: Passwords

    /// SHA-256 of a password, as 64 hexadecimal digits.
    func hash(of password: ByteView) throws(AccessRuleError) -> [UInt8] {
        guard let digest = digest(password) else { throw .noPasswords }
        return hexadecimalDigits(of: digest)
    }

    private func checkedHash(_ hash: ByteView) throws(AccessRuleError) -> [UInt8] {
        let isValid = hash.count == UserDefinition.hashByteCount
            && hash.buffer.allSatisfy { isASCIIDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0) }
        guard isValid else { throw .invalidHash }
        return hash.bytes
    }

    private func add(_ hash: [UInt8], to user: inout UserDefinition) {
        if !user.passwords.contains(hash) { user.passwords.append(hash) }
        user.needsNoPassword = false
    }

    private func remove(_ hash: [UInt8], from user: inout UserDefinition) throws(AccessRuleError) {
        guard let index = user.passwords.firstIndex(of: hash) else { throw .noSuchPassword }
        user.passwords.remove(at: index)
    }

    // MARK: Selectors

    /// A selector of the rules in `text`, which are split as arguments are.
    private func selector(_ text: ByteView) throws(AccessRuleError) -> AccessSelector {
        var selector = emptyDefinition.root
        // Quotes that are not closed leave nothing to read, as in Redis.
        for rule in splitArguments(text.bytes) ?? [] {
            guard selector.ruleCount < UserDefinition.ruleCountMax else { throw .tooManyRules }
            try rule.withView { view throws(AccessRuleError) in try apply(view, to: &selector) }
        }
        return selector
    }

    private func apply(_ rule: ByteView, to selector: inout AccessSelector) throws(AccessRuleError) {
        guard rule.count > 0 else { throw .syntax }
        if applyWord(rule, to: &selector) { return }
        let second = rule.count > 1 ? rule[1] : 0
        switch (rule[0], second) {
        case (UInt8(ascii: "~"), _), (UInt8(ascii: "%"), _):
            guard !selector.hasAllKeys else { throw .patternAfterAllKeys }
            selector.add(try keyPattern(rule))
        case (UInt8(ascii: "&"), _):
            guard !selector.hasAllChannels else { throw .channelAfterAllChannels }
            let pattern = rule[1..<rule.count]
            guard !hasBlanks(pattern) else { throw .syntax }
            selector.add(channel: pattern.bytes)
        case (UInt8(ascii: "+"), UInt8(ascii: "@")), (UInt8(ascii: "-"), UInt8(ascii: "@")):
            let name = rule[2..<rule.count]
            let category = CommandCategories(named: name)
            guard !category.isEmpty else { throw .unknownCommand }
            selector.set(category, named: name, in: table, allowed: rule[0] == UInt8(ascii: "+"))
        case (UInt8(ascii: "+"), _): try allowCommand(rule[1..<rule.count], in: &selector)
        case (UInt8(ascii: "-"), _):
            guard let entry = table.find(originalName: rule[1..<rule.count]) else { throw .unknownCommand }
            selector.set(entry, allowed: false)
        default: throw .syntax
        }
    }

    /// The rules that are one word and about keys, channels or commands as a whole; false for others.
    private func applyWord(_ rule: ByteView, to selector: inout AccessSelector) -> Bool {
        if rule.equalsIgnoringCase("allkeys") || rule == "~*" {
            selector.hasAllKeys = true
            selector.keyPatterns = []
        } else if rule.equalsIgnoringCase("resetkeys") {
            selector.hasAllKeys = false
            selector.keyPatterns = []
        } else if rule.equalsIgnoringCase("allchannels") || rule == "&*" {
            selector.hasAllChannels = true
            selector.channels = []
        } else if rule.equalsIgnoringCase("resetchannels") {
            selector.hasAllChannels = false
            selector.channels = []
        } else if rule.equalsIgnoringCase("allcommands") || rule.equalsIgnoringCase("+@all") {
            selector.setAllCommands(allowed: true)
        } else if rule.equalsIgnoringCase("nocommands") || rule.equalsIgnoringCase("-@all") {
            selector.setAllCommands(allowed: false)
        } else {
            return false
        }
        return true
    }

    /// `~pattern` and `%RW~pattern`
    private func keyPattern(_ rule: ByteView) throws(AccessRuleError) -> KeyPattern {
        var permission: KeyPermission = [.read, .write]
        var start = 1
        if rule[0] == UInt8(ascii: "%") {
            permission = []
            while start < rule.count, rule[start] != UInt8(ascii: "~") {
                let letter: KeyPermission
                switch asciiLowercased(rule[start]) {
                case UInt8(ascii: "r"): letter = .read
                case UInt8(ascii: "w"): letter = .write
                default: throw .syntax
                }
                guard permission.insert(letter).inserted else { throw .syntax }
                start += 1
            }
            guard !permission.isEmpty else { throw .syntax }
            // Behind the tilde; without one the pattern is empty.
            start = min(start + 1, rule.count)
        }
        let pattern = rule[start..<rule.count]
        guard !hasBlanks(pattern) else { throw .syntax }
        return KeyPattern(bytes: pattern.bytes, permission: permission)
    }

    /// `+command`, `+container|subcommand`, `+command|argument`
    private func allowCommand(_ name: ByteView, in selector: inout AccessSelector) throws(AccessRuleError) {
        guard let bar = name.buffer.lastIndex(of: UInt8(ascii: "|")) else {
            guard let entry = table.find(originalName: name) else { throw .unknownCommand }
            return selector.set(entry, allowed: true)
        }
        guard let entry = table.find(originalName: name[0..<bar]) else { throw .unknownCommand }
        guard entry.pointee.containerName.isEmpty else { throw .firstArgumentOfSubcommand }
        let word = name[bar + 1..<name.count]
        guard !word.isEmpty else { throw .syntax }
        if entry.pointee.subcommands.isEmpty {
            selector.allow(entry, withFirstArgument: word)
        } else {
            guard let subcommand = entry.pointee.subcommand(word) else { throw .unknownCommand }
            selector.set(subcommand, allowed: true)
        }
    }
}

/// Whether blanks or zero bytes are among the bytes: such names and patterns could not be written in a file.
func hasBlanks(_ text: ByteView) -> Bool { text.buffer.contains { isASCIISpace($0) || $0 == 0 } }

/// The bytes as digits in lower case, two for each.
func hexadecimalDigits(of bytes: [UInt8]) -> [UInt8] {
    let digits: [UInt8] = Array("0123456789abcdef".utf8)
    return bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
}

/// Joins rules that belong to one selector but are several arguments: from `(` to `)`.
/// - Returns: the rules, or the one whose parenthesis is not closed.
func mergeSelectors(_ rules: [[UInt8]]) -> Result<[[UInt8]], UnmatchedParenthesis> {
    var merged: [[UInt8]] = []
    var open: (start: [UInt8], text: [UInt8])?
    for rule in rules {
        let isEnd = rule.last == UInt8(ascii: ")")
        if var current = open {
            current.text += [0x20] + rule
            open = isEnd ? nil : current
            if isEnd { merged.append(current.text) }
        } else if rule.first == UInt8(ascii: "("), !isEnd {
            open = (rule, rule)
        } else {
            merged.append(rule)
        }
    }
    if let open { return .failure(UnmatchedParenthesis(start: open.start)) }
    return .success(merged)
}

struct UnmatchedParenthesis: Error, Equatable {
    var start: [UInt8]
}

extension Array where Element == UInt8 {
    /// The bytes as a view, for the time of the call.
    func withView<Result, Failure: Error>(_ body: (ByteView) throws(Failure) -> Result) throws(Failure) -> Result {
        let outcome: Swift.Result<Result, Failure> = withUnsafeBytes { buffer in
            do throws(Failure) {
                return .success(try body(ByteView(buffer)))
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }
}
