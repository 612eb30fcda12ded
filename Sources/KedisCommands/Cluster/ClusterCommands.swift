// The commands of a cluster, answered as by a server that is in none: CLUSTER with all its subcommands, so that rules
// of users can name them, and a wrong word or number of arguments is told from a cluster that is missing.

import KedisProtocol
import KedisUtilities

let clusterCommands: [CommandSpec] = [
    ClusterCommand.spec,
    CommandSpec(
        "ASKING", summary: "Lets the next command follow a redirection.", since: "3.0.0", group: .cluster, arity: 1,
        flags: [.fast], categories: ["connection"], replies: refusal, handler: refuse
    ),
    CommandSpec(
        "READONLY", summary: "Lets the connection read from replicas.", since: "3.0.0", group: .cluster, arity: 1,
        flags: [.loading, .stale, .fast], categories: ["connection"], replies: refusal, handler: refuse
    ),
    CommandSpec(
        "READWRITE", summary: "Takes READONLY back.", since: "3.0.0", group: .cluster, arity: 1,
        flags: [.loading, .stale, .fast], categories: ["connection"], replies: refusal, handler: refuse
    ),
]

private let refusal: [ReplySpec] = [.any("an error: there is no cluster")]

private func refuse(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
    throw .literal("ERR This instance has cluster support disabled")
}

enum ClusterCommand {
    static let spec = CommandSpec(
        "CLUSTER", summary: "Groups the commands about the cluster.", since: "3.0.0", group: .cluster,
        complexity: "That of the subcommand", arity: -2, flags: [],
        differences: ["There is no cluster: every subcommand is refused, HELP too, as by a Redis that is in none."],
        subcommands: (asking + ofSlots + ofNodes).map(\.spec)
    )

    /// A row of the tables: what differs between subcommands.
    private struct Row {
        enum Kind {
            /// Anybody may ask.
            case question
            /// A question for administrators.
            case administrators
            /// It would change the node.
            case change
        }

        var name: String
        var arity: Int
        var kind: Kind
        var since = "3.0.0"
        var summary: String
        var complexity = "O(1)"
        /// Another node, or another moment, answers in another way.
        var isVarying = false
        var arguments: [ArgumentSpec] = []
        var history: [(version: String, change: String)] = []
        var deprecation: (since: String, replacement: String)?

        private var flags: CommandFlags {
            switch (name, kind) {
            case ("HELP", _): [.loading, .stale]
            // It may empty the store, which no script may.
            case ("RESET", _): [.admin, .noScript, .stale]
            case (_, .question): [.stale]
            case (_, .administrators): [.admin, .stale]
            case (_, .change): [.admin, .stale, .noAsyncLoading]
            }
        }

        var spec: CommandSpec {
            CommandSpec(
                name, summary: summary, since: since, group: .cluster, complexity: complexity, arity: arity,
                flags: flags, locks: .none, tips: isVarying ? ["nondeterministic_output"] : [], arguments: arguments,
                replies: refusal, history: history, deprecation: deprecation, handler: refuse
            )
        }
    }

    private static let node = [ArgumentSpec("node-id", .string)]
    private static let slot = ArgumentSpec("slot", .integer)
    private static let slots = [ArgumentSpec("slot", .integer, isMultiple: true)]
    private static let slotRanges: [ArgumentSpec] = [
        .block("start-slot_end-slot", multiple: true, [
            ArgumentSpec("start-slot", .integer), ArgumentSpec("end-slot", .integer),
        ])
    ]
    private static let linearInNodes = "O(N), N being the number of nodes"
    private static let linearInSlots = "O(N), N being the number of slots"

    private static let asking = [
        Row(name: "HELP", arity: 2, kind: .question, since: "5.0.0", summary: "Would list the subcommands."),
        Row(name: "INFO", arity: 2, kind: .question, summary: "Would tell the state of the cluster.", isVarying: true),
        Row(
            name: "LINKS", arity: 2, kind: .question, since: "7.0.0", summary: "Would list the links to other nodes.",
            complexity: linearInNodes, isVarying: true),
        Row(name: "MYID", arity: 2, kind: .question, summary: "Would tell the node's identifier."),
        Row(
            name: "MYSHARDID", arity: 2, kind: .question, since: "7.2.0",
            summary: "Would tell the identifier of the node's shard.", isVarying: true),
        Row(
            name: "NODES", arity: 2, kind: .question, summary: "Would list the nodes.", complexity: linearInNodes,
            isVarying: true),
        Row(
            name: "SHARDS", arity: 2, kind: .question, since: "7.0.0",
            summary: "Would list the shards and their nodes.", complexity: linearInNodes, isVarying: true),
        Row(
            name: "SLOTS", arity: 2, kind: .question, summary: "Would tell which nodes have which slots.",
            complexity: linearInNodes, isVarying: true,
            history: [("4.0.0", "Identifiers of nodes."), ("7.0.0", "More about how to reach a node.")],
            deprecation: ("7.0.0", "`CLUSTER SHARDS`")),
    ]

    private static let ofSlots = [
        Row(
            name: "ADDSLOTS", arity: -3, kind: .change, summary: "Would give slots to the node.",
            complexity: linearInSlots, arguments: slots),
        Row(
            name: "ADDSLOTSRANGE", arity: -4, kind: .change, since: "7.0.0",
            summary: "Would give ranges of slots to the node.", complexity: linearInSlots, arguments: slotRanges),
        Row(
            name: "COUNTKEYSINSLOT", arity: 3, kind: .question, summary: "Would count the keys of a slot.",
            arguments: [slot]),
        Row(
            name: "DELSLOTS", arity: -3, kind: .change, summary: "Would take slots from the node.",
            complexity: linearInSlots, arguments: slots),
        Row(
            name: "DELSLOTSRANGE", arity: -4, kind: .change, since: "7.0.0",
            summary: "Would take ranges of slots from the node.", complexity: linearInSlots, arguments: slotRanges),
        Row(name: "FLUSHSLOTS", arity: 2, kind: .change, summary: "Would take all slots from the node."),
        Row(
            name: "GETKEYSINSLOT", arity: 4, kind: .question, summary: "Would list keys of a slot.",
            complexity: "O(log(N)), N being the number of keys asked for", isVarying: true,
            arguments: [slot, ArgumentSpec("count", .integer)]),
        Row(
            name: "KEYSLOT", arity: 3, kind: .question, summary: "Would tell the slot of a key.",
            complexity: "O(N), N being the number of bytes in the key", arguments: [ArgumentSpec("key", .string)]),
        Row(
            name: "SETSLOT", arity: -4, kind: .change, summary: "Would tie a slot to a node.",
            arguments: [
                slot,
                .oneOf("subcommand", [
                    ArgumentSpec("node-id", .string, token: "IMPORTING"),
                    ArgumentSpec("node-id", .string, token: "MIGRATING"),
                    ArgumentSpec("node-id", .string, token: "NODE"), .token("STABLE"),
                ]),
            ]),
    ]

    private static let ofNodes = [
        Row(
            name: "BUMPEPOCH", arity: 2, kind: .change, summary: "Would advance the node's epoch.", isVarying: true),
        Row(
            name: "COUNT-FAILURE-REPORTS", arity: 3, kind: .administrators,
            summary: "Would count the nodes that report another one as failed.",
            complexity: "O(N), N being the number of reports", isVarying: true, arguments: node),
        Row(
            name: "FAILOVER", arity: -2, kind: .change, summary: "Would let a replica take over.",
            arguments: [.oneOf("options", optional: true, [.token("FORCE"), .token("TAKEOVER")])]),
        Row(name: "FORGET", arity: 3, kind: .change, summary: "Would forget a node.", arguments: node),
        Row(
            name: "MEET", arity: -4, kind: .change, summary: "Would join the cluster of another node.",
            arguments: [
                ArgumentSpec("ip", .string), ArgumentSpec("port", .integer),
                ArgumentSpec("cluster_bus_port", .integer, isOptional: true, since: "4.0.0"),
            ],
            history: [("4.0.0", "The port of the bus.")]),
        Row(
            name: "REPLICAS", arity: 3, kind: .administrators, since: "5.0.0",
            summary: "Would list the replicas of a node.", isVarying: true, arguments: node),
        Row(
            name: "REPLICATE", arity: 3, kind: .change, summary: "Would make the node a replica of another one.",
            arguments: node),
        Row(
            name: "RESET", arity: -2, kind: .change, summary: "Would leave the cluster.",
            complexity: "O(N), N being the number of known nodes",
            arguments: [
                .oneOf("hard_soft", optional: true, [.token("HARD"), .token("SOFT")])
            ]),
        Row(name: "SAVECONFIG", arity: 2, kind: .change, summary: "Would save the state of the cluster."),
        Row(
            name: "SET-CONFIG-EPOCH", arity: 3, kind: .change, summary: "Would set the epoch of a new node.",
            arguments: [ArgumentSpec("config-epoch", .integer)]),
        Row(
            name: "SLAVES", arity: 3, kind: .administrators, summary: "As CLUSTER REPLICAS.", isVarying: true,
            arguments: node, deprecation: ("5.0.0", "`CLUSTER REPLICAS`")),
    ]
}
