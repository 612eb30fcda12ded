// SELECT, RESET and QUIT: what changes or ends the session.

import KedisProtocol
import KedisStore
import Synchronization

enum SelectCommand {
    static let spec = CommandSpec(
        "SELECT", summary: "Chooses the database that the following commands work on.", since: "1.0.0",
        group: .connection,
        arity: 2, flags: [.loading, .stale, .fast], arguments: [ArgumentSpec("index", .integer)], replies: [.ok],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let number = try call.integer(at: 1)
        guard Int64(Int32.min)...Int64(Int32.max) ~= number else {
            throw .literal("ERR value is out of range, value must between -2147483648 and 2147483647")
        }
        guard number >= 0, number < Int64(call.engine.store.databaseCount) else { throw .invalidDatabaseIndex }
        call.client.pointee.databaseIndex = Int(number)
        reply.ok()
    }
}

enum ResetCommand {
    static let spec = CommandSpec(
        "RESET", summary: "Puts the connection back into the state of a new one.", since: "6.2.0", group: .connection,
        arity: 1, flags: [.noScript, .loading, .stale, .fast, .noAuthentication, .allowBusy, .allowSubscribed],
        locks: .none,
        replies: [.simple("RESET")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let client = call.client
        let record = client.pointee.record
        client.pointee.databaseIndex = 0
        // The reply that CLIENT REPLY SKIP has asked to skip may be this one.
        if client.pointee.replyMode != .skipping { client.pointee.replyMode = .on }
        client.pointee.leavesAccessClock = false
        client.pointee.endTransaction()
        call.unwatch()
        client.pointee.endSubscriptions()
        client.pointee.endMonitoring(call.engine.observability.monitors)
        call.engine.endTracking(client)
        client.pointee.becomeDefaultUser(of: call.engine.access)
        record.isNoTouch.store(false, ordering: .relaxed)
        record.isNoEvict.store(false, ordering: .relaxed)
        record.protocolVersion.store(2, ordering: .relaxed)
        record.names.withLock { $0.name = [] }
        reply.version = .resp2
        reply.simple("RESET")
    }
}

enum QuitCommand {
    static let spec = CommandSpec(
        "QUIT", summary: "Closes the connection after the reply.", since: "1.0.0", group: .connection, arity: -1,
        flags: [.noScript, .loading, .stale, .fast, .noAuthentication, .allowBusy, .allowSubscribed],
        replies: [.ok], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.ok()
        call.client.pointee.isClosing = true
    }
}
