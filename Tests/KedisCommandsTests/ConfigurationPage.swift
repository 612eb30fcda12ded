// The page docs/configuration.md, written from the table of directives.

import KedisCommands

enum ConfigurationPage {
    static func make(_ specs: [DirectiveSpec]) -> String {
        var text = """
            # Configuration

            Written from the table of directives in the sources by `scripts/generate-command-docs`: change that, not this page.

            `kedis server [FILE] [--directive value …]` reads a file in the form of `redis.conf`, then the options over it. Names are
            case-insensitive; sizes take units (`64mb`); `include` takes a path or a pattern. What is unknown or wrong is an error before
            anything is loaded. `CONFIG GET` shows the values that hold, `CONFIG SET` changes those that may change at run time,
            all that it is given or none, and `CONFIG REWRITE` writes what holds into the file, whose comments and order stay. Protected directives change only where `enable-protected-configs` lets them.

            | directive | value | default | changes | |
            |---|---|---|---|---|

            """
        for spec in specs {
            guard case .full = spec.effect else { continue }
            let standard = spec.defaultValue.isEmpty ? "empty" : "`\(spec.defaultValue)`"
            text += "| \(names(of: spec)) | \(value(spec.kind)) | \(standard) | \(change(spec.mutability)) | \(spec.summary) |\n"
        }
        return text + withoutEffect(specs) + fixed(specs) + limitOfMemory
    }

    private static func names(of spec: DirectiveSpec) -> String {
        ([spec.name] + spec.otherNames).map { "`\($0)`" }.joined(separator: ", also ")
    }

    /// What is accepted and does nothing: why.
    private static func withoutEffect(_ specs: [DirectiveSpec]) -> String {
        var text = "\n## Without effect\n\nAccepted, because files and tools set them; nothing here needs them.\n\n"
        text += "| directive | default | why |\n|---|---|---|\n"
        for spec in specs {
            guard case .nothing(let reason) = spec.effect else { continue }
            text += "| \(names(of: spec)) | `\(spec.defaultValue)` | \(reason) |\n"
        }
        return text
    }

    /// What has one value, because what it is about is missing: by what is missing.
    private static func fixed(_ specs: [DirectiveSpec]) -> String {
        var text = """

            ## Not there yet

            Directives of Redis about what Kedis does not have. Their defaults are accepted, every other value is refused with the reason.

            | what is missing | directives |
            |---|---|

            """
        var reasons: [String] = []
        var directives: [String: [String]] = [:]
        for spec in specs {
            guard case .only(_, let reason) = spec.effect else { continue }
            if directives[reason] == nil { reasons.append(reason) }
            directives[reason, default: []].append(names(of: spec))
        }
        for reason in reasons { text += "| \(reason) | \((directives[reason] ?? []).joined(separator: ", ")) |\n" }
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

    private static func value(_ kind: DirectiveKind) -> String {
        switch kind {
        case .boolean: "yes or no"
        case .integer(let range): "number, \(bounds(range))"
        case .clampedInteger(let range): "number, kept within \(bounds(range))"
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
        case .memoryOrPercentage: "bytes, or a percentage"
        case .integers(let count, let range): "\(count) numbers, \(bounds(range))"
        case .processors: "processors such as `0-3,8`"
        case .titleTemplate: "text with variables"
        case .flags(let names): "words of \(names.joined(separator: ", "))"
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
        case .inFiles: "in files only"
        }
    }
}
