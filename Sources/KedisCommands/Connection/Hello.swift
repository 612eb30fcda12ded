// HELLO: the handshake: protocol version, and on the way user and name of the client.

import KedisProtocol
import KedisUtilities
import Synchronization

enum HelloCommand {
    static let spec = CommandSpec(
        "HELLO", summary: "Chooses the protocol version and tells about the server.", since: "6.0.0",
        group: .connection,
        arity: -1, flags: [.noScript, .loading, .stale, .fast, .noAuthentication, .allowBusy],
        arguments: [
            .block("arguments", optional: true, [
                ArgumentSpec("protover", .integer),
                ArgumentSpec("username_password", .block, token: "AUTH", isOptional: true, arguments: [
                    ArgumentSpec("username", .string), ArgumentSpec("password", .string),
                ]),
                ArgumentSpec("clientname", .string, token: "SETNAME", isOptional: true),
            ])
        ],
        replies: [.map("what the server is: name, version, protocol, the client's number, mode, role, modules")],
        history: [("6.2.0", "Without arguments it tells about the connection as it is.")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var version: ProtocolVersion?
        if call.arguments.count > 1 { version = try protocolVersion(call.arguments[1]) }
        try readOptions(&call)
        guard !call.client.pointee.conditions.contains(.authenticationRequired) else {
            throw .literal(
                """
                NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> \
                <pass> option can be used to authenticate the client and select the RESP protocol version at the same \
                time
                """
            )
        }
        if let version {
            reply.version = version
            call.clientRecord.protocolVersion.store(Int(version.rawValue), ordering: .relaxed)
            call.client.pointee.noteSubscriptions()
        }
        describeServer(to: call.clientRecord, &reply)
    }

    private static func protocolVersion(_ argument: ByteView) throws(CommandError) -> ProtocolVersion {
        guard let number = parseInteger(argument) else {
            throw .literal("ERR Protocol version is not an integer or out of range")
        }
        guard let byte = UInt8(exactly: number), let version = ProtocolVersion(rawValue: byte) else {
            throw .literal("NOPROTO unsupported protocol version")
        }
        return version
    }

    /// Each option takes effect as it is read: one that is not understood does not undo those before it.
    private static func readOptions(_ call: inout CommandCall) throws(CommandError) {
        let arguments = call.arguments
        var index = 2
        while index < arguments.count {
            let rest = arguments.count - 1 - index
            if arguments[index].equalsIgnoringCase("AUTH"), rest >= 2 {
                try AuthCommand.authenticate(&call, user: arguments[index + 1], password: arguments[index + 2])
                index += 3
            } else if arguments[index].equalsIgnoringCase("SETNAME"), rest >= 1 {
                try call.clientRecord.setName(arguments[index + 1])
                index += 2
            } else {
                throw .joined("ERR Syntax error in HELLO option '", arguments[index], "'")
            }
        }
    }

    private static func describeServer(to client: ClientRecord, _ reply: inout ReplyWriter) {
        reply.map(7)
        reply.bulk("server")
        reply.bulk("redis")
        reply.bulk("version")
        reply.bulk(ByteView(redisVersion))
        reply.bulk("proto")
        reply.integer(Int(reply.version.rawValue))
        reply.bulk("id")
        reply.integer(client.identifier)
        reply.bulk("mode")
        reply.bulk("standalone")
        reply.bulk("role")
        reply.bulk("master")
        reply.bulk("modules")
        reply.array(0)
    }
}
