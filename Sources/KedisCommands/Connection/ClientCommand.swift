// CLIENT: what connections know and say about themselves and each other. The container and its small subcommands; LIST
// and INFO are in ClientCommand+List.swift, KILL in ClientCommand+Kill.swift.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

enum ClientCommand {
    static let spec = CommandSpec(
        "CLIENT", summary: "Groups the commands about connections.", since: "2.4.0", group: .connection,
        complexity: "That of the subcommand", arity: -2, flags: [],
        differences: [
            "SETINFO and NO-TOUCH are those of Redis 7.2.",
        ],
        subcommands: [
            CommandSpec(
                "GETNAME", summary: "Returns the name of the connection.", since: "2.6.9", group: .connection, arity: 2,
                flags: [.noScript, .loading, .stale], replies: [.bulk("the name"), .null("there is none")],
                handler: getName
            ),
            .help(since: "5.0.0", group: .connection),
            CommandSpec(
                "ID", summary: "Returns the number of the connection.", since: "5.0.0", group: .connection, arity: 2,
                flags: [.noScript, .loading, .stale], replies: [.integer("the number")], handler: identifier
            ),
            infoSpec, killSpec, listSpec,
            CommandSpec(
                "NO-EVICT", summary: "Keeps the connection when clients are dropped to save memory.", since: "7.0.0",
                group: .connection, arity: 3, flags: [.admin, .noScript, .loading, .stale], arguments: [enabled],
                replies: [.ok], handler: noEvict
            ),
            CommandSpec(
                "NO-TOUCH", summary: "Lets the commands of the connection leave the access clocks of keys alone.",
                since: "7.2.0", group: .connection, arity: 3, flags: [.noScript, .loading, .stale],
                arguments: [enabled],
                replies: [.ok], handler: noTouch
            ),
            pauseSpec,
            CommandSpec(
                "REPLY", summary: "Switches the replies of the connection on or off, or drops the next one.",
                since: "3.2.0",
                group: .connection, arity: 3, flags: [.noScript, .loading, .stale],
                arguments: [.oneOf("on_off_skip", [.token("ON"), .token("OFF"), .token("SKIP")])],
                replies: [.simple("OK, to ON; nothing to OFF and SKIP")], handler: setReplies
            ),
            CommandSpec(
                "SETINFO", summary: "Notes the name or version of the client's library.", since: "7.2.0",
                group: .connection,
                arity: 4, flags: [.noScript, .loading, .stale],
                tips: ["request_policy:all_nodes", "response_policy:all_succeeded"],
                arguments: [
                    .oneOf("attr", [
                        ArgumentSpec("libname", .string, token: "LIB-NAME"),
                        ArgumentSpec("libver", .string, token: "LIB-VER"),
                    ])
                ],
                replies: [.ok], handler: setInformation
            ),
            CommandSpec(
                "SETNAME", summary: "Gives the connection a name.", since: "2.6.9", group: .connection, arity: 3,
                flags: [.noScript, .loading, .stale], arguments: [ArgumentSpec("connection-name", .string)],
                replies: [.ok], handler: setName
            ),
            unblockSpec, unpauseSpec,
        ] + trackingSpecs
    )

    private static let enabled = ArgumentSpec.oneOf("enabled", [.token("ON"), .token("OFF")])

    static func identifier(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.integer(call.clientRecord.identifier)
    }

    static func getName(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let name = call.clientRecord.names.withLock { $0.name }
        guard !name.isEmpty else { return reply.null() }
        name.withUnsafeBytes { reply.bulk(ByteView($0)) }
    }

    static func setName(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try call.clientRecord.setName(call.arguments[2])
        reply.ok()
    }

    static func setInformation(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let value = call.arguments[3]
        let bytes = value.bytes
        let isValid = isPrintableWord(value)
        if call.arguments[2].equalsIgnoringCase("LIB-NAME") {
            guard isValid else {
                throw .literal("ERR lib-name cannot contain spaces, newlines or special characters.")
            }
            call.clientRecord.names.withLock { $0.libraryName = bytes }
        } else if call.arguments[2].equalsIgnoringCase("LIB-VER") {
            guard isValid else {
                throw .literal("ERR lib-ver cannot contain spaces, newlines or special characters.")
            }
            call.clientRecord.names.withLock { $0.libraryVersion = bytes }
        } else {
            throw .joined("ERR Unrecognized option '", call.arguments[2], "'")
        }
        reply.ok()
    }

    static func noEvict(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        call.clientRecord.isNoEvict.store(try call.onOrOff(at: 2), ordering: .relaxed)
        reply.ok()
    }

    static func noTouch(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let isOn = try call.onOrOff(at: 2)
        call.clientRecord.isNoTouch.store(isOn, ordering: .relaxed)
        call.client.pointee.leavesAccessClock = isOn
        reply.ok()
    }

    /// The session drops what is written here according to the mode that is set here.
    static func setReplies(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let argument = call.arguments[2]
        if argument.equalsIgnoringCase("ON") {
            // What a SKIP of the same transaction has announced comes about.
            if call.client.pointee.replyMode != .skipNext { call.client.pointee.replyMode = .on }
            reply.ok()
        } else if argument.equalsIgnoringCase("OFF") {
            call.client.pointee.replyMode = .off
        } else if argument.equalsIgnoringCase("SKIP") {
            if call.client.pointee.replyMode != .off { call.client.pointee.replyMode = .skipNext }
        } else {
            throw .syntax
        }
    }
}
