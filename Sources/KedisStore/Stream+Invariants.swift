// What holds for every stream between two changes.

import KedisUtilities

extension Stream {
    /// Walks the stream and traps when something does not hold. O(bytes).
    func checkInvariants() {
        let own = header.pointee
        own.nodes.checkInvariants()
        own.groups.checkInvariants()
        var live = 0
        var first: StreamID?
        var previous: StreamID?
        var position = own.nodes.start
        while own.nodes.isValid(position) {
            let node = node(at: position)
            precondition(node.byteCount <= node.capacity)
            guard let checked = checkedStreamNode(node.run, node.id) else {
                preconditionFailure("a node's run has the entries that it counts")
            }
            precondition(checked.liveCount > 0, "a node without entries is none")
            if let previous { precondition(previous < node.id, "nodes follow each other") }
            previous = checked.lastID
            if first == nil { first = checked.firstLiveID }
            live += checked.liveCount
            position = own.nodes.position(after: position)
        }
        precondition(live == own.count)
        precondition(own.firstID == first ?? .zero, "the first ID is known")
        if let previous { precondition(previous <= own.lastID, "new IDs are greater") }
        for index in 0..<groupCount { group(index).checkInvariants() }
    }
}

extension StreamGroup {
    fileprivate func checkInvariants() {
        header.pointee.pending.checkInvariants()
        header.pointee.consumers.checkInvariants()
        var assigned = 0
        for index in 0..<consumerCount {
            let consumer = consumer(index)
            consumer.header.pointee.pending.checkInvariants()
            assigned += consumer.pendingCount
            consumer.forEachPendingID { id in
                precondition(pending(id)?.consumer == consumer, "what is pending at a consumer is so in its group")
            }
        }
        precondition(assigned == pendingCount, "everything pending is somebody's")
    }
}
