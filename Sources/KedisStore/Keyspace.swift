// The keyspace: one database as a handler sees it, for the length of one batch.
//
// Borrowed views go in, borrowed views come out; no value is copied into an array or a string. A function that takes a
// `Key` needs the lock of its stripe; functions on the whole keyspace lock one stripe at a time by themselves, except
// for the stripes that are held already. An expired key is removed when it is met, so nobody sees it.

import CKedis
package import KedisUtilities

package struct Keyspace {
    // First, so that the size is one of whole words: copied with a part of a word at its end, a word before that end
    // is written twice, and reading it waits until all that was written before has left the store buffer.
    /// Reads leave the access clock alone (CLIENT NO-TOUCH).
    package var leavesAccessClock = false
    /// What is due is nobody's to see, but stays where it is: for commands that only read, while clients are paused.
    package var keepsDueKeys = false
    /// Neither misses nor new keys are reported to observers.
    package var isQuiet = false
    let handle: StoreHandle
    package let databaseIndex: Int
    /// The time of the batch, in milliseconds since 1970: deadlines are compared with it.
    package let nowMilliseconds: Int64
    /// The stripes that the caller has locked.
    package let held: StripeSet

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
        other.keepsDueKeys = keepsDueKeys
        other.isQuiet = isQuiet
        return other
    }

    package func key(_ bytes: ByteView) -> Key { Key(bytes, seed: handle.seed) }

    /// See ``StoreHandle/prefetch(_:databaseIndex:)``.
    package func prefetch(_ keys: UnsafeBufferPointer<Key>) { handle.prefetch(keys, databaseIndex: databaseIndex) }

    var stripes: UnsafeMutablePointer<Stripe> { handle.stripes }

    var shared: UnsafeMutablePointer<StoreShared> { handle.shared }

    /// The store itself, for paths that are not hot.
    var store: Store { handle.owner.takeUnretainedValue() }

    /// Counts changes to the data, in a stripe that is locked or, for `.all`, any. Mutating so that the keyspace is not
    /// copied for the call.
    package mutating func noteChanges(_ count: Int, stripeIndex: Int) {
        assert(held.contains(stripeIndex))
        stripes[stripeIndex].statistics.changes &+= UInt64(truncatingIfNeeded: count)
    }

    @inline(__always)
    func stripe(of key: Key) -> UnsafeMutablePointer<Stripe> {
        let stripe = stripes + key.stripeIndex
        assert(held.contains(key.stripeIndex), "a key was used without the lock of its stripe")
        return stripe
    }

    func stripe(of entry: Entry) -> UnsafeMutablePointer<Stripe> {
        stripes + Int(truncatingIfNeeded: entry.hash >> 58)
    }

    /// Reports a key that was made quietly.
    @inline(__always)
    package func reportCreated(_ key: Key) {
        if shared.pointee.reportsCreated, !isQuiet { store.note(.created, databaseIndex, key.bytes) }
    }

    // MARK: Lookup

    /// The entry of `key` for a read: counts a hit or a miss and sets the access clock. O(1).
    package func read(_ key: Key) -> Entry? {
        let stripe = stripe(of: key)
        guard let entry = find(key, in: stripe) else {
            stripe.pointee.statistics.misses &+= 1
            if shared.pointee.reportsMissed, !isQuiet { store.note(.missed, databaseIndex, key.bytes) }
            return nil
        }
        stripe.pointee.statistics.hits &+= 1
        if !leavesAccessClock { touch(entry.cell, in: stripe) }
        return entry
    }

    /// The entry of `key` for a write: sets the access clock, counts nothing. O(1).
    package func write(_ key: Key) -> Entry? {
        let stripe = stripe(of: key)
        guard let entry = find(key, in: stripe, isForWrite: true) else { return nil }
        touch(entry.cell, in: stripe)
        return entry
    }

    /// The entry of `key`, without any trace (OBJECT, EXPLAIN). O(1).
    package func peek(_ key: Key) -> Entry? {
        find(key, in: stripe(of: key))
    }

    @inline(__always)
    private func find(
        _ key: Key, in stripe: UnsafeMutablePointer<Stripe>, isForChange: Bool = false, isForWrite: Bool = false
    ) -> Entry? {
        guard let table = stripe.pointee.table(databaseIndex), let place = table.pointee.find(key) else { return nil }
        guard isLive(place, hash: key.hash, in: table, of: stripe, isForChange: isForChange) else { return nil }
        if isForWrite { table.pointee.preserve(place.cell, hash: key.hash) }
        return Entry(cell: place.cell, hash: key.hash)
    }

    /// Whether a key is there, with members of it that were due removed, some if there are many. O(1).
    package func isThereAfterExpiry(_ key: Key) -> Bool {
        find(key, in: stripe(of: key), isForChange: true) != nil
    }

    /// What a lookup for a change finds.
    enum CellLookup {
        case none
        case wrongType
        case cell(CellBytes)
    }

    /// The cell of `key` for a change of a value of `type`: sets the access clock, counts nothing. O(1).
    @inline(__always)
    func editCell(_ key: Key, _ type: ValueType) -> CellLookup {
        let stripe = stripe(of: key)
        guard let table = stripe.pointee.table(databaseIndex), let place = table.pointee.find(key),
            isLive(place, hash: key.hash, in: table, of: stripe, isForChange: true)
        else { return .none }
        table.pointee.preserve(place.cell, hash: key.hash)
        touch(place.cell, in: stripe)
        guard place.cell.header.hasType(type) else { return .wrongType }
        return .cell(CellBytes(self, key, table, place))
    }

    /// The same of a key whose type is known, without a trace; nil when it is not there.
    @inline(__always)
    func cellToEdit(_ key: Key, _ type: ValueType) -> CellBytes? {
        guard let table = stripe(of: key).pointee.table(databaseIndex), let place = table.pointee.find(key) else {
            return nil
        }
        assert(place.cell.header.type == type)
        table.pointee.preserve(place.cell, hash: key.hash)
        return CellBytes(self, key, table, place)
    }

    // MARK: Access clock

    /// Marks an entry as just used.
    package func touch(_ entry: Entry) { touch(entry.cell, in: stripe(of: entry)) }

    @inline(__always)
    func touch(_ cell: Cell, in stripe: UnsafeMutablePointer<Stripe>) {
        guard !shared.pointee.countsFrequency else { return touchFrequencySlowly(cell, stripe) }
        let clock = AccessClock.seconds(nowMilliseconds: nowMilliseconds)
        let before = cell.header
        var after = before
        after.accessClock = clock
        // Within a second the line stays clean. Without a branch, because of a busy store's keys about half were used
        // in this second, and whoever guesses wrong throws away what was begun of the commands behind this one.
        var aside: UInt64 = 0
        kedis_store_unless(before.bits == after.bits, after.bits, cell.address, &aside)
    }

    @inline(never)
    private func touchFrequencySlowly(_ cell: Cell, _ stripe: UnsafeMutablePointer<Stripe>) {
        cell.header.accessClock = AccessClock.used(
            cell.header.accessClock, tracking: shared.pointee.tracking, nowMilliseconds: nowMilliseconds,
            using: &stripe.pointee.generator)
    }

    /// The clock of a key that is made now.
    @inline(__always)
    var newAccessClock: UInt32 {
        shared.pointee.countsFrequency
            ? AccessClock.startOfFrequency(nowMilliseconds: nowMilliseconds)
            : AccessClock.seconds(nowMilliseconds: nowMilliseconds)
    }

    /// Sets how long ago or how often an entry was used, whichever the store notes; nil is as of a new key (RESTORE).
    package func setAccess(_ entry: Entry, idleSeconds: Int64?, frequency: UInt8?) {
        if shared.pointee.countsFrequency {
            entry.cell.header.accessClock =
                frequency.map { AccessClock.frequent($0, nowMilliseconds: nowMilliseconds) } ?? newAccessClock
        } else {
            entry.cell.header.accessClock = AccessClock.idle(idleSeconds ?? 0, nowMilliseconds: nowMilliseconds)
        }
    }

    /// The access counter of an entry, 0 to 255 on a logarithmic scale, decayed to now. Means something while the store
    /// counts frequencies.
    package func accessFrequency(_ entry: Entry) -> Int {
        let decayMinutes = UInt32(clamping: shared.pointee.tracking.decayMinutes)
        return Int(
            AccessClock.frequency(
                entry.cell.header.accessClock, decayMinutes: decayMinutes, nowMilliseconds: nowMilliseconds))
    }

    // MARK: Removal

    /// Removes `key`; false when it is not there (or was due). O(1): a big value is freed in the background.
    package func remove(_ key: Key) -> Bool {
        let stripe = stripe(of: key)
        guard let table = stripe.pointee.table(databaseIndex), let place = table.pointee.find(key) else {
            return false
        }
        guard isLive(place, hash: key.hash, in: table, of: stripe) else { return false }
        table.pointee.remove(place, hash: key.hash, to: shared.pointee.reclaimer)
        return true
    }

    // MARK: Deadlines

    /// Sets or clears (``noDeadline``) the deadline of an entry that is there, whose views are invalid afterwards. O(1)
    /// plus copying the cell when it gets or loses its deadline.
    package func setDeadline(_ entry: Entry, _ deadlineMilliseconds: Int64) throws(StoreError) {
        let stripe = stripe(of: entry)
        guard let table = stripe.pointee.table(databaseIndex), var place = table.pointee.place(of: entry) else {
            return
        }
        try setDeadline(&place, hash: entry.hash, deadlineMilliseconds, in: table, of: stripe)
    }

    func setDeadline(
        _ place: inout Place, hash: UInt64, _ deadlineMilliseconds: Int64, in table: UnsafeMutablePointer<Table>,
        of stripe: UnsafeMutablePointer<Stripe>
    ) throws(StoreError) {
        let before = place.cell.deadlineMilliseconds
        guard before != deadlineMilliseconds else { return }
        table.pointee.preserve(place.cell, hash: hash)
        var header = place.cell.header
        if header.hasDeadline != (deadlineMilliseconds != noDeadline) {
            header.hasDeadline.toggle()
            guard table.pointee.reshape(&place, to: header, keepingValue: true) else { throw .outOfMemory }
        }
        guard deadlineMilliseconds != noDeadline else { return }
        place.cell.deadlineMilliseconds = deadlineMilliseconds
        noteDeadline(deadlineMilliseconds, before: before, hash: hash, in: table, of: stripe)
    }

    /// Enters the deadline of a key into the wheel, where no earlier entry will look anyway.
    @inline(__always)
    func noteDeadline(
        _ deadlineMilliseconds: Int64, before: Int64, hash: UInt64, in table: UnsafeMutablePointer<Table>,
        of stripe: UnsafeMutablePointer<Stripe>
    ) {
        guard before == noDeadline || deadlineMilliseconds < before else { return }
        table.pointee.schedule(
            deadlineMilliseconds, fingerprint: Table.fingerprint(of: hash), nowMilliseconds: nowMilliseconds)
        stripe.pointee.noteDeadline(table.pointee.expiry.nextDueMilliseconds)
    }
}
