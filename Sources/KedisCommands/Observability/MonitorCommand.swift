// MONITOR: shows every command of every client, as it is executed.

import KedisProtocol
import KedisUtilities

enum MonitorCommand {
    static let spec = CommandSpec(
        "MONITOR", summary: "Shows all commands of all clients from now on.", since: "1.0.0", group: .server,
        complexity: "", arity: 1, flags: [.admin, .noScript, .loading, .stale], locks: .none,
        replies: [.simple("OK, then a line for each command: time, database, client, arguments")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard !call.client.pointee.deniesBlocking else {
            throw .literal("ERR MONITOR isn't allowed for DENY BLOCKING client")
        }
        try call.needMessages()
        // A second MONITOR has no reply, as in Redis.
        guard call.engine.observability.monitors.add(call.clientRecord) else { return }
        call.client.pointee.conditions.insert(.monitoring)
        reply.ok()
    }
}
