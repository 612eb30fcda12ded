// Why a rule of ACL SETUSER, of a file or of a `user` directive is refused: texts as Redis has them, but for limits.

import KedisUtilities

enum AccessRuleError: Error, Equatable, Sendable {
    case syntax
    case unknownCommand
    case patternAfterAllKeys
    case channelAfterAllChannels
    case noSuchPassword
    case invalidHash
    case firstArgumentOfSubcommand
    case tooManyRules
    /// The host has no SHA-256.
    case noPasswords

    var text: StaticString {
        switch self {
        case .syntax: "Syntax error"
        case .unknownCommand: "Unknown command or category name in ACL"
        case .patternAfterAllKeys:
            """
            Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
            Try 'resetkeys' to start with an empty list of patterns
            """
        case .channelAfterAllChannels:
            """
            Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
            effect. Try 'resetchannels' to start with an empty list of channels
            """
        case .noSuchPassword: "The password you are trying to remove from the user does not exist"
        case .invalidHash:
            """
            The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters
            """
        case .firstArgumentOfSubcommand: "Allowing first-arg of a subcommand is not supported"
        case .tooManyRules: "The user has more or longer rules than are allowed"
        case .noPasswords: "This store has no passwords"
        }
    }
}
