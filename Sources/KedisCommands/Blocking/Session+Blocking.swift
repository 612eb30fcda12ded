// A session whose client waits: it takes input but executes nothing until there is an outcome, which it answers.
//
// A transport looks at `isBlocked` after `receive` and `resume`. While it is set, the transport sees to it that
// `expireWaiting` is called at `waitDeadlineNanoseconds`, and `finishWaiting` when the postbox says `wake`;
// after each of them that answers true it sends the output and calls `resume`. When the connection ends it calls
// `leave` (or drops the session).

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension Session {
    /// The client waits in a blocking command, or for the end of a pause.
    package var isBlocked: Bool { waiter != nil || isPostponed }

    /// There is input that was not executed yet.
    package var hasPendingInput: Bool { !pending.isEmpty }

    /// Until when it waits, on the engine's monotonic clock; nil when it does not, or for ever.
    package var waitDeadlineNanoseconds: UInt64? {
        if isPostponed { return engine.pause.endNanoseconds }
        guard let waiter, waiter.deadlineNanoseconds != .max else { return nil }
        return waiter.deadlineNanoseconds
    }

    /// One of the batch's commands may change something.
    var isChanging: Bool {
        (0..<batch.count).contains { !batch.items[$0].entry.pointee.flags.contains(.readOnly) }
    }

    /// Somebody wants to know what a batch does, which holds `held`: returns all that is locked afterwards, which has
    /// what serving waiters needs.
    @inline(never)
    mutating func observeSlowly(held: StripeSet) -> StripeSet {
        batch.isMonitored = engine.interest.current.hasMonitors
        return isChanging && !held.isEmpty ? observe(held: held, isChanging: true) : held
    }

    /// The same for what is planned in `keys`.
    mutating func observe(held: StripeSet, isChanging: Bool) -> StripeSet {
        if isChanging, engine.interest.current.hasJournal { beginJournalSlowly() }
        guard engine.interest.current.concernsEffects else { return held }
        let observer = observer ?? EffectObserver(engine, client)
        self.observer = observer
        observer.scribe = scribe
        batch.isObserved = true
        var held = held
        if isChanging, engine.interest.current.hasWaiters {
            held = engine.lockForWaitersSlowly(UnsafeBufferPointer(start: keys.base, count: keys.count), held: held)
        }
        observer.interest = engine.interest.current
        return held
    }

    mutating func beginJournalSlowly() {
        batch.isJournalled = true
        scribe = scribe ?? EffectScribe()
    }

    /// What a command of a transaction has switched on (tracking, notifications) is about those behind it. Nobody has
    /// begun to wait for keys of the stripes that are held.
    @inline(never)
    mutating func followInterestSlowly() {
        let observer = observer ?? EffectObserver(engine, client)
        self.observer = observer
        observer.scribe = scribe
        batch.isObserved = true
        observer.interest = engine.interest.current
    }

    @inline(never)
    func observeSlowly(_ effects: inout Effects) {
        if let observer { effects.observe(observer) }
    }

    /// After the batch, still under its locks.
    @inline(never)
    func commitSlowly(held: StripeSet) {
        scribe?.commit(to: engine.journal, milliseconds: batch.nowMilliseconds, held: held)
    }

    /// The replies of a batch are about the keys in `keys`, or about any.
    @inline(never)
    mutating func noteNeededSlowly(concernsAll: Bool) {
        let sequence =
            concernsAll
            ? engine.journal.appendedSequence
            : engine.journal.lastSequence(of: UnsafeBufferPointer(start: keys.base, count: keys.count))
        neededSequence = max(neededSequence, sequence)
    }

    /// After a command, under its locks: serves who waited for what it has made ready.
    @inline(never)
    func serveSlowly(held: StripeSet) {
        guard let observer, observer.services.hasReady else { return }
        observer.services.serve(engine, observer, held: held, nowMilliseconds: batch.nowMilliseconds)
    }

    /// After the batch, when nothing is locked.
    @inline(never)
    mutating func endServiceSlowly() {
        batch.isObserved = false
        guard let observer else { return }
        observer.ringBells()
        observer.services.wakeServed()
        observer.services.serveDeferred(engine, observer, and: engine.removedKeys.takeAll())
    }

    /// Enters the client among those who wait, still under the locks of its keys; false when memory does not allow it,
    /// which is the reply then.
    @inline(never)
    mutating func startWaitingSlowly(_ call: borrowing CommandCall) -> Bool {
        guard let request = call.blockRequest else { return true }
        do throws(CommandError) {
            let new = try Waiter(
                call, request, version: output.version, nowNanoseconds: engine.clock.monotonicNanoseconds())
            try engine.waiters.register(new)
            let record = client.pointee.record
            record.lastCommand.store(call.entry.pointee.identifier, ordering: .relaxed)
            record.waiter.withLock {
                $0 = new
                record.isBlocked.store(true, ordering: .relaxed)
            }
            if new.durability?.isEnough == true { engine.journal.register(new, engine) }
            waiter = new
            return true
        } catch {
            output.commandError(error)
            return false
        }
    }

    /// Answers the client when it was served or its wait was ended; false while it waits.
    package mutating func finishWaiting() -> Bool {
        if isPostponed {
            // Who has woken it knows why; when it must wait again, it finds out by itself.
            endPostponement()
            return true
        }
        guard let waiter, let outcome = waiter.currentOutcome() else { return false }
        self.waiter = nil
        client.pointee.record.waiter.withLock { $0 = nil }
        batch.begin(conditions: engine.conditions)
        if engine.interest.current.holdsReplies {
            // Who has served it holds them until the record is appended.
            store.lock(waiter.stripes)
            store.unlock(waiter.stripes)
            neededSequence = engine.journal.appendedSequence
        }
        let mark = output.count
        var isFailed = false
        switch outcome {
        case .served(let hasFailed):
            isFailed = hasFailed
            takeReply(of: waiter)
        case .timedOut:
            engine.forget(waiter)
            output.timedOut(engine.journal.denied(to: waiter))
        case .refused(let error):
            engine.forget(waiter)
            output.commandError(error)
            isFailed = true
        case .abandoned:
            return false
        }
        noteServiceSlowly(of: waiter)
        if isFailed {
            counters.noteFailure(waiter.entry.pointee.identifier)
            countErrorSlowly(at: mark)
            engine.statistics.errorReplies.wrappingAdd(1, ordering: .relaxed)
        }
        if !client.pointee.followUp.isEmpty { followUpSlowly(from: mark) }
        client.pointee.record.lastInteractionMilliseconds.store(engine.clock.wallMilliseconds, ordering: .relaxed)
        return true
    }

    private mutating func takeReply(of waiter: Waiter) {
        guard let reply = waiter.reply else { return }
        if let overflow = reply.pointee.overflow {
            return closeForOutputSlowly(isLimited: overflow == .limit)
        }
        output.raw(reply.pointee.bytes)
        if let overflow = output.overflow { closeForOutputSlowly(isLimited: overflow == .limit) }
    }

    /// Answers the client when its time is up, or it was served; false while it waits.
    package mutating func expireWaiting(nowNanoseconds: UInt64) -> Bool {
        if isPostponed {
            engine.pause.endWhenDue(nowNanoseconds: nowNanoseconds)
            return !engine.pause.isActive(nowNanoseconds: nowNanoseconds) && finishWaiting()
        }
        guard let waiter else { return false }
        if waiter.deadlineNanoseconds <= nowNanoseconds { _ = waiter.end(.timedOut, in: engine.waiters) }
        return finishWaiting()
    }

    /// From now on the client gets no messages.
    func endListening() {
        client.pointee.record.isGone.store(true, ordering: .releasing)
        client.pointee.endSubscriptions()
        client.pointee.endMonitoring(engine.observability.monitors)
        if isPostponed { engine.pause.leave(client.pointee.record) }
        engine.clientMemory.forget(client.pointee.record)
        engine.endTracking(client)
    }

    /// The client is gone: nobody serves it any more, and it gets no messages.
    package mutating func leave() {
        endListening()
        guard let waiter else { return }
        self.waiter = nil
        Self.abandon(waiter, engine)
    }

    static func abandon(_ waiter: Waiter, _ engine: Engine) {
        waiter.record.waiter.withLock { $0 = nil }
        _ = waiter.end(.abandoned, in: engine.waiters)
        engine.forget(waiter)
    }
}
