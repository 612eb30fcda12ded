// CONFIG: reads and changes directives while the server runs. What a directive may be is the configuration's affair.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ConfigCommand {
    static let spec = CommandSpec(
        "CONFIG", summary: "Groups the commands about the configuration.", since: "2.0.0", group: .server,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            CommandSpec(
                "GET", summary: "Returns directives whose names match patterns.", since: "2.0.0", group: .server,
                complexity: "O(N), N being the number of directives", arity: -3, flags: flags,
                locks: .none, arguments: [.block("parameter", multiple: true, [ArgumentSpec("parameter", .string)])],
                replies: [.map("values by name")], history: [("7.0.0", "Several patterns can be given.")],
                differences: ["The directives are those of Kedis."], handler: get
            ),
            .help(since: "5.0.0", group: .server),
            CommandSpec(
                "RESETSTAT", summary: "Sets the counters of INFO back to zero.", since: "2.0.0", group: .server,
                arity: 2,
                flags: flags, locks: .none, replies: [.ok], handler: resetStatistics
            ),
            CommandSpec(
                "REWRITE", summary: "Writes the values of now into the configuration file.", since: "2.8.0",
                group: .server, arity: 2, flags: flags, locks: .none,
                replies: [.ok], handler: rewrite
            ),
            CommandSpec(
                "SET", summary: "Changes directives: all that are given, or none.", since: "2.0.0", group: .server,
                complexity: "O(N), N being the number of directives", arity: -4, flags: flags,
                locks: .none, tips: ["request_policy:all_nodes", "response_policy:all_succeeded"],
                arguments: [
                    .block("parameter_value", multiple: true, [
                        ArgumentSpec("parameter", .string), ArgumentSpec("value", .string),
                    ])
                ],
                replies: [.ok], history: [("7.0.0", "Several directives can be set at once.")], handler: set
            ),
        ]
    )

    private static let flags: CommandFlags = [.admin, .noScript, .loading, .stale]

    /// A plain name is answered as it was written, a pattern with the names that it matches; none twice.
    static func get(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let configuration = call.engine.configuration
        var seen: Set<String> = []
        var found: [(name: String, value: String)] = []
        for index in 2..<call.arguments.count {
            let pattern = call.arguments[index]
            if pattern.buffer.contains(where: { $0 == 0x2A || $0 == 0x3F || $0 == 0x5B }) {
                for pair in configuration.get(pattern) where seen.insert(pair.name).inserted { found.append(pair) }
            } else if configuration.spec(pattern.text) != nil, seen.insert(pattern.text.asciiLowercase).inserted {
                // The name that the lookup knows is in lower case.
                if let pair = configuration.get(pattern).first { found.append((pattern.text, pair.value)) }
            }
        }
        reply.map(found.count)
        for pair in found {
            reply.bulk(text: pair.name)
            reply.bulk(text: pair.value)
        }
    }

    static func set(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count.isMultiple(of: 2) else { throw .syntax }
        let pairs = stride(from: 2, to: call.arguments.count, by: 2).map { index in
            (name: call.arguments[index].text, value: call.arguments[index + 1].text)
        }
        try requireText(call.arguments)
        let engine = call.engine
        do throws(ConfigurationError) {
            try engine.configuration.set(
                pairs, allowsProtected: allowsProtected(call), apply: engine.host.applyConfiguration,
                restore: engine.host.restoreConfiguration, follow: engine.followConfiguration)
        } catch {
            throw .text(Array(error.commandText.utf8))
        }
        if call.keyspace.held.isEmpty { engine.host.awaitConfiguration() }
        reply.ok()
    }

    /// Values are kept as text: bytes that are none would become others, of a password too.
    private static func requireText(_ arguments: ArgumentList) throws(CommandError) {
        for index in 2..<arguments.count where String(validating: arguments[index].buffer, as: UTF8.self) == nil {
            throw .literal("ERR CONFIG SET failed - names and values must be UTF-8")
        }
    }

    private static func allowsProtected(_ call: borrowing CommandCall) -> Bool {
        switch call.engine.configuration.text("enable-protected-configs") {
        case "yes": true
        case "local": call.client.pointee.record.endpoint.isLocal
        default: false
        }
    }

    static func resetStatistics(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        call.engine.statistics.reset()
        call.engine.memory.resetStatistics()
        call.engine.commandStatistics.reset()
        call.engine.observability.resetStatistics()
        call.engine.clientMemory.resetStatistics()
        call.engine.store.resetStatistics(held: call.keyspace.held)
        reply.ok()
    }

    static func rewrite(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        switch call.engine.host.rewriteConfiguration(call.engine.access.configurationUsers) {
        case .written: reply.ok()
        case .noFile: throw .literal("ERR The server is running without a config file")
        case .failed(let reason): throw .text(Array("ERR Rewriting config file: \(reason)".utf8))
        }
    }
}

extension ClientEndpoint {
    /// Whether the client is in the process or on this machine.
    package var isLocal: Bool {
        isUnixSocket || address == Self.embedded.address || address.hasPrefix("127.") || address.hasPrefix("[::1]:")
    }
}
