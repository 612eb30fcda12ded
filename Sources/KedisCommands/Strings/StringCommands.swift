// The family of string commands, and what they share.

import KedisProtocol
import KedisStore
import KedisUtilities

let stringCommands: [CommandSpec] = [
    GetCommand.spec,
    SetCommand.spec,
]

extension Entry {
    /// The string of the entry, or WRONGTYPE.
    @inline(__always)
    func stringValue() throws(CommandError) -> StringValue {
        guard type == .string else { throw .wrongType }
        return string
    }
}

extension ReplyWriter {
    /// The value as a bulk string.
    @inline(__always)
    mutating func bulk(_ value: StringValue) {
        switch value {
        case .bytes(let bytes): bulk(bytes)
        case .integer(let integer): bulk(integer: integer)
        }
    }
}

/// Runs a change of the store, whose error ends the command.
@inline(__always)
func storing<Result>(_ body: () throws(StoreError) -> Result) throws(CommandError) -> Result {
    do { return try body() } catch { throw .outOfMemory }
}
