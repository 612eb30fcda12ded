// The keyspace: one database as a handler sees it, for the length of one batch.
//
// Borrowed views go in, borrowed views come out; no value is copied into an array or a string. A function that takes a
// `Key` needs the lock of its stripe; functions on the whole keyspace lock one stripe at a time by themselves, except
// for the stripes that are held already. An expired key is removed when it is met, so nobody sees it.

package import KedisUtilities

package struct Keyspace {
    let handle: StoreHandle
    package let databaseIndex: Int
    /// The time of the batch, in milliseconds since 1970: deadlines are compared with it.
    package let nowMilliseconds: Int64
    /// The stripes that the caller has locked.
    package let held: StripeSet
    /// Reads leave the access clock alone (CLIENT NO-TOUCH).
    package var leavesAccessClock = false

    init(handle: StoreHandle, databaseIndex: Int, nowMilliseconds: Int64, held: StripeSet) {
        self.handle = handle
        self.databaseIndex = databaseIndex
        self.nowMilliseconds = nowMilliseconds
        self.held = held
    }

    /// The same handle on another database.
    package func selecting(_ databaseIndex: Int) -> Keyspace {
        var other = handle.keyspace(databaseIndex, nowMilliseconds: nowMilliseconds, held: held)
        other.leavesAccessClock = leavesAccessClock
        return other
    }

    package func key(_ bytes: ByteView) -> Key { Key(bytes, seed: handle.seed) }

    var stripes: UnsafeMutablePointer<Stripe> { handle.stripes }

    /// The store itself, for paths that are not hot.
    var store: Store { handle.owner.takeUnretainedValue() }

    /// Counts changes to the data, in a stripe that is locked or, for `.all`, any.
    package func noteChanges(_ count: Int, stripeIndex: Int) {
        assert(held.contains(stripeIndex))
        stripes[stripeIndex].statistics.changes &+= UInt64(truncatingIfNeeded: count)
    }

    @inline(__always)
    func stripe(of key: Key) -> UnsafeMutablePointer<Stripe> {
        let stripe = stripes + key.stripeIndex
        assert(held.contains(key.stripeIndex), "a key was used without the lock of its stripe")
        return stripe
    }

    // MARK: Lookup

    /// The entry of `key` for a read: counts a hit or a miss and sets the access clock. O(1).
    package func read(_ key: Key) -> Entry? {
        let stripe = stripe(of: key)
        guard let entry = find(key, in: stripe) else {
            stripe.pointee.statistics.misses &+= 1
            return nil
        }
        stripe.pointee.statistics.hits &+= 1
        if !leavesAccessClock { entry.touch(nowMilliseconds: nowMilliseconds) }
        return entry
    }

    /// The entry of `key` for a write: sets the access clock, counts nothing. O(1).
    package func write(_ key: Key) -> Entry? {
        let entry = find(key, in: stripe(of: key))
        entry?.touch(nowMilliseconds: nowMilliseconds)
        return entry
    }

    /// The entry of `key`, without any trace (OBJECT, EXPLAIN). O(1).
    package func peek(_ key: Key) -> Entry? {
        find(key, in: stripe(of: key))
    }

    @inline(__always)
    private func find(_ key: Key, in stripe: UnsafeMutablePointer<Stripe>) -> Entry? {
        guard let table = stripe.pointee.table(databaseIndex), let index = table.pointee.find(key) else { return nil }
        let cell = table.pointee.cell(at: index)
        let deadline = cell.header.pointee.deadlineMilliseconds
        if deadline != noDeadline, deadline <= nowMilliseconds {
            expireSlowly(at: index, in: table, of: stripe)
            return nil
        }
        return Entry(cell: cell, hash: key.hash)
    }

    @inline(never)
    func expireSlowly(at index: Int, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>) {
        store.expiryObserver?(databaseIndex, table.pointee.cell(at: index).key)
        table.pointee.remove(at: index)
        stripe.pointee.statistics.expired &+= 1
        stripe.pointee.statistics.changes &+= 1
    }

    // MARK: Removal

    /// Removes `key`; false when it is not there (or was due). O(1) plus freeing the value.
    package func remove(_ key: Key) -> Bool {
        let stripe = stripe(of: key)
        guard find(key, in: stripe) != nil, let table = stripe.pointee.table(databaseIndex),
            let index = table.pointee.find(key)
        else { return false }
        table.pointee.remove(at: index)
        return true
    }

    // MARK: Deadlines

    /// Sets or clears (``noDeadline``) the deadline of an entry that is there. O(log n) in the number of deadlines.
    package func setDeadline(_ entry: Entry, _ deadlineMilliseconds: Int64) {
        let stripe = stripes + Int(truncatingIfNeeded: entry.hash >> 58)
        guard let table = stripe.pointee.table(databaseIndex) else { return }
        arm(entry.cell, hash: entry.hash, deadlineMilliseconds, in: table, of: stripe)
    }

    /// Stores the deadline in the cell of a key that is in the table and queues it where no earlier entry will look
    /// anyway.
    func arm(
        _ cell: Cell, hash: UInt64, _ deadlineMilliseconds: Int64, in table: UnsafeMutablePointer<Table>,
        of stripe: UnsafeMutablePointer<Stripe>
    ) {
        let before = cell.header.pointee.deadlineMilliseconds
        guard before != deadlineMilliseconds else { return }
        cell.header.pointee.deadlineMilliseconds = deadlineMilliseconds
        if before == noDeadline { table.pointee.deadlineCount += 1 }
        if deadlineMilliseconds == noDeadline {
            table.pointee.deadlineCount -= 1
            return
        }
        if before == noDeadline || deadlineMilliseconds < before {
            enqueue(deadlineMilliseconds, hash: hash, in: table, of: stripe)
        }
    }

    func enqueue(
        _ deadlineMilliseconds: Int64, hash: UInt64, in table: UnsafeMutablePointer<Table>,
        of stripe: UnsafeMutablePointer<Stripe>
    ) {
        // Without memory for the queue the key still expires when it is met.
        _ = table.pointee.expiryQueue.push(deadlineMilliseconds: deadlineMilliseconds, hash: hash)
        stripe.pointee.noteDeadline(deadlineMilliseconds)
        if table.pointee.expiryQueue.count > 2 * table.pointee.deadlineCount + 64 {
            table.pointee.rebuildExpiryQueueSlowly()
        }
    }
}

extension Table {
    /// Drops stale entries: queues exactly the deadlines that are in the table.
    @inline(never)
    mutating func rebuildExpiryQueueSlowly() {
        expiryQueue.removeAll()
        for index in 0..<slotCount {
            guard let address = slots.unsafelyUnwrapped[index].cell else { continue }
            let deadline = Cell(address).header.pointee.deadlineMilliseconds
            guard deadline != noDeadline else { continue }
            _ = expiryQueue.push(deadlineMilliseconds: deadline, hash: slots.unsafelyUnwrapped[index].hash)
        }
    }
}
