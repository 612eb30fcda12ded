// ACL SETUSER, GETUSER, LIST, USERS, DELUSER and DRYRUN.

import KedisProtocol
import KedisStore
import KedisUtilities

extension ACLCommand {
    static let setSpec = CommandSpec(
        "SETUSER", summary: "Makes a user, or changes it by rules: all of them are applied, or none.", since: "6.0.0",
        group: .server, complexity: "O(N), N being the number of rules", arity: -3, flags: administrators, locks: .none,
        arguments: [
            ArgumentSpec("username", .string),
            ArgumentSpec("rule", .string, isOptional: true, isMultiple: true),
        ],
        replies: [.ok],
        history: [
            ("6.2.0", "Rules about channels."), ("7.0.0", "Selectors, and keys that may only be read or written."),
        ],
        handler: set
    )

    static let getSpec = CommandSpec(
        "GETUSER", summary: "Returns what a user is and may do.", since: "6.0.0", group: .server,
        complexity: "O(N), N being the number of the user's rules", arity: 3, flags: administrators, locks: .none,
        arguments: [ArgumentSpec("username", .string)],
        replies: [.map("flags, passwords, commands, keys, channels, selectors"), .null("there is no such user")],
        history: [
            ("6.2.0", "Channels."), ("7.0.0", "Selectors; keys and channels are told as rules instead of lists."),
        ],
        handler: get
    )

    static let listSpec = CommandSpec(
        "LIST", summary: "Lists all users with their rules, as lines of a file of users.", since: "6.0.0",
        group: .server, complexity: "O(N), N being the number of users", arity: 2, flags: administrators, locks: .none,
        replies: [.array("a line for each user")], handler: list
    )

    static let usersSpec = CommandSpec(
        "USERS", summary: "Lists the names of all users.", since: "6.0.0", group: .server,
        complexity: "O(N), N being the number of users", arity: 2, flags: administrators, locks: .none,
        replies: [.array("the names")], handler: listNames
    )

    static let deleteSpec = CommandSpec(
        "DELUSER", summary: "Deletes users and closes their connections.", since: "6.0.0", group: .server,
        complexity: "O(1) for a user with a usual number of rules", arity: -3, flags: administrators, locks: .none,
        arguments: [ArgumentSpec("username", .string, isMultiple: true)],
        replies: [.integer("how many of them there were")], handler: delete
    )

    static let tryOutSpec = CommandSpec(
        "DRYRUN", summary: "Tells whether a user may execute a request, without executing it.", since: "7.0.0",
        group: .server, arity: -4, flags: administrators, locks: .none,
        arguments: [
            ArgumentSpec("username", .string), ArgumentSpec("command", .string),
            ArgumentSpec("arg", .string, isOptional: true, isMultiple: true),
        ],
        replies: [.ok, .bulk("why it may not")], handler: tryOut
    )

    static func set(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let arguments = call.arguments
        guard !hasBlanks(arguments[2]) else {
            throw .literal("ERR Usernames can't contain spaces or null characters")
        }
        guard arguments.byteCount <= UserDefinition.byteCountMax else {
            throw .literal("ERR The rules are longer than is allowed")
        }
        let rules = (3..<max(3, arguments.count)).map { arguments[$0].bytes }
        let engine = call.engine
        do throws(AccessChangeError) {
            try engine.access.setUser(arguments[2].bytes, rules, clients: engine.clients)
        } catch {
            throw .text(Array("ERR ".utf8) + error.text)
        }
        reply.ok()
    }

    static func delete(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let names = (2..<call.arguments.count).map { call.arguments[$0].bytes }
        guard !names.contains(User.defaultName) else {
            throw .literal("ERR The 'default' user cannot be removed")
        }
        let engine = call.engine
        reply.integer(engine.access.delete(names, clients: engine.clients))
        call.leaveIfRemoved()
    }

    static func list(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let users = call.engine.access.all
        reply.array(users.count)
        for user in users { user.rules.definition.line(name: user.name).withView { reply.bulk($0) } }
    }

    static func listNames(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let users = call.engine.access.all
        reply.array(users.count)
        for user in users { user.name.withView { reply.bulk($0) } }
    }

    static func get(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let user = call.engine.access.find(call.arguments[2].bytes) else { return reply.null() }
        let definition = user.rules.definition
        reply.map(6)
        reply.bulk("flags")
        let flags = definition.flagNames
        reply.set(flags.count)
        for flag in flags { reply.bulk(ByteView(flag)) }
        reply.bulk("passwords")
        reply.array(definition.passwords.count)
        for password in definition.passwords { password.withView { reply.bulk($0) } }
        describe(definition.root, &reply)
        reply.bulk("selectors")
        reply.array(definition.selectors.count)
        for selector in definition.selectors {
            reply.map(3)
            describe(selector, &reply)
        }
    }

    private static func describe(_ selector: AccessSelector, _ reply: inout ReplyWriter) {
        reply.bulk("commands")
        selector.commandsDescription.withView { reply.bulk($0) }
        reply.bulk("keys")
        selector.keysDescription.withView { reply.bulk($0) }
        reply.bulk("channels")
        selector.channelsDescription.withView { reply.bulk($0) }
    }

    static func tryOut(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let arguments = call.arguments
        guard let user = call.engine.access.find(arguments[2].bytes) else {
            throw .joined("ERR User '", arguments[2], "' not found")
        }
        let request = arguments.dropFirst(3)
        let entry: UnsafePointer<CommandEntry>
        do throws(CommandError) {
            entry = try resolve(request, in: call.engine.table.names)
        } catch {
            // Only of a command that there is can the number of arguments be wrong.
            guard error.bytes.starts(with: ByteView("ERR wrong number").bytes) else {
                throw .joined("ERR Command '", request[0], "' not found")
            }
            throw error
        }
        guard let denial = user.rules.denial(of: entry, request) else { return reply.ok() }
        denial.description(entry, request).withView { reply.bulk($0) }
    }
}
