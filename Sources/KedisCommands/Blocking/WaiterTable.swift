// Who waits for which key: beside each stripe of the store a table of the keys that are waited for, each with its
// waiters in the order in which they blocked.
//
// Ownership: the engine's. Threads: the part of a stripe is guarded by the stripe's lock; a waiter is entered and
// removed under the locks of all its stripes. The counts are atomics. Invariants: a key is there while it has waiters;
// the masks of a key and of a part cover those of all their waiters (they shrink when the last one goes). Cost: when
// nobody waits, one load for each batch of commands; else one lookup for each key that a batch names and each change.

import KedisStore
import KedisUtilities
package import Synchronization

/// A key that somebody waits for.
final class WaitingKey {
    let databaseIndex: Int
    let hash: UInt64
    private let bytes: UnsafeMutableRawPointer
    private let byteCount: Int
    var first: UnsafeMutablePointer<WaitNode>?
    var last: UnsafeMutablePointer<WaitNode>?
    /// Waiters that are also run again when the key is removed.
    var removalWaiterCount = 0
    /// What serving any of them needs locked, and what they may feed.
    var stripes = StripeSet()
    var feeds = StripeSet()
    /// Waits in a queue of ready keys.
    var isReady = false
    /// Another key with the same hash (of another database, mostly).
    var next: WaitingKey?

    init?(_ key: Key, databaseIndex: Int) {
        guard let copy = allocateBuffer(byteCount: key.bytes.count) else { return nil }
        copy.copyMemory(from: key.bytes.base, byteCount: key.bytes.count)
        bytes = copy
        byteCount = key.bytes.count
        hash = key.hash
        self.databaseIndex = databaseIndex
    }

    deinit { deallocateBuffer(bytes) }

    var key: Key { Key(ByteView(UnsafeRawBufferPointer(start: bytes, count: byteCount)), hash: hash) }

    func append(_ node: UnsafeMutablePointer<WaitNode>) {
        node.pointee.previous = last
        if let last { last.pointee.next = node } else { first = node }
        last = node
    }

    func remove(_ node: UnsafeMutablePointer<WaitNode>) {
        if let previous = node.pointee.previous { previous.pointee.next = node.pointee.next } else {
            first = node.pointee.next
        }
        if let next = node.pointee.next { next.pointee.previous = node.pointee.previous } else {
            last = node.pointee.previous
        }
    }
}

package final class WaiterTable: @unchecked Sendable {
    // Sendable: parts are guarded by the locks of their stripes, counts are atomics.

    /// What is kept beside a stripe.
    private struct Part {
        /// By the hash of the key; those with the same one are chained.
        var keys: [UInt64: WaitingKey] = [:]
        var stripes = StripeSet()
        var feeds = StripeSet()
    }

    private let parts: UnsafeMutablePointer<Part>
    private let interest: InterestWord
    /// Clients that wait, and those of them with a deadline.
    package let blockedCount = Atomic<Int>(0)
    package let timedCount = Atomic<Int>(0)
    /// Keys that are waited for, and those of them whose removal is.
    package let keyCount = Atomic<Int>(0)
    package let removalKeyCount = Atomic<Int>(0)

    init(_ interest: InterestWord) {
        self.interest = interest
        parts = .allocate(capacity: Store.stripeCount)
        parts.initialize(repeating: Part(), count: Store.stripeCount)
    }

    deinit {
        parts.deinitialize(count: Store.stripeCount)
        parts.deallocate()
    }

    /// The waited-for key, if it is one. Its stripe is locked.
    func find(_ key: Key, databaseIndex: Int) -> WaitingKey? {
        guard !parts[key.stripeIndex].keys.isEmpty else { return nil }
        var candidate = parts[key.stripeIndex].keys[key.hash]
        while let found = candidate {
            if found.databaseIndex == databaseIndex, found.key.bytes == key.bytes { return found }
            candidate = found.next
        }
        return nil
    }

    /// Calls `body` with every waited-for key. All stripes are locked.
    func forEachKey(_ body: (WaitingKey) -> Void) {
        for index in 0..<Store.stripeCount {
            for key in parts[index].keys.values {
                var chained: WaitingKey? = key
                while let one = chained {
                    body(one)
                    chained = one.next
                }
            }
        }
    }

    // MARK: Masks

    /// The stripes that must be locked, beside `held`, before commands on `keys` may serve whoever waits for them, and
    /// whoever waits for what those feed. The caller has locked `held`.
    func stripesToServe(_ keys: UnsafeBufferPointer<Key>, held: StripeSet) -> StripeSet {
        var needed = held
        var feeds = StripeSet()
        for key in keys where held.contains(key.stripeIndex) {
            var found = parts[key.stripeIndex].keys.isEmpty ? nil : parts[key.stripeIndex].keys[key.hash]
            while let one = found {
                needed.formUnion(one.stripes)
                feeds.formUnion(one.feeds)
                found = one.next
            }
        }
        // Chains: what is fed may be waited for in its turn. Only what is locked can be looked at: the caller locks the
        // rest and asks again.
        var visited = StripeSet()
        while true {
            let next = StripeSet(mask: feeds.mask & ~visited.mask & held.mask)
            guard !next.isEmpty else { break }
            visited.formUnion(next)
            next.forEach { index in
                needed.formUnion(parts[index].stripes)
                feeds.formUnion(parts[index].feeds)
            }
        }
        needed.formUnion(feeds)
        return needed
    }

    // MARK: Entering and removing

    /// What a key that nobody waited for before may take here, its bytes aside.
    private static let keyByteCount = 256

    /// Puts a waiter behind all others at each of its keys. Its stripes are locked.
    func register(_ waiter: Waiter) throws(CommandError) {
        assert(!waiter.isRegistered)
        // The dictionaries cannot refuse.
        guard mayAllocate(byteCount: waiter.awaited.count * Self.keyByteCount) else { throw .outOfMemory }
        for index in waiter.awaited {
            guard let key = findOrMake(waiter.keys[index], databaseIndex: waiter.databaseIndex) else {
                removeNodes(of: waiter)
                throw .outOfMemory
            }
            // Named twice: it would be its own predecessor.
            if let last = key.last, last.pointee.waiter.toOpaque() == Unmanaged.passUnretained(waiter).toOpaque() {
                continue
            }
            let node = waiter.nodes + waiter.nodeCount
            node.initialize(to: WaitNode(
                waiter: Unmanaged.passUnretained(waiter), key: Unmanaged.passUnretained(key), previous: nil, next: nil))
            waiter.nodeCount += 1
            key.append(node)
            key.stripes.formUnion(waiter.stripes)
            key.feeds.formUnion(waiter.feeds)
            if waiter.isForRemovalToo {
                if key.removalWaiterCount == 0 { removalKeyCount.add(1, ordering: .relaxed) }
                key.removalWaiterCount += 1
            }
            let stripe = waiter.keys[index].stripeIndex
            parts[stripe].stripes.formUnion(waiter.stripes)
            parts[stripe].feeds.formUnion(waiter.feeds)
        }
        _ = Unmanaged.passRetained(waiter)
        waiter.isRegistered = true
        interest.addWaiter()
        blockedCount.add(1, ordering: .relaxed)
        if waiter.deadlineNanoseconds != .max { timedCount.add(1, ordering: .relaxed) }
    }

    /// Forgets a waiter, if it is there. Its stripes are locked.
    func unregister(_ waiter: Waiter) {
        guard waiter.isRegistered else { return }
        waiter.isRegistered = false
        interest.removeWaiter()
        removeNodes(of: waiter)
        Unmanaged.passUnretained(waiter).release()
    }

    func noteEnd(isTimed: Bool) {
        blockedCount.subtract(1, ordering: .relaxed)
        if isTimed { timedCount.subtract(1, ordering: .relaxed) }
    }

    private func findOrMake(_ key: Key, databaseIndex: Int) -> WaitingKey? {
        if let found = find(key, databaseIndex: databaseIndex) { return found }
        guard let made = WaitingKey(key, databaseIndex: databaseIndex) else { return nil }
        keyCount.add(1, ordering: .relaxed)
        made.next = parts[key.stripeIndex].keys.updateValue(made, forKey: key.hash)
        return made
    }

    private func removeNodes(of waiter: Waiter) {
        for index in 0..<waiter.nodeCount {
            let node = waiter.nodes + index
            let key = node.pointee.key.takeUnretainedValue()
            key.remove(node)
            if waiter.isForRemovalToo {
                key.removalWaiterCount -= 1
                if key.removalWaiterCount == 0 { removalKeyCount.subtract(1, ordering: .relaxed) }
            }
            if key.first == nil { remove(key) }
        }
        waiter.nodeCount = 0
    }

    private func remove(_ key: WaitingKey) {
        let index = key.key.stripeIndex
        guard let first = parts[index].keys[key.hash] else { return }
        if first === key {
            parts[index].keys[key.hash] = key.next
        } else {
            var before = first
            while let next = before.next, next !== key { before = next }
            before.next = key.next
        }
        key.next = nil
        keyCount.subtract(1, ordering: .relaxed)
        guard parts[index].keys.isEmpty else { return }
        parts[index] = Part()
    }
}
