// Serving: the thread that makes a key ready runs the commands of those who wait for it, directly after its own command
// and under the same locks, in the order in which they blocked.
//
//   command ─▶ effects ─▶ ready keys ─▶ for each: its waiters, first come first served ─▶ next command of the batch
//                 ▲                                    │ what they change may make other keys ready (BLMOVE)
//                 └────────────────────────────────────┘
//   unlock ─▶ wake the sessions of those who were served: they send the replies
//
// So nobody who comes later can take what a waiter was there for. Locks: before the batch, the plan is widened by the
// stripes that serving may need (`WaiterTable.stripesToServe`); waiters enter only under locks, so the answer stays
// right until the batch is done. Ends: each service removes a waiter.

import KedisProtocol
import KedisStore
import KedisUtilities

/// The keys that became ready and those who were served: one for each thread that executes. Not shared.
final class ServiceQueue {
    private let table: WaiterTable
    private var ready: [WaitingKey] = []
    private var served: [Waiter] = []
    /// Ready keys whose waiters need stripes that were not held: see ``serveDeferred(_:)``.
    private var deferred: [WaitingKey] = []

    init(_ table: WaiterTable) { self.table = table }

    var hasReady: Bool { !ready.isEmpty }

    /// Who is to be woken.
    var servedCount: Int { served.count }

    /// Told of every key that a command has changed. Its stripe is locked.
    func note(_ key: Key, databaseIndex: Int) {
        if let waitingKey = table.find(key, databaseIndex: databaseIndex) { enter(waitingKey) }
    }

    /// Told of a database that changed as a whole, or that all have when nil. All stripes are locked.
    func noteDatabase(databaseIndex: Int?) {
        table.forEachKey { if databaseIndex == nil || $0.databaseIndex == databaseIndex { enter($0) } }
    }

    private func enter(_ key: WaitingKey) {
        guard !key.isReady else { return }
        key.isReady = true
        ready.append(key)
    }

    /// Serves until no key is ready. The caller holds `held`, which has what serving needs.
    func serve(_ engine: Engine, _ observer: EffectObserver, held: StripeSet, nowMilliseconds: Int64) {
        var index = 0
        while index < ready.count {
            let key = ready[index]
            index += 1
            key.isReady = false
            serve(key, engine, observer, held: held, nowMilliseconds: nowMilliseconds)
        }
        ready.removeAll(keepingCapacity: ready.capacity <= 64)
    }

    private func serve(
        _ key: WaitingKey, _ engine: Engine, _ observer: EffectObserver, held: StripeSet, nowMilliseconds: Int64
    ) {
        let keyspace = engine.store.keyspace(key.databaseIndex, nowMilliseconds: nowMilliseconds, held: held)
        // The key object lives as long as this reference, its nodes as long as they have waiters.
        var node = key.first
        while let current = node {
            node = current.pointee.next
            let type = keyspace.peek(key.key)?.type
            if type == nil, key.removalWaiterCount == 0 { return }
            let waiter = current.pointee.waiter.takeUnretainedValue()
            guard waiter.type == type || waiter.isForRemovalToo else { continue }
            guard waiter.stripes.mask & ~held.mask == 0 else { return deferred.append(key) }
            guard waiter.attempt(engine, observer, held: held, nowMilliseconds: nowMilliseconds) else { continue }
            served.append(waiter)
            table.unregister(waiter)
        }
    }

    /// Tells the sessions of those who were served, when nothing is locked any more.
    func wakeServed() {
        guard !served.isEmpty else { return }
        for waiter in served { waiter.record.wake() }
        served.removeAll(keepingCapacity: served.capacity <= 64)
    }

    /// Serves, when nothing is locked any more, those whose keys were changed by commands that do not name them to the
    /// plan: somebody may have come first, but nobody waits while there is data.
    func serveDeferred(_ engine: Engine, _ observer: EffectObserver, and more: [WaitingKey] = []) {
        deferred += more
        while let key = deferred.popLast() {
            let copy = key.key
            withUnsafePointer(to: copy) { planned in
                var held = StripeSet()
                held.insert(copy.stripeIndex)
                engine.store.lock(held)
                held = engine.lockForWaitersSlowly(UnsafeBufferPointer(start: planned, count: 1), held: held)
                note(copy, databaseIndex: key.databaseIndex)
                let nowMilliseconds = engine.clock.wallMilliseconds
                // A journal may have begun since the batch that this is left of.
                let scribe = observer.scribe ?? (engine.interest.current.hasJournal ? EffectScribe() : nil)
                let isNew = observer.scribe == nil
                observer.scribe = scribe
                serve(engine, observer, held: held, nowMilliseconds: nowMilliseconds)
                scribe?.commit(to: engine.journal, milliseconds: nowMilliseconds, held: held)
                engine.store.unlock(held)
                guard isNew else { return }
                scribe?.release()
                observer.scribe = nil
            }
        }
        observer.ringBells()
        wakeServed()
    }
}

extension Engine {
    /// Locks what serving the waiters of `keys` needs beside `held`, which is locked, and returns all that is locked
    /// now. Gives `held` up meanwhile when something is missing, so nothing may have been read yet.
    @inline(never)
    func lockForWaitersSlowly(_ keys: UnsafeBufferPointer<Key>, held: StripeSet) -> StripeSet {
        var held = held
        while true {
            let needed = waiters.stripesToServe(keys, held: held)
            guard needed != held else { return held }
            store.unlock(held)
            held.formUnion(needed)
            store.lock(held)
        }
    }

    /// Forgets a waiter that was not served. The caller holds no stripe.
    func forget(_ waiter: Waiter) {
        store.lock(waiter.stripes)
        waiters.unregister(waiter)
        store.unlock(waiter.stripes)
    }

    /// CLIENT UNBLOCK, and the end of a database: ends the wait of a client with `error`, or as its timeout would when
    /// nil. False when it does not wait.
    @discardableResult
    package func unblock(_ record: ClientRecord, error: CommandError?) -> Bool {
        guard let waiter = record.waiter.withLock({ $0 }) else { return false }
        guard waiter.end(error.map { .refused($0) } ?? .timedOut, in: waiters) else { return false }
        record.wake()
        return true
    }
}
