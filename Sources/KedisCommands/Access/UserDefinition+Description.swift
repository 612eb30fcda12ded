// A user as rules, in the order and the words in which ACL LIST, GETUSER and files have them: given to ACL SETUSER,
// they make the same user.

import KedisUtilities

extension UserDefinition {
    /// `on`, `nopass` and their relatives.
    var flagNames: [StaticString] {
        var names: [StaticString] = [isEnabled ? "on" : "off"]
        if needsNoPassword { names.append("nopass") }
        names.append(skipsSanitizing ? "skip-sanitize-payload" : "sanitize-payload")
        return names
    }

    /// All rules in one line.
    var description: [UInt8] {
        var text: [UInt8] = []
        for name in flagNames { text += ByteView(name).buffer + [0x20] }
        for password in passwords { text += [UInt8(ascii: "#")] + password + [0x20] }
        text += root.description
        for selector in selectors { text += Array(" (".utf8) + selector.description + [UInt8(ascii: ")")] }
        return text
    }

    /// The line of a file, and of ACL LIST.
    func line(name: [UInt8]) -> [UInt8] { Array("user ".utf8) + name + [0x20] + description }
}

extension AccessSelector {
    fileprivate var description: [UInt8] {
        var parts: [[UInt8]] = []
        if !keysDescription.isEmpty { parts.append(keysDescription) }
        if !hasAllChannels { parts.append(Array("resetchannels".utf8)) }
        if !channelsDescription.isEmpty { parts.append(channelsDescription) }
        parts.append(commandsDescription)
        return Array(parts.joined(separator: [0x20]))
    }

    var commandsDescription: [UInt8] {
        let rules = commandRules.map { [UInt8(ascii: $0.isAllowing ? "+" : "-")] + $0.name }
        return Array(([Array((beginsWithAllCommands ? "+@all" : "-@all").utf8)] + rules).joined(separator: [0x20]))
    }

    var keysDescription: [UInt8] {
        guard !hasAllKeys else { return Array("~*".utf8) }
        return Array(keyPatterns.map { $0.description }.joined(separator: [0x20]))
    }

    var channelsDescription: [UInt8] {
        guard !hasAllChannels else { return Array("&*".utf8) }
        return Array(channels.map { [UInt8(ascii: "&")] + $0 }.joined(separator: [0x20]))
    }
}

extension KeyPattern {
    fileprivate var description: [UInt8] {
        // As `~*` it would be read as `allkeys`, which no other pattern may follow.
        let prefix = bytes == [0x2A] && permission == [.read, .write] ? "%RW~" : permission.prefix
        return Array(prefix.utf8) + bytes
    }
}
