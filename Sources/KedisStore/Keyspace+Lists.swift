// Lists that are changed: pushed to, popped from, edited.
//
// A list of one run of at most `PackLimit` lies in its cell; a longer one is a deque. It goes from the one form to the
// other where Redis goes from listpack to quicklist, and back when one run is left that is half full at most. An empty
// list is no list: its key goes with the last element.

package import KedisUtilities

/// A list that is being changed: valid while its stripe is locked, and until the keyspace is changed otherwise.
package struct ListEditor {
    private var target: CellBytes
    private let limit: PackLimit

    @inline(__always)
    init(_ target: CellBytes, _ limit: PackLimit) {
        self.target = target
        self.limit = limit
    }

    package var value: ListValue { ListValue(target.cell) }

    package var count: Int {
        @inline(__always) get { target.cell.deque?.count ?? PackedList(target.bytes).count }
    }

    // MARK: Ends

    /// Puts `count` values at an end, one after the other, so that the last one is outermost. O(values), amortised.
    @inline(__always)
    package mutating func push(
        _ count: Int, atHead: Bool, value: (Int) -> ByteView
    ) throws(StoreError) {
        var pushedCount = 0
        if let deque = target.cell.deque {
            while pushedCount < count, deque.pushIntoRoom(packedValue(value(pushedCount)), atHead: atHead, limit) {
                pushedCount &+= 1
            }
        } else if try pushToCell(count, atHead: atHead, value: value) {
            return
        }
        if pushedCount < count { try pushSlowly(pushedCount..<count, atHead: atHead, value: value) }
    }

    /// The same where chunks are made, and perhaps the deque. All or nothing: when memory is exhausted, what was pushed
    /// before goes too.
    @inline(never)
    private mutating func pushSlowly(
        _ range: Range<Int>, atHead: Bool, value: (Int) -> ByteView
    ) throws(StoreError) {
        let limit = limit
        try withDeque { (deque) throws(StoreError) in
            for index in range {
                guard deque.push(packedValue(value(index)), atHead: atHead, limit: limit) else {
                    deque.remove(atHead ? 0..<index : deque.count - index..<deque.count)
                    throw .outOfMemory
                }
            }
        }
    }

    /// False when the list is too long for its cell.
    private mutating func pushToCell(
        _ count: Int, atHead: Bool, value: (Int) -> ByteView
    ) throws(StoreError) -> Bool {
        let list = PackedList(target.bytes)
        var (contentByteCount, byteCount) = (0, 0)
        for index in 0..<count {
            let bytes = value(index)
            contentByteCount &+= bytes.count
            byteCount &+= PackedEntry.byteCount(of: packedValue(bytes))
        }
        let listCount = list.count
        guard limit.allows(byteCount: list.run.count &+ contentByteCount, entryCount: listCount &+ count),
            listCount &+ count <= Int(UInt16.max),
            list.bytes.count &+ byteCount <= CellHeader.inlineByteCountMax
        else { return false }
        let offset = atHead ? PackedList.countByteCount : list.bytes.count
        var gap = try target.splice(at: offset, removing: 0, inserting: byteCount, countChange: count)
        for position in 0..<count {
            let entry = packedValue(value(atHead ? count &- 1 &- position : position))
            PackedEntry.write(entry, at: gap)
            gap += PackedEntry.byteCount(at: gap)
        }
        return true
    }

    /// Takes the outermost element, after `body` has seen it, and the key with the last one. O(1), amortised.
    @inline(__always)
    package mutating func pop(atHead: Bool, _ body: (StringValue) -> Void) throws(StoreError) {
        if let deque = target.cell.deque, deque.popFromChunk(atHead: atHead, body) {
            if deque.chunkCount == 1 { returnToCell() }
            return
        }
        try popSlowly(atHead: atHead, body)
    }

    /// The same in the cell, and where a chunk goes.
    @inline(never)
    private mutating func popSlowly(atHead: Bool, _ body: (StringValue) -> Void) throws(StoreError) {
        let position = atHead ? 0 : count - 1
        body(value.element(at: position))
        try remove(position..<position + 1)
    }

    // MARK: Changes

    /// Inserts a value before the element at `position`, 0 to `count`. O(chunks + bytes of a chunk).
    package mutating func insert(_ bytes: ByteView, at position: Int) throws(StoreError) {
        let value = packedValue(bytes)
        let byteCount = PackedEntry.byteCount(of: value)
        if target.cell.deque == nil {
            let list = PackedList(target.bytes)
            if fits(list, growingBy: bytes.count, byteCount, entries: 1) {
                let offset = list.chunk.address(ofEntry: position) - list.chunk.base
                let gap = try target.splice(at: offset, removing: 0, inserting: byteCount, countChange: 1)
                return PackedEntry.write(value, at: gap)
            }
        }
        let limit = limit
        try withDeque { (deque) throws(StoreError) in
            guard deque.insert(value, at: position, limit: limit) else { throw .outOfMemory }
        }
    }

    /// Replaces the element at `position`. O(chunks + bytes of a chunk).
    package mutating func replace(at position: Int, with bytes: ByteView) throws(StoreError) {
        let value = packedValue(bytes)
        if target.cell.deque == nil {
            let list = PackedList(target.bytes)
            let address = list.chunk.address(ofEntry: position)
            let (before, after) = (PackedEntry.byteCount(at: address), PackedEntry.byteCount(of: value))
            if fits(list, growingBy: bytes.count, after - before, entries: 0) {
                let offset = address - list.chunk.base
                let gap = try target.splice(at: offset, removing: before, inserting: after, countChange: 0)
                return PackedEntry.write(value, at: gap)
            }
        }
        let limit = limit
        try withDeque { (deque) throws(StoreError) in
            guard deque.replace(value, at: position, limit: limit) else { throw .outOfMemory }
        }
        returnToCell()
    }

    /// Removes elements, the key with the last of them. O(chunks + bytes of two chunks).
    package mutating func remove(_ range: Range<Int>) throws(StoreError) {
        guard !range.isEmpty else { return }
        guard range.count < count else {
            return target.removeKey()
        }
        if target.cell.deque == nil {
            let chunk = PackedList(target.bytes).chunk
            let start = chunk.address(ofEntry: range.lowerBound)
            let end = chunk.address(ofEntry: range.upperBound)
            _ = try target.splice(
                at: start - chunk.base, removing: end - start, inserting: 0, countChange: -range.count)
        } else {
            try withDeque { (deque) throws(StoreError) in deque.remove(range) }
            returnToCell()
        }
    }

    /// Removes elements that `matches` says, at most `limit`: the first of them, or the last; the key with the last of
    /// all. Returns how many. O(bytes), in one pass.
    package mutating func removeAll(
        limit: Int, fromTail: Bool, where matches: (StringValue) -> Bool
    ) throws(StoreError) -> Int {
        let count = count
        var removedCount = 0
        if target.cell.deque == nil {
            removedCount = try removeAllFromCell(limit: limit, fromTail: fromTail, where: matches)
        } else {
            try withDeque { (deque) throws(StoreError) in
                removedCount = deque.removeAll(limit: limit, fromTail: fromTail, where: matches)
            }
            if removedCount > 0, removedCount < count { returnToCell() }
        }
        if removedCount == count { target.removeKey() }
        return removedCount
    }

    /// The same for a run in the cell; one of which nothing is left stays as it was.
    private mutating func removeAllFromCell(
        limit: Int, fromTail: Bool, where matches: (StringValue) -> Bool
    ) throws(StoreError) -> Int {
        let list = PackedList(target.bytes)
        let (byteCount, count) = (list.run.count, list.count)
        // The cell may be refused a smaller place, and then nothing may have changed.
        return try withUnsafeTemporaryAllocation(byteCount: byteCount, alignment: 1) { (copy) throws(StoreError) in
            guard let base = copy.baseAddress else { return 0 }
            base.copyMemory(from: list.run.base, byteCount: byteCount)
            var chunk = PackedChunk(
                base: base, start: 0, end: UInt32(byteCount), capacity: UInt32(byteCount), count: UInt32(count))
            let removedCount = chunk.removeAll(limit: limit, fromTail: fromTail, where: matches)
            guard removedCount > 0, removedCount < count else { return removedCount }
            let start = try target.splice(
                at: PackedList.countByteCount, removing: byteCount - chunk.byteCount, inserting: 0,
                countChange: -removedCount)
            start.copyMemory(from: chunk.first, byteCount: chunk.byteCount)
            return removedCount
        }
    }

    // MARK: In the cell

    private func fits(_ list: PackedList, growingBy content: Int, _ byteCount: Int, entries: Int) -> Bool {
        limit.allows(byteCount: list.run.count + content, entryCount: list.count + entries)
            && list.count + entries <= Int(UInt16.max)
            && list.bytes.count + byteCount <= CellHeader.inlineByteCountMax
    }

    // MARK: In a deque

    /// Changes the list as a deque, which it becomes if need be.
    private mutating func withDeque(
        _ body: (PackedDeque) throws(StoreError) -> Void
    ) throws(StoreError) {
        if target.cell.deque == nil { try moveToDeque() }
        guard let deque = target.cell.deque else { return }
        let before = deque.allocatedByteCount
        defer { target.noteGrowth(deque.allocatedByteCount - before) }
        try body(deque)
    }

    private mutating func moveToDeque() throws(StoreError) {
        guard let deque = PackedDeque.make(from: target.source) else { throw .outOfMemory }
        let list = PackedList(target.bytes)
        guard list.count == 0 || deque.appendRun(list.run, count: list.count),
            target.moveOutside(Collection(deque.address), .quicklist)
        else {
            deque.release()
            throw .outOfMemory
        }
    }

    /// A deque of one run that is at most half full becomes one in the cell, if there is memory for it.
    private mutating func returnToCell() {
        guard let deque = target.cell.deque, deque.chunkCount == 1 else { return }
        let chunk = deque.chunk(0)
        let byteCount = PackedList.countByteCount + chunk.byteCount
        guard chunk.byteCount + PackLimit.headerByteCount <= limit.byteCountMax / 2,
            limit.entryCountMax == .max || chunk.count <= limit.entryCountMax / 2,
            chunk.count <= UInt16.max, byteCount <= CellHeader.inlineByteCountMax
        else { return }
        guard target.moveInside(byteCount: byteCount, .listpack) else { return }
        let base = target.cell.valueAddress
        base.storeBytes(of: UInt16(chunk.count), as: UInt16.self)
        (base + PackedList.countByteCount).copyMemory(from: chunk.first, byteCount: chunk.byteCount)
        target.release(Collection(deque.address))
    }
}

/// What a lookup for a change of a list finds.
package enum ListLookup {
    case none
    case wrongType
    case list(ListEditor)
}

extension Keyspace {
    /// The list at `key` for a change: sets the access clock. O(1).
    @inline(__always)
    package func lookUpList(_ key: Key, limit: PackLimit) -> ListLookup {
        switch editCell(key, .list) {
        case .none: .none
        case .wrongType: .wrongType
        case .cell(let target): .list(ListEditor(target, limit))
        }
    }

    /// The list at `key` for a change; nil when there is none. The caller has made sure that it is no other type.
    package func editList(_ key: Key, limit: PackLimit) -> ListEditor? {
        cellToEdit(key, .list).map { ListEditor($0, limit) }
    }

    /// A list with `count` values, put one after the other; there is no such key. O(values).
    package func makeList(
        _ key: Key, limit: PackLimit, count: Int, atHead: Bool, value: (Int) -> ByteView
    ) throws(StoreError) {
        let cell = try put(
            key, type: .list, valueFieldByteCount: PackedList.countByteCount, encoding: .listpack, deadline: .clear)
        cell.valueAddress.storeBytes(of: 0, as: UInt16.self)
        guard var editor = editList(key, limit: limit) else { return }
        do throws(StoreError) {
            try editor.push(count, atHead: atHead, value: value)
        } catch {
            _ = remove(key)
            throw error
        }
    }

    /// Appends a run of well-formed packed entries, as files have them; makes the list if there is none.
    package func appendRun(_ key: Key, _ run: ByteView, count: Int, limit: PackLimit) throws(StoreError) {
        guard count > 0 else { return }
        if peek(key) == nil {
            let cell = try put(
                key, type: .list, valueFieldByteCount: PackedList.countByteCount, encoding: .listpack,
                deadline: .clear)
            cell.valueAddress.storeBytes(of: 0, as: UInt16.self)
        }
        guard var editor = editList(key, limit: limit) else { return }
        try editor.append(run, count: count)
    }
}

extension ListEditor {
    fileprivate mutating func append(_ run: ByteView, count: Int) throws(StoreError) {
        if target.cell.deque == nil {
            let list = PackedList(target.bytes)
            if list.count == 0, fits(list, growingBy: run.count, run.count, entries: count) {
                let gap = try target.splice(
                    at: PackedList.countByteCount, removing: 0, inserting: run.count, countChange: count)
                return gap.copyMemory(from: run.base, byteCount: run.count)
            }
        }
        try withDeque { (deque) throws(StoreError) in
            guard deque.appendRun(run, count: count) else { throw .outOfMemory }
        }
    }
}
