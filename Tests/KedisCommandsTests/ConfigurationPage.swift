// The page docs/configuration.md, written from the table of directives.

import KedisCommands

enum ConfigurationPage {
    static func make(_ specs: [DirectiveSpec]) -> String {
        var text = """
            # Configuration

            Written from the table of directives in the sources by `scripts/generate-command-docs`: change that, not this page.

            `kedis server [FILE] [--directive value …]` reads a file in the form of `redis.conf`, then the options over it. Names are
            case-insensitive; sizes take units (`64mb`); `include` takes a path or a pattern. What is unknown or wrong is an error before
            anything is loaded. `CONFIG GET` shows the values that hold, `CONFIG SET` changes those that may change at run time;
            no command writes the file. Protected directives change only where `enable-protected-configs` lets them.

            | directive | value | default | changes | |
            |---|---|---|---|---|

            """
        for spec in specs {
            let names = ([spec.name] + spec.otherNames).map { "`\($0)`" }.joined(separator: ", also ")
            let standard = spec.defaultValue.isEmpty ? "empty" : "`\(spec.defaultValue)`"
            text += "| \(names) | \(value(spec.kind)) | \(standard) | \(change(spec.mutability)) | \(spec.summary) |\n"
        }
        text += limitOfMemory
        text += "\n## Not there yet\n\nDirectives of Redis that many files have, and what to do instead: leave the line out.\n\n"
        text += "| directive | |\n|---|---|\n"
        for (names, meaning) in missing {
            text += "| \(names.map { "`\($0)`" }.joined(separator: ", ")) | \(meaning) |\n"
        }
        return text
    }

    private static let limitOfMemory = """

        ## A limit of memory

            kedis server --maxmemory 2gb --maxmemory-policy allkeys-lru

        `maxmemory` is about the data: keys, values, tables and deadlines, which INFO shows as `used_memory`. The process itself (some 20 MB), buffers of
        clients and free memory between cells come on top, so leave room. With `noeviction`, commands that need memory get the error `OOM …` at the limit and
        all others work; with another policy keys go first. `evicted_keys` of INFO tells how many went, and MEMORY DOCTOR says what is odd.
        When and how often keys were used is not in snapshots: after a restart all of them count as just used.

        """

    /// What Redis has and Kedis refuses, by subject.
    static let missing: [(names: [String], meaning: String)] = [
        (["appendonly yes", "appendfsync"], "There is no journal: what was changed since the last snapshot dies with the process."),
        (["replicaof", "repl-backlog-size"], "There is no replication."),
        (["cluster-enabled"], "There is no cluster."),
        (["tls-port", "tls-cert-file"], "There is no TLS: put a proxy in front."),
        (["loadmodule"], "There are no modules."),
        (["pidfile", "supervised", "syslog-enabled"], "Kedis stays in the foreground and logs to standard output or `logfile`."),
        (["maxmemory-clients"], "Each client's buffers have limits: `client-query-buffer-limit` and `client-output-buffer-limit`."),
        (
            ["activerehashing", "active-defrag-cycle-max", "jemalloc-bg-thread"],
            "Tables and memory are tended in the background, without settings."
        ),
    ]

    private static func value(_ kind: DirectiveKind) -> String {
        switch kind {
        case .boolean: "yes or no"
        case .integer(let range): "number, \(bounds(range))"
        case .octal(let range):
            "octal number, \(String(range.lowerBound, radix: 8)) to \(String(range.upperBound, radix: 8))"
        case .memory(let range): "bytes, \(bounds(range))"
        case .memoryLimit: "bytes"
        case .enumeration(let names): names.joined(separator: ", ")
        case .text: "text"
        case .list: "words"
        case .saveRules: "pairs of seconds and changes"
        case .percentiles: "percentages"
        case .outputLimits: "groups of class, hard limit, soft limit, seconds"
        case .keyspaceEvents: "letters"
        }
    }

    private static func bounds(_ range: ClosedRange<Int64>) -> String {
        range.upperBound == .max ? "at least \(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
    }

    private static func change(_ mutability: DirectiveMutability) -> String {
        switch mutability {
        case .atRunTime: "at run time"
        case .atStart: "at the start only"
        case .protected: "at run time, protected"
        }
    }
}
