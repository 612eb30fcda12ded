// Entries that change their key or their database: RENAME, COPY, MOVE, SWAPDB, FLUSHDB.
//
// Whole-database changes need the locks of all stripes, so that nobody sees half of them.

import KedisUtilities

extension Keyspace {
    /// Puts the value and deadline of `source` under `destination`, replacing what was there; false when there is no
    /// source. Both stripes are locked. O(1) plus copying the key and the value's cell.
    package func rename(_ source: Key, to destination: Key) throws(StoreError) -> Bool {
        guard let entry = write(source) else { return false }
        if source.bytes.raw.elementsEqual(destination.bytes.raw) { return true }
        try duplicate(entry, as: destination, in: self)
        _ = remove(source)
        return true
    }

    /// Copies the value and deadline of `source` to `destination` in the database `target`; false when there is no
    /// source.
    /// What is at the destination is replaced: callers check first. Both stripes are locked. O(size of the value).
    package func copy(_ source: Key, to destination: Key, in target: Keyspace) throws(StoreError) -> Bool {
        guard let entry = read(source) else { return false }
        try duplicate(entry, as: destination, in: target)
        return true
    }

    /// Moves `key` to the database `target`, where it must not exist; false when it is not here. O(1).
    package func move(_ key: Key, to target: Keyspace) throws(StoreError) -> Bool {
        guard let entry = write(key) else { return false }
        try duplicate(entry, as: key, in: target)
        return remove(key)
    }

    private func duplicate(_ entry: Entry, as key: Key, in target: Keyspace) throws(StoreError) {
        let encoding = entry.encoding
        let byteCount = entry.storedValueByteCount
        guard let cell = Cell.make(key: key.bytes, valueByteCount: byteCount, type: entry.type, encoding: encoding)
        else {
            throw .outOfMemory
        }
        cell.valueAddress.copyMemory(from: entry.cell.valueAddress, byteCount: byteCount)
        cell.header.pointee.accessedSeconds = entry.cell.header.pointee.accessedSeconds
        cell.header.pointee.deadlineMilliseconds = entry.deadlineMilliseconds
        let stripe = target.stripe(of: key)
        let table = stripe.pointee.tableForWriting(target.databaseIndex)
        if target.peek(key) != nil, let index = table.pointee.find(key) {
            table.pointee.replace(at: index, with: cell)
        } else if !table.pointee.insert(cell, hash: key.hash) {
            cell.deallocate()
            throw .outOfMemory
        }
        if cell.header.pointee.deadlineMilliseconds != noDeadline {
            target.enqueue(cell.header.pointee.deadlineMilliseconds, hash: key.hash, in: table, of: stripe)
        }
    }

    /// Removes every key of this database and returns how many there were. All stripes are locked. O(n).
    package func removeAll() -> Int {
        assert(held == .all)
        var removed = 0
        for index in 0..<Store.stripeCount {
            guard let detached = stripes[index].detachTable(databaseIndex) else { continue }
            removed += detached.table.pointee.count
        }
        return removed
    }

    /// Exchanges the contents of two databases. All stripes are locked. O(stripes).
    package func swapDatabases(_ first: Int, _ second: Int) {
        assert(held == .all)
        for index in 0..<Store.stripeCount { stripes[index].swapTables(first, second) }
    }
}
