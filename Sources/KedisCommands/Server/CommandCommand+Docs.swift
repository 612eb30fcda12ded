// What COMMAND DOCS says about a command: a map in which fields that have nothing to say are left out. Source: the
// COMMAND DOCS page of Redis.

import KedisProtocol
import KedisUtilities

extension ReplyWriter {
    /// The documentation of a command.
    mutating func commandDocuments(_ entry: UnsafePointer<CommandEntry>) {
        let spec = entry.pointee.spec
        let optionalFields = [
            !spec.complexity.isEmpty, !spec.history.isEmpty, !spec.arguments.isEmpty, !spec.subcommands.isEmpty,
        ]
        map(3 + optionalFields.count { $0 } + (spec.deprecation == nil ? 0 : 3))
        field("summary", spec.summary)
        field("since", spec.since)
        field("group", spec.group.rawValue)
        if !spec.complexity.isEmpty { field("complexity", spec.complexity) }
        if let deprecation = spec.deprecation {
            bulk("doc_flags")
            set(1)
            simple("deprecated")
            field("deprecated_since", deprecation.since)
            field("replaced_by", deprecation.replacement)
        }
        if !spec.history.isEmpty { history(spec.history) }
        if !spec.arguments.isEmpty { arguments(spec.arguments) }
        guard !spec.subcommands.isEmpty else { return }
        bulk("subcommands")
        map(entry.pointee.subcommands.count)
        for subcommand in entry.pointee.subcommands {
            bulk(subcommand.pointee.fullName)
            commandDocuments(subcommand)
        }
    }

    private mutating func field(_ name: ByteView, _ text: String) {
        bulk(name)
        bulk(text: text)
    }

    private mutating func history(_ history: [(version: String, change: String)]) {
        bulk("history")
        set(history.count)
        for (version, change) in history {
            array(2)
            bulk(text: version)
            bulk(text: change)
        }
    }

    private mutating func arguments(_ specs: [ArgumentSpec]) {
        bulk("arguments")
        array(specs.count)
        for spec in specs { argument(spec) }
    }

    private mutating func argument(_ spec: ArgumentSpec) {
        var flags: [StaticString] = []
        if spec.isOptional { flags.append("optional") }
        if spec.isMultiple { flags.append("multiple") }
        if spec.repeatsToken { flags.append("multiple_token") }
        let optionalFields = [
            spec.keySpecIndex != nil, spec.token != nil, spec.since != nil, spec.deprecatedSince != nil, !flags.isEmpty,
            !spec.arguments.isEmpty,
        ]
        map(2 + optionalFields.count { $0 })
        field("name", spec.name)
        field("type", spec.kind.rawValue)
        if let index = spec.keySpecIndex {
            bulk("key_spec_index")
            integer(index)
        }
        if let token = spec.token { field("token", token) }
        if let since = spec.since { field("since", since) }
        if let since = spec.deprecatedSince { field("deprecated_since", since) }
        if !flags.isEmpty {
            bulk("flags")
            set(flags.count)
            for flag in flags { simple(flag) }
        }
        if !spec.arguments.isEmpty { arguments(spec.arguments) }
    }
}
