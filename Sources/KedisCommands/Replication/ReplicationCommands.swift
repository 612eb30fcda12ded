// The commands of replication, answered as by a server without replicas that cannot be one itself: what asks about
// replicas is told that there are none, what would make this server a replica, or another one, is refused.

import KedisProtocol
import KedisUtilities

let replicationCommands: [CommandSpec] = WaitCommand.specs + [
    RoleCommand.spec,
    FailoverCommand.spec,
    ReplicaOfCommand.spec,
    ReplicaOfCommand.oldSpec,
    ReplicationStream.configure,
    ReplicationStream.partial,
    ReplicationStream.full,
]

extension CommandError {
    static var replicationIsMissing: CommandError { .literal("ERR Kedis has no replication yet") }
}

enum RoleCommand {
    static let spec = CommandSpec(
        "ROLE", summary: "Tells the server's part in replication.", since: "2.8.12", group: .server, arity: 1,
        flags: [.noScript, .loading, .stale, .fast], categories: ["admin", "dangerous"],
        replies: [.array("`master`, the offset 0 and no replicas")]
    ) { (_, reply) throws(CommandError) in
        reply.array(3)
        reply.bulk("master")
        reply.integer(0)
        reply.array(0)
    }
}

enum ReplicaOfCommand {
    private static let arguments: [ArgumentSpec] = [
        .oneOf("args", [
            .block("host-port", [ArgumentSpec("host", .string), ArgumentSpec("port", .integer)]),
            .block("no-one", [.token("NO"), .token("ONE")]),
        ])
    ]

    static let spec = CommandSpec(
        "REPLICAOF", summary: "Makes the server a replica of another one, or a master again.", since: "5.0.0",
        group: .server, arity: 3, flags: [.admin, .noScript, .stale, .noAsyncLoading], arguments: arguments,
        replies: [.ok], differences: ["There is no replication: all but NO ONE is an error."], handler: run
    )

    static let oldSpec = CommandSpec(
        "SLAVEOF", summary: "As REPLICAOF.", since: "1.0.0", group: .server, arity: 3,
        flags: [.admin, .noScript, .stale, .noAsyncLoading], arguments: arguments, replies: [.ok],
        differences: ["There is no replication: all but NO ONE is an error."],
        deprecation: ("5.0.0", "`REPLICAOF`"), handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        if call.arguments[1].equalsIgnoringCase("no"), call.arguments[2].equalsIgnoringCase("one") {
            return reply.ok()
        }
        guard let port = parseInteger(call.arguments[2]), 0...65535 ~= port else {
            throw .literal("ERR Invalid master port")
        }
        throw .replicationIsMissing
    }
}

enum FailoverCommand {
    static let spec = CommandSpec(
        "FAILOVER", summary: "Lets a replica take over.", since: "6.2.0", group: .server, arity: -1,
        flags: [.admin, .noScript, .stale],
        arguments: [
            ArgumentSpec("target", .block, token: "TO", isOptional: true, arguments: [
                ArgumentSpec("host", .string), ArgumentSpec("port", .integer), .token("FORCE", optional: true),
            ]),
            .token("ABORT", optional: true),
            ArgumentSpec("milliseconds", .integer, token: "TIMEOUT", isOptional: true),
        ],
        replies: [.any("an error: there are no replicas")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let arguments = call.arguments
        if arguments.count == 2, arguments[1].equalsIgnoringCase("abort") {
            throw .literal("ERR No failover in progress.")
        }
        var index = 1
        while index < arguments.count {
            let rest = arguments.count - 1 - index
            if arguments[index].equalsIgnoringCase("timeout"), rest >= 1 {
                guard try call.integer(at: index + 1) > 0 else {
                    throw .literal("ERR FAILOVER timeout must be greater than 0")
                }
                index += 2
            } else if arguments[index].equalsIgnoringCase("to"), rest >= 2 {
                _ = try call.integer(at: index + 2)
                index += 3
            } else if arguments[index].equalsIgnoringCase("force") {
                index += 1
            } else {
                throw .syntax
            }
        }
        throw .literal("ERR FAILOVER requires connected replicas.")
    }
}

/// What a replica says to its master.
enum ReplicationStream {
    static let configure = CommandSpec(
        "REPLCONF", summary: "What a replica tells its master about itself; for servers.", since: "3.0.0",
        group: .server, arity: -1, flags: [.admin, .noScript, .loading, .stale, .allowBusy], replies: [.ok]
    ) { (call, reply) throws(CommandError) in
        let arguments = call.arguments
        guard arguments.count % 2 == 1 else { throw .syntax }
        for index in stride(from: 1, to: arguments.count, by: 2) {
            let name = arguments[index]
            // A replica's acknowledgements have no reply, and there is nothing to ask it for.
            if name.equalsIgnoringCase("ack") || name.equalsIgnoringCase("getack") { return }
            if name.equalsIgnoringCase("listening-port") {
                _ = try call.integer(at: index + 1)
            } else if !knownOptions.contains(where: { name.equalsIgnoringCase(ByteView($0)) }) {
                throw .joined("ERR Unrecognized REPLCONF option: ", name, "")
            }
        }
        reply.ok()
    }

    private static let knownOptions: [StaticString] = ["ip-address", "capa", "rdb-only", "rdb-filter-only"]

    static let partial = CommandSpec(
        "PSYNC", summary: "Asks for the stream of changes; for servers.", since: "2.8.0", group: .server,
        complexity: "", arity: -3, flags: [.admin, .noScript, .noMulti, .noAsyncLoading],
        arguments: [ArgumentSpec("replicationid", .string), ArgumentSpec("offset", .integer)],
        replies: [.any("an error")], differences: ["There is no replication."]
    ) { (_, _) throws(CommandError) in
        throw .replicationIsMissing
    }

    static let full = CommandSpec(
        "SYNC", summary: "Asks for all data and the stream of changes; for servers.", since: "1.0.0", group: .server,
        complexity: "", arity: 1, flags: [.admin, .noScript, .noMulti, .noAsyncLoading],
        replies: [.any("an error")], differences: ["There is no replication."]
    ) { (_, _) throws(CommandError) in
        throw .replicationIsMissing
    }
}
