// A selector: a set of commands, keys and channels that belong together. A user has one at least, the root.
//
// A value, changed while rules are read and immutable in a snapshot of a user (UserRules.swift). Cost: a bit a command,
// the bytes of patterns and rules.

import KedisProtocol
import KedisUtilities

/// Commands and subcommands by the identifiers of their entries, a bit each.
struct CommandSet: Equatable, Sendable {
    private(set) var words: [UInt64]

    init(commandCount: Int) { words = Array(repeating: 0, count: (commandCount + 63) / 64) }

    subscript(identifier: Int) -> Bool {
        get { words[identifier >> 6] & (1 << UInt64(identifier & 63)) != 0 }
        set {
            if newValue {
                words[identifier >> 6] |= 1 << UInt64(identifier & 63)
            } else {
                words[identifier >> 6] &= ~(1 << UInt64(identifier & 63))
            }
        }
    }

    mutating func fill(with isIncluded: Bool) {
        for index in words.indices { words[index] = isIncluded ? .max : 0 }
    }
}

/// What may be done with the keys that a pattern matches.
struct KeyPermission: OptionSet, Sendable {
    let rawValue: UInt8

    init(rawValue: UInt8) { self.rawValue = rawValue }

    static let read = KeyPermission(rawValue: 1 << 0)
    static let write = KeyPermission(rawValue: 1 << 1)

    /// What a command needs that uses a key like this. Nothing for one that looks only whether the key is there.
    init(for access: KeyAccess) {
        self = []
        if access.contains(.access) { insert(.read) }
        if !access.isDisjoint(with: [.insert, .delete, .update]) { insert(.write) }
    }

    /// How the rules of ACL SETUSER begin.
    var prefix: String {
        switch self {
        case .read: "%R~"
        case .write: "%W~"
        default: "~"
        }
    }
}

struct KeyPattern: Equatable, Sendable {
    var bytes: [UInt8]
    var permission: KeyPermission
}

/// `+get`, `-@admin`, `+config|get`: as it was given, in lower case.
struct CommandRule: Equatable, Sendable {
    var isAllowing: Bool
    var name: [UInt8]
}

struct AccessSelector: Equatable, Sendable {
    var hasAllKeys = false
    var hasAllChannels: Bool
    /// `+@all` was given last: it says so although single commands were taken away.
    private(set) var beginsWithAllCommands = false
    private(set) var commands: CommandSet
    /// First arguments with which a command may run that otherwise may not, by the command's identifier.
    private(set) var firstArguments: [Int: [[UInt8]]] = [:]
    /// What was said about commands after `+@all` or `-@all`, in order.
    private(set) var commandRules: [CommandRule] = []
    var keyPatterns: [KeyPattern] = []
    var channels: [[UInt8]] = []

    /// Nothing is allowed, but for channels if `hasAllChannels`.
    init(commandCount: Int, hasAllChannels: Bool) {
        commands = CommandSet(commandCount: commandCount)
        self.hasAllChannels = hasAllChannels
    }

    var ruleCount: Int { commandRules.count + keyPatterns.count + channels.count }

    var byteCount: Int {
        commandRules.reduce(0) { $0 + $1.name.count } + keyPatterns.reduce(0) { $0 + $1.bytes.count }
            + channels.reduce(0) { $0 + $1.count }
    }

    // MARK: Commands

    /// `+@all` and `-@all`
    mutating func setAllCommands(allowed isAllowed: Bool) {
        commands.fill(with: isAllowed)
        beginsWithAllCommands = isAllowed
        commandRules = []
        firstArguments = [:]
    }

    /// A command with its subcommands, or a subcommand.
    mutating func set(_ entry: UnsafePointer<CommandEntry>, allowed isAllowed: Bool) {
        change(entry, allowed: isAllowed)
        note(CommandRule(isAllowing: isAllowed, name: entry.pointee.fullName.bytes))
    }

    mutating func set(_ category: CommandCategories, named name: ByteView, in table: CommandTable, allowed: Bool) {
        for entry in table.entries where !entry.pointee.categories.isDisjoint(with: category) {
            change(entry, allowed: allowed)
        }
        note(CommandRule(isAllowing: allowed, name: [UInt8(ascii: "@")] + name.buffer.map(asciiLowercased)))
    }

    /// `+select|0`: a command that has no subcommands, with this first argument only.
    mutating func allow(_ entry: UnsafePointer<CommandEntry>, withFirstArgument argument: ByteView) {
        let known = firstArguments[entry.pointee.identifier] ?? []
        let isKnown = known.contains { bytes in bytes.withUnsafeBytes { argument.equalsIgnoringCase(ByteView($0)) } }
        if !isKnown { firstArguments[entry.pointee.identifier, default: []].append(argument.bytes) }
        let name = entry.pointee.fullName.bytes + [UInt8(ascii: "|")] + argument.buffer.map(asciiLowercased)
        note(CommandRule(isAllowing: true, name: name))
    }

    private mutating func change(_ entry: UnsafePointer<CommandEntry>, allowed: Bool) {
        commands[entry.pointee.identifier] = allowed
        firstArguments[entry.pointee.identifier] = nil
        for subcommand in entry.pointee.subcommands { commands[subcommand.pointee.identifier] = allowed }
    }

    /// Appends a rule and forgets those that it replaces: the same, and those about subcommands of its command.
    private mutating func note(_ rule: CommandRule) {
        let container = rule.name + [UInt8(ascii: "|")]
        commandRules.removeAll { $0.name == rule.name || $0.name.starts(with: container) }
        commandRules.append(rule)
    }

    // MARK: Keys and channels

    mutating func add(_ pattern: KeyPattern) {
        if let index = keyPatterns.firstIndex(where: { $0.bytes == pattern.bytes }) {
            keyPatterns[index].permission.formUnion(pattern.permission)
        } else {
            keyPatterns.append(pattern)
        }
    }

    mutating func add(channel: [UInt8]) {
        if !channels.contains(channel) { channels.append(channel) }
    }
}
