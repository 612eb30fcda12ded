// Transactions: commands that are collected between MULTI and EXEC, and run at one moment.
//
//      queue: resolve ─▶ admit ─▶ copy the arguments ─▶ +QUEUED
//      EXEC:  admit all ─▶ plan all ─▶ lock the union of their stripes ─▶ is a watched key dirty? ─▶ run one by one
//
// Nobody sees a transaction half done, because all of its stripes are held to its end. Commands that lock stripes by
// themselves (KEYS, DBSIZE) need all of them here: what is held must not be added to out of order.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension Session {
    /// What becomes of a command of a client that is in a transaction: true when it was taken care of, false when it is
    /// executed as ever (MULTI, DISCARD, WATCH, QUIT, RESET).
    @inline(never)
    mutating func queueSlowly(_ entry: UnsafePointer<CommandEntry>, _ list: ArgumentList) throws(CommandError) -> Bool {
        guard let transaction = client.pointee.transaction else { return false }
        if entry.pointee.handlesTransaction {
            guard entry.pointee.fullName == "exec" else { return false }
            executeTransaction(entry, list, transaction)
            return true
        }
        guard !entry.pointee.flags.contains(.noMulti) else {
            throw .literal("ERR Command not allowed inside a transaction")
        }
        // What will not run needs no memory.
        let isLost = transaction.isAborted || client.pointee.watcher?.isDirty.load(ordering: .relaxed) == true
        let limit = engine.configuration.queryBufferByteCountMax.load(ordering: .relaxed)
        guard isLost || transaction.byteCount + list.byteCount <= limit && transaction.append(entry, list) else {
            throw .outOfMemory
        }
        client.pointee.record.transactionCommandCount.store(transaction.items.count, ordering: .relaxed)
        noteMemorySlowly()
        batch.lastCommand = entry.pointee.identifier
        client.pointee.record.lastCommand.store(batch.lastCommand, ordering: .relaxed)
        output.simple("QUEUED")
        if !client.pointee.followUp.isEmpty { followUpSlowly(from: output.count - 9) }
        return true
    }

    /// A command was refused: a transaction that was to have it will not run, and one that EXEC was to run is over. The
    /// error to answer.
    func rejectionInTransaction(_ error: CommandError, _ list: ArgumentList) -> CommandError {
        client.pointee.transaction?.isAborted = true
        guard let entry = engine.table.command(list[0]), entry.pointee.fullName == "exec" else { return error }
        client.pointee.endTransaction()
        if let watcher = client.pointee.watcher { engine.unwatch(watcher) }
        return .discarded(because: error)
    }

    // MARK: EXEC

    private mutating func executeTransaction(
        _ exec: UnsafePointer<CommandEntry>, _ list: ArgumentList, _ transaction: Transaction
    ) {
        let mark = output.count
        let began = ticks
        batch.isMonitored = engine.interest.current.hasMonitors
        if let refusal = refusal(of: transaction) {
            client.pointee.endTransaction()
            output.commandError(refusal)
            if let watcher = client.pointee.watcher { engine.unwatch(watcher) }
            counters.noteFailure(exec.pointee.identifier)
            countErrorSlowly(at: mark)
        } else {
            run(exec, transaction)
        }
        keys.removeAll()
        guard !isPostponed else {
            batch.isMonitored = false
            return
        }
        batch.executedCount += 1
        batch.lastCommand = exec.pointee.identifier
        endCaching(exec)
        noteExecution(exec, list, nanoseconds: nanoseconds(from: began, to: ticks))
        if batch.isMonitored {
            showToMonitorsSlowly(exec, list)
            ringMonitorsSlowly()
        }
        if !client.pointee.followUp.isEmpty { followUpSlowly(from: mark) }
    }

    /// Why a transaction may not run at all.
    private mutating func refusal(of transaction: Transaction) -> CommandError? {
        guard !transaction.isAborted else {
            return .literal("EXECABORT Transaction discarded because of previous errors.")
        }
        // Permissions are looked at command by command, when it is their turn.
        let conditions = batch.conditions.union(client.pointee.conditions).subtracting(.restricted)
        for item in transaction.items {
            let refusal = admit(item.entry, transaction.arguments(of: item), of: client, under: conditions)
            if let refusal { return .discarded(because: refusal.error(item.entry)) }
        }
        return nil
    }

    /// Runs the transaction, unless it has to wait: then it is as it was.
    private mutating func run(_ exec: UnsafePointer<CommandEntry>, _ transaction: Transaction) {
        var stripes = client.pointee.watcher?.stripes ?? StripeSet()
        var firstKeys: [Int] = []
        keys.removeAll()
        for item in transaction.items {
            firstKeys.append(keys.count)
            do throws(CommandError) {
                let list = transaction.arguments(of: item)
                stripes.formUnion(try plan(item.entry, list, in: store, into: &keys))
                if item.entry.pointee.walksKeyspace { stripes = .all }
            } catch {
                client.pointee.endTransaction()
                if let watcher = client.pointee.watcher { engine.unwatch(watcher) }
                return output.commandError(error)
            }
        }
        firstKeys.append(keys.count)
        store.lock(stripes)
        if engine.interest.current.isPaused {
            if mustWaitSlowly(exec) {
                store.unlock(stripes)
                return postpone(exec)
            }
            batch.keepsDueKeys = true
        }
        defer { (batch.keepsDueKeys, batch.isJournalled) = (false, false) }
        client.pointee.endTransaction()
        stripes = observe(held: stripes, isChanging: true)
        batch.nowMilliseconds = engine.clock.wallMilliseconds
        let isClean = settleWatcher(held: stripes)
        if isClean { runItems(transaction, firstKeys, held: stripes) } else { output.nullArray() }
        if batch.isJournalled { commitSlowly(held: stripes) }
        if engine.interest.current.holdsReplies { noteNeededSlowly(concernsAll: stripes == .all) }
        store.unlock(stripes)
        if batch.isObserved { endServiceSlowly() }
        if client.pointee.isSaveScheduled {
            client.pointee.isSaveScheduled = false
            _ = engine.host.startBackgroundSave(engine.store)
        }
    }

    private mutating func runItems(_ transaction: Transaction, _ firstKeys: [Int], held: StripeSet) {
        let deniedBlocking = client.pointee.deniesBlocking
        client.pointee.deniesBlocking = true
        output.array(transaction.items.count)
        for (index, item) in transaction.items.enumerated() {
            let began = ticks
            // Who has ended itself (CLIENT KILL, ACL DELUSER) hears nothing of what comes behind.
            let mark = client.pointee.isClosing ? output.count : nil
            defer { if let mark { output.truncate(to: mark) } }
            followAccess()
            if engine.interest.current.concernsEffects { followInterestSlowly() }
            let list = transaction.arguments(of: item)
            if refusedInTransaction(item.entry, list) { continue }
            run(item.entry, list, keyRange: firstKeys[index]..<firstKeys[index + 1], held: held)
            if client.pointee.followUp.contains(.tracking) {
                rememberSlowly(item.entry, keyRange: firstKeys[index]..<firstKeys[index + 1])
            }
            noteExecution(item.entry, list, nanoseconds: nanoseconds(from: began, to: ticks))
            if batch.isMonitored { showToMonitorsSlowly(item.entry, list) }
        }
        client.pointee.deniesBlocking = deniedBlocking
        if batch.isObserved { serveSlowly(held: held) }
    }

    /// Forgets what the client watches; false when a watched key has changed.
    private func settleWatcher(held: StripeSet) -> Bool {
        guard let watcher = client.pointee.watcher else { return true }
        let keyspace = store.keyspace(0, nowMilliseconds: batch.nowMilliseconds, held: held)
        let isClean = !watcher.isDirty.load(ordering: .relaxed) && !watcher.hasLostKeys(keyspace)
        engine.watches.unwatch(watcher)
        return isClean
    }
}

extension CommandError {
    /// Why EXEC runs nothing. The general code says nothing here.
    fileprivate static func discarded(because error: CommandError) -> CommandError {
        let bytes = error.bytes
        let text = bytes.starts(with: ByteView("ERR ").bytes) ? Array(bytes.dropFirst(4)) : bytes
        return .text(ByteView("EXECABORT Transaction discarded because of: ").bytes + text)
    }
}
