// What a user is and may do, as rules have made it. Read and changed by UserDefinition+Rules.swift, told by
// UserDefinition+Description.swift.

import KedisUtilities

struct UserDefinition: Equatable, Sendable {
    /// May log in.
    var isEnabled = false
    /// Any password is right.
    var needsNoPassword = false
    /// Accepted and told: payloads of RESTORE are always checked.
    var skipsSanitizing = false
    /// SHA-256 of each password, as hexadecimal digits in lower case.
    var passwords: [[UInt8]] = []
    var root: AccessSelector
    var selectors: [AccessSelector] = []

    /// A user as it is made: off, without any permission but for channels if `hasAllChannels`.
    init(commandCount: Int, hasAllChannels: Bool) {
        root = AccessSelector(commandCount: commandCount, hasAllChannels: hasAllChannels)
    }

    /// The user `default` as a server starts with: on, without a password, free to do everything.
    static func standard(commandCount: Int) -> UserDefinition {
        var definition = UserDefinition(commandCount: commandCount, hasAllChannels: true)
        definition.isEnabled = true
        definition.needsNoPassword = true
        definition.root.hasAllKeys = true
        definition.root.setAllCommands(allowed: true)
        return definition
    }

    /// A new client of this user needs no AUTH.
    var letsAnybodyIn: Bool { isEnabled && needsNoPassword }

    var allSelectors: [AccessSelector] { [root] + selectors }

    var ruleCount: Int { selectors.reduce(passwords.count + root.ruleCount) { $0 + 1 + $1.ruleCount } }

    var byteCount: Int { selectors.reduce(passwords.count * Self.hashByteCount + root.byteCount) { $0 + $1.byteCount } }

    /// The length of a password's hash in hexadecimal digits.
    static let hashByteCount = 64

    /// More rules or bytes than these are refused: commands of the user look at each pattern, and ACL SETUSER at each
    /// rule for each new one.
    static let ruleCountMax = 4096
    static let byteCountMax = 4 << 20
}
