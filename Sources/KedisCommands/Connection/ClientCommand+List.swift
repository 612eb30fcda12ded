// CLIENT LIST and INFO: one line for each connection. Fields and their order as Redis 7.0 prints them, then the library
// of 7.2. What a client takes is told by its session (ClientMemory.swift), up to a second before.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension ClientCommand {
    static let infoSpec = CommandSpec(
        "INFO", summary: "Describes the connection in one line.", since: "6.2.0", group: .connection, arity: 2,
        flags: [.noScript, .loading, .stale], tips: ["nondeterministic_output"],
        replies: [.verbatim("fields and values")], handler: information
    )

    static let listSpec = CommandSpec(
        "LIST", summary: "Describes connections, each in a line.", since: "2.4.0", group: .connection,
        complexity: "O(N), N being the number of connections", arity: -2,
        flags: [.admin, .noScript, .loading, .stale], tips: ["nondeterministic_output"],
        arguments: [
            ArgumentSpec(
                "normal_master_replica_pubsub", .oneOf, token: "TYPE", isOptional: true, since: "5.0.0",
                arguments: [.token("NORMAL"), .token("MASTER"), .token("REPLICA"), .token("PUBSUB")]
            ),
            ArgumentSpec("id", .block, token: "ID", isOptional: true, since: "6.2.0", arguments: [
                ArgumentSpec("client-id", .integer, isMultiple: true)
            ]),
        ],
        replies: [.verbatim("a line of fields and values for each connection")],
        history: [
            ("2.8.12", "Clients have a number, `id`."), ("5.0.0", "Clients can be chosen by `TYPE`."),
            ("6.0.0", "The field `user`."),
            ("6.2.0", "The fields `argv-mem`, `tot-mem`, `laddr` and `redir`; clients can be chosen by `ID`."),
            ("7.0.0", "The fields `resp`, `multi-mem`, `rbs` and `rbp`."), ("7.0.3", "The field `ssub`."),
        ],
        differences: [
            "Requests are executed where they were read: `qbuf` is input that waits, and 0 for most clients.",
            "Replies leave with the read that asked for them: `obl` is 0, `omem` is what the peer does not take.",
            "`rbp` is `rbs`: the buffer of replies is as large as it was needed.",
            "The fields `lib-name` and `lib-ver` of Redis 7.2 stand at the end.",
        ],
        handler: list
    )

    /// The kinds of connections. There are no masters and replicas.
    enum Kind {
        case normal, master, replica, subscriber

        init(_ name: ByteView) throws(CommandError) {
            if name.equalsIgnoringCase("normal") {
                self = .normal
            } else if name.equalsIgnoringCase("master") {
                self = .master
            } else if name.equalsIgnoringCase("replica") || name.equalsIgnoringCase("slave") {
                self = .replica
            } else if name.equalsIgnoringCase("pubsub") {
                self = .subscriber
            } else {
                throw .joined("ERR Unknown client type '", name, "'")
            }
        }

        func contains(_ record: ClientRecord) -> Bool {
            switch self {
            case .normal: !record.isSubscriber
            case .subscriber: record.isSubscriber
            case .master, .replica: false
            }
        }
    }

    static func information(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        try write([call.clientRecord], call, &reply)
    }

    static func list(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let arguments = call.arguments
        if arguments.count == 2 {
            try write(call.engine.clients.all, call, &reply)
        } else if arguments.count == 4, arguments[2].equalsIgnoringCase("TYPE") {
            let kind = try Kind(arguments[3])
            try write(call.engine.clients.all.filter(kind.contains), call, &reply)
        } else if arguments.count > 3, arguments[2].equalsIgnoringCase("ID") {
            var records: [ClientRecord] = []
            for index in 3..<arguments.count {
                guard let identifier = parseInteger(arguments[index]) else { throw .literal("ERR Invalid client ID") }
                if let record = call.engine.clients.find(identifier) { records.append(record) }
            }
            try write(records, call, &reply)
        } else {
            throw .syntax
        }
    }

    private static func write(
        _ records: [ClientRecord], _ call: borrowing CommandCall, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        // Its length comes first. Not an array: a list of IDs may name one client a million times.
        var text = ReplyWriter()
        for record in records {
            describe(record, call, into: &text)
            text.raw("\n")
        }
        guard !text.hasOverflowed else { throw .outOfMemory }
        reply.verbatim("txt", text.bytes)
    }

    /// The line of the calling client.
    static func line(of call: borrowing CommandCall) -> [UInt8] {
        var text = ReplyWriter()
        describe(call.client.pointee.record, call, into: &text)
        return text.bytes.bytes
    }

    private static func describe(_ record: ClientRecord, _ call: borrowing CommandCall, into text: inout ReplyWriter) {
        let isSelf = record === call.client.pointee.record
        let now = call.nowMilliseconds
        let lastInteraction = isSelf ? now : record.lastInteractionMilliseconds.load(ordering: .relaxed)
        let database = isSelf ? call.client.pointee.databaseIndex : record.databaseIndex.load(ordering: .relaxed)
        let names = record.names.withLock { $0 }
        func add(_ piece: [UInt8]) { piece.withUnsafeBytes { text.raw(ByteView($0)) } }
        func add(_ piece: String) { add(Array(piece.utf8)) }
        add("id=\(record.identifier) addr=\(record.endpoint.address) laddr=\(record.endpoint.localAddress)")
        add(" fd=\(record.endpoint.descriptor) name=")
        add(names.name)
        add(
            " age=\(seconds(from: record.createdMilliseconds, to: now)) idle=\(seconds(from: lastInteraction, to: now))"
        )
        add(" flags=\(flags(of: record)) db=\(database)")
        add(" sub=\(record.subscriptionCounts[.channel]) psub=\(record.subscriptionCounts[.pattern])")
        add(" ssub=\(record.subscriptionCounts[.shardChannel])")
        add(" multi=\(record.transactionCommandCount.load(ordering: .relaxed))")
        add(" \(record.memory.description) cmd=")
        text.raw(lastCommand(of: record, isSelf, call))
        add(" user=")
        add(record.currentUser.name)
        add(" redir=\(redirection(of: record))")
        add(" resp=\(record.protocolVersion.load(ordering: .relaxed)) lib-name=")
        add(names.libraryName)
        add(" lib-ver=")
        add(names.libraryVersion)
    }

    static func seconds(from start: Int64, to end: Int64) -> Int64 {
        let (difference, overflow) = end.subtractingReportingOverflow(start)
        return overflow ? 0 : max(0, difference / 1000)
    }

    private static func redirection(of record: ClientRecord) -> Int64 {
        guard let state = record.tracking.withLock({ $0 })?.current, state.isOn else { return -1 }
        return state.redirect?.identifier ?? 0
    }

    private static func flags(of record: ClientRecord) -> String {
        var flags = ""
        if record.isMonitor.load(ordering: .relaxed) { flags += "O" }
        if record.isSubscriber { flags += "P" }
        if record.transactionCommandCount.load(ordering: .relaxed) >= 0 { flags += "x" }
        if record.isBlocked.load(ordering: .relaxed) { flags += "b" }
        if let tracking = record.tracking.withLock({ $0 }), tracking.isOn {
            flags += "t"
            if tracking.isBroken.load(ordering: .relaxed) { flags += "R" }
            if tracking.current.options.contains(.broadcasting) { flags += "B" }
        }
        if record.watcher.withLock({ $0 })?.isDirty.load(ordering: .relaxed) == true { flags += "d" }
        if record.isKilled.load(ordering: .relaxed) { flags += "A" }
        if record.endpoint.isUnixSocket { flags += "U" }
        if record.isNoEvict.load(ordering: .relaxed) { flags += "e" }
        if record.isNoTouch.load(ordering: .relaxed) { flags += "T" }
        return flags.isEmpty ? "N" : flags
    }

    private static func lastCommand(
        of record: ClientRecord, _ isSelf: Bool, _ call: borrowing CommandCall
    ) -> ByteView {
        if isSelf { return call.entry.pointee.fullName }
        let index = record.lastCommand.load(ordering: .relaxed)
        let entries = call.engine.table.entries
        return entries.indices.contains(index) ? entries[index].pointee.fullName : "NULL"
    }
}
