// ACL: users, what they may do, and what was refused. The container and its small subcommands; users are in
// ACLCommand+Users.swift, the log in ACLCommand+Log.swift.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let accessCommands: [CommandSpec] = [ACLCommand.spec]

enum ACLCommand {
    static let spec = CommandSpec(
        "ACL", summary: "Groups the commands about users and their permissions.", since: "6.0.0", group: .server,
        complexity: "That of the subcommand", arity: -2, flags: [],
        differences: [
            "A user has at most 4096 rules in 4 MiB, and there are at most 100,000 users.",
            "ACL LIST, GETUSER and LOG tell users and entries as Redis 7.2 does.",
        ],
        subcommands: [
            CommandSpec(
                "CAT", summary: "Lists the categories of commands, or the commands of one.", since: "6.0.0",
                group: .server, complexity: "O(1), there being as many as there are", arity: -2, flags: everybody,
                locks: .none, arguments: [ArgumentSpec("categoryname", .string, isOptional: true)],
                replies: [.array("names of categories, or of commands")], handler: listCategories
            ),
            deleteSpec, tryOutSpec,
            CommandSpec(
                "GENPASS", summary: "Makes a password that nobody can guess.", since: "6.0.0", group: .server,
                arity: -2, flags: everybody, locks: .none,
                arguments: [ArgumentSpec("bits", .integer, isOptional: true)],
                replies: [.bulk("hexadecimal digits, 64 unless told otherwise")], handler: generatePassword
            ),
            getSpec,
            .help(since: "6.0.0", group: .server),
            listSpec,
            CommandSpec(
                "LOAD", summary: "Replaces all users by those of the file of users.", since: "6.0.0", group: .server,
                complexity: "O(N), N being the number of users", arity: 2, flags: administrators, locks: .none,
                replies: [.ok, .any("all that is wrong with the file; nothing was changed")], handler: load
            ),
            logSpec,
            CommandSpec(
                "SAVE", summary: "Writes all users to the file of users.", since: "6.0.0", group: .server,
                complexity: "O(N), N being the number of users", arity: 2, flags: administrators, locks: .none,
                replies: [.ok], differences: ["The file can be read by its owner only."], handler: save
            ),
            setSpec, usersSpec,
            CommandSpec(
                "WHOAMI", summary: "Returns the name of the connection's user.", since: "6.0.0", group: .server,
                arity: 2, flags: everybody, locks: .none, replies: [.bulk("the name")], handler: replyOwnName
            ),
        ]
    )

    static let everybody: CommandFlags = [.noScript, .loading, .stale]
    static let administrators: CommandFlags = [.admin, .noScript, .loading, .stale]

    static func listCategories(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count <= 3 else { throw call.subcommandSyntax }
        guard call.arguments.count == 3 else {
            reply.array(CommandCategories.names.count)
            for name in CommandCategories.names { reply.bulk(ByteView(name)) }
            return
        }
        let name = call.arguments[2]
        let category = CommandCategories(named: name)
        guard !category.isEmpty else {
            throw .joined("ERR Unknown category '", name[0..<min(128, name.firstIndex(of: 0) ?? name.count)], "'")
        }
        let entries = call.engine.table.entries.filter { $0.pointee.categories.contains(category) }
        reply.array(entries.count)
        for entry in entries { reply.bulk(entry.pointee.fullName) }
    }

    static func generatePassword(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count <= 3 else { throw call.subcommandSyntax }
        let bitCount = call.arguments.count == 3 ? try call.integer(at: 2) : 256
        guard (1...4096).contains(bitCount) else {
            throw .literal(
                """
                ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
                4096
                """
            )
        }
        let digitCount = (Int(bitCount) + 3) / 4
        let digits = hexadecimalDigits(of: call.engine.host.randomBytes((digitCount + 1) / 2)).prefix(digitCount)
        digits.withUnsafeBytes { reply.bulk(ByteView($0)) }
    }

    static func replyOwnName(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        call.client.pointee.access.user.name.withView { reply.bulk($0) }
    }

    // MARK: The file of users

    private static func requireFile(_ call: borrowing CommandCall) throws(CommandError) {
        guard call.engine.access.filePath.isEmpty else { return }
        throw .literal(
            """
            ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
            SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in \
            order to store users in the Redis configuration.
            """
        )
    }

    static func load(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try requireFile(call)
        let engine = call.engine
        do throws(AccessFileError) {
            try engine.access.loadFile(clients: engine.clients)
        } catch {
            throw .text(Array("ERR ".utf8) + error.text)
        }
        call.leaveIfRemoved()
        reply.ok()
    }

    static func save(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try requireFile(call)
        if let reason = call.engine.access.saveFile() {
            call.engine.host.log(.warning, "ACL SAVE: \(reason)")
            throw .literal(
                """
                ERR There was an error trying to save the ACLs. Please check the server logs for more information
                """
            )
        }
        reply.ok()
    }
}

extension CommandCall {
    /// After a change that may have removed the calling client's own user: the reply is the last one then.
    func leaveIfRemoved() {
        if client.pointee.access.user.isRemoved.load(ordering: .relaxed) { client.pointee.isClosing = true }
    }
}
