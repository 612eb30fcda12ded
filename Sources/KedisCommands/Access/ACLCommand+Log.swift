// ACL LOG: what was refused, the newest first.

import KedisProtocol
import KedisStore
import KedisUtilities

extension ACLCommand {
    static let logSpec = CommandSpec(
        "LOG", summary: "Tells which attempts were refused, or forgets them.", since: "6.0.0", group: .server,
        complexity: "O(N), N being the number of entries told", arity: -2, flags: administrators, locks: .none,
        arguments: [.oneOf("operation", optional: true, [ArgumentSpec("count", .integer), .token("RESET")])],
        replies: [.array("a map for each entry, 10 of them unless told otherwise"), .simple("OK, to RESET")],
        handler: log
    )

    static func log(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count <= 3 else { throw call.subcommandSyntax }
        var count: Int64 = 10
        if call.arguments.count == 3 {
            if call.arguments[2].equalsIgnoringCase("RESET") {
                call.engine.access.log.removeAll()
                return reply.ok()
            }
            count = try call.integer(at: 2)
        }
        let entries = call.engine.access.log.newest(Int(count))
        reply.array(entries.count)
        for entry in entries { write(entry, nowMilliseconds: call.nowMilliseconds, &reply) }
    }

    private static func write(_ entry: AccessLog.Entry, nowMilliseconds: Int64, _ reply: inout ReplyWriter) {
        reply.map(10)
        reply.bulk("count")
        reply.integer(Int64(clamping: entry.count))
        reply.bulk("reason")
        reply.bulk(ByteView(entry.reason.name))
        reply.bulk("context")
        reply.bulk(ByteView(entry.context.name))
        reply.bulk("object")
        entry.object.withView { reply.bulk($0) }
        reply.bulk("username")
        entry.userName.withView { reply.bulk($0) }
        reply.bulk("age-seconds")
        let (age, overflow) = nowMilliseconds.subtractingReportingOverflow(entry.updatedMilliseconds)
        reply.double(overflow ? 0 : Double(age) / 1000)
        reply.bulk("client-info")
        entry.client.withView { reply.bulk($0) }
        reply.bulk("entry-id")
        reply.integer(entry.identifier)
        reply.bulk("timestamp-created")
        reply.integer(entry.createdMilliseconds)
        reply.bulk("timestamp-last-updated")
        reply.integer(entry.updatedMilliseconds)
    }
}
