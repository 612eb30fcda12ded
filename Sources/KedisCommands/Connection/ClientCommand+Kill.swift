// CLIENT KILL: ends connections, by address or by filters. The own connection is closed after the reply, others at once
// by their transports.

import KedisProtocol
import KedisUtilities

extension ClientCommand {
    static let killSpec = CommandSpec(
        "KILL", summary: "Ends connections.", since: "2.4.0", group: .connection,
        complexity: "O(N), N being the number of connections", arity: -3,
        flags: [.admin, .noScript, .loading, .stale],
        arguments: [
            .oneOf("filter", [
                ArgumentSpec("ip:port", .string, deprecatedSince: "2.8.12"),
                ArgumentSpec("new-format", .oneOf, isMultiple: true, arguments: killFilters),
            ])
        ],
        replies: [.integer("how many connections were ended"), .simple("OK, when an address was given alone")],
        history: [
            ("2.8.12", "Filters."), ("2.8.12", "The filter `ID`."), ("3.2.0", "The type `master`."),
            ("5.0.0", "The type `replica`; `slave` means the same."), ("6.2.0", "The filter `LADDR`."),
            ("7.4.0", "The filter `MAXAGE`."),
        ],
        handler: kill
    )

    private static let killFilters = [
        ArgumentSpec("client-id", .integer, token: "ID", isOptional: true, since: "2.8.12"),
        ArgumentSpec(
            "normal_master_slave_pubsub", .oneOf, token: "TYPE", isOptional: true, since: "2.8.12",
            arguments: [
                .token("NORMAL"), .token("MASTER", since: "3.2.0"), .token("SLAVE"), .token("REPLICA", since: "5.0.0"),
                .token("PUBSUB"),
            ]
        ),
        ArgumentSpec("username", .string, token: "USER", isOptional: true),
        ArgumentSpec("ip:port", .string, token: "ADDR", isOptional: true),
        ArgumentSpec("ip:port", .string, token: "LADDR", isOptional: true, since: "6.2.0"),
        ArgumentSpec("yes/no", .string, token: "SKIPME", isOptional: true),
        ArgumentSpec("maxage", .integer, token: "MAXAGE", isOptional: true, since: "7.4.0"),
    ]

    /// Which connections to end: those that pass every filter that is set.
    private struct Filter {
        var identifier: Int64?
        var kind: Kind?
        var address: String?
        var localAddress: String?
        var user: User?
        /// Connections that are at least so old.
        var ageSeconds: Int64?
        var skipsSelf = true

        func matches(_ record: ClientRecord, nowMilliseconds: Int64) -> Bool {
            if let ageSeconds, seconds(from: record.createdMilliseconds, to: nowMilliseconds) < ageSeconds {
                return false
            }
            if let identifier, record.identifier != identifier { return false }
            if let kind, !kind.contains(record) { return false }
            if let address, record.endpoint.address != address { return false }
            if let localAddress, record.endpoint.localAddress != localAddress { return false }
            if let user, record.currentUser !== user { return false }
            return true
        }
    }

    static func kill(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let isOldForm = call.arguments.count == 3
        let filter =
            isOldForm
            ? Filter(address: call.arguments[2].text, skipsSelf: false)
            : try readFilter(call.arguments, call.engine.access)
        var killCount = 0
        for record in call.engine.clients.all
        where filter.matches(record, nowMilliseconds: call.nowMilliseconds) {
            if record === call.clientRecord {
                if filter.skipsSelf { continue }
                call.client.pointee.isClosing = true
            } else {
                record.kill()
            }
            killCount += 1
        }
        guard isOldForm else { return reply.integer(killCount) }
        guard killCount > 0 else { throw .literal("ERR No such client") }
        reply.ok()
    }

    private static func readFilter(
        _ arguments: ArgumentList, _ access: AccessControl
    ) throws(CommandError) -> Filter {
        var filter = Filter()
        var index = 2
        while index < arguments.count {
            guard index + 1 < arguments.count else { throw .syntax }
            try read(arguments[index], arguments[index + 1], access, into: &filter)
            index += 2
        }
        return filter
    }

    private static func read(
        _ name: ByteView, _ value: ByteView, _ access: AccessControl, into filter: inout Filter
    ) throws(CommandError) {
        if name.equalsIgnoringCase("ID") {
            guard let identifier = parseInteger(value), identifier > 0 else {
                throw .literal("ERR client-id should be greater than 0")
            }
            filter.identifier = identifier
        } else if name.equalsIgnoringCase("TYPE") {
            filter.kind = try Kind(value)
        } else if name.equalsIgnoringCase("ADDR") {
            filter.address = value.text
        } else if name.equalsIgnoringCase("LADDR") {
            filter.localAddress = value.text
        } else if name.equalsIgnoringCase("USER") {
            filter.user = access.find(value.bytes)
            if filter.user == nil { throw .joined("ERR No such user '", value, "'") }
        } else if name.equalsIgnoringCase("MAXAGE") {
            guard let age = parseInteger(value) else { throw .literal("ERR maxage is not an integer or out of range") }
            guard age > 0 else { throw .literal("ERR maxage should be greater than 0") }
            filter.ageSeconds = age
        } else if name.equalsIgnoringCase("SKIPME") {
            if value.equalsIgnoringCase("yes") {
                filter.skipsSelf = true
            } else if value.equalsIgnoringCase("no") {
                filter.skipsSelf = false
            } else {
                throw .syntax
            }
        } else {
            throw .syntax
        }
    }
}
