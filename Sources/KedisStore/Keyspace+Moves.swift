// Entries that change their key or their database: RENAME, COPY, MOVE, SWAPDB, FLUSHDB.
//
// A value outside of the arena is passed on or shared, whatever its size. Whole-database changes need the locks of all
// stripes, so that nobody sees half of them.

import KedisUtilities

extension Keyspace {
    /// Puts the value and deadline of `source` under `destination`, replacing what was there; false when there is no
    /// source. Both stripes are locked. O(1) plus copying the key and a value in its cell.
    package func rename(_ source: Key, to destination: Key) throws(StoreError) -> Bool {
        guard let entry = write(source) else { return false }
        if source.bytes.raw.elementsEqual(destination.bytes.raw) { return true }
        try duplicate(entry, as: destination, in: self, accessClock: entry.cell.header.accessClock, isMove: true)
        _ = remove(source)
        return true
    }

    /// Copies the value and deadline of `source` to `destination` in the database `target`; false when there is no
    /// source.
    /// What is at the destination is replaced: callers check first. Both stripes are locked. O(1) plus copying the key
    /// and a value in its cell.
    package func copy(_ source: Key, to destination: Key, in target: Keyspace) throws(StoreError) -> Bool {
        guard let entry = read(source) else { return false }
        // A copy is a new key.
        try duplicate(entry, as: destination, in: target, accessClock: newAccessClock, isMove: false)
        return true
    }

    /// Moves `key` to the database `target`, where it must not exist; false when it is not here. O(1).
    package func move(_ key: Key, to target: Keyspace) throws(StoreError) -> Bool {
        guard let entry = write(key) else { return false }
        try duplicate(entry, as: key, in: target, accessClock: entry.cell.header.accessClock, isMove: true)
        return remove(key)
    }

    /// - Parameter isMove: the entry itself goes afterwards, so that a collection outside of it is passed on.
    private func duplicate(
        _ entry: Entry, as key: Key, in target: Keyspace, accessClock: UInt32, isMove: Bool
    ) throws(StoreError) {
        let stripe = target.stripe(of: key)
        guard let table = stripe.pointee.tableForWriting(target.databaseIndex) else { throw .outOfMemory }
        guard let collection = entry.cell.collection else {
            _ = try target.insertDuplicate(of: entry, as: key, in: table, of: stripe, accessClock: accessClock)
            return
        }
        let passed = isMove ? collection : collection.copy()
        guard let passed else { throw .outOfMemory }
        do throws(StoreError) {
            let cell = try target.insertDuplicate(
                of: entry, as: key, in: table, of: stripe, accessClock: accessClock)
            cell.setCollection(passed)
            table.pointee.noteOutside(1, byteCount: passed.allocatedByteCount)
            if passed.earliestMemberDeadline < .max {
                stripe.pointee.noteMemberDeadline(
                    passed.earliestMemberDeadline, before: .max, of: cell, hash: key.hash, in: table,
                    nowMilliseconds: target.nowMilliseconds)
            }
        } catch {
            if !isMove { passed.release() }
            throw error
        }
        guard isMove else { return }
        entry.cell.header.isValueOutside = false
        self.stripe(of: entry).pointee.table(databaseIndex)?.pointee
            .noteOutside(-1, byteCount: -passed.allocatedByteCount)
    }

    /// The cell of a new entry that shares the value of `entry`. For a collection outside it is an empty field.
    private func insertDuplicate(
        of entry: Entry, as key: Key, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>,
        accessClock: UInt32
    ) throws(StoreError) -> Cell {
        let header = entry.cell.header
        // A key that is due there expires first, and its slot is free.
        let replaced = peek(key) != nil ? table.pointee.find(key) : nil
        guard
            let made = table.pointee.makeCell(
                key: key.bytes, type: header.type, encoding: header.encoding,
                valueFieldByteCount: header.valueFieldByteCount,
                isValueOutside: header.isValueOutside && header.type == .string, hasDeadline: header.hasDeadline,
                accessClock: accessClock)
        else { throw .outOfMemory }
        made.cell.valueAddress.copyMemory(
            from: entry.cell.valueAddress, byteCount: header.valueFieldByteCount)
        let deadline = entry.deadlineMilliseconds
        if deadline != noDeadline { made.cell.deadlineMilliseconds = deadline }
        if let blob = made.cell.valueBlob {
            blob.retain()
            table.pointee.noteBlob(blob.allocatedByteCount)
        }
        if let replaced {
            table.pointee.preserve(replaced.cell, hash: key.hash)
            table.pointee.noteBirth(made.cell, hash: key.hash)
            let old = replaced.reference
            replaced.bucket.setReference(replaced.slot, made.reference)
            table.pointee.discard(old, to: shared.pointee.reclaimer)
        } else if !table.pointee.insert(made.reference, hash: key.hash) {
            table.pointee.discard(made.reference, to: shared.pointee.reclaimer)
            throw .outOfMemory
        }
        // One that replaces another is new too.
        reportCreated(key)
        if deadline != noDeadline {
            noteDeadline(deadline, before: noDeadline, hash: key.hash, in: table, of: stripe)
        }
        return made.cell
    }

    /// Tables that may wait to be freed: two flushes of everything, or a thousand.
    private var pendingCountMax: Int { max(1000, 2 * Store.stripeCount * handle.databaseCount) }
    /// More than a table with one key needs.
    private static let helpCount = 8

    /// Removes every key of this database and returns how many there were. All stripes are locked. O(stripes): the
    /// memory is given back in the background, and not counted as used any more.
    package func removeAll() -> Int {
        assert(held == .all)
        var removed = 0
        for index in 0..<Store.stripeCount {
            guard let detached = stripes[index].detachTable(databaseIndex) else { continue }
            removed += detached.table.pointee.count
            if let snapshot = shared.pointee.snapshot, snapshot._withUnsafeGuaranteedRef({ $0.adopt(detached) }) {
                continue
            }
            shared.pointee.reclaimer.add(.table(detached))
            // Who flushes faster than the background frees does a part of that work.
            for _ in 0..<Keyspace.helpCount where shared.pointee.reclaimer.pendingCount > pendingCountMax {
                store.reclaimSome(held: held)
            }
        }
        return removed
    }

    /// Exchanges the contents of two databases. All stripes are locked. O(stripes).
    package func swapDatabases(_ first: Int, _ second: Int) {
        assert(held == .all)
        for index in 0..<Store.stripeCount { stripes[index].swapTables(first, second) }
    }
}
