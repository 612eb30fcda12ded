// Errors that end a command: their text is the reply.

import KedisUtilities

/// The text of an error reply, its code included. A literal costs nothing; a made-up text allocates, which only errors
/// do.
package enum CommandError: Error, Sendable {
    case literal(StaticString)
    case text([UInt8])
    /// No error: the client waits. Made by `CommandCall.block` alone.
    case blocked

    /// An error with arguments in it: pieces of text and bytes, joined.
    static func joined(_ pieces: ByteView...) -> CommandError {
        var bytes: [UInt8] = []
        for piece in pieces { bytes.append(contentsOf: piece.buffer) }
        return .text(bytes)
    }

    /// The text of the reply.
    var bytes: [UInt8] {
        switch self {
        case .literal(let text): ByteView(text).bytes
        case .text(let bytes): bytes
        case .blocked: []
        }
    }

    static var syntax: CommandError { .literal("ERR syntax error") }
    static var notAnInteger: CommandError { .literal("ERR value is not an integer or out of range") }
    static var notAFloat: CommandError { .literal("ERR value is not a valid float") }
    static var wrongType: CommandError {
        .literal("WRONGTYPE Operation against a key holding the wrong kind of value")
    }
    package static var outOfMemory: CommandError { .literal("OOM out of memory: the system refused an allocation") }
    static var noSuchKey: CommandError { .literal("ERR no such key") }
    static var invalidDatabaseIndex: CommandError { .literal("ERR DB index is out of range") }
    static var stringTooLong: CommandError {
        .literal("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
    }

    /// "ERR invalid expire time in 'set' command"
    static func invalidExpireTime(_ call: borrowing CommandCall) -> CommandError {
        .joined("ERR invalid expire time in '", call.entry.pointee.fullName, "' command")
    }

    /// "ERR wrong number of arguments for 'get' command"
    static func wrongArity(_ entry: UnsafePointer<CommandEntry>) -> CommandError {
        .joined("ERR wrong number of arguments for '", entry.pointee.fullName, "' command")
    }
}
