// The family of connection commands, and what they share.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let connectionCommands: [CommandSpec] = [
    PingCommand.spec,
    EchoCommand.spec,
    HelloCommand.spec,
    AuthCommand.spec,
    SelectCommand.spec,
    ResetCommand.spec,
    QuitCommand.spec,
    ClientCommand.spec,
]

extension CommandCall {
    /// What others see of the calling client.
    var clientRecord: ClientRecord { client.pointee.record }

    /// ON or OFF at `index`.
    func onOrOff(at index: Int) throws(CommandError) -> Bool {
        if arguments[index].equalsIgnoringCase("ON") { return true }
        if arguments[index].equalsIgnoringCase("OFF") { return false }
        throw .syntax
    }
}

/// True when CLIENT LIST can print `text` as it stands: no blanks, no control characters, ASCII only.
func isPrintableWord(_ text: ByteView) -> Bool {
    text.buffer.allSatisfy { $0 >= 0x21 && $0 <= 0x7E }
}

extension ClientRecord {
    /// Gives the client a name; an empty one takes it away.
    func setName(_ name: ByteView) throws(CommandError) {
        guard isPrintableWord(name) else {
            throw .literal("ERR Client names cannot contain spaces, newlines or special characters.")
        }
        let bytes = name.bytes
        names.withLock { $0.name = bytes }
    }
}
