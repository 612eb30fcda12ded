// The directives that exist, in the order of CONFIG GET. A directive is one entry in a table here or in one of the
// files DirectiveTable+….swift; a value that the data path reads also has an atomic in Configuration.
//
// Every directive of Redis 7.2 is here: with its meaning, fixed to its default because what it is about is missing, or
// without effect because nothing needs it.

let directiveTable: [DirectiveSpec] =
    networkDirectives + accessDirectives + clientDirectives + dataDirectives + listDirectives + setDirectives
    + sortedSetDirectives + hashDirectives + streamDirectives + memoryDirectives + maintenanceDirectives
    + processDirectives + supervisionDirectives + observabilityDirectives + journalDirectives
    + replicationDirectives + clusterDirectives + encryptionDirectives + scriptDirectives

let anySize: ClosedRange<Int64> = 0...Int64.max
let anyCount: ClosedRange<Int64> = 0...Int64(Int32.max)
let anyPort: ClosedRange<Int64> = 0...65535

private let networkDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "bind", .list, default: "127.0.0.1", .atRunTime,
        "The addresses to listen on; a leading - allows one to be missing."
    ),
    DirectiveSpec(
        "port", .integer(anyPort), default: "6379", .atRunTime,
        "The TCP port; 0 for none."
    ),
    DirectiveSpec(
        "tcp-backlog", .integer(anyCount), default: "511", .atStart,
        "Connections that may wait to be accepted."
    ),
    DirectiveSpec(
        "unixsocket", .text, default: "", .atStart,
        "The path of a Unix socket to listen on."
    ),
    DirectiveSpec(
        "unixsocketperm", .octal(0...0o777), default: "0", .atStart,
        "The permissions of the Unix socket; 0 leaves them."
    ),
    DirectiveSpec(
        "protected-mode", .boolean, default: "yes", .atRunTime,
        "Whether clients from other machines are refused while there is no password."
    ),
    DirectiveSpec(
        "tcp-keepalive", .integer(anyCount), default: "300", .atRunTime,
        "Seconds between probes of silent peers; 0 for none."
    ),
    DirectiveSpec(
        "bind-source-addr", .text, default: "", .atRunTime, "The address that outgoing connections come from."
    ).fixed(because: "there are no outgoing connections"),
    DirectiveSpec(
        "socket-mark-id", .integer(0...Int64(UInt32.max)), default: "0", .atStart,
        "The mark (SO_MARK) of the listening sockets and their connections, for the system's firewall; 0 for none."
    ),
    DirectiveSpec(
        "threads", otherNames: ["io-threads"], .integer(1...1024), default: "1", .atStart,
        "Event loops, each on a thread of its own; the server's default is the number of cores."
    ),
    DirectiveSpec(
        "transport", .enumeration(["auto", "io_uring", "epoll", "nio"]), default: "auto", .atStart,
        """
        What carries plain connections: loops of the server's own on Linux (`io_uring`, or `epoll`), SwiftNIO (`nio`), \
        or the first of these that is there and permitted.
        """
    ),
]

private let accessDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "requirepass", .text, default: "", .atRunTime,
        "The password of the user `default`; none when empty."
    ),
    DirectiveSpec(
        "aclfile", .text, default: "", .atStart,
        "The file of users, in the folder of `dir` when the path is relative: read at the start and by ACL LOAD."
    ),
    DirectiveSpec(
        "acl-pubsub-default", .enumeration(["allchannels", "resetchannels"]), default: "resetchannels", .atRunTime,
        "Whether new users may use all channels or none."
    ),
    DirectiveSpec(
        "acllog-max-len", .integer(anySize), default: "128", .atRunTime,
        "The most entries of ACL LOG; more than 10000 count as 10000."
    ),
    DirectiveSpec(
        "enable-debug-command", .enumeration(["no", "yes", "local"]), default: "no", .atStart,
        "Who may use DEBUG."
    ),
    DirectiveSpec(
        "enable-protected-configs", .enumeration(["no", "yes", "local"]), default: "no", .atStart,
        "Who may change protected directives."
    ),
    DirectiveSpec(
        "enable-module-command", .enumeration(["no", "yes", "local"]), default: "no", .atStart, "Who may use MODULE."
    ).fixed(because: "there are no modules"),
    DirectiveSpec(
        "masteruser", .text, default: "", .atRunTime, "The user of replication."
    ).fixed(because: "there is no replication"),
    DirectiveSpec(
        "masterauth", .text, default: "", .atRunTime, "The password of replication."
    ).fixed(because: "there is no replication"),
    // Configuration+Access.swift takes the lines of these.
    DirectiveSpec(
        "user", .list, default: "", .inFiles, "A user and its rules, as for ACL SETUSER; a line for each."
    ),
    DirectiveSpec(
        "rename-command", .list, default: "", .inFiles,
        "A command and the name that it has instead, or `\"\"` for none; a line for each."
    ),
]

private let clientDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "tracking-table-max-keys", .integer(anyCount), default: "1000000", .atRunTime,
        "The most keys that are remembered for clients that track what they read; 0 for no limit."
    ),
    DirectiveSpec(
        "timeout", .integer(anyCount), default: "0", .atRunTime,
        "Seconds after which an idle client is closed; 0 for never."
    ),
    DirectiveSpec(
        "maxclients", .integer(1...4_294_967_295), default: "10000", .atRunTime,
        "The most clients at a time."
    ),
    DirectiveSpec(
        "proto-max-bulk-len", .memory(1 << 20...Int64.max), default: "536870912", .atRunTime,
        "The longest argument and string; never beyond 4 GiB."
    ),
    DirectiveSpec(
        "client-query-buffer-limit", .memory(1 << 20...Int64.max), default: "1073741824", .atRunTime,
        "The most input of a client that may wait."
    ),
    DirectiveSpec(
        "maxmemory-clients", .memoryOrPercentage, default: "0", .atRunTime,
        """
        The most memory for the buffers of all clients, in bytes or as a part of `maxmemory`: beyond it those who take \
        the most are closed; 0 for no limit.
        """
    ),
    DirectiveSpec(
        "client-output-buffer-limit", .outputLimits,
        default: "normal 1073741824 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", .atRunTime,
        "The most output that may wait for a client, for each class: hard limit, soft limit, seconds."
    ),
    DirectiveSpec(
        "client-output-pause-limit", .memory(0...Int64.max), default: "67108864", .atRunTime,
        "Waiting output beyond which no more requests of a client are read and executed. Not in Redis."
    ),
    DirectiveSpec(
        "client-output-stall-timeout", .integer(anyCount), default: "60", .atRunTime,
        "Seconds after which a client is closed that takes nothing of its waiting output; 0 for never. Not in Redis."
    ),
]

private let dataDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "databases", .integer(1...16_384), default: "16", .atStart,
        "The number of databases."
    ),
    DirectiveSpec(
        "dir", .text, default: ".", .protected,
        "The folder of the snapshot."
    ),
    DirectiveSpec(
        "dbfilename", .text, default: "dump.rdb", .protected,
        "The snapshot's name in its folder."
    ),
    DirectiveSpec(
        "save", .saveRules, default: "3600 1 300 100 60 10000", .atRunTime,
        "When to save by itself: pairs of seconds and changes."
    ),
    DirectiveSpec(
        "rdbcompression", .boolean, default: "yes", .atRunTime,
        "Whether long strings in snapshots are compressed."
    ),
    DirectiveSpec(
        "rdbchecksum", .boolean, default: "yes", .atStart,
        "Whether snapshots carry a checksum."
    ),
    DirectiveSpec(
        "rdb-save-incremental-fsync", .boolean, default: "yes", .atRunTime,
        "Whether a snapshot is synced to disk every 4 MiB while it is written, instead of all at once at its end."
    ),
    DirectiveSpec(
        "stop-writes-on-bgsave-error", .boolean, default: "yes", .atRunTime,
        "Whether writes are refused after a save failed."
    ),
    DirectiveSpec(
        "sanitize-dump-payload", .enumeration(["no", "yes", "clients"]), default: "no", .atRunTime,
        "Whether the contents of snapshots and of RESTORE are checked."
    ).withoutEffect("They always are."),
    DirectiveSpec(
        "hll-sparse-max-bytes", .memory(anySize), default: "3000", .atRunTime,
        "The longest sparse HyperLogLog, its header of 16 bytes counted; a longer one becomes dense."
    ),
]

private let listDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "list-max-listpack-size", otherNames: ["list-max-ziplist-size"], .integer(Int64(Int32.min)...Int64(Int32.max)),
        default: "-2", .atRunTime,
        "How long a packed run of a list may be: a number of elements, or -1 to -5 for 4, 8, 16, 32, 64 KiB."
    ),
    DirectiveSpec(
        "list-compress-depth", .integer(anyCount), default: "0", .atRunTime,
        "How many runs at each end of a list are not compressed."
    ).withoutEffect("Lists are not compressed in memory."),
]

private let setDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "set-max-intset-entries", .integer(anySize), default: "512", .atRunTime,
        "The most members of a set of integers that is stored as such."
    ),
    DirectiveSpec(
        "set-max-listpack-entries", .integer(anySize), default: "128", .atRunTime,
        "The most members of a packed set."
    ),
    DirectiveSpec(
        "set-max-listpack-value", .integer(anySize), default: "64", .atRunTime,
        "The longest member of a packed set, in bytes."
    ),
]

private let sortedSetDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "zset-max-listpack-entries", otherNames: ["zset-max-ziplist-entries"], .integer(anySize), default: "128",
        .atRunTime,
        "How many members a packed sorted set may have."
    ),
    DirectiveSpec(
        "zset-max-listpack-value", otherNames: ["zset-max-ziplist-value"], .memory(anySize), default: "64", .atRunTime,
        "How long the members of a packed sorted set may be."
    ),
]

private let hashDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "hash-max-listpack-entries", otherNames: ["hash-max-ziplist-entries"], .integer(anyCount), default: "512",
        .atRunTime, "How many fields a hash may have that is stored as one packed run."
    ),
    DirectiveSpec(
        "hash-max-listpack-value", otherNames: ["hash-max-ziplist-value"], .memory(anySize), default: "64", .atRunTime,
        "How long a field or value of such a hash may be, in bytes."
    ),
]

private let streamDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "stream-node-max-bytes", .memory(anySize), default: "4096", .atRunTime,
        "How large a node of a stream may be, in bytes; 0 for no limit."
    ),
    DirectiveSpec(
        "stream-node-max-entries", .integer(anySize), default: "100", .atRunTime,
        "How many entries a node of a stream may have; 0 for no limit."
    ),
]

private let memoryDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "maxmemory", .memoryLimit, default: "0", .atRunTime,
        "The most memory for keys and values; 0 for no limit."
    ),
    DirectiveSpec(
        "maxmemory-policy",
        .enumeration([
            "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "allkeys-lru", "allkeys-lfu",
            "allkeys-random", "noeviction",
        ]),
        default: "noeviction", .atRunTime,
        "Which keys go when `maxmemory` is reached; with noeviction, commands that need memory are refused."
    ),
    DirectiveSpec(
        "maxmemory-samples", .integer(1...Int64(Int32.max)), default: "5", .atRunTime,
        "Keys that are compared for each one that goes; more than 64 count as 64."
    ),
    DirectiveSpec(
        "maxmemory-eviction-tenacity", .integer(0...100), default: "10", .atRunTime,
        "How long a command may be held up by making room: 10 for 0.5 ms, 100 for as long as it takes."
    ),
    DirectiveSpec(
        "lfu-log-factor", .integer(anyCount), default: "10", .atRunTime,
        "How slowly the access counters of the LFU policies grow."
    ),
    DirectiveSpec(
        "lfu-decay-time", .integer(anyCount), default: "1", .atRunTime,
        "Minutes without access after which an access counter loses a step; 0 for never."
    ),
]
