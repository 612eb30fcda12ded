// The commands of scripting, answered as by a server that can run none: what would need a script or a function is
// refused and says why; what asks about scripts is told that there are none.
//
// Function libraries of a snapshot that was loaded are kept and written back, but neither shown nor called.

import KedisProtocol
import KedisUtilities

let scriptingCommands: [CommandSpec] = [
    call("EVAL", of: "script", since: "2.6.0", summary: "Would execute a script in Lua.", hasNote: true),
    call(
        "EVAL_RO", of: "script", since: "7.0.0", summary: "Would execute a script in Lua that changes nothing.",
        isReadOnly: true, hasNote: true),
    call("EVALSHA", of: "sha1", since: "2.6.0", summary: "Would execute a script that was loaded."),
    call(
        "EVALSHA_RO", of: "sha1", since: "7.0.0", summary: "Would execute a loaded script that changes nothing.",
        isReadOnly: true),
    call("FCALL", of: "function", since: "7.0.0", summary: "Would call a function.", hasNote: true),
    call(
        "FCALL_RO", of: "function", since: "7.0.0", summary: "Would call a function that changes nothing.",
        isReadOnly: true, hasNote: true),
    FunctionCommand.spec,
    ScriptCommand.spec,
]

private let refusal: [ReplySpec] = [.any("an error: there is no scripting")]

private func refuse(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
    throw .literal("ERR Kedis has no scripting yet")
}

/// A command that runs a script: its keys are told, so that rules of users mean what they say.
private func call(
    _ name: String, of argument: String, since: String, summary: String, isReadOnly: Bool = false, hasNote: Bool = false
) -> CommandSpec {
    let access: KeyAccess = isReadOnly ? [.readOnly, .access] : [.readWrite, .access, .update]
    var flags: CommandFlags = [.noScript, .stale, .skipMonitor, .noMandatoryKeys, .movableKeys]
    flags.insert(isReadOnly ? .readOnly : .mayReplicate)
    return CommandSpec(
        name, summary: summary, since: since, group: .scripting, complexity: "That of the script", arity: -3,
        flags: flags,
        keys: [
            KeySpec(
                access, begin: .index(2), find: .count(countIndex: 0, first: 1, step: 1),
                note: hasNote ? "A script may do anything that is allowed with its keys." : nil)
        ],
        locks: .none,
        arguments: [
            ArgumentSpec(argument, .string), ArgumentSpec("numkeys", .integer),
            ArgumentSpec("key", .key, keySpecIndex: 0, isOptional: true, isMultiple: true),
            ArgumentSpec("arg", .string, isOptional: true, isMultiple: true),
        ],
        replies: refusal, differences: ["There is no scripting."], handler: refuse
    )
}

private let flushModes: [ArgumentSpec] = [.token("ASYNC"), .token("SYNC")]
private let toAllNodes = ["request_policy:all_nodes", "response_policy:all_succeeded"]
private let toAllShards = ["request_policy:all_shards", "response_policy:all_succeeded"]
private let toOneShard = ["request_policy:all_shards", "response_policy:one_succeeded"]

private func endNothing(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
    throw .literal("NOTBUSY No scripts in execution right now.")
}

enum ScriptCommand {
    static let spec = CommandSpec(
        "SCRIPT", summary: "Groups the commands about scripts.", since: "2.6.0", group: .scripting,
        complexity: "That of the subcommand", arity: -2, flags: [],
        differences: ["There is no scripting: nothing is loaded, so nothing can be found, ended or forgotten."],
        subcommands: [
            CommandSpec(
                "DEBUG", summary: "Would set how scripts are debugged.", since: "3.2.0", group: .scripting, arity: 3,
                flags: [.noScript], locks: .none,
                arguments: [.oneOf("mode", [.token("YES"), .token("SYNC"), .token("NO")])], replies: refusal,
                handler: refuse),
            CommandSpec(
                "EXISTS", summary: "Tells which scripts are loaded.", since: "2.6.0", group: .scripting,
                complexity: "O(N), N being the number of scripts", arity: -3, flags: [.noScript], locks: .none,
                tips: ["request_policy:all_shards", "response_policy:agg_logical_and"],
                arguments: [ArgumentSpec("sha1", .string, isMultiple: true)],
                replies: [.array("0 for each, as none is")]
            ) { (call, reply) throws(CommandError) in
                reply.array(call.arguments.count - 2)
                for _ in 2..<call.arguments.count { reply.integer(0) }
            },
            CommandSpec(
                "FLUSH", summary: "Forgets the scripts that are loaded.", since: "2.6.0", group: .scripting,
                complexity: "O(N), N being the number of scripts", arity: -2, flags: [.noScript], locks: .none,
                tips: toAllNodes,
                arguments: [.oneOf("async", optional: true, since: "6.2.0", flushModes)], replies: [.ok],
                history: [("6.2.0", "`ASYNC` and `SYNC`.")], handler: flush),
            .help(since: "5.0.0", group: .scripting),
            CommandSpec(
                "KILL", summary: "Ends the script that is running.", since: "2.6.0", group: .scripting, arity: 2,
                flags: [.noScript, .allowBusy], locks: .none, tips: toOneShard,
                replies: [.any("an error: none is running")], handler: endNothing),
            CommandSpec(
                "LOAD", summary: "Would load a script.", since: "2.6.0", group: .scripting,
                complexity: "O(N), N being the number of bytes in the script", arity: 3, flags: [.noScript, .stale],
                locks: .none, tips: toAllNodes, arguments: [ArgumentSpec("script", .string)], replies: refusal,
                handler: refuse),
        ]
    )

    static func flush(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let arguments = call.arguments
        let isMode = arguments.count == 3
            && (arguments[2].equalsIgnoringCase("ASYNC") || arguments[2].equalsIgnoringCase("SYNC"))
        guard arguments.count == 2 || isMode else {
            throw .literal("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
        }
        reply.ok()
    }
}

enum FunctionCommand {
    static let spec = CommandSpec(
        "FUNCTION", summary: "Groups the commands about functions.", since: "7.0.0", group: .scripting,
        complexity: "That of the subcommand", arity: -2, flags: [],
        differences: [
            "There is no scripting: all but HELP and KILL is refused.",
            "Libraries in a snapshot that was loaded are kept, and written into the next one.",
        ],
        subcommands: [
            subcommand(
                "DELETE", "Would delete a library.", arity: 3, flags: [.noScript, .write], tips: toAllShards,
                arguments: [ArgumentSpec("library-name", .string)]),
            subcommand("DUMP", "Would return all functions as a payload.", complexity: linear, arity: 2),
            subcommand(
                "FLUSH", "Would delete all functions.", complexity: linear, arity: -2, flags: [.noScript, .write],
                tips: toAllShards, arguments: [.oneOf("async", optional: true, flushModes)]),
            .help(since: "7.0.0", group: .scripting),
            CommandSpec(
                "KILL", summary: "Ends the function that is running.", since: "7.0.0", group: .scripting, arity: 2,
                flags: [.noScript, .allowBusy], locks: .none, tips: toOneShard,
                replies: [.any("an error: none is running")], handler: endNothing),
            subcommand(
                "LIST", "Would list the functions.", complexity: linear, arity: -2,
                tips: ["nondeterministic_output_order"],
                arguments: [
                    ArgumentSpec("library-name-pattern", .string, token: "LIBRARYNAME", isOptional: true),
                    .token("WITHCODE", optional: true),
                ]),
            subcommand(
                "LOAD", "Would load a library.", arity: -3, flags: [.noScript, .write, .denyOutOfMemory],
                tips: toAllShards,
                arguments: [.token("REPLACE", optional: true), ArgumentSpec("function-code", .string)]),
            subcommand(
                "RESTORE", "Would load the functions of a payload.", complexity: linear, arity: -3,
                flags: [.noScript, .write, .denyOutOfMemory], tips: toAllShards,
                arguments: [
                    ArgumentSpec("serialized-value", .string),
                    .oneOf("policy", optional: true, [.token("FLUSH"), .token("APPEND"), .token("REPLACE")]),
                ]),
            subcommand(
                "STATS", "Would tell which function is running.", arity: 2, flags: [.noScript, .allowBusy],
                tips: ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
        ]
    )

    private static let linear = "O(N), N being the number of functions"

    private static func subcommand(
        _ name: String, _ summary: String, complexity: String = "O(1)", arity: Int, flags: CommandFlags = [.noScript],
        tips: [String] = [], arguments: [ArgumentSpec] = []
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: "7.0.0", group: .scripting, complexity: complexity, arity: arity,
            flags: flags, locks: .none, tips: tips, arguments: arguments, replies: refusal, handler: refuse)
    }
}
