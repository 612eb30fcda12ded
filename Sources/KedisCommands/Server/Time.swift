// TIME: the server's clock.

import KedisProtocol
import KedisUtilities

enum TimeCommand {
    static let spec = CommandSpec(
        "TIME", summary: "Returns the server's time.", since: "2.6.0", group: .server, arity: 1,
        flags: [.loading, .stale, .fast], tips: ["nondeterministic_output"],
        replies: [.array("seconds since 1970, and the microseconds of the second")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (seconds, microseconds) = call.engine.clock.wallMicroseconds().quotientAndRemainder(dividingBy: 1_000_000)
        reply.array(2)
        reply.bulk(integer: seconds)
        reply.bulk(integer: microseconds)
    }
}
