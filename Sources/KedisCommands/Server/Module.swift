// MODULE: there are no modules. The list is empty, and nothing is loaded.

import KedisProtocol
import KedisUtilities

enum ModuleCommand {
    static let spec = CommandSpec(
        "MODULE", summary: "Groups the commands about modules.", since: "4.0.0", group: .server,
        complexity: "That of the subcommand", arity: -2, flags: [],
        differences: ["There are no modules: only the empty list can be had."],
        subcommands: [
            .help(since: "5.0.0", group: .server),
            CommandSpec(
                "LIST", summary: "Lists the modules.", since: "4.0.0", group: .server,
                complexity: "O(N), N being the number of modules", arity: 2, flags: [.admin, .noScript],
                tips: ["nondeterministic_output_order"], replies: [.array("nothing")]
            ) { (_, reply) throws(CommandError) in
                reply.array(0)
            },
            CommandSpec(
                "LOAD", summary: "Would load a module.", since: "4.0.0", group: .server, arity: -3, flags: flags,
                arguments: [
                    ArgumentSpec("path", .string), ArgumentSpec("arg", .string, isOptional: true, isMultiple: true),
                ],
                replies: [.any("an error")], handler: refuse
            ),
            CommandSpec(
                "LOADEX", summary: "Would load a module with its configuration.", since: "7.0.0", group: .server,
                arity: -3, flags: flags,
                arguments: [
                    ArgumentSpec("path", .string),
                    ArgumentSpec(
                        "configs", .block, token: "CONFIG", isOptional: true, isMultiple: true, repeatsToken: true,
                        arguments: [ArgumentSpec("name", .string), ArgumentSpec("value", .string)]),
                    ArgumentSpec(
                        "args", .block, token: "ARGS", isOptional: true, isMultiple: true,
                        arguments: [ArgumentSpec("arg", .string)]),
                ],
                replies: [.any("an error")], handler: refuse
            ),
            CommandSpec(
                "UNLOAD", summary: "Would unload a module.", since: "4.0.0", group: .server, arity: 3, flags: flags,
                arguments: [ArgumentSpec("name", .string)], replies: [.any("an error")], handler: refuse
            ),
        ]
    )

    private static let flags: CommandFlags = [.admin, .noScript, .noAsyncLoading]

    static func refuse(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        throw .literal(
            """
            ERR MODULE command not allowed. If the enable-module-command option is set to "local", you can run it from \
            a local connection, otherwise you need to set this option in the configuration file, and then restart the \
            server.
            """
        )
    }
}
