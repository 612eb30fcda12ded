// Streams from files and payloads: put together part by part, each being checked before it is taken.

package import KedisUtilities

/// What a file says of a stream beside its entries.
package struct StreamFacts: Equatable, Sendable {
    package var count: UInt64
    package var lastID: StreamID
    package var maxDeletedID = StreamID.zero
    /// Nil in files that do not know it.
    package var addedCount: UInt64?

    package init(
        count: UInt64, lastID: StreamID, maxDeletedID: StreamID = .zero, addedCount: UInt64? = nil
    ) {
        self.count = count
        self.lastID = lastID
        self.maxDeletedID = maxDeletedID
        self.addedCount = addedCount
    }
}

extension Stream {
    /// Appends a node: its ID and its run of packed entries. False when it is damaged or does not follow the others;
    /// one in which all entries are deleted is left out. O(bytes).
    package func loadNode(_ id: StreamID, _ run: ByteView) throws(StoreError) -> Bool {
        // The greatest ID so far: it becomes the file's with the facts.
        guard run.count <= Int(Int32.max), let node = checkedStreamNode(run, id),
            nodeCount == 0 || lastID < id
        else { return false }
        header.pointee.lastID = node.lastID
        guard node.liveCount > 0, let first = node.firstLiveID else { return true }
        guard appendRun(id, run) else { throw .outOfMemory }
        if header.pointee.count == 0 { header.pointee.firstID = first }
        header.pointee.count += node.liveCount
        return true
    }

    /// Takes over what a file says behind the nodes; false when it does not fit them.
    package func loadFacts(_ facts: StreamFacts) -> Bool {
        guard facts.count == UInt64(count), facts.lastID >= lastID else { return false }
        lastID = facts.lastID
        maxDeletedID = facts.maxDeletedID
        addedCount = facts.addedCount ?? facts.count
        return true
    }
}
