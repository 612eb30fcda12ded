// Keys that went without a command, by their deadline or by eviction, while somebody waits for that, too: a consumer of
// a stream's group (XREADGROUP) is to be told that its stream is gone.
//
//   the store: a key goes ─▶ noted here, under its stripe's lock ─▶ its waiters run again, when nothing is locked
//
// Threads: any. Cost: nothing while nobody waits; a look at the table of waiters for each such key.

import KedisStore
import KedisUtilities
import Synchronization

final class RemovedKeys: @unchecked Sendable {
    // Sendable: guarded by the lock; the keys themselves are touched under their stripes only.

    private let lock = StripeLock()
    private var keys: [WaitingKey] = []
    private let hasAny = Atomic<Bool>(false)
    private let table: WaiterTable

    init(_ table: WaiterTable) { self.table = table }

    /// A key has gone; its stripe is locked.
    func note(_ key: Key, databaseIndex: Int) {
        guard let waiting = table.find(key, databaseIndex: databaseIndex), waiting.removalWaiterCount > 0 else {
            return
        }
        lock.lock()
        keys.append(waiting)
        hasAny.store(true, ordering: .releasing)
        lock.unlock()
    }

    func takeAll() -> [WaitingKey] {
        guard hasAny.load(ordering: .acquiring) else { return [] }
        lock.lock()
        defer {
            keys = []
            hasAny.store(false, ordering: .relaxed)
            lock.unlock()
        }
        return keys
    }
}

extension Engine {
    /// Runs the commands of those again who wait for keys that have gone. The caller holds no stripe.
    package func serveRemovedKeys() {
        let keys = removedKeys.takeAll()
        guard !keys.isEmpty else { return }
        let observer = EffectObserver(self, nil)
        observer.interest = interest.current
        observer.services.serveDeferred(self, observer, and: keys)
    }
}
