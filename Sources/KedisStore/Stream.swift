// A stream: nodes found by their ID, facts about all entries there ever were, and consumer groups.
//
//      header ─┬▶ nodes: an index (StreamIndex.swift) of 32-byte records ─▶ a run of packed entries each
//              │         (ID, address, bytes, capacity)                     (StreamNode.swift)
//              └▶ groups, sorted by name ─┬▶ pending: an index of 40-byte records (ID, delivery, count, consumer)
//                 (StreamGroup.swift)     └▶ consumers, sorted by name ─▶ pending: an index of IDs
//
// A node is as large as `stream-node-max-bytes` and `stream-node-max-entries` say; only the last one has room to grow.
// Entries are deleted by a flag, nodes when nothing in them is alive, as Redis does it: nodes are those of its files.
//
// Ownership: the cell that holds its address, or the reclaimer that frees it in slices; never shared. Guarded by the
// stripe's lock. When memory is exhausted a change answers so and has changed nothing. Invariants: Stream+Invariants.
// Cost: XADD O(fields); a range O(log nodes + entries of a node + entries of the range); 32 bytes a node.

package import KedisUtilities

/// A handle on a stream: trivially copied, owns nothing. Views are valid while its stripe is locked and until
/// it changes.
package struct Stream {
    struct Header {
        var collection: CollectionHeader
        var counter = StreamMemoryCounter()
        var nodes = StreamIndex(stride: StreamNode.stride)
        /// Entries that are not deleted.
        var count = 0
        var lastID = StreamID.zero
        var firstID = StreamID.zero
        var maxDeletedID = StreamID.zero
        var addedCount: UInt64 = 0
        var groups = StreamTable()
    }

    let address: UnsafeMutableRawPointer

    init(_ address: UnsafeMutableRawPointer) { self.address = address }

    var header: UnsafeMutablePointer<Header> { address.assumingMemoryBound(to: Header.self) }

    var memory: StreamMemory {
        StreamMemory(
            source: header.pointee.collection.source,
            counter: UnsafeMutableRawPointer(address + Stream.counterOffset)
                .assumingMemoryBound(to: StreamMemoryCounter.self))
    }

    private static let counterOffset = MemoryLayout<Header>.offset(of: \.counter) ?? 0

    /// An empty stream; nil when memory is exhausted.
    static func make(from source: UnsafeMutablePointer<MemorySource>) -> Stream? {
        guard let header = source.pointee.allocate(Header.self, count: 1) else { return nil }
        header.initialize(to: Header(collection: CollectionHeader(source: source, form: .stream)))
        return Stream(header)
    }

    /// What it takes from the allocator, in bytes. O(1).
    package var allocatedByteCount: Int { MemoryLayout<Header>.stride + header.pointee.counter.byteCount }

    // MARK: Facts

    /// Entries that are not deleted.
    package var count: Int { header.pointee.count }

    package var nodeCount: Int { Collection(address).frozenPieces?.count ?? header.pointee.nodes.count }

    /// The greatest ID that was ever given, or set by XSETID.
    package var lastID: StreamID {
        get { header.pointee.lastID }
        nonmutating set { header.pointee.lastID = newValue }
    }

    /// The ID of the first entry; zero when there is none.
    package var firstID: StreamID { header.pointee.firstID }

    /// The greatest ID that XDEL ever deleted, zero for none.
    package var maxDeletedID: StreamID {
        get { header.pointee.maxDeletedID }
        nonmutating set { header.pointee.maxDeletedID = newValue }
    }

    /// How many entries were ever added.
    package var addedCount: UInt64 {
        get { header.pointee.addedCount }
        nonmutating set { header.pointee.addedCount = newValue }
    }

    // MARK: Nodes

    func node(at position: StreamIndex.Position) -> StreamNode {
        header.pointee.nodes.record(at: position).load(as: StreamNode.self)
    }

    func setNode(_ node: StreamNode, at position: StreamIndex.Position) {
        header.pointee.nodes.record(at: position).storeBytes(of: node, as: StreamNode.self)
    }

    /// To be called before the bytes of a node are changed: see CollectionPieces.swift.
    @inline(__always)
    func willChange(_ node: StreamNode) { Collection(address).willChange(node.base) }

    /// Frees a node; the position then is that of the next.
    func removeNode(at position: StreamIndex.Position) -> StreamIndex.Position {
        let node = node(at: position)
        if Collection(address).givesAway(node.base) {
            memory.forget(Int(node.capacity))
        } else {
            memory.deallocate(node.base, Int(node.capacity))
        }
        return header.pointee.nodes.remove(at: position, memory)
    }

    /// Enters a node whose ID is greater than all others; false, nothing being taken over, when memory is exhausted.
    func appendNode(_ node: StreamNode) -> Bool {
        guard let record = header.pointee.nodes.insert(node.id, memory) else { return false }
        record.storeBytes(of: node, as: StreamNode.self)
        return true
    }

    /// Calls `body` with the ID and the run of each node, as files have them, until it answers false.
    package func forEachNode(_ body: (StreamID, ByteView) -> Bool) {
        if let pieces = Collection(address).frozenPieces {
            return pieces.forEach { bytes, detail in
                body(
                    detail.id,
                    ByteView(base: bytes.assumingMemoryBound(to: UInt8.self), count: Int(detail.byteCount)))
            }
        }
        var position = header.pointee.nodes.start
        while header.pointee.nodes.isValid(position) {
            let node = node(at: position)
            guard body(node.id, node.run) else { return }
            position = header.pointee.nodes.position(after: position)
        }
    }

    // MARK: Copies and the end

    /// A copy, each node as large as its run; nil when memory is exhausted. O(bytes).
    func copy() -> Stream? {
        guard let copy = copyWithoutNodes() else { return nil }
        var isWhole = true
        forEachNode { id, run in
            isWhole = copy.appendRun(id, run)
            return isWhole
        }
        if isWhole { return copy }
        copy.release()
        return nil
    }

    /// A copy of the figures and groups; nil when memory is exhausted.
    func copyWithoutNodes() -> Stream? {
        guard let copy = Stream.make(from: header.pointee.collection.source) else { return nil }
        let own = header.pointee
        copy.header.pointee.count = own.count
        copy.header.pointee.lastID = own.lastID
        copy.header.pointee.firstID = own.firstID
        copy.header.pointee.maxDeletedID = own.maxDeletedID
        copy.header.pointee.addedCount = own.addedCount
        guard copy.copyGroups(of: self) else {
            copy.release()
            return nil
        }
        return copy
    }

    func appendRun(_ id: StreamID, _ run: ByteView) -> Bool {
        guard let base = memory.allocate(run.count) else { return false }
        base.copyMemory(from: run.base, byteCount: run.count)
        let byteCount = UInt32(truncatingIfNeeded: run.count)
        if appendNode(StreamNode(id: id, base: base, byteCount: byteCount, capacity: byteCount)) { return true }
        memory.deallocate(base, run.count)
        return false
    }

    /// Frees about `byteLimit` bytes from the end; true when the stream itself is gone.
    func releaseSome(byteLimit: Int) -> Bool {
        var left = byteLimit
        while header.pointee.nodes.count > 0 {
            guard left > 0 else { return false }
            let last = header.pointee.nodes.lastPosition
            // Freeing a small one is work too.
            left -= max(Int(node(at: last).capacity), 1024)
            _ = removeNode(at: last)
        }
        header.pointee.count = 0
        while let group = lastGroup {
            guard left > 0 else { return false }
            if group.isReleased { removeGroup(group) } else { left -= group.releaseSome() }
        }
        let source = header.pointee.collection.source
        source.pointee.deallocate(header, count: 1)
        return true
    }

    func release() { _ = releaseSome(byteLimit: .max) }
}

extension Entry {
    /// The value of a stream.
    package var stream: Stream {
        guard let collection = cell.collection else { preconditionFailure("a stream lies outside of its cell") }
        return Stream(collection.address)
    }
}
