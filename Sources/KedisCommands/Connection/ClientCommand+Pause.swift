// CLIENT PAUSE and UNPAUSE: commands wait for some time, all of them or those that change something. What happens to
// who waits is in Session/PauseGate.swift. PAUSE runs under the locks of all stripes: when it is answered, nothing that
// must wait is being executed.

import KedisProtocol
import KedisUtilities

extension ClientCommand {
    static let pauseSpec = CommandSpec(
        "PAUSE", summary: "Lets the commands of all connections wait for some time.", since: "2.9.50",
        group: .connection, arity: -3, flags: [.admin, .noScript, .loading, .stale], locks: .allStripes,
        arguments: [
            ArgumentSpec("timeout", .integer),
            .oneOf("mode", optional: true, since: "6.2.0", [.token("WRITE"), .token("ALL")]),
        ],
        replies: [.ok], history: [("6.2.0", "The mode `WRITE`, and `ALL` for what was done before.")], handler: pause
    )

    static let unpauseSpec = CommandSpec(
        "UNPAUSE", summary: "Lets connections that wait after CLIENT PAUSE go on.", since: "6.2.0", group: .connection,
        complexity: "O(N), N being the number of connections that wait", arity: 2,
        flags: [.admin, .noScript, .loading, .stale], locks: .none, replies: [.ok], handler: unpause
    )

    static func pause(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var extent = PauseGate.Extent.all
        let arguments = call.arguments
        guard arguments.count <= 4 else { throw call.subcommandSyntax }
        if arguments.count == 4 {
            if arguments[3].equalsIgnoringCase("WRITE") {
                extent = .writes
            } else if !arguments[3].equalsIgnoringCase("ALL") {
                throw .literal("ERR CLIENT PAUSE mode must be WRITE or ALL")
            }
        }
        let milliseconds = try call.timeoutMilliseconds(at: 2)
        let engine = call.engine
        engine.pause.begin(
            extent, milliseconds: milliseconds, nowNanoseconds: engine.clock.monotonicNanoseconds())
        reply.ok()
    }

    static func unpause(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        call.engine.pause.end()
        reply.ok()
    }
}
