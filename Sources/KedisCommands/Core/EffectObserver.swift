// Who is told what a command does, while anybody wants to know: one for each session that executes.
//
//      call.changed(key, "set") ─▶ Effects ─▶ EffectObserver ─┬▶ waiters: the key may be ready (Blocking/Serving.swift)
//                                                             ├▶ watchers: their transactions fail (WatchTable.swift)
//                                                             └▶ notifications (KeyspaceNotifier.swift)
//
// Threads: the session's; everything it is told of lies in stripes that are locked.

import KedisStore

final class EffectObserver {
    /// Not counted: the session keeps the engine alive.
    private let engineReference: Unmanaged<Engine>
    let services: ServiceQueue
    /// What was wanted when the batch had its locks.
    var interest = Interest()
    /// Postboxes to ring when nothing is locked.
    private var bells: [Postbox] = []

    init(_ engine: Engine) {
        engineReference = Unmanaged.passUnretained(engine)
        services = ServiceQueue(engine.waiters)
    }

    private var engine: Engine { engineReference.takeUnretainedValue() }

    /// A key has changed.
    func note(_ event: StaticString, _ key: Key, databaseIndex: Int) {
        if interest.hasWaiters { services.note(key, databaseIndex: databaseIndex) }
        if interest.hasWatchers { engine.watches.touch(key, databaseIndex: databaseIndex) }
        if interest.hasNotifications {
            engine.notifier.notify(event, key: key.bytes, databaseIndex: databaseIndex, bells: &bells)
        }
    }

    /// When nothing is locked any more.
    func ringBells() {
        guard !bells.isEmpty else { return }
        for postbox in bells { postbox.ring() }
        bells.removeAll(keepingCapacity: true)
    }

    /// A database has changed as a whole, or all have when nil. All stripes are locked.
    func noteDatabase(_ databaseIndex: Int?, _ keyspace: Keyspace) {
        if interest.hasWaiters { services.noteDatabase(databaseIndex: databaseIndex) }
        if interest.hasWatchers { engine.watches.touch(databaseIndex: databaseIndex, keyspace) }
    }
}
