// The commands of a cluster, answered as by a server that is in none.

import KedisProtocol
import KedisUtilities

let clusterCommands: [CommandSpec] = [
    CommandSpec(
        "CLUSTER", summary: "Groups the commands about the cluster.", since: "3.0.0", group: .cluster,
        complexity: "That of the subcommand", arity: -2, flags: [], replies: [.any("an error: there is no cluster")],
        differences: ["There is no cluster."], handler: refuse
    ),
    CommandSpec(
        "ASKING", summary: "Lets the next command follow a redirection.", since: "3.0.0", group: .cluster, arity: 1,
        flags: [.fast], categories: ["connection"], replies: [.any("an error: there is no cluster")], handler: refuse
    ),
    CommandSpec(
        "READONLY", summary: "Lets the connection read from replicas.", since: "3.0.0", group: .cluster, arity: 1,
        flags: [.loading, .stale, .fast], categories: ["connection"],
        replies: [.any("an error: there is no cluster")], handler: refuse
    ),
    CommandSpec(
        "READWRITE", summary: "Takes READONLY back.", since: "3.0.0", group: .cluster, arity: 1,
        flags: [.loading, .stale, .fast], categories: ["connection"],
        replies: [.any("an error: there is no cluster")], handler: refuse
    ),
]

private func refuse(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
    throw .literal("ERR This instance has cluster support disabled")
}
