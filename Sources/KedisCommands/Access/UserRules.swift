// What a user may do, at one moment: an immutable snapshot that sessions hold and commands are checked against.
//
//      may the command run whatever its arguments are? ─▶ one bit           nearly every command of every user
//      otherwise, selector by selector: command ─▶ its keys ─▶ its channels, until one of them allows all of it
//
// Ownership: counted; the user has the current one, sessions the one that they saw last (Session+Access.swift).
// Threads: any, immutable. Cost: patterns are plain bytes in one piece of memory, so that a check counts no references
// and allocates nothing: a bit test, or the matching of each key with patterns until one fits.

import KedisProtocol
import KedisUtilities

/// Why a command may not run, from the least telling reason to the most: of several selectors the last one counts.
enum AccessDenialReason: Int, Sendable {
    case command, key, channel
}

struct AccessDenial: Equatable, Sendable {
    var reason: AccessDenialReason
    /// The argument that is the reason: the command's name, a key or a channel.
    var argumentIndex: Int
}

package final class UserRules: @unchecked Sendable {
    // Sendable: immutable after init.

    let definition: UserDefinition
    private let selectors: [CompiledSelector]
    /// A bit for each command that may run whatever its arguments are.
    let freeCommands: UnsafeMutablePointer<UInt64>
    /// Nothing that there is needs a check.
    let isUnrestricted: Bool
    /// Some selector allows all channels.
    let hasAllChannels: Bool

    init(_ definition: UserDefinition, _ table: CommandTable) {
        self.definition = definition
        selectors = definition.allSelectors.map(CompiledSelector.init)
        var free = CommandSet(commandCount: table.entries.count)
        for entry in table.entries {
            let isFree = selectors.contains { $0.allowsFreely(entry) }
            if isFree { free[entry.pointee.identifier] = true }
        }
        freeCommands = .allocate(capacity: max(1, free.words.count))
        freeCommands.initialize(from: free.words, count: free.words.count)
        isUnrestricted = table.entries.allSatisfy { free[$0.pointee.identifier] }
        hasAllChannels = definition.allSelectors.contains(where: \.hasAllChannels)
    }

    deinit {
        freeCommands.deallocate()
        for selector in selectors { selector.deallocate() }
    }

    /// Why the command may not run with these arguments; nil when it may.
    func denial(of entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList) -> AccessDenial? {
        guard !isFree(entry.pointee.identifier, freeCommands) else { return nil }
        var worst = AccessDenial(reason: .command, argumentIndex: 0)
        for selector in selectors {
            guard let denial = selector.denial(of: entry, arguments) else { return nil }
            if (denial.reason.rawValue, denial.argumentIndex) > (worst.reason.rawValue, worst.argumentIndex) {
                worst = denial
            }
        }
        return worst
    }

    /// Whether the command may run and any key may be read beside: what SORT with BY and GET needs.
    func allowsReadingAllKeys(with entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList) -> Bool {
        selectors.contains { $0.canReadAllKeys && $0.denial(of: entry, arguments) == nil }
    }

    /// Whether a client may stay subscribed.
    func allows(_ channel: ByteView, asPattern isPattern: Bool) -> Bool {
        hasAllChannels || selectors.contains { $0.allows(channel, asPattern: isPattern) }
    }
}

/// Whether the bit of a command is set.
@inline(__always)
func isFree(_ identifier: Int, _ freeCommands: UnsafeMutablePointer<UInt64>) -> Bool {
    freeCommands[identifier >> 6] & (1 << UInt64(truncatingIfNeeded: identifier & 63)) != 0
}

/// A selector in plain memory. Owned by the snapshot that it belongs to.
private struct CompiledSelector {
    /// Bytes and what may be done with what they match; of channels everything.
    struct Pattern: BitwiseCopyable {
        var bytes: ByteView
        var permission: UInt8
    }

    let hasAllKeys: Bool
    let hasAllChannels: Bool
    let canReadAllKeys: Bool
    private let commands: CommandSet
    private let firstArguments: [Int: [[UInt8]]]
    private let keyPatterns: UnsafeMutableBufferPointer<Pattern>
    private let channels: UnsafeMutableBufferPointer<Pattern>
    private let memory: UnsafeMutablePointer<UInt8>

    init(_ selector: AccessSelector) {
        hasAllKeys = selector.hasAllKeys
        hasAllChannels = selector.hasAllChannels
        canReadAllKeys = selector.hasAllKeys
            || selector.keyPatterns.contains { $0.bytes == [0x2A] && $0.permission.contains(.read) }
        commands = selector.commands
        firstArguments = selector.firstArguments
        memory = .allocate(capacity: max(1, selector.byteCount))
        var end = memory
        func copy(_ bytes: [UInt8]) -> ByteView {
            end.update(from: bytes, count: bytes.count)
            defer { end += bytes.count }
            return ByteView(base: end, count: bytes.count)
        }
        keyPatterns = .allocate(capacity: selector.keyPatterns.count)
        for (index, pattern) in selector.keyPatterns.enumerated() {
            keyPatterns.initializeElement(
                at: index, to: Pattern(bytes: copy(pattern.bytes), permission: pattern.permission.rawValue))
        }
        channels = .allocate(capacity: selector.channels.count)
        for (index, channel) in selector.channels.enumerated() {
            channels.initializeElement(at: index, to: Pattern(bytes: copy(channel), permission: 0))
        }
    }

    func deallocate() {
        keyPatterns.deallocate()
        channels.deallocate()
        memory.deallocate()
    }

    /// The command may run whatever its arguments are.
    func allowsFreely(_ entry: UnsafePointer<CommandEntry>) -> Bool {
        isCommandAllowed(entry) && (hasAllKeys || !entry.pointee.hasKeys)
            && (hasAllChannels || entry.pointee.channelUse == .none)
    }

    private func isCommandAllowed(_ entry: UnsafePointer<CommandEntry>) -> Bool {
        entry.pointee.flags.contains(.noAuthentication) || commands[entry.pointee.identifier]
    }

    func denial(of entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList) -> AccessDenial? {
        guard isCommandAllowed(entry) || isFirstArgumentAllowed(entry, arguments) else {
            return AccessDenial(reason: .command, argumentIndex: 0)
        }
        if !hasAllKeys, let index = deniedKey(of: entry, arguments) {
            return AccessDenial(reason: .key, argumentIndex: index)
        }
        if !hasAllChannels, let index = deniedChannel(of: entry, arguments) {
            return AccessDenial(reason: .channel, argumentIndex: index)
        }
        return nil
    }

    private func isFirstArgumentAllowed(_ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList) -> Bool {
        guard arguments.count > 1, let allowed = firstArguments[entry.pointee.identifier] else { return false }
        return allowed.contains { $0.withView { $0.equalsIgnoringCase(arguments[1]) } }
    }

    private func deniedKey(of entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList) -> Int? {
        guard entry.pointee.hasKeys else { return nil }
        var denied: Int?
        forEachKey(of: entry, in: arguments) { index, access in
            if denied == nil, !allows(arguments[index], KeyPermission(for: access)) { denied = index }
        }
        return denied
    }

    private func allows(_ key: ByteView, _ needed: KeyPermission) -> Bool {
        for pattern in keyPatterns where pattern.permission & needed.rawValue == needed.rawValue {
            if matchGlob(pattern: pattern.bytes, text: key, ignoringCase: false) { return true }
        }
        return false
    }

    private func deniedChannel(of entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList) -> Int? {
        let use = entry.pointee.channelUse
        return use.range(in: arguments).first { !allows(arguments[$0], asPattern: use == .subscribeToPatterns) }
    }

    /// A channel is matched; a pattern must be the same as one of ours, since no match tells what another one covers.
    func allows(_ channel: ByteView, asPattern isPattern: Bool) -> Bool {
        for pattern in channels {
            let isAllowed =
                isPattern
                ? pattern.bytes == channel : matchGlob(pattern: pattern.bytes, text: channel, ignoringCase: false)
            if isAllowed { return true }
        }
        return false
    }
}
