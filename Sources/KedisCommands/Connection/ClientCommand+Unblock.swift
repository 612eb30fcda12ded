// CLIENT UNBLOCK: ends the wait of a client in a blocking command, as its timeout would or with an error.

import KedisProtocol
import KedisUtilities

extension ClientCommand {
    static let unblockSpec = CommandSpec(
        "UNBLOCK", summary: "Ends the wait of a connection in a blocking command.", since: "5.0.0", group: .connection,
        complexity: "O(log N), N being the number of connections", arity: -3,
        flags: [.admin, .noScript, .loading, .stale],
        arguments: [
            ArgumentSpec("client-id", .integer),
            .oneOf("timeout_error", optional: true, [.token("TIMEOUT"), .token("ERROR")]),
        ],
        replies: [.integer("1 if the connection waited, else 0")], handler: unblock
    )

    static func unblock(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let arguments = call.arguments
        guard arguments.count <= 4 else { throw call.subcommandSyntax }
        var error: CommandError?
        if arguments.count == 4 {
            if arguments[3].equalsIgnoringCase("ERROR") {
                error = .literal("UNBLOCKED client unblocked via CLIENT UNBLOCK")
            } else if !arguments[3].equalsIgnoringCase("TIMEOUT") {
                throw .literal("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
            }
        }
        let identifier = try call.integer(at: 2)
        let engine = call.engine
        guard let record = engine.clients.find(identifier) else { return reply.integer(0) }
        reply.integer(engine.unblock(record, error: error) ? 1 : 0)
    }
}
