// Entries of a stream: added at the end, read in either direction, deleted one by one or from the start.

package import KedisUtilities

/// When a node is full: `stream-node-max-bytes` and `stream-node-max-entries`, 0 for no limit of that kind.
package struct StreamNodeLimit: Equatable, Sendable {
    package var byteCountMax: Int
    package var entryCountMax: Int

    package init(byteCountMax: Int = 4096, entryCountMax: Int = 100) {
        let isLimited = byteCountMax > 0 && byteCountMax < StreamNode.byteCountMax
        self.byteCountMax = isLimited ? byteCountMax : StreamNode.byteCountMax
        self.entryCountMax = entryCountMax
    }

    /// What XTRIM with `~` trims at most, if it is not told.
    package var defaultTrimCountMax: Int {
        let (product, overflow) = entryCountMax.multipliedReportingOverflow(by: 100)
        return overflow ? 1_000_000 : product <= 0 ? 10_000 : min(product, 1_000_000)
    }
}

/// Up to where a stream is trimmed.
package enum StreamTrim: Sendable {
    case count(Int)
    case id(StreamID)
}

extension Stream {
    /// The largest entry: all fields and values together, in bytes.
    package static let entryByteCountMax = StreamNode.byteCountMax

    // MARK: Adding

    /// Adds an entry whose ID is greater than ``lastID``: its fields are the pieces at even positions, its values those
    /// behind them. Their bytes together are at most ``entryByteCountMax``. O(pieces).
    package func append(
        _ id: StreamID, fieldCount: Int, limit: StreamNodeLimit, piece: (Int) -> ByteView
    ) throws(StoreError) {
        assert(id > lastID || header.pointee.addedCount == 0)
        var contentByteCount = 0
        for index in 0..<2 &* fieldCount { contentByteCount &+= piece(index).count }
        // An entry's own numbers, and the lengths of each piece: a bound.
        var roomByteCount = contentByteCount &+ 64 &+ 20 &* fieldCount
        let position = header.pointee.nodes.lastPosition
        if header.pointee.nodes.isValid(position) {
            let old = node(at: position)
            let isFull =
                Int(old.byteCount) &+ StreamNode.frameByteCount &+ contentByteCount >= limit.byteCountMax
                || (limit.entryCountMax > 0
                    && old.master.liveCount &+ old.master.deletedCount >= limit.entryCountMax)
            willChange(old)
            if !isFull, roomByteCount < Int(UInt32.max) &- Int(old.byteCount) {
                guard var node = reserve(roomByteCount, in: old, limit: limit) else { throw .outOfMemory }
                StreamNode.append(to: &node, id, fieldCount: fieldCount, piece: piece)
                setNode(node, at: position)
                return noteAdded(id)
            }
            shrink(old, at: position)
            roomByteCount = max(2 &* roomByteCount, min(Int(old.byteCount), StreamNode.firstByteCountMax))
        } else {
            roomByteCount = 2 &* roomByteCount
        }
        try appendToNewNode(id, fieldCount: fieldCount, roomByteCount: roomByteCount, piece: piece)
        noteAdded(id)
    }

    private func noteAdded(_ id: StreamID) {
        header.pointee.addedCount &+= 1
        header.pointee.lastID = id
        header.pointee.count += 1
        if header.pointee.count == 1 { header.pointee.firstID = id }
    }

    @inline(never)
    private func appendToNewNode(
        _ id: StreamID, fieldCount: Int, roomByteCount: Int, piece: (Int) -> ByteView
    ) throws(StoreError) {
        guard roomByteCount < Int(UInt32.max), let base = memory.allocate(roomByteCount) else { throw .outOfMemory }
        var node = StreamNode(
            id: id, base: base, byteCount: 0, capacity: UInt32(truncatingIfNeeded: roomByteCount))
        StreamNode.begin(&node, fieldCount: fieldCount, piece: piece)
        StreamNode.append(to: &node, id, fieldCount: fieldCount, piece: piece)
        guard appendNode(node) else {
            memory.deallocate(base, roomByteCount)
            throw .outOfMemory
        }
        // A stream of one entry takes no more than that: what comes next makes room for itself.
        if header.pointee.nodes.count == 1 { shrink(node, at: header.pointee.nodes.lastPosition) }
    }

    /// The node with so many free bytes behind its run; nil when memory is exhausted. Its record is the
    /// caller's to set.
    @inline(__always)
    private func reserve(_ byteCount: Int, in node: StreamNode, limit: StreamNodeLimit) -> StreamNode? {
        Int(node.capacity) &- Int(node.byteCount) >= byteCount ? node : grownSlowly(byteCount, node, limit)
    }

    @inline(never)
    private func grownSlowly(_ byteCount: Int, _ old: StreamNode, _ limit: StreamNodeLimit) -> StreamNode? {
        let needed = Int(old.byteCount) + byteCount
        let wanted = max(needed, min(2 * Int(old.capacity), limit.byteCountMax + byteCount, Int(UInt32.max)))
        guard let base = memory.resize(old.base, from: Int(old.capacity), to: wanted) else { return nil }
        var node = old
        node.base = base
        node.capacity = UInt32(truncatingIfNeeded: wanted)
        // The old memory may be gone, whatever happens next.
        setNode(node, at: header.pointee.nodes.lastPosition)
        return node
    }

    /// Gives back what a full node does not need.
    private func shrink(_ old: StreamNode, at position: StreamIndex.Position) {
        guard old.capacity > old.byteCount,
            let base = memory.resize(old.base, from: Int(old.capacity), to: Int(old.byteCount))
        else { return }
        var node = old
        node.base = base
        node.capacity = node.byteCount
        setNode(node, at: position)
    }

    // MARK: Reading

    /// Calls `body` with the entries from `first` to `last`, until it answers false. O(log nodes + entries).
    @inline(__always)
    package func forEach(from first: StreamID = .zero, through last: StreamID = .last, _ body: (StreamEntry) -> Bool) {
        guard count > 0, first <= last else { return }
        if let pieces = Collection(address).frozenPieces {
            return pieces.forEach { bytes, detail in
                let node = StreamNode(
                    id: detail.id, base: bytes, byteCount: detail.byteCount, capacity: detail.byteCount)
                return Stream.forEach(in: node, from: first, through: last, body)
            }
        }
        var position = header.pointee.nodes.floor(first)
        if position.chunk < 0 { position = header.pointee.nodes.start }
        while header.pointee.nodes.isValid(position) {
            let node = node(at: position)
            guard node.id <= last, Stream.forEach(in: node, from: first, through: last, body) else { return }
            position = header.pointee.nodes.position(after: position)
        }
    }

    /// The entries of a node; false when there is no more to do.
    @inline(__always)
    private static func forEach(
        in node: StreamNode, from first: StreamID, through last: StreamID, _ body: (StreamEntry) -> Bool
    ) -> Bool {
        let master = node.master
        var address = master.firstEntry
        while address < node.end {
            let entry = StreamEntry(at: address, nodeID: node.id, master: master)
            if entry.id > last { return false }
            if !entry.isDeleted, entry.id >= first, !body(entry) { return false }
            address = entry.endAddress
        }
        return true
    }

    /// The same from `last` to `first`.
    package func forEachReversed(
        from first: StreamID = .zero, through last: StreamID = .last, _ body: (StreamEntry) -> Bool
    ) {
        guard count > 0, first <= last else { return }
        var position = header.pointee.nodes.floor(last)
        while header.pointee.nodes.isValid(position) {
            let node = node(at: position)
            let master = node.master
            let firstEntry = master.firstEntry
            var end = node.end
            while end > firstEntry {
                let address = StreamNode.entry(before: end)
                let entry = StreamEntry(at: address, nodeID: node.id, master: master)
                if entry.id < first { return }
                if !entry.isDeleted, entry.id <= last, !body(entry) { return }
                end = address
            }
            position = header.pointee.nodes.position(before: position)
        }
    }

    /// The entry with this ID, if it is there. O(log nodes + entries of a node).
    package func find(_ id: StreamID) -> StreamEntry? {
        var found: StreamEntry?
        forEach(from: id, through: id) { entry in
            found = entry
            return false
        }
        return found
    }

    /// The ID of the last entry, zero when there is none.
    package var lastEntryID: StreamID {
        // Mostly the last that was added: it need not be looked for.
        var last = StreamID.zero
        forEachReversed { entry in
            last = entry.id
            return false
        }
        return last
    }

    // MARK: Deleting

    /// Deletes an entry; false when it is not there. O(log nodes + entries of a node).
    package func delete(_ id: StreamID) throws(StoreError) -> Bool {
        guard find(id) != nil else { return false }
        let position = header.pointee.nodes.floor(id)
        if node(at: position).master.liveCount == 1 {
            _ = removeNode(at: position)
        } else {
            willChange(node(at: position))
            guard reserveCounts(at: position) else { throw .outOfMemory }
            var node = node(at: position)
            // The node may have moved.
            guard let entry = find(id) else { return false }
            StreamNode.mark(entry.address)
            StreamNode.noteDeleted(&node, 1)
            setNode(node, at: position)
        }
        header.pointee.count -= 1
        if id > maxDeletedID { maxDeletedID = id }
        if id == firstID || header.pointee.count == 0 { refreshFirstID() }
        return true
    }

    /// Makes room for counts that get longer; false when memory is exhausted.
    private func reserveCounts(at position: StreamIndex.Position) -> Bool {
        var node = node(at: position)
        guard StreamNode.countsMayGrow(node), Int(node.capacity) - Int(node.byteCount) < StreamNode.countsGrowthMax
        else { return true }
        let capacity = Int(node.capacity) + StreamNode.countsGrowthMax
        guard capacity < Int(UInt32.max),
            let base = memory.resize(node.base, from: Int(node.capacity), to: capacity)
        else { return false }
        node.base = base
        node.capacity = UInt32(truncatingIfNeeded: capacity)
        setNode(node, at: position)
        return true
    }

    private func refreshFirstID() {
        var first = StreamID.zero
        forEach { entry in
            first = entry.id
            return false
        }
        header.pointee.firstID = first
    }

    /// Deletes entries from the start and returns how many. With `isApproximate` whole nodes go only. `countMax` limits
    /// the work; nil for no limit. O(nodes that go + entries of a node).
    package func trim(to trim: StreamTrim, isApproximate: Bool, countMax: Int?) -> Int {
        var deleted = 0
        var position = header.pointee.nodes.start
        while header.pointee.nodes.isValid(position) {
            if case .count(let kept) = trim, header.pointee.count <= kept { break }
            let node = node(at: position)
            let live = node.master.liveCount
            if let countMax, deleted + live > countMax { break }
            let goesAsWhole =
                switch trim {
                case .count(let kept): header.pointee.count - live >= kept
                case .id(let kept):
                    StreamEntry(at: StreamNode.entry(before: node.end), nodeID: node.id, master: node.master).id < kept
                }
            if goesAsWhole {
                position = removeNode(at: position)
                header.pointee.count -= live
                deleted += live
                continue
            }
            if !isApproximate { deleted += trimNode(at: position, to: trim) }
            break
        }
        if deleted > 0 { refreshFirstID() }
        return deleted
    }

    private func trimNode(at position: StreamIndex.Position, to trim: StreamTrim) -> Int {
        willChange(node(at: position))
        guard reserveCounts(at: position) else { return 0 }
        var node = node(at: position)
        let master = node.master
        var address = master.firstEntry
        var marked = 0
        while address < node.end {
            let entry = StreamEntry(at: address, nodeID: node.id, master: master)
            switch trim {
            case .count(let kept): if header.pointee.count - marked <= kept { address = node.end }
            case .id(let kept): if entry.id >= kept { address = node.end }
            }
            guard address < node.end else { break }
            address = entry.endAddress
            guard !entry.isDeleted else { continue }
            StreamNode.mark(entry.address)
            marked += 1
        }
        guard marked > 0 else { return 0 }
        header.pointee.count -= marked
        if marked == master.liveCount {
            // Deleted ones behind the last living are all that is left.
            _ = removeNode(at: position)
        } else {
            StreamNode.noteDeleted(&node, marked)
            setNode(node, at: position)
        }
        return marked
    }
}
