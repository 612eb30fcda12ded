// Hashes that are changed: fields set and removed.
//
// A hash within the limits lies in its cell (SmallHash.swift), a larger one, or one with a field that has a deadline,
// in a table (MemberTable.swift), from which it does not come back. An empty hash is no hash: its key goes with the
// last field.

package import KedisUtilities

/// A hash that is being changed: valid while its stripe is locked, and until the keyspace is changed otherwise.
package struct HashEditor {
    private var target: CellBytes
    private let limits: HashLimits
    private let nowMilliseconds: Int64
    /// The last field was removed, and the key with it: the editor must not be used any more.
    package private(set) var isGone = false

    @inline(__always)
    fileprivate init(_ target: CellBytes, _ limits: HashLimits, nowMilliseconds: Int64) {
        self.target = target
        self.limits = limits
        self.nowMilliseconds = nowMilliseconds
    }

    package var value: HashValue { HashValue(target.cell, nowMilliseconds: nowMilliseconds) }

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
        let valueByteCount = PackedEntry.bareByteCount(of: value)
        if let pair = hash.find(field) {
            let oldByteCount = PackedEntry.bareByteCount(at: pair.valueAddress)
            guard fits(growingBy: valueByteCount - oldByteCount) else { return nil }
            let offset = hash.offset(of: pair.valueAddress)
            let gap = try target.splice(
                at: offset, removing: oldByteCount, inserting: valueByteCount, countChange: 0)
            PackedEntry.writeBare(value, at: gap)
            return false
        }
        let name = packedValue(field)
        let fieldByteCount = PackedEntry.bareByteCount(of: name)
        guard hash.fieldCount < limits.fieldCountMax, hash.entryCount <= Int(UInt16.max) - 2,
            fits(growingBy: fieldByteCount + valueByteCount)
        else { return nil }
        let gap = try target.splice(
            at: hash.bytes.count, removing: 0, inserting: fieldByteCount + valueByteCount, countChange: 2)
        PackedEntry.writeBare(name, at: gap)
        PackedEntry.writeBare(value, at: gap + fieldByteCount)
        return true
    }

    @inline(__always)
    private func fits(growingBy byteCount: Int) -> Bool {
        target.bytes.count + byteCount <= CellHeader.inlineByteCountMax
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
            wasDue = old.isDue(nowMilliseconds)
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
        target.noteMemberDeadline(deadlineMilliseconds, before: before, nowMilliseconds: nowMilliseconds)
    }

    private mutating func moveToTable() throws(StoreError) -> MemberTable {
        guard let made = MemberTable.make(isValued: true, seed: target.seed, from: target.source) else {
            throw .outOfMemory
        }
        guard made.addAll(of: SmallHash(target.bytes)), target.moveOutside(Collection(made.address), .hashTable) else {
            made.release()
            throw .outOfMemory
        }
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
        _ = try target.splice(
            at: hash.offset(of: pair.fieldAddress), removing: pair.end - pair.fieldAddress, inserting: 0,
            countChange: -2)
        return true
    }

    private mutating func removeFromTable(_ field: ByteView, _ table: MemberTable) -> Bool {
        let before = table.allocatedByteCount
        let place = table.locate(field, table.hash(field))
        guard place.isFound else { return false }
        let wasThere = !table.element(place).isDue(nowMilliseconds)
        table.remove(at: place)
        noteChange(of: table, from: before)
        if table.count == 0 { removeKey() }
        return wasThere
    }

    private mutating func removeKey() {
        target.removeKey()
        isGone = true
    }

    // MARK: Table

    private var table: MemberTable? {
        @inline(__always) get { target.cell.collection.map { MemberTable($0.address) } }
    }

    @inline(__always)
    private func noteChange(of table: MemberTable, from before: Int) {
        target.noteGrowth(table.allocatedByteCount - before)
        while let blob = table.takeRetired() { target.reclaim(blob) }
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

extension Keyspace {
    /// Looks up the hash at `key` for a change, and sets the access clock: `editor` is nil when there is none. False
    /// when the key has another type. O(1). Into the caller's variable: see ``editSet(_:limits:_:)``.
    @inline(__always)
    package func editHash(_ key: Key, limits: HashLimits, _ editor: inout HashEditor?) -> Bool {
        switch editCell(key, .hash) {
        case .none: editor = nil
        case .wrongType: return false
        case .cell(let target): editor = HashEditor(target, limits, nowMilliseconds: nowMilliseconds)
        }
        return true
    }

    /// Makes a hash of one field; there is no such key. O(bytes).
    package func makeHash(
        _ key: Key, limits: HashLimits, _ field: ByteView, _ value: ByteView, deadline: DeadlineUpdate = .clear
    ) throws(StoreError) {
        let (name, content) = (packedValue(field), packedValue(value))
        let fieldByteCount = PackedEntry.bareByteCount(of: name)
        let byteCount = SmallHash.countByteCount + fieldByteCount + PackedEntry.bareByteCount(of: content)
        var isSmall = limits.allow(field, value) && limits.fieldCountMax > 0
        if case .set = deadline { isSmall = false }
        guard isSmall, byteCount <= CellHeader.inlineByteCountMax else {
            return try makeTable(key, limits, field, value, deadline)
        }
        let cell = try put(key, type: .hash, valueFieldByteCount: byteCount, encoding: .listpack, deadline: .clear)
        let base = cell.valueAddress
        base.storeBytes(of: 2, as: UInt16.self)
        PackedEntry.writeBare(name, at: base + SmallHash.countByteCount)
        PackedEntry.writeBare(content, at: base + SmallHash.countByteCount + fieldByteCount)
    }

    /// Makes a hash of several fields in a cell of its final size: growing field by field would leave a hole in each
    /// size class on the way. Returns how many of them it has: those before one that comes again, or 0, and nothing
    /// done, when it is too large for its cell. There is no such key. O(bytes · fields).
    package func makeHash(
        _ key: Key, limits: HashLimits, fieldCount: Int, _ pair: (Int) -> (field: ByteView, value: ByteView)
    ) throws(StoreError) -> Int {
        guard fieldCount <= min(limits.fieldCountMax, Int(UInt16.max) / 2) else { return 0 }
        var byteCount = SmallHash.countByteCount
        for index in 0..<fieldCount {
            let (field, value) = pair(index)
            guard limits.allow(field, value) else { return 0 }
            byteCount += PackedEntry.bareByteCount(of: packedValue(field))
            byteCount += PackedEntry.bareByteCount(of: packedValue(value))
        }
        guard byteCount <= CellHeader.inlineByteCountMax else { return 0 }
        let cell = try put(key, type: .hash, valueFieldByteCount: byteCount, encoding: .listpack, deadline: .clear)
        let base = cell.valueAddress
        base.storeBytes(of: UInt16(truncatingIfNeeded: 2 * fieldCount), as: UInt16.self)
        var end = base + SmallHash.countByteCount
        for index in 0..<fieldCount {
            let (field, value) = pair(index)
            let written = ByteView(base: base.assumingMemoryBound(to: UInt8.self), count: end - base)
            guard SmallHash(written).find(field) == nil else {
                try cut(key, to: end - base, fieldCount: index)
                return index
            }
            PackedEntry.writeBare(packedValue(field), at: end)
            end += PackedEntry.bareByteCount(at: end)
            PackedEntry.writeBare(packedValue(value), at: end)
            end += PackedEntry.bareByteCount(at: end)
        }
        return fieldCount
    }

    /// Leaves the first bytes of a small hash, which are so many fields.
    private func cut(_ key: Key, to byteCount: Int, fieldCount: Int) throws(StoreError) {
        guard var target = cellToEdit(key, .hash) else { return }
        target.cell.valueAddress.storeBytes(of: UInt16(truncatingIfNeeded: 2 * fieldCount), as: UInt16.self)
        let rest = target.bytes.count - byteCount
        guard target.splice(at: byteCount, removing: rest, inserting: 0) != nil else {
            _ = remove(key)
            throw .outOfMemory
        }
    }

    private func makeTable(
        _ key: Key, _ limits: HashLimits, _ field: ByteView, _ value: ByteView, _ deadline: DeadlineUpdate
    ) throws(StoreError) {
        let cell = try put(
            key, type: .hash, valueFieldByteCount: SmallHash.countByteCount, encoding: .listpack, deadline: .clear)
        cell.valueAddress.storeBytes(of: 0, as: UInt16.self)
        do throws(StoreError) {
            var editor: HashEditor?
            guard editHash(key, limits: HashLimits(fieldCountMax: 0, byteCountMax: 0), &editor) else { return }
            _ = try editor?.set(field, value, deadline: deadline)
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
        let byteCount = SmallHash.countByteCount + PackedEntry.strippedByteCount(run)
        let cell = try put(key, type: .hash, valueFieldByteCount: byteCount, encoding: .listpack, deadline: .clear)
        cell.valueAddress.storeBytes(of: UInt16(truncatingIfNeeded: count), as: UInt16.self)
        PackedEntry.strip(run, to: cell.valueAddress + SmallHash.countByteCount)
        return true
    }
}
