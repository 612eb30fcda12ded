// The directives about the journal. Names are Redis's; files are Kedis's own, so what is about the form of Redis's has
// its default and nothing else.

/// `appenddirname`, unless another one is given.
package let usualJournalName = "appendonlydir"

let journalDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "appendonly", .boolean, default: "no", .atRunTime,
        "Whether changes are written to a journal, which a start replays: docs/DURABILITY.md."),
    DirectiveSpec(
        "appenddirname", .text, default: usualJournalName, .atStart, "The folder of the journal, in that of `dir`."),
    DirectiveSpec(
        "appendfsync", .enumeration(["everysec", "always", "no"]), default: "everysec", .atRunTime,
        "When the journal goes to disk: every second, before a reply leaves, or when the system likes."),
    DirectiveSpec(
        "auto-aof-rewrite-percentage", .integer(anyCount), default: "100", .atRunTime,
        "By how many percent of its base snapshot the journal grows before a new one is made; 0 for never."),
    DirectiveSpec(
        "auto-aof-rewrite-min-size", .memory(anySize), default: "67108864", .atRunTime,
        "The size of the journal below which no new base snapshot is made by itself."),
    DirectiveSpec(
        "journal-segment-size", .memory(1 << 20...1 << 40), default: "67108864", .atStart,
        "The size at which a file of the journal gets a successor. Not in Redis."),
    DirectiveSpec(
        "journal-retention-seconds", .integer(anyCount), default: "0", .atRunTime,
        "How long files of the journal are kept that a start does not need, to go back in time. Not in Redis."),
    DirectiveSpec(
        "journal-retention-size", .memory(anySize), default: "0", .atRunTime,
        "How many bytes of the journal are kept at least, to go back in time. Not in Redis."),
] + formDirectives

private let formDirectives: [DirectiveSpec] = [
    DirectiveSpec("appendfilename", .text, default: "appendonly.aof", .atStart, "The name of the log's files."),
    DirectiveSpec(
        "no-appendfsync-on-rewrite", .boolean, default: "no", .atRunTime,
        "Whether the log is not synced while a process writes a file."),
    DirectiveSpec(
        "aof-load-truncated", .boolean, default: "yes", .atRunTime, "Whether a log that ends in a record is loaded."),
    DirectiveSpec(
        "aof-use-rdb-preamble", .boolean, default: "yes", .atRunTime, "Whether a rewritten log has a snapshot first."),
    DirectiveSpec(
        "aof-timestamp-enabled", .boolean, default: "no", .atRunTime, "Whether the log tells times."),
    DirectiveSpec(
        "aof-rewrite-incremental-fsync", .boolean, default: "yes", .atRunTime,
        "Whether a rewritten log is synced while it is written."),
    DirectiveSpec(
        "aof-disable-auto-gc", .boolean, default: "no", .atRunTime, "Whether old files of the log are kept."),
].map { $0.fixed(because: "the journal has a form of its own") }
