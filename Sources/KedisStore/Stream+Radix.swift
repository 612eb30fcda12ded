// How many nodes Redis's radix tree would have for the nodes of a stream: XINFO tells it, and nothing else needs it.
//
// The tree has a node for each key, one for each place where keys part, and one for each run of bytes in between. It is
// found from the bytes that neighbouring keys share, with a stack as deep as a key is long. O(nodes).

extension Stream {
    package var radixNodeCount: Int {
        var counter = RadixNodeCounter()
        forEachNode { id, _ in
            counter.add(id)
            return true
        }
        return counter.finish()
    }
}

private struct RadixNodeCounter {
    private var count = 0
    private var previous: StreamID?
    /// The depths of the open places where keys part, growing; keys are 16 bytes long.
    private var open = [Int]()

    mutating func add(_ id: StreamID) {
        defer { previous = id }
        guard let previous else { return }
        let shared = RadixNodeCounter.sharedByteCount(previous, id)
        close(StreamID.byteCount, above: shared)
        if open.last != shared { open.append(shared) }
    }

    mutating func finish() -> Int {
        guard previous != nil else { return 1 }
        close(StreamID.byteCount, above: -1)
        return count
    }

    /// Counts the key that ends at `depth`, and all that is deeper than `shared` and complete with it.
    private mutating func close(_ depth: Int, above shared: Int) {
        var child = depth
        while true {
            let parent = open.last ?? -1
            // Nothing is above the root: the run from there on begins at byte 0.
            let top = max(parent, shared)
            count += 1
            if child - top - 1 > 0 { count += 1 }
            guard parent > shared else { return }
            open.removeLast()
            child = parent
        }
    }

    private static func sharedByteCount(_ left: StreamID, _ right: StreamID) -> Int {
        let difference = left.milliseconds ^ right.milliseconds
        if difference != 0 { return difference.leadingZeroBitCount / 8 }
        return 8 + (left.sequence ^ right.sequence).leadingZeroBitCount / 8
    }
}
