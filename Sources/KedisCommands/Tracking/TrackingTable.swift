// Which client has read which key, and is to hear when it changes.
//
//   GET a ─▶ `a` is remembered for the client ─▶ anybody changes `a` ─▶ invalidation, and `a` is forgotten for all
//
// Keys are told apart by their names alone, whatever their database, as Redis does it.
//
// Threads: beside each stripe of the store lies a part, guarded by the stripe's lock. Bounds: of the keys beyond
// `tracking-table-max-keys` it is told that they have changed. Cost: nothing while nobody tracks (Interest.swift); else
// a lookup for each key that a tracking client reads and for each that anybody changes.

import KedisStore
import KedisUtilities
import Synchronization

/// A key that clients have read.
private final class TrackedKey {
    private let memory: UnsafeMutableRawPointer
    private let byteCount: Int
    private(set) var clients: [TrackingClient] = []
    /// Their identities, once there are many.
    private var identities: Set<ObjectIdentifier>?
    /// Another key with the same hash.
    var next: TrackedKey?

    private static let listCountMax = 16

    init?(_ key: ByteView) {
        guard let memory = allocateBuffer(byteCount: key.count) else { return nil }
        memory.copyMemory(from: key.base, byteCount: key.count)
        self.memory = memory
        byteCount = key.count
    }

    deinit { deallocateBuffer(memory) }

    var bytes: ByteView { ByteView(UnsafeRawBufferPointer(start: memory, count: byteCount)) }

    /// True when the client was not there.
    func add(_ client: TrackingClient) -> Bool {
        if identities != nil {
            guard identities?.insert(ObjectIdentifier(client)).inserted == true else { return false }
        } else {
            guard !clients.contains(where: { $0 === client }) else { return false }
        }
        clients.append(client)
        if clients.count > Self.listCountMax, clients.count.nonzeroBitCount == 1 { tidy() }
        return true
    }

    /// Clients that have gone would gather at a key that nobody changes.
    private func tidy() {
        clients.removeAll { $0.record.isGone.load(ordering: .relaxed) || !$0.isOn }
        identities = clients.count > Self.listCountMax ? Set(clients.map { ObjectIdentifier($0) }) : nil
    }
}

final class TrackingTable: @unchecked Sendable {
    // Sendable: parts are guarded by the locks of their stripes, the rest by itself.

    private let parts: UnsafeMutablePointer<[UInt64: TrackedKey]>
    private let interest: InterestWord
    private let keyCounter = Atomic<Int>(0)
    private let itemCounter = Atomic<Int>(0)
    private let clients = Locked<[ObjectIdentifier: TrackingClient]>([:])
    let prefixes = TrackingPrefixes()

    init(_ interest: InterestWord) {
        self.interest = interest
        parts = .allocate(capacity: Store.stripeCount)
        parts.initialize(repeating: [:], count: Store.stripeCount)
    }

    deinit {
        parts.deinitialize(count: Store.stripeCount)
        parts.deallocate()
    }

    /// Keys that are remembered, and for how many clients, each counted.
    var keyCount: Int { keyCounter.load(ordering: .relaxed) }
    var itemCount: Int { itemCounter.load(ordering: .relaxed) }
    var clientCount: Int { clients.withLock { $0.count } }

    // MARK: Clients

    /// Turns tracking on, or changes how it goes.
    func turnOn(_ client: TrackingClient, _ state: TrackingClient.State) {
        var state = state
        state.isOn = true
        if state.options.contains(.broadcasting) {
            let added = state.prefixes
            state.prefixes = client.current.prefixes + added.filter { !client.current.prefixes.contains($0) }
            client.set(state)
            for prefix in added { prefixes.add(prefix, client) }
        } else {
            client.set(state)
        }
        clients.withLock { clients in
            clients[ObjectIdentifier(client)] = client
            interest.setTracking(true)
        }
    }

    func turnOff(_ client: TrackingClient) {
        let state = client.current
        guard state.isOn else { return }
        client.set(TrackingClient.State())
        for prefix in state.prefixes { prefixes.remove(prefix, client) }
        clients.withLock { clients in
            clients[ObjectIdentifier(client)] = nil
            if clients.isEmpty { interest.setTracking(false) }
        }
    }

    // MARK: Keys

    private func find(_ key: Key) -> TrackedKey? {
        var candidate = parts[key.stripeIndex][key.hash]
        while let found = candidate, found.bytes != key.bytes { candidate = found.next }
        return candidate
    }

    /// How the invalidation of the one who has made a change goes out.
    typealias Push = (TrackingClient, Message, inout [Postbox]) -> Void

    /// What a key may take here, its bytes aside.
    private static let keyByteCount = 256

    /// Remembers that a client has read keys, whose stripes are locked, if its mode and what CLIENT CACHING said want
    /// that.
    func remember(_ keys: UnsafeBufferPointer<Key>, for client: TrackingClient, caching: Bool?) {
        let options = client.current.options
        guard !options.contains(.broadcasting), !options.contains(.optIn) || caching == true,
            !options.contains(.optOut) || caching != false
        else { return }
        var bells: [Postbox] = []
        for key in keys { remember(key, for: client, &bells) }
        for postbox in bells { postbox.ring() }
    }

    /// Without memory the client hears that the key has changed.
    private func remember(_ key: Key, for client: TrackingClient, _ bells: inout [Postbox]) {
        guard mayAllocate(byteCount: Self.keyByteCount), let tracked = find(key) ?? make(key) else {
            if let message = Message.invalidation(of: key.bytes) { client.post(message, &bells) }
            return
        }
        let before = tracked.clients.count
        if tracked.add(client) { itemCounter.add(tracked.clients.count - before, ordering: .relaxed) }
    }

    private func make(_ key: Key) -> TrackedKey? {
        guard let made = TrackedKey(key.bytes) else { return nil }
        made.next = parts[key.stripeIndex].updateValue(made, forKey: key.hash)
        keyCounter.add(1, ordering: .relaxed)
        return made
    }

    private func remove(_ tracked: TrackedKey, stripeIndex: Int, hash: UInt64) {
        guard let first = parts[stripeIndex][hash] else { return }
        if first === tracked {
            parts[stripeIndex][hash] = tracked.next
        } else {
            var before = first
            while let next = before.next, next !== tracked { before = next }
            before.next = tracked.next
        }
        tracked.next = nil
        keyCounter.subtract(1, ordering: .relaxed)
        itemCounter.subtract(tracked.clients.count, ordering: .relaxed)
    }

    /// A key has changed; its stripe is locked. `push` gets the invalidation of the one who has changed it.
    func invalidate(
        _ key: Key, changedBy author: ClientRecord?, _ bells: inout [Postbox], push: Push
    ) {
        guard !parts[key.stripeIndex].isEmpty, let tracked = find(key) else { return }
        remove(tracked, stripeIndex: key.stripeIndex, hash: key.hash)
        guard let message = Message.invalidation(of: key.bytes) else { return }
        for client in tracked.clients {
            if client.record === author {
                let options = client.current.options
                if !options.contains(.broadcasting), !options.contains(.noLoop) { push(client, message, &bells) }
            } else if !client.current.options.contains(.broadcasting) {
                client.post(message, &bells)
            }
        }
    }

    /// All keys have gone, or have become others; all stripes are locked.
    func invalidateAll(
        changedBy author: ClientRecord?, _ bells: inout [Postbox], push: Push
    ) {
        for index in 0..<Store.stripeCount {
            for first in parts[index].values {
                // Long chains must not be freed one inside the other.
                var next = first.next
                first.next = nil
                while let key = next {
                    next = key.next
                    key.next = nil
                }
            }
            parts[index] = [:]
        }
        keyCounter.store(0, ordering: .relaxed)
        itemCounter.store(0, ordering: .relaxed)
        guard let message = Message.invalidationOfAll() else { return }
        for client in clients.withLock({ Array($0.values) }) {
            if client.record === author { push(client, message, &bells) } else { client.post(message, &bells) }
        }
    }

    /// When no client tracks any more nobody notes changes: forgets what the last ones have read. The caller holds no
    /// stripe.
    func forgetUnused(_ store: Store) {
        guard keyCount > 0, clientCount == 0 else { return }
        for index in 0..<Store.stripeCount {
            var held = StripeSet()
            held.insert(index)
            store.lock(held)
            // A client that begins meanwhile remembers nothing before it has this lock.
            if clientCount == 0 {
                for (hash, first) in parts[index] {
                    var next: TrackedKey? = first
                    while let key = next {
                        next = key.next
                        remove(key, stripeIndex: index, hash: hash)
                    }
                }
            }
            store.unlock(held)
        }
    }

    /// Forgets keys beyond the limit, and tells those who have read them. The caller holds no stripe.
    func limit(to keyCountMax: Int, _ store: Store, using generator: inout RandomGenerator) {
        guard keyCountMax > 0 else { return }
        var bells: [Postbox] = []
        while keyCount > keyCountMax {
            let start = generator.next(below: Store.stripeCount)
            var hasForgotten = false
            for offset in 0..<Store.stripeCount where !hasForgotten {
                let index = (start + offset) % Store.stripeCount
                var held = StripeSet()
                held.insert(index)
                store.lock(held)
                if let (hash, tracked) = parts[index].first {
                    remove(tracked, stripeIndex: index, hash: hash)
                    if let message = Message.invalidation(of: tracked.bytes) {
                        for client in tracked.clients { client.post(message, &bells) }
                    }
                    hasForgotten = true
                }
                store.unlock(held)
            }
            guard hasForgotten else { break }
        }
        for postbox in bells { postbox.ring() }
    }
}

// MARK: Changes without a command

extension TrackingTable {
    /// Something has happened to a key in the store; its stripe is locked.
    func note(_ event: KeyEvent, _ key: Key) {
        switch event {
        case .created, .missed, .emptied: return
        case .expired, .evicted, .membersExpired: break
        }
        var bells: [Postbox] = []
        invalidate(key, changedBy: nil, &bells) { _, _, _ in }
        if prefixes.count > 0 { prefixes.broadcast([ChangedKey(bytes: key.bytes.bytes, author: nil)], &bells) }
        for postbox in bells { postbox.ring() }
    }
}
