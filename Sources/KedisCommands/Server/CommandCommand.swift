// COMMAND: what commands there are. Everything that it answers is derived from the command table: the entries'
// descriptions are in CommandCommand+Info.swift, their documentation in CommandCommand+Docs.swift, the keys of a
// request in CommandCommand+Keys.swift.

import KedisProtocol
import KedisUtilities

enum CommandCommand {
    static let spec = CommandSpec(
        "COMMAND", summary: "Describes all commands.", since: "2.8.13", group: .server,
        complexity: "O(N), N being the number of commands", arity: -1, flags: [.loading, .stale],
        categories: ["connection"], locks: .none, tips: ["nondeterministic_output_order"],
        replies: [.array("a description of each command")],
        subcommands: [
            subcommand(
                "COUNT", "Counts the commands.", arity: 2, replies: [.integer("how many there are")], handler: count),
            subcommand(
                "DOCS", "Documents commands: all, or those that are named.", since: "7.0.0", complexity: lookedUp,
                arity: -2,
                tips: ["nondeterministic_output_order"], arguments: [names],
                replies: [.map("documentation by name; unknown names are left out")], handler: documents
            ),
            subcommand(
                "GETKEYS", "Returns the keys in a request.", complexity: ofArguments, arity: -4,
                untoldArguments: request, replies: [.array("the keys")], handler: keys
            ),
            subcommand(
                "GETKEYSANDFLAGS", "Returns the keys in a request, and what it does with them.", since: "7.0.0",
                complexity: ofArguments, arity: -4, untoldArguments: request,
                replies: [.array("keys, each with its flags")], handler: keysAndFlags
            ),
            subcommand(
                "HELP", "Lists the subcommands.", since: "5.0.0", arity: 2, replies: [.array("lines of text")],
                handler: replySubcommandHelp
            ),
            subcommand(
                "INFO", "Describes commands: all, or those that are named.", complexity: lookedUp, arity: -2,
                tips: ["nondeterministic_output_order"], arguments: [names],
                replies: [.array("descriptions; null for an unknown name")],
                history: [("7.0.0", "Without names, all commands are described.")], handler: information
            ),
            subcommand(
                "LIST", "Lists the names of commands.", since: "7.0.0",
                complexity: "O(N), N being the number of commands", arity: -2,
                tips: ["nondeterministic_output_order"],
                arguments: [
                    ArgumentSpec("filterby", .oneOf, token: "FILTERBY", isOptional: true, arguments: [
                        ArgumentSpec("module-name", .string, token: "MODULE"),
                        ArgumentSpec("category", .string, token: "ACLCAT"),
                        ArgumentSpec("pattern", .pattern, token: "PATTERN"),
                    ])
                ],
                replies: [.array("the names, subcommands among them")], handler: list
            ),
        ],
        handler: describeAll
    )

    private static let lookedUp = "O(N), N being the number of names"
    private static let ofArguments = "O(N), N being the number of arguments"
    private static let request = [
        ArgumentSpec("command", .string), ArgumentSpec("arg", .string, isMultiple: true),
    ]
    private static let names = ArgumentSpec("command-name", .string, isOptional: true, isMultiple: true)

    private static func subcommand(
        _ name: String, _ summary: String, since: String = "2.8.13", complexity: String = "O(1)", arity: Int,
        tips: [String] = [], arguments: [ArgumentSpec] = [], untoldArguments: [ArgumentSpec] = [],
        replies: [ReplySpec], history: [(version: String, change: String)] = [], handler: @escaping CommandHandler
    ) -> CommandSpec {
        var spec = CommandSpec(
            name, summary: summary, since: since, group: .server, complexity: complexity, arity: arity,
            flags: [.loading, .stale], categories: ["connection"], locks: .none, tips: tips, arguments: arguments,
            replies: replies, history: history, handler: handler
        )
        spec.untoldArguments = untoldArguments
        return spec
    }

    static func count(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.integer(call.engine.table.commands.count)
    }

    static func describeAll(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let commands = call.engine.table.commands
        reply.array(commands.count)
        for entry in commands { reply.commandInformation(entry) }
    }

    static func information(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count > 2 else { return try describeAll(&call, &reply) }
        reply.array(call.arguments.count - 2)
        for index in 2..<call.arguments.count {
            if let entry = call.engine.table.find(fullName: call.arguments[index]) {
                reply.commandInformation(entry)
            } else {
                reply.null()
            }
        }
    }

    static func documents(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var entries = call.engine.table.commands
        if call.arguments.count > 2 {
            entries = (2..<call.arguments.count).compactMap { call.engine.table.find(fullName: call.arguments[$0]) }
        }
        reply.map(entries.count)
        for entry in entries {
            reply.bulk(entry.pointee.fullName)
            reply.commandDocuments(entry)
        }
    }

    static func list(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let table = call.engine.table
        let entries = table.commands.flatMap { [$0] + $0.pointee.subcommands }
        if call.arguments.count == 2 { return writeNames(entries, &reply) }
        guard call.arguments.count == 5, call.arguments[2].equalsIgnoringCase("FILTERBY") else { throw .syntax }
        let kind = call.arguments[3]
        let value = call.arguments[4]
        if kind.equalsIgnoringCase("MODULE") {
            writeNames([], &reply)
        } else if kind.equalsIgnoringCase("ACLCAT") {
            let category = CommandCategories(named: value)
            let isMatch = { (entry: UnsafePointer<CommandEntry>) in
                !category.isEmpty && CommandCategories(entry.pointee.spec).contains(category)
            }
            writeNames(entries.filter(isMatch), &reply)
        } else if kind.equalsIgnoringCase("PATTERN") {
            let isMatch = { (entry: UnsafePointer<CommandEntry>) in
                matchGlob(pattern: value, text: entry.pointee.fullName, ignoringCase: true)
            }
            writeNames(entries.filter(isMatch), &reply)
        } else {
            throw .syntax
        }
    }

    private static func writeNames(_ entries: [UnsafePointer<CommandEntry>], _ reply: inout ReplyWriter) {
        reply.array(entries.count)
        for entry in entries { reply.bulk(entry.pointee.fullName) }
    }
}
