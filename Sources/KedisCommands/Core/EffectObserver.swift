// Who is told what a command does, while anybody wants to know: one for each session that executes.
//
//      call.changed(key, "set") ─▶ Effects ─▶ EffectObserver ─┬▶ waiters: the key may be ready (Blocking/Serving.swift)
//                                                             ├▶ watchers: their transactions fail (WatchTable.swift)
//                                                             ├▶ notifications (KeyspaceNotifier.swift)
//                                                             └▶ caches of clients (Tracking/TrackingTable.swift)
//
// Threads: the session's; everything it is told of lies in stripes that are locked.

import KedisStore
import KedisUtilities

final class EffectObserver {
    /// Not counted: the session keeps the engine alive.
    private let engineReference: Unmanaged<Engine>
    let services: ServiceQueue
    /// What was wanted when the batch had its locks.
    var interest = Interest()
    /// Writes down what those do who are served; nil as long as nobody keeps that. The session's, if there is one.
    var scribe: EffectScribe?
    /// The session's client; nil in the background.
    private let client: UnsafeMutablePointer<ClientState>?
    /// Whose command it is that changes things: the session's client, or one that waited and is served.
    var author: ClientRecord?
    /// Keys that have changed, for those who hear of all.
    private var changedKeys: [ChangedKey] = []
    /// Postboxes to ring when nothing is locked.
    private var bells: [Postbox] = []

    init(_ engine: Engine, _ client: UnsafeMutablePointer<ClientState>?) {
        self.client = client
        author = client?.pointee.record
        engineReference = Unmanaged.passUnretained(engine)
        services = ServiceQueue(engine.waiters)
    }

    private var engine: Engine { engineReference.takeUnretainedValue() }

    /// A key has changed, or something beside its value.
    func note(_ event: StaticString, _ key: Key, databaseIndex: Int, isBeside: Bool) {
        if interest.hasWaiters { services.note(key, databaseIndex: databaseIndex) }
        if interest.hasWatchers, !isBeside { engine.watches.touch(key, databaseIndex: databaseIndex) }
        if interest.hasTracking, !isBeside { invalidate(key) }
        if interest.hasNotifications {
            engine.notifier.notify(event, key: key.bytes, databaseIndex: databaseIndex, bells: &bells)
        }
    }

    private func invalidate(_ key: Key) {
        let tracking = engine.tracking
        tracking.invalidate(key, changedBy: author, &bells, push: push)
        guard tracking.prefixes.count > 0 else { return }
        changedKeys.append(ChangedKey(bytes: key.bytes.bytes, author: author))
    }

    /// An invalidation for the one who has made the change.
    private func push(_ receiver: TrackingClient, _ message: Message, _ bells: inout [Postbox]) {
        guard let client, receiver.record === client.pointee.record, receiver.isOwnListener else {
            return receiver.post(message, &bells)
        }
        client.pointee.push(message)
    }

    var hasBroadcasts: Bool { !changedKeys.isEmpty }

    /// Tells of all that the requests of a read have changed; nothing is locked.
    func broadcast() {
        engine.tracking.prefixes.broadcast(changedKeys, &bells)
        changedKeys.removeAll(keepingCapacity: changedKeys.capacity <= 1024)
        ringBells()
    }

    /// When nothing is locked any more.
    func ringBells() {
        guard !bells.isEmpty else { return }
        for postbox in bells { postbox.ring() }
        bells.removeAll(keepingCapacity: true)
    }

    /// A database has changed as a whole, or all have when nil. All stripes are locked.
    func noteDatabase(_ databaseIndex: Int?, _ keyspace: Keyspace, isFlushed: Bool) {
        if interest.hasWaiters { services.noteDatabase(databaseIndex: databaseIndex) }
        if interest.hasWatchers { engine.watches.touch(databaseIndex: databaseIndex, keyspace) }
        if isFlushed, interest.hasTracking { engine.tracking.invalidateAll(changedBy: author, &bells, push: push) }
    }
}
