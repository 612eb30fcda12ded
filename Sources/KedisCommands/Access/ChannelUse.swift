// Which arguments of a command are channels: what selectors with channel patterns look at.

import KedisProtocol
import KedisUtilities

/// How a command uses channels.
enum ChannelUse: Sendable {
    /// It names none, or needs no permission for those that it names.
    case none
    /// Argument 1 is one to publish to.
    case publish
    /// All arguments are channels to listen to.
    case subscribe
    /// All arguments are patterns to listen to: they must be among the patterns of the user as they are.
    case subscribeToPatterns

    init(commandName: ByteView) {
        switch commandName.text {
        case "publish", "spublish": self = .publish
        case "subscribe", "ssubscribe": self = .subscribe
        case "psubscribe": self = .subscribeToPatterns
        default: self = .none
        }
    }

    /// The arguments that are channels.
    func range(in arguments: ArgumentList) -> Range<Int> {
        switch self {
        case .none: 0..<0
        case .publish: 1..<min(2, arguments.count)
        case .subscribe, .subscribeToPatterns: 1..<arguments.count
        }
    }
}
