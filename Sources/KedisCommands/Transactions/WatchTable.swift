// Who watches which key: beside each stripe of the store a table of the keys that are watched.
//
//      WATCH a ─▶ watcher, entered at `a` ─▶ anybody changes `a`: the watcher is dirty ─▶ EXEC does nothing
//
// A key that goes without a command (its deadline, eviction) is found out by EXEC, which looks whether those that were
// there still are.
//
// Ownership: the engine's; a watcher is its session's. Threads: the part of a stripe, and what a watcher has entered
// there, are guarded by the stripe's lock; `isDirty` is an atomic. Cost: nothing while nobody watches (Interest.swift);
// else one lookup for each change.

import KedisStore
import KedisUtilities
import Synchronization

/// What a client watches.
package final class Watcher: @unchecked Sendable {
    // Sendable: `isDirty` is an atomic; the rest is touched by the client's own thread, under the locks of `stripes`.

    /// A watched key has changed.
    let isDirty = Atomic<Bool>(false)
    fileprivate(set) var keys: [WatchedKey] = []
    fileprivate(set) var stripes = StripeSet()

    /// What it takes, about: for each key its name, an object, and its places in tables.
    var allocatedByteCount: Int { keys.reduce(0) { $0 + $1.key.bytes.count + 200 } }

    /// Whether keys that were there are gone without a change, or members of them. The stripes are locked.
    func hasLostKeys(_ keyspace: Keyspace) -> Bool {
        let reference = Unmanaged.passUnretained(self)
        let areGone = keys.contains { key in
            guard key.wasThere(for: reference) else { return false }
            return !keyspace.selecting(key.databaseIndex).isThereAfterExpiry(key.key)
        }
        // Of members that went just now the table was told.
        return areGone || isDirty.load(ordering: .relaxed)
    }
}

/// A key that is watched by somebody.
final class WatchedKey {
    let databaseIndex: Int
    let hash: UInt64
    private let bytes: UnsafeMutableRawPointer
    private let byteCount: Int
    fileprivate var watchers: [(watcher: Unmanaged<Watcher>, wasThere: Bool)] = []
    /// Another key with the same hash (of another database, mostly).
    fileprivate var next: WatchedKey?

    fileprivate init?(_ key: Key, databaseIndex: Int) {
        guard let copy = allocateBuffer(byteCount: key.bytes.count) else { return nil }
        copy.copyMemory(from: key.bytes.base, byteCount: key.bytes.count)
        bytes = copy
        byteCount = key.bytes.count
        hash = key.hash
        self.databaseIndex = databaseIndex
    }

    deinit { deallocateBuffer(bytes) }

    var key: Key { Key(ByteView(UnsafeRawBufferPointer(start: bytes, count: byteCount)), hash: hash) }

    fileprivate func isWatched(by watcher: Unmanaged<Watcher>) -> Bool {
        watchers.contains { $0.watcher.toOpaque() == watcher.toOpaque() }
    }

    fileprivate func wasThere(for watcher: Unmanaged<Watcher>) -> Bool {
        watchers.contains { $0.watcher.toOpaque() == watcher.toOpaque() && $0.wasThere }
    }

    fileprivate func makeDirty() {
        for entry in watchers { entry.watcher.takeUnretainedValue().isDirty.store(true, ordering: .relaxed) }
    }
}

package final class WatchTable: @unchecked Sendable {
    // Sendable: parts are guarded by the locks of their stripes.

    /// By the hash of the key; those with the same one are chained.
    private let parts: UnsafeMutablePointer<[UInt64: WatchedKey]>
    private let interest: InterestWord

    init(_ interest: InterestWord) {
        self.interest = interest
        parts = .allocate(capacity: Store.stripeCount)
        parts.initialize(repeating: [:], count: Store.stripeCount)
    }

    deinit {
        parts.deinitialize(count: Store.stripeCount)
        parts.deallocate()
    }

    private func find(_ key: Key, databaseIndex: Int) -> WatchedKey? {
        guard !parts[key.stripeIndex].isEmpty else { return nil }
        var candidate = parts[key.stripeIndex][key.hash]
        while let found = candidate {
            if found.databaseIndex == databaseIndex, found.key.bytes == key.bytes { return found }
            candidate = found.next
        }
        return nil
    }

    // MARK: Changes

    /// A key has changed; its stripe is locked.
    func touch(_ key: Key, databaseIndex: Int) { find(key, databaseIndex: databaseIndex)?.makeDirty() }

    /// A database has become another one, or all have when nil: whoever watches a key that was there, or is there now,
    /// is dirty. All stripes are locked.
    func touch(databaseIndex: Int?, _ keyspace: Keyspace) {
        for index in 0..<Store.stripeCount {
            for first in parts[index].values {
                var next: WatchedKey? = first
                while let key = next {
                    next = key.next
                    guard databaseIndex == nil || key.databaseIndex == databaseIndex else { continue }
                    let isThere = keyspace.selecting(key.databaseIndex).peek(key.key) != nil
                    if isThere || key.watchers.contains(where: \.wasThere) { key.makeDirty() }
                }
            }
        }
    }

    // MARK: Watching

    /// What a key that nobody watched may take here, its bytes aside.
    private static let keyByteCount = 256

    /// Enters a watcher at a key, whose stripe is locked.
    func watch(_ key: Key, databaseIndex: Int, wasThere: Bool, by watcher: Watcher) throws(CommandError) {
        let reference = Unmanaged.passUnretained(watcher)
        // The dictionaries and arrays cannot refuse.
        guard mayAllocate(byteCount: WatchTable.keyByteCount) else { throw .outOfMemory }
        guard let watched = find(key, databaseIndex: databaseIndex) ?? make(key, databaseIndex) else {
            throw .outOfMemory
        }
        guard !watched.isWatched(by: reference) else { return }
        if watcher.keys.isEmpty { interest.addWatcher() }
        watched.watchers.append((reference, wasThere))
        watcher.keys.append(watched)
        watcher.stripes.insert(key.stripeIndex)
    }

    private func make(_ key: Key, _ databaseIndex: Int) -> WatchedKey? {
        guard let made = WatchedKey(key, databaseIndex: databaseIndex) else { return nil }
        made.next = parts[key.stripeIndex].updateValue(made, forKey: key.hash)
        return made
    }

    /// Forgets what a watcher watches; its stripes are locked.
    func unwatch(_ watcher: Watcher) {
        let reference = Unmanaged.passUnretained(watcher).toOpaque()
        for key in watcher.keys {
            key.watchers.removeAll { $0.watcher.toOpaque() == reference }
            if key.watchers.isEmpty { remove(key) }
        }
        if !watcher.keys.isEmpty { interest.removeWatcher() }
        watcher.keys = []
        watcher.stripes = StripeSet()
        watcher.isDirty.store(false, ordering: .relaxed)
    }

    private func remove(_ key: WatchedKey) {
        let index = key.key.stripeIndex
        guard let first = parts[index][key.hash] else { return }
        if first === key {
            parts[index][key.hash] = key.next
        } else {
            var before = first
            while let next = before.next, next !== key { before = next }
            before.next = key.next
        }
        key.next = nil
        if parts[index].isEmpty { parts[index] = [:] }
    }
}

extension Engine {
    /// Forgets what a watcher watches. The caller holds no stripe.
    func unwatch(_ watcher: Watcher) {
        let stripes = watcher.stripes
        guard !stripes.isEmpty else { return }
        store.lock(stripes)
        watches.unwatch(watcher)
        store.unlock(stripes)
    }
}
