// The directives about the process: background work, log, service manager, what the system is asked for.

/// How memory is tended in the background.
let maintenanceDirectives: [DirectiveSpec] =
    [
        DirectiveSpec(
            "activedefrag", .boolean, default: "yes", .atRunTime,
            "Whether cells are moved together in the background, so that the slabs between them can be given back."
        ),
        DirectiveSpec(
            "active-defrag-cycle-max", .integer(1...99), default: "25", .atRunTime,
            "The most of one core that the background's work on memory may take, in percent."
        ),
        DirectiveSpec(
            "active-defrag-cycle-min", .integer(1...99), default: "1", .atRunTime,
            "The least of one core that defragmentation takes while there is something to do, in percent."
        ).withoutEffect("Work is done in slices as it comes up, and takes nothing without any."),
        DirectiveSpec(
            "active-defrag-ignore-bytes", .memory(1...Int64.max), default: "104857600", .atRunTime,
            "Waste below which nothing is defragmented."
        ).withoutEffect(ownThresholds),
        DirectiveSpec(
            "active-defrag-threshold-lower", .integer(0...1000), default: "10", .atRunTime,
            "The percentage of waste from which on memory is defragmented."
        ).withoutEffect(ownThresholds),
        DirectiveSpec(
            "active-defrag-threshold-upper", .integer(0...1000), default: "100", .atRunTime,
            "The percentage of waste at which defragmentation takes all that it may."
        ).withoutEffect(ownThresholds),
        DirectiveSpec(
            "active-defrag-max-scan-fields", .integer(1...Int64.max), default: "1000", .atRunTime,
            "The size from which on a collection is defragmented in several steps."
        ).withoutEffect("Collections are never walked: they lie in blocks of their own."),
        DirectiveSpec(
            "activerehashing", .boolean, default: "yes", .atRunTime, "Whether tables go on growing while idle."
        ).withoutEffect("Tables grow by splitting one segment at a time: there is nothing left to do while idle."),
        DirectiveSpec(
            "active-expire-effort", .integer(1...10), default: "1", .atRunTime,
            "How much time goes into finding expired keys that nobody asks for."
        ).withoutEffect("Deadlines lie in timing wheels: what is due is known, and goes at once."),
        DirectiveSpec(
            "jemalloc-bg-thread", .boolean, default: "yes", .atRunTime,
            "Whether a thread of the allocator gives memory back."
        ).withoutEffect("The store has its own arenas, which the background's work trims."),
    ] + lazyFreeDirectives

private let ownThresholds = "A slab is emptied when an eighth of its size class is free, however much that is in all."

/// Big values and flushed databases are freed in the background whatever these say.
private let lazyFreeDirectives: [DirectiveSpec] = [
    ("lazyfree-lazy-eviction", "evicted values"), ("lazyfree-lazy-expire", "expired values"),
    ("lazyfree-lazy-server-del", "values that commands replace"), ("lazyfree-lazy-user-del", "values that DEL removes"),
    ("lazyfree-lazy-user-flush", "databases that FLUSHALL and FLUSHDB empty"),
].map { name, what in
    DirectiveSpec(name, .boolean, default: "no", .atRunTime, "Whether \(what) are freed in the background.")
        .withoutEffect("Big ones are always freed in the background, small ones at once.")
}

let processDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "notify-keyspace-events", .keyspaceEvents, default: "", .atRunTime,
        """
        Which events of keys are published: `K` to `__keyspace@<db>__:<key>` and `E` to `__keyevent@<db>__:<event>`, \
        and of which kinds: `g` generic, `$` strings, `l` lists, `s` sets, `h` hashes, `z` sorted sets, `t` streams, \
        `x` expired, `e` evicted, `A` for all of these, `n` new keys, `m` reads that miss. Empty for none.
        """
    ),
    DirectiveSpec(
        "hz", .clampedInteger(1...500), default: "10", .atRunTime,
        """
        How often in a second some of the clients are looked at for timeouts and limits, 1 to 500; each of them is \
        looked at once in a second.
        """
    ),
    DirectiveSpec(
        "dynamic-hz", .boolean, default: "yes", .atRunTime,
        "Whether `hz` is raised with many clients, so that no look takes more than 200 of them at once."
    ),
    DirectiveSpec(
        "loglevel", .enumeration(["debug", "verbose", "notice", "warning", "nothing"]), default: "notice", .atRunTime,
        "The least important messages to log."
    ),
    DirectiveSpec(
        "logfile", .text, default: "", .atStart,
        "The file to log to, in the folder of `dir` when the path is relative; standard output when empty."
    ),
    DirectiveSpec(
        "syslog-enabled", .boolean, default: "no", .atStart, "Whether messages also go to the system's log."
    ),
    DirectiveSpec("syslog-ident", .text, default: "redis", .atStart, "The name of the program in the system's log."),
    DirectiveSpec(
        "syslog-facility",
        .enumeration(["user"] + (0...7).map { "local\($0)" }), default: "local0", .atStart,
        "The facility of the messages in the system's log."
    ),
    DirectiveSpec(
        "crash-log-enabled", .boolean, default: "yes", .atRunTime, "Whether a crash is reported in the log."
    ).withoutEffect("The Swift runtime prints a backtrace where SWIFT_BACKTRACE asks for one."),
    DirectiveSpec(
        "crash-memcheck-enabled", .boolean, default: "yes", .atRunTime, "Whether memory is tested after a crash."
    ).withoutEffect("A crash of Kedis says nothing of the machine's memory; `memtest86+` tests that."),
    DirectiveSpec(
        "ignore-warnings", .text, default: "", .atRunTime, "Warnings about the system that are not given at the start."
    ).withoutEffect("The one that has a name is about processes that fork, which Kedis does not."),
    DirectiveSpec(
        "locale-collate", .text, default: "", .atRunTime, "The locale whose order SORT ALPHA follows."
    ).fixed(["", "C"], because: "SORT ALPHA compares bytes, the same on every machine"),
]

/// What the process asks of the system and of whoever started it.
let supervisionDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "daemonize", .boolean, default: "no", .atStart,
        "Whether to leave the terminal and go on in the background; the log goes to `logfile` or the system's log only."
    ),
    DirectiveSpec(
        "supervised", .enumeration(["upstart", "systemd", "auto", "no"]), default: "no", .atStart,
        "Which service manager is told that the server is ready; `auto` for the one whose variable is set."
    ),
    DirectiveSpec(
        "pidfile", .text, default: "", .atStart,
        "The file that has the process's number while it runs; with `daemonize` /var/run/redis.pid when empty."
    ),
    DirectiveSpec(
        "always-show-logo", .boolean, default: "no", .atStart,
        "Whether the picture at the start is drawn where the log is no terminal."
    ),
    DirectiveSpec(
        "set-proc-title", .boolean, default: "yes", .atStart, "Whether the process list shows `proc-title-template`."
    ),
    DirectiveSpec(
        "proc-title-template", .titleTemplate, default: "{title} {listen-addr} {server-mode}", .atRunTime,
        """
        What the process list shows: text with `{title}`, `{listen-addr}`, `{server-mode}`, `{port}`, `{tls-port}`, \
        `{unixsocket}`, `{config-file}`.
        """
    ),
    DirectiveSpec(
        "shutdown-timeout", .integer(anyCount), default: "10", .atRunTime,
        "Seconds that a shutdown waits for replicas."
    ).fixed(because: "there are no replicas to wait for"),
    DirectiveSpec(
        "shutdown-on-sigint", .flags(shutdownWords), default: "default", .atRunTime,
        "How SIGINT ends the server: words of SHUTDOWN."
    ),
    DirectiveSpec(
        "shutdown-on-sigterm", .flags(shutdownWords), default: "default", .atRunTime,
        "How SIGTERM ends the server: words of SHUTDOWN."
    ),
    DirectiveSpec(
        "oom-score-adj", .enumeration(["no", "yes", "relative", "absolute"]), default: "no", .atRunTime,
        "Whether the system is told how likely to choose this process when memory runs out."
    ),
    DirectiveSpec(
        "oom-score-adj-values", .integers(count: 3, -2000...2000), default: "0 200 800", .atRunTime,
        "The score for `oom-score-adj`, the first number; the others are for replicas and child processes."
    ),
    DirectiveSpec(
        "server_cpulist", .processors, default: "", .atStart, "The processors that event loops run on; empty for all."
    ),
    DirectiveSpec(
        "bgsave_cpulist", .processors, default: "", .atStart,
        "The processors that background saves run on; empty for all."
    ),
    DirectiveSpec("bio_cpulist", .processors, default: "", .atStart, "The processors of background threads.").fixed(
        because: "work in the background is done by the event loops"),
    DirectiveSpec(
        "aof_rewrite_cpulist", .processors, default: "", .atStart, "The processors of rewrites of the append-only file."
    ).fixed(because: "no process rewrites a file"),
    DirectiveSpec(
        "disable-thp", .boolean, default: "yes", .atStart, "Whether huge pages are switched off for the process."
    ).withoutEffect("They hurt processes that fork; Kedis does not, and asks for them where they help."),
    DirectiveSpec(
        "io-threads-do-reads", .boolean, default: "no", .atStart, "Whether threads read requests too."
    ).withoutEffect("Every thread reads, executes and answers for its own connections."),
]

private let shutdownWords = ["default", "save", "nosave", "now", "force"]
