// Directives of Redis about things that are not here: each has its default and refuses every other value with the
// reason, so that files which only name defaults are accepted, and nobody relies on what does not happen.

let replicationDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "replicaof", otherNames: ["slaveof"], .list, default: "", .atStart, "The server that this one copies."),
    slave("replica-serve-stale-data", .boolean, "yes", "Whether a replica answers while it has no connection."),
    slave("replica-read-only", .boolean, "yes", "Whether a replica refuses writes."),
    slave("replica-ignore-maxmemory", .boolean, "yes", "Whether a replica leaves evictions to its master."),
    slave("replica-lazy-flush", .boolean, "no", "Whether a replica empties its data in the background."),
    slave("replica-priority", .integer(anyCount), "100", "How willing a replica is to become the master."),
    slave("replica-announce-ip", .text, "", "The address that a replica tells."),
    slave("replica-announce-port", .integer(anyPort), "0", "The port that a replica tells."),
    DirectiveSpec("replica-announced", .boolean, default: "yes", .atRunTime, "Whether Sentinel lists a replica."),
    DirectiveSpec(
        "replica-ignore-disk-write-errors", .boolean, default: "no", .atRunTime,
        "Whether a replica goes on when it cannot write."),
    DirectiveSpec(
        "min-replicas-to-write", otherNames: ["min-slaves-to-write"], .integer(anyCount), default: "0", .atRunTime,
        "How many replicas must be there for writes."),
    DirectiveSpec(
        "min-replicas-max-lag", otherNames: ["min-slaves-max-lag"], .integer(anyCount), default: "10", .atRunTime,
        "How many seconds such a replica may be behind."),
    DirectiveSpec(
        "repl-ping-replica-period", otherNames: ["repl-ping-slave-period"], .integer(1...Int64(Int32.max)),
        default: "10", .atRunTime, "Seconds between pings of replicas."),
    DirectiveSpec(
        "repl-timeout", .integer(1...Int64(Int32.max)), default: "60", .atRunTime,
        "Seconds without a sign after which a connection between servers is given up."),
    DirectiveSpec(
        "repl-backlog-size", .memory(1...Int64.max), default: "1048576", .atRunTime,
        "How much is kept for replicas that come back."),
    DirectiveSpec(
        "repl-backlog-ttl", .integer(anySize), default: "3600", .atRunTime, "How long that is kept without replicas."),
    DirectiveSpec(
        "repl-disable-tcp-nodelay", .boolean, default: "no", .atRunTime, "Whether packets to replicas are filled up."),
    DirectiveSpec(
        "repl-diskless-sync", .boolean, default: "yes", .atRunTime, "Whether replicas get the data without a file."),
    DirectiveSpec(
        "repl-diskless-sync-delay", .integer(anyCount), default: "5", .atRunTime,
        "Seconds to wait for more replicas before that."),
    DirectiveSpec(
        "repl-diskless-sync-max-replicas", .integer(anyCount), default: "0", .atRunTime,
        "The number of replicas to wait for."),
    DirectiveSpec(
        "repl-diskless-load", .enumeration(["disabled", "on-empty-db", "swapdb"]), default: "disabled", .atRunTime,
        "Whether a replica loads the data without a file."),
    DirectiveSpec(
        "rdb-del-sync-files", .boolean, default: "no", .atRunTime, "Whether files made for replicas are removed."),
    DirectiveSpec(
        "propagation-error-behavior", .enumeration(["ignore", "panic", "panic-on-replicas"]), default: "ignore",
        .atRunTime, "What happens when a replica cannot execute what its master did."),
].map { $0.fixed($0.name == "replicaof" ? ["", "no one"] : nil, because: "there is no replication") }

private func slave(_ name: String, _ kind: DirectiveKind, _ value: String, _ summary: String) -> DirectiveSpec {
    let otherName = "slave" + name.dropFirst("replica".count)
    return DirectiveSpec(name, otherNames: [otherName], kind, default: value, .atRunTime, summary)
}

let clusterDirectives: [DirectiveSpec] = [
    DirectiveSpec("cluster-enabled", .boolean, default: "no", .atStart, "Whether keys are spread over servers."),
    DirectiveSpec("cluster-config-file", .text, default: "nodes.conf", .atStart, "The file of the servers."),
    DirectiveSpec("cluster-port", .integer(anyPort), default: "0", .atStart, "The port between servers."),
    .number("cluster-node-timeout", 15_000, anySize, "Milliseconds after which a server counts as gone."),
    .number("cluster-migration-barrier", 1, anySize, "Replicas that a master keeps when others need some."),
    .flag("cluster-allow-replica-migration", "yes", "Whether replicas move to masters without any."),
    .flag("cluster-require-full-coverage", "yes", "Whether all keys must have a server."),
    .flag("cluster-allow-reads-when-down", "no", "Whether reads go on when the cluster is down."),
    .flag("cluster-allow-pubsubshard-when-down", "yes", "Whether shard channels go on when the cluster is down."),
    DirectiveSpec(
        "cluster-replica-validity-factor", otherNames: ["cluster-slave-validity-factor"], .integer(anyCount),
        default: "10", .atRunTime, "How old a replica's data may be for it to become the master."),
    DirectiveSpec(
        "cluster-replica-no-failover", otherNames: ["cluster-slave-no-failover"], .boolean, default: "no", .atRunTime,
        "Whether a replica never becomes the master."),
    DirectiveSpec(
        "cluster-link-sendbuf-limit", .memory(anySize), default: "0", .atRunTime, "What may wait between two servers."),
    .text("cluster-announce-ip", "The address that the server tells."),
    .text("cluster-announce-hostname", "The name of the machine that the server tells."),
    .text("cluster-announce-human-nodename", "The name of the server in the log."),
    DirectiveSpec("cluster-announce-port", .integer(anyPort), default: "0", .atRunTime, "The port that it tells."),
    DirectiveSpec(
        "cluster-announce-tls-port", .integer(anyPort), default: "0", .atRunTime, "The TLS port that it tells."),
    DirectiveSpec(
        "cluster-announce-bus-port", .integer(anyPort), default: "0", .atRunTime,
        "The port between servers that it tells."),
    DirectiveSpec(
        "cluster-preferred-endpoint-type", .enumeration(["ip", "hostname", "unknown-endpoint"]), default: "ip",
        .atRunTime, "What clients are told to connect to."),
].map { $0.fixed(because: "there is no cluster") }

/// Scripts and modules.
let scriptDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "busy-reply-threshold", otherNames: ["lua-time-limit"], .integer(anySize), default: "5000", .atRunTime,
        "Milliseconds after which others are told that a script is running."
    ).fixed(because: "there are no scripts"),
    DirectiveSpec("loadmodule", .list, default: "", .inFiles, "A module to load.").fixed(
        because: "there are no modules"),
]
