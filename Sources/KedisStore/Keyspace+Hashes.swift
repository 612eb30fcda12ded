// Hashes that are changed: fields set and removed.
//
// A hash within the limits lies in its cell (SmallHash.swift), a larger one, or one with a field that has a deadline,
// in a table (MemberTable.swift), from which it does not come back. An empty hash is no hash: its key goes with the
// last field.

package import KedisUtilities

/// A hash that is being changed: valid while its stripe is locked, and until the keyspace is changed otherwise.
package struct HashEditor {
    private let keyspace: Keyspace
    private let key: Key
    private let limits: HashLimits
    private var target: CellBytes
    /// The last field was removed, and the key with it: the editor must not be used any more.
    package private(set) var isGone = false

    fileprivate init(
        _ keyspace: Keyspace, _ key: Key, _ table: UnsafeMutablePointer<Table>, _ place: Place, _ limits: HashLimits
    ) {
        self.keyspace = keyspace
        self.key = key
        self.limits = limits
        target = CellBytes(table, place)
    }

    package var value: HashValue { HashValue(target.cell, nowMilliseconds: keyspace.nowMilliseconds) }

    // MARK: Setting

    /// Sets a field, whose deadline goes unless it is kept or given; true when it is new. Field and value must not lie
    /// in the hash's own memory. O(1); in the cell O(fields).
    @inline(__always)
    package mutating func set(
        _ field: ByteView, _ value: ByteView, deadline: DeadlineUpdate = .clear
    ) throws(StoreError) -> Bool {
        if let table = self.table { return try set(field, value, deadline, in: table) }
        if case .set = deadline { return try setInNewTable(field, value, deadline) }
        guard limits.allow(field, value) else { return try setInNewTable(field, value, deadline) }
        guard let isNew = try setInCell(field, packedValue(value)) else {
            return try setInNewTable(field, value, deadline)
        }
        return isNew
    }

    /// Nil when the hash is too large for its cell.
    @inline(__always)
    private mutating func setInCell(_ field: ByteView, _ value: StringValue) throws(StoreError) -> Bool? {
        let hash = SmallHash(target.bytes)
        let valueByteCount = PackedEntry.byteCount(of: value)
        if let pair = hash.find(field) {
            let oldByteCount = PackedEntry.byteCount(at: pair.valueAddress)
            guard fits(growingBy: valueByteCount - oldByteCount) else { return nil }
            let offset = hash.offset(of: pair.valueAddress)
            PackedEntry.write(value, at: try splice(at: offset, removing: oldByteCount, inserting: valueByteCount))
            return false
        }
        let name = packedValue(field)
        let fieldByteCount = PackedEntry.byteCount(of: name)
        guard hash.fieldCount < limits.fieldCountMax, hash.list.count <= Int(UInt16.max) - 2,
            fits(growingBy: fieldByteCount + valueByteCount)
        else { return nil }
        let gap = try splice(
            at: hash.list.bytes.count, removing: 0, inserting: fieldByteCount + valueByteCount, countChange: 2)
        PackedEntry.write(name, at: gap)
        PackedEntry.write(value, at: gap + fieldByteCount)
        return true
    }

    @inline(__always)
    private func fits(growingBy byteCount: Int) -> Bool {
        target.bytes.count + byteCount <= CellHeader.inlineByteCountMax
    }

    @inline(__always)
    private mutating func splice(
        at offset: Int, removing removed: Int, inserting inserted: Int, countChange: Int = 0
    ) throws(StoreError) -> UnsafeMutableRawPointer {
        guard let gap = target.splice(at: offset, removing: removed, inserting: inserted) else { throw .outOfMemory }
        if countChange != 0 {
            let base = target.cell.valueAddress
            let count = Int(base.loadUnaligned(as: UInt16.self)) &+ countChange
            base.storeBytes(of: UInt16(truncatingIfNeeded: count), as: UInt16.self)
        }
        return gap
    }

    @inline(never)
    private mutating func setInNewTable(
        _ field: ByteView, _ value: ByteView, _ deadline: DeadlineUpdate
    ) throws(StoreError) -> Bool {
        // First the move: it gives the entry another cell.
        let table = try moveToTable()
        return try set(field, value, deadline, in: table)
    }

    @inline(__always)
    private func set(
        _ field: ByteView, _ value: ByteView, _ deadline: DeadlineUpdate, in table: MemberTable
    ) throws(StoreError) -> Bool {
        let (before, earliest) = (table.allocatedByteCount, table.earliestDeadline)
        defer { noteChange(of: table, from: before) }
        let hash = table.hash(field)
        var (milliseconds, wasDue) = (noDeadline, false)
        if case .set(let given) = deadline { milliseconds = given }
        if table.deadlineCount > 0, let old = table.find(field, hash), old.hasDeadline {
            wasDue = old.isDue(keyspace.nowMilliseconds)
            if case .keep = deadline, !wasDue { milliseconds = old.deadlineMilliseconds }
        }
        let change = table.set(field, hash, value: value, deadlineMilliseconds: milliseconds)
        if milliseconds != noDeadline { noteDeadline(milliseconds, before: earliest) }
        switch change {
        case .outOfMemory: throw .outOfMemory
        case .added: return true
        case .replaced: return wasDue
        }
    }

    /// Sets or clears (``noDeadline``) the deadline of a field that is there. O(1), unless the hash has to leave its
    /// cell.
    package mutating func setDeadline(_ field: ByteView, _ deadlineMilliseconds: Int64) throws(StoreError) {
        guard let table = self.table else {
            guard deadlineMilliseconds != noDeadline else { return }
            let table = try moveToTable()
            return try setDeadline(field, deadlineMilliseconds, in: table)
        }
        try setDeadline(field, deadlineMilliseconds, in: table)
    }

    private func setDeadline(
        _ field: ByteView, _ deadlineMilliseconds: Int64, in table: MemberTable
    ) throws(StoreError) {
        let (before, earliest) = (table.allocatedByteCount, table.earliestDeadline)
        defer { noteChange(of: table, from: before) }
        guard table.setDeadline(field, table.hash(field), deadlineMilliseconds) else { throw .outOfMemory }
        if deadlineMilliseconds != noDeadline { noteDeadline(deadlineMilliseconds, before: earliest) }
    }

    private func noteDeadline(_ deadlineMilliseconds: Int64, before: Int64) {
        keyspace.noteMemberDeadline(
            deadlineMilliseconds, before: before, of: target.cell, hash: key.hash, in: target.table)
    }

    private mutating func moveToTable() throws(StoreError) -> MemberTable {
        let made = MemberTable.make(
            isValued: true, seed: keyspace.handle.seed, from: keyspace.shared.pointee.source)
        guard let made else { throw .outOfMemory }
        var header = target.cell.header
        header.encoding = .hashTable
        header.valueFieldByteCount = MemoryLayout<UInt>.size
        guard made.addAll(of: SmallHash(target.bytes)),
            target.table.pointee.reshape(&target.place, to: header, keepingValue: false)
        else {
            made.release()
            throw .outOfMemory
        }
        target.cell.setCollection(Collection(made.address))
        target.table.pointee.noteOutside(1, byteCount: made.allocatedByteCount)
        return made
    }

    // MARK: Removing

    /// Removes a field, the key with the last of them; false when there is none. O(1); in the cell O(fields).
    @inline(__always)
    package mutating func remove(_ field: ByteView) throws(StoreError) -> Bool {
        if let table = self.table { return removeFromTable(field, table) }
        let hash = SmallHash(target.bytes)
        guard let pair = hash.find(field) else { return false }
        guard hash.fieldCount > 1 else {
            removeKey()
            return true
        }
        _ = try splice(
            at: hash.offset(of: pair.fieldAddress), removing: pair.end - pair.fieldAddress, inserting: 0,
            countChange: -2)
        return true
    }

    private mutating func removeFromTable(_ field: ByteView, _ table: MemberTable) -> Bool {
        let before = table.allocatedByteCount
        let hash = table.hash(field)
        let place = table.locate(field, hash)
        guard place.isFound else { return false }
        let wasThere = !table.element(place).isDue(keyspace.nowMilliseconds)
        table.remove(at: place, hash)
        noteChange(of: table, from: before)
        if table.count == 0 { removeKey() }
        return wasThere
    }

    private mutating func removeKey() {
        target.table.pointee.remove(target.place, hash: key.hash, to: keyspace.shared.pointee.reclaimer)
        isGone = true
    }

    // MARK: Table

    private var table: MemberTable? {
        @inline(__always) get { target.cell.collection.map { MemberTable($0.address) } }
    }

    @inline(__always)
    private func noteChange(of table: MemberTable, from before: Int) {
        let change = table.allocatedByteCount - before
        guard change != 0 else { return }
        target.table.pointee.noteOutside(0, byteCount: change)
        while let blob = table.takeRetired() { keyspace.shared.pointee.reclaimer.add(.blob(blob, discardedUpTo: 0)) }
    }
}

extension MemberTable {
    /// Adds the fields of a small hash; false when memory is exhausted.
    fileprivate func addAll(of hash: SmallHash) -> Bool {
        var isDone = true
        hash.forEach { pair in
            isDone = pair.field.withBytes { field in
                pair.value.withBytes { set(field, self.hash(field), value: $0) != .outOfMemory }
            }
            return isDone
        }
        return isDone
    }
}

/// What a lookup for a change of a hash finds.
package enum HashLookup {
    case none
    case wrongType
    case hash(HashEditor)
}

extension Keyspace {
    /// The hash at `key` for a change: sets the access clock. O(1).
    @inline(__always)
    package func editHash(_ key: Key, limits: HashLimits) -> HashLookup {
        let stripe = stripe(of: key)
        guard let table = stripe.pointee.table(databaseIndex), let place = table.pointee.find(key) else { return .none }
        guard isLive(place, hash: key.hash, in: table, of: stripe) else { return .none }
        touch(place.cell, in: stripe)
        guard place.cell.header.type == .hash else { return .wrongType }
        return .hash(HashEditor(self, key, table, place, limits))
    }

    /// Makes a hash of one field; there is no such key. O(bytes).
    package func makeHash(
        _ key: Key, limits: HashLimits, _ field: ByteView, _ value: ByteView, deadline: DeadlineUpdate = .clear
    ) throws(StoreError) {
        let (name, content) = (packedValue(field), packedValue(value))
        let fieldByteCount = PackedEntry.byteCount(of: name)
        let byteCount = PackedList.countByteCount + fieldByteCount + PackedEntry.byteCount(of: content)
        var isSmall = limits.allow(field, value) && limits.fieldCountMax > 0
        if case .set = deadline { isSmall = false }
        guard isSmall, byteCount <= CellHeader.inlineByteCountMax else {
            return try makeTable(key, limits, field, value, deadline)
        }
        let cell = try put(key, type: .hash, valueFieldByteCount: byteCount, encoding: .listpack, deadline: .clear)
        let base = cell.valueAddress
        base.storeBytes(of: 2, as: UInt16.self)
        PackedEntry.write(name, at: base + PackedList.countByteCount)
        PackedEntry.write(content, at: base + PackedList.countByteCount + fieldByteCount)
    }

    private func makeTable(
        _ key: Key, _ limits: HashLimits, _ field: ByteView, _ value: ByteView, _ deadline: DeadlineUpdate
    ) throws(StoreError) {
        let cell = try put(
            key, type: .hash, valueFieldByteCount: PackedList.countByteCount, encoding: .listpack, deadline: .clear)
        cell.valueAddress.storeBytes(of: 0, as: UInt16.self)
        do throws(StoreError) {
            guard case .hash(var editor) = editHash(key, limits: HashLimits(fieldCountMax: 0, byteCountMax: 0)) else {
                return
            }
            _ = try editor.set(field, value, deadline: deadline)
        } catch {
            _ = remove(key)
            throw error
        }
    }

    /// Makes a hash of a run of packed entries, field and value in turn, well-formed and no field twice, if it can be
    /// one as it is; false when it has to be made field by field. There is no such key. O(bytes).
    package func makeHash(
        _ key: Key, limits: HashLimits, run: ByteView, count: Int
    ) throws(StoreError) -> Bool {
        guard count > 0, count % 2 == 0, SmallHash.isSound(run, count: count, limits: limits) else { return false }
        let cell = try put(
            key, type: .hash, valueFieldByteCount: PackedList.countByteCount + run.count, encoding: .listpack,
            deadline: .clear)
        cell.valueAddress.storeBytes(of: UInt16(truncatingIfNeeded: count), as: UInt16.self)
        (cell.valueAddress + PackedList.countByteCount).copyMemory(from: run.base, byteCount: run.count)
        return true
    }
}
