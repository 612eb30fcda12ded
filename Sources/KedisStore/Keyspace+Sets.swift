// Sets that are changed: added to, removed from, popped from, made as the result of others.
//
// A set within the limits lies in its cell (SmallSet.swift), a larger one in a table, from which it does not come back.
// An empty set is no set: its key goes with the last member.

package import KedisUtilities

/// A set that is being changed: valid while its stripe is locked, and until the keyspace is changed otherwise.
package struct SetEditor {
    private var target: CellBytes
    private let limits: SetLimits
    private let nowMilliseconds: Int64
    /// The last member was removed, and the key with it: the editor must not be used any more.
    package private(set) var isGone = false

    @inline(__always)
    fileprivate init(_ target: CellBytes, _ limits: SetLimits, nowMilliseconds: Int64) {
        self.target = target
        self.limits = limits
        self.nowMilliseconds = nowMilliseconds
    }

    package var value: SetValue { SetValue(target.cell, nowMilliseconds: nowMilliseconds) }

    // MARK: Adding

    /// Adds a member, which must not lie in the set's own memory; false when it is one already. O(1); in the cell
    /// O(members).
    @inline(__always)
    package mutating func add(_ member: ByteView) throws(StoreError) -> Bool {
        if let table = self.table { return try add(member, to: table) }
        switch SmallSet.add(packedValue(member), to: &target, limits) {
        case .done: return true
        case .unchanged: return false
        case .outOfMemory: throw .outOfMemory
        case .full:
            try moveToTable()
            guard let table = self.table else { return false }
            return try add(member, to: table)
        }
    }

    private func add(_ member: ByteView, to table: SetTable) throws(StoreError) -> Bool {
        let before = table.allocatedByteCount
        defer { noteChange(of: table, from: before) }
        guard let isNew = table.add(member, hash: table.hash(of: member)) else { throw .outOfMemory }
        return isNew
    }

    /// Sets or clears (``noDeadline``) the deadline of a member that is there. O(1), unless the set has to leave its
    /// cell.
    package mutating func setDeadline(_ member: ByteView, _ deadlineMilliseconds: Int64) throws(StoreError) {
        if self.table == nil {
            guard deadlineMilliseconds != noDeadline else { return }
            try moveToTable()
        }
        guard let table = self.table else { return }
        let (before, earliest) = (table.allocatedByteCount, table.earliestDeadline)
        defer { noteChange(of: table, from: before) }
        guard table.setDeadline(member, deadlineMilliseconds) else { throw .outOfMemory }
        guard deadlineMilliseconds != noDeadline else { return }
        target.noteMemberDeadline(deadlineMilliseconds, before: earliest, nowMilliseconds: nowMilliseconds)
    }

    private mutating func moveToTable() throws(StoreError) {
        let made = SetTable.make(seed: target.seed, from: target.source, nowMilliseconds: nowMilliseconds)
        guard let table = made else { throw .outOfMemory }
        guard table.addAll(of: value), target.moveOutside(table.collection, .hashTable) else {
            table.collection.release()
            throw .outOfMemory
        }
    }

    // MARK: Removing

    /// Removes a member, the key with the last of them; false when it is none. O(1); in the cell O(members).
    @inline(__always)
    package mutating func remove(_ member: ByteView) throws(StoreError) -> Bool {
        if let table = self.table { return removeFromTable(member, table) }
        let (bytes, encoding) = (target.bytes, target.encoding)
        guard let found = SmallSet.find(packedValue(member), in: bytes, encoding) else { return false }
        try removeFromCell(found)
        return true
    }

    /// Removes any member, each being as likely, after `body` has seen it. O(1); in the cell O(members).
    @inline(__always)
    package mutating func pop(
        using generator: inout RandomGenerator, _ body: (StringValue) -> Void
    ) throws(StoreError) {
        if let table = self.table {
            let before = table.allocatedByteCount
            table.pop(using: &generator) { body(.bytes($0)) }
            endRemoval(from: table, before)
            return
        }
        let (bytes, encoding) = (target.bytes, target.encoding)
        let position = generator.next(below: SmallSet.count(bytes, encoding))
        let found = SmallSet.member(at: position, of: bytes, encoding)
        body(SmallSet.value(of: found, in: bytes, encoding))
        try removeFromCell(found)
    }

    private mutating func removeFromCell(_ found: SmallSetMember) throws(StoreError) {
        guard SmallSet.count(target.bytes, target.encoding) > 1 else { return removeKey() }
        guard SmallSet.remove(found, from: &target) else { throw .outOfMemory }
    }

    private mutating func removeFromTable(_ member: ByteView, _ table: SetTable) -> Bool {
        let before = table.allocatedByteCount
        guard table.remove(member, hash: table.hash(of: member)) else { return false }
        endRemoval(from: table, before)
        return true
    }

    private mutating func endRemoval(from table: SetTable, _ before: Int) {
        noteChange(of: table, from: before)
        if table.isEmpty { removeKey() }
    }

    private mutating func removeKey() {
        target.removeKey()
        isGone = true
    }

    // MARK: Table

    private var table: SetTable? {
        @inline(__always) get {
            target.cell.collection.map { SetTable($0, nowMilliseconds: nowMilliseconds) }
        }
    }

    @inline(__always)
    private func noteChange(of table: SetTable, from before: Int) {
        target.noteGrowth(table.allocatedByteCount - before)
        while let blob = table.takeRetired() { target.reclaim(blob) }
    }
}

extension Keyspace {
    /// Looks up the set at `key` for a change, and sets the access clock: `editor` is nil when there is none. False
    /// when the key has another type. O(1).
    ///
    /// Into the caller's variable: a returned editor would be copied, in larger pieces than it was written in, and such
    /// a copy waits until all that was stored before has left the store buffer.
    @inline(__always)
    package func editSet(_ key: Key, limits: SetLimits, _ editor: inout SetEditor?) -> Bool {
        switch editCell(key, .set) {
        case .none: editor = nil
        case .wrongType: return false
        case .cell(let target): editor = SetEditor(target, limits, nowMilliseconds: nowMilliseconds)
        }
        return true
    }

    /// Makes a set of one member; there is no such key. O(1).
    package func makeSet(_ key: Key, limits: SetLimits, member: ByteView) throws(StoreError) {
        let value = packedValue(member)
        guard let beginning = SmallSet.beginning(value, limits) else {
            let table = try makeTable()
            guard table.add(member, hash: table.hash(of: member)) == true else {
                table.collection.release()
                throw .outOfMemory
            }
            return try putSet(key, table, .clear)
        }
        let cell = try put(
            key, type: .set, valueFieldByteCount: beginning.byteCount, encoding: beginning.encoding, deadline: .clear)
        SmallSet.begin(value, beginning.encoding, at: cell.valueAddress)
    }

    /// Sets `key` to the set that was built, which is not empty, whatever was there. O(1); of a small set O(bytes).
    package func setSet(
        _ key: Key, to built: consuming SetBuilder, deadline: DeadlineUpdate
    ) throws(StoreError) {
        if let table = built.takeTable() { return try putSet(key, table, deadline) }
        let bytes = built.bytes
        let cell = try put(
            key, type: .set, valueFieldByteCount: bytes.count, encoding: built.encoding, deadline: deadline)
        cell.valueAddress.copyMemory(from: bytes.base, byteCount: bytes.count)
    }

    private func makeTable() throws(StoreError) -> SetTable {
        guard let table = SetTable.make(in: self) else { throw .outOfMemory }
        return table
    }

    /// Sets `key` to a table, which is released without memory for the key.
    private func putSet(_ key: Key, _ table: SetTable, _ deadline: DeadlineUpdate) throws(StoreError) {
        do throws(StoreError) {
            let cell = try put(
                key, type: .set, valueFieldByteCount: MemoryLayout<UInt>.size, encoding: .hashTable,
                deadline: deadline)
            cell.setCollection(table.collection)
            stripe(of: key).pointee.table(databaseIndex)?.pointee.noteOutside(1, byteCount: table.allocatedByteCount)
        } catch {
            table.collection.release()
            throw error
        }
    }
}
