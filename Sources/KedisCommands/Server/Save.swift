// SAVE, BGSAVE and LASTSAVE. The files are the host's affair.

import KedisProtocol
import KedisStore
import Synchronization
import KedisUtilities

enum SaveCommand {
    static let spec = CommandSpec(
        "SAVE", summary: "Writes the snapshot, while everybody waits.", since: "1.0.0", group: .server,
        complexity: "O(N), N being the number of all keys", arity: 1,
        flags: [.admin, .noScript, .noAsyncLoading, .noMulti], locks: .allStripes, replies: [.ok],
        differences: ["When it fails, the error says why."], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard !call.engine.host.persistenceStatus().isSaving else { throw BackgroundSaveCommand.inProgress }
        if let problem = call.engine.host.save(call.engine.store, call.keyspace.held) {
            throw .text(Array("ERR \(problem)".utf8))
        }
        reply.ok()
    }
}

enum BackgroundSaveCommand {
    static let spec = CommandSpec(
        "BGSAVE", summary: "Writes the snapshot in the background.", since: "1.0.0", group: .server, arity: -1,
        flags: [.admin, .noScript, .noAsyncLoading], locks: .none,
        arguments: [.token("SCHEDULE", optional: true, since: "3.2.2")],
        replies: [.simple("Background saving started"), .simple("Background saving scheduled, in a transaction")],
        history: [("3.2.2", "The option `SCHEDULE`.")],
        differences: [
            "No process is forked. When it cannot start, the error says why.",
            "SCHEDULE changes nothing: there is nothing else that a save would wait for.",
        ],
        handler: run
    )

    static let rewriteSpec = CommandSpec(
        "BGREWRITEAOF", summary: "Begins the journal anew from a snapshot, in the background.", since: "1.0.0",
        group: .server, arity: 1, flags: [.admin, .noScript, .noAsyncLoading], locks: .none,
        replies: [.simple("Background append only file rewriting started")],
        differences: ["Without a journal (`appendonly no`) it is an error."]
    ) { (call, reply) throws(CommandError) in
        switch call.engine.host.startJournalRewrite() {
        case .started: reply.simple("Background append only file rewriting started")
        case .busy: throw .literal("ERR Background append only file rewriting already in progress")
        case .failed(let reason): throw .text(Array("ERR \(reason)".utf8))
        }
    }

    static var inProgress: CommandError { .literal("ERR Background save already in progress") }

    /// SCHEDULE is for a save that must wait for something else in the background: nothing else runs there.
    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        if call.arguments.count > 1 {
            guard call.arguments.count == 2, call.arguments[1].equalsIgnoringCase("SCHEDULE") else { throw .syntax }
        }
        // In a transaction stripes are held that the save needs: it begins when they are free.
        guard call.keyspace.held.isEmpty else {
            guard !call.engine.host.persistenceStatus().isSaving else { throw inProgress }
            call.client.pointee.isSaveScheduled = true
            return reply.simple("Background saving scheduled")
        }
        switch call.engine.host.startBackgroundSave(call.engine.store) {
        case .started: reply.simple("Background saving started")
        case .busy: throw inProgress
        case .failed(let reason): throw .text(Array("ERR \(reason)".utf8))
        }
    }
}

enum LastSaveCommand {
    static let spec = CommandSpec(
        "LASTSAVE", summary: "Returns when the last snapshot was written.", since: "1.0.0", group: .server, arity: 1,
        flags: [.loading, .stale, .fast], categories: ["admin", "dangerous"], locks: .none,
        tips: ["nondeterministic_output"],
        replies: [.integer("seconds since 1970; before the first save, when the server started")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.integer(call.engine.lastSaveSeconds(call.engine.host.persistenceStatus()))
    }
}

extension Engine {
    /// When the data was last saved; before the first time, when the engine started.
    func lastSaveSeconds(_ status: PersistenceStatus) -> Int64 {
        status.lastSaveSeconds > 0 ? status.lastSaveSeconds : startedMilliseconds / 1000
    }

    /// Changes that are in no snapshot.
    func unsavedChangeCount(_ status: PersistenceStatus, held: StripeSet) -> UInt64 {
        let changes = store.statistics(held: held).changes
        return changes >= status.changesAtLastSave ? changes - status.changesAtLastSave : 0
    }
}
