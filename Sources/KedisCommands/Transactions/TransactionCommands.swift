// MULTI, EXEC, DISCARD, WATCH, UNWATCH: several commands as one.
//
// Between MULTI and EXEC the session collects commands instead of executing them, and EXEC runs them under the union of
// their locks: Session+Transactions.swift.

import KedisProtocol
import KedisStore
import Synchronization

let transactionCommands: [CommandSpec] = [
    MultiCommand.spec,
    ExecCommand.spec,
    DiscardCommand.spec,
    WatchCommand.spec,
    UnwatchCommand.spec,
]

enum MultiCommand {
    static let spec = CommandSpec(
        "MULTI", summary: "Begins a transaction: what follows is collected.", since: "1.2.0", group: .transactions,
        arity: 1, flags: [.noScript, .loading, .stale, .fast, .allowBusy], replies: [.ok]
    ) { (call, reply) throws(CommandError) in
        guard call.client.pointee.transaction == nil else {
            throw .literal("ERR MULTI calls can not be nested")
        }
        call.client.pointee.beginTransaction()
        reply.ok()
    }
}

enum ExecCommand {
    static let spec = CommandSpec(
        "EXEC", summary: "Executes what was collected since MULTI, all at one moment.", since: "1.2.0",
        group: .transactions, complexity: "That of the commands", arity: 1,
        flags: [.noScript, .loading, .stale, .skipSlowLog], locks: .none,
        replies: [.array("the reply of each command"), .null("a watched key has changed: nothing was executed")]
    ) { (_, _) throws(CommandError) in
        // In a transaction the session executes it.
        throw .literal("ERR EXEC without MULTI")
    }
}

enum DiscardCommand {
    static let spec = CommandSpec(
        "DISCARD", summary: "Forgets what was collected since MULTI.", since: "2.0.0", group: .transactions,
        complexity: "O(N), N being the number of commands", arity: 1,
        flags: [.noScript, .loading, .stale, .fast, .allowBusy], locks: .none, replies: [.ok]
    ) { (call, reply) throws(CommandError) in
        guard call.client.pointee.transaction != nil else { throw .literal("ERR DISCARD without MULTI") }
        call.client.pointee.endTransaction()
        call.unwatch()
        reply.ok()
    }
}

enum WatchCommand {
    static let spec = CommandSpec(
        "WATCH", summary: "Lets the next transaction do nothing if one of the keys changes before it.", since: "2.2.0",
        group: .transactions, complexity: "O(1) for each key", arity: -2,
        flags: [.noScript, .loading, .stale, .fast, .allowBusy], keys: [.rest(.readOnly)],
        arguments: [.key(multiple: true)], replies: [.ok]
    ) { (call, reply) throws(CommandError) in
        guard call.client.pointee.transaction == nil else {
            throw .literal("ERR WATCH inside MULTI is not allowed")
        }
        let watcher = call.client.pointee.watcher ?? Watcher()
        if call.client.pointee.watcher == nil { call.client.pointee.watcher = watcher }
        // It only looks: a key that is due is not there, and stays until somebody asks for it.
        var keyspace = call.keyspace
        keyspace.keepsDueKeys = true
        for index in 0..<call.keyCount {
            let key = call.keyInLoop(index)
            try call.engine.watches.watch(
                key, databaseIndex: keyspace.databaseIndex, wasThere: keyspace.peek(key) != nil, by: watcher)
        }
        call.client.pointee.noteInterests()
        reply.ok()
    }
}

enum UnwatchCommand {
    static let spec = CommandSpec(
        "UNWATCH", summary: "Forgets the watched keys.", since: "2.2.0", group: .transactions, arity: 1,
        flags: [.noScript, .loading, .stale, .fast, .allowBusy], locks: .none, replies: [.ok]
    ) { (call, reply) throws(CommandError) in
        call.unwatch()
        reply.ok()
    }
}

extension CommandCall {
    /// Forgets what the client watches. Locks stripes, unless they are held: in a transaction nothing is watched.
    func unwatch() {
        guard let watcher = client.pointee.watcher, !watcher.stripes.isEmpty else { return }
        assert(keyspace.held.isEmpty)
        engine.unwatch(watcher)
    }
}

extension ClientState {
    mutating func beginTransaction() {
        transaction = Transaction()
        conditions.insert(.inTransaction)
        record.transactionCommandCount.store(0, ordering: .relaxed)
    }

    mutating func endTransaction() {
        transaction = nil
        conditions.remove(.inTransaction)
        record.transactionCommandCount.store(-1, ordering: .relaxed)
    }
}
