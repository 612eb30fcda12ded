// Who is told what a command does, while anybody wants to know: one for each session that executes.
//
//      call.changed(key, "set") ─▶ Effects ─▶ EffectObserver ─┬▶ waiters: the key may be ready (Blocking/Serving.swift)
//                                                             └▶ watchers: their transactions fail (WatchTable.swift)
//
// Threads: the session's; everything it is told of lies in stripes that are locked.

import KedisStore

final class EffectObserver {
    /// Not counted: the session keeps the engine alive.
    private let engineReference: Unmanaged<Engine>
    let services: ServiceQueue
    /// What was wanted when the batch had its locks.
    var interest = Interest()

    init(_ engine: Engine) {
        engineReference = Unmanaged.passUnretained(engine)
        services = ServiceQueue(engine.waiters)
    }

    private var engine: Engine { engineReference.takeUnretainedValue() }

    /// A key has changed.
    func note(_ event: StaticString, _ key: Key, databaseIndex: Int) {
        if interest.hasWaiters { services.note(key, databaseIndex: databaseIndex) }
        if interest.hasWatchers { engine.watches.touch(key, databaseIndex: databaseIndex) }
    }

    /// A database has changed as a whole, or all have when nil. All stripes are locked.
    func noteDatabase(_ databaseIndex: Int?, _ keyspace: Keyspace) {
        if interest.hasWaiters { services.noteDatabase(databaseIndex: databaseIndex) }
        if interest.hasWatchers { engine.watches.touch(databaseIndex: databaseIndex, keyspace) }
    }
}
