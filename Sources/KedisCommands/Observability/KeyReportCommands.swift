// HOTKEYS and BIGKEYS: what is hot and what is big, answered from what was noted while serving.
//
// HOTKEYS has the subcommands, the fields and the directives of Valkey's. Redis 8.6 has a command of that name with
// sessions that are started and stopped; here it is always on.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HotKeysCommand {
    static let spec = CommandSpec(
        "HOTKEYS", summary: "Groups the commands about keys that are used often.", since: "1.0.0", group: .server,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            CommandSpec(
                "GET", summary: "Returns the keys that were used most in the last window of time.", since: "1.0.0",
                group: .server, complexity: "O(N), N being the number of keys that are returned", arity: 2,
                flags: keyReportFlags, locks: .none, tips: ["nondeterministic_output"],
                replies: [
                    .array(
                        """
                        a map for each key, the hottest first: `key`, `db`, `qps` (how often it was used a second, at \
                        least, as the sample says)
                        """)
                ],
                differences: ["As in Valkey. Of a key's count only what is certain is reported."], handler: get
            ),
            .help(since: "1.0.0", group: .server),
            keyReportReset("Forgets what was counted.") { $0.hotKeys.reset() },
        ]
    )

    static func get(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let report = call.engine.observability.hotKeys.report(nowMilliseconds: call.nowMilliseconds)
        reply.array(report.entries.count)
        for entry in report.entries {
            reply.map(3)
            reply.bulk("key")
            entry.key.withUnsafeBytes { reply.bulk(ByteView($0)) }
            reply.bulk("db")
            reply.integer(entry.databaseIndex)
            reply.bulk("qps")
            reply.integer(entry.accessesPerSecond)
        }
    }
}

enum BigKeysCommand {
    static let spec = CommandSpec(
        "BIGKEYS", summary: "Groups the commands about keys that take much memory.", since: "1.0.0", group: .server,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            CommandSpec(
                "GET", summary: "Returns the biggest of the keys that were used.", since: "1.0.0", group: .server,
                complexity: "O(N), N being the number of keys that are returned", arity: 2, flags: keyReportFlags,
                locks: .none, tips: ["nondeterministic_output"],
                replies: [
                    .array(
                        """
                        a map for each key, the biggest first: `key`, `db`, `type`, `bytes` (as MEMORY USAGE), \
                        `elements` (of a string its bytes)
                        """)
                ],
                differences: ["Not in Redis. What nobody has used since the start is not known."], handler: get
            ),
            .help(since: "1.0.0", group: .server),
            keyReportReset("Forgets the keys.") { $0.bigKeys.reset() },
        ]
    )

    static func get(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let entries = call.engine.observability.bigKeys.current(
            call.engine.store, nowMilliseconds: call.nowMilliseconds, held: call.keyspace.held)
        reply.array(entries.count)
        for entry in entries {
            reply.map(5)
            reply.bulk("key")
            entry.key.withUnsafeBytes { reply.bulk(ByteView($0)) }
            reply.bulk("db")
            reply.integer(entry.databaseIndex)
            reply.bulk("type")
            reply.bulk(ByteView(entry.measure.type.name))
            reply.bulk("bytes")
            reply.integer(entry.measure.byteCount)
            reply.bulk("elements")
            reply.integer(entry.measure.elementCount)
        }
    }
}

private let keyReportFlags: CommandFlags = [.admin, .loading, .stale]

private func keyReportReset(_ summary: String, _ reset: @escaping @Sendable (Observability) -> Void) -> CommandSpec {
    CommandSpec(
        "RESET", summary: summary, since: "1.0.0", group: .server, arity: 2, flags: keyReportFlags, locks: .none,
        replies: [.ok]
    ) { (call, reply) throws(CommandError) in
        reset(call.engine.observability)
        reply.ok()
    }
}
