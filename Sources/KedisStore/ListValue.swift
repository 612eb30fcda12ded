// Lists as handlers read them: one run of packed entries in the cell, or a deque of runs outside.

package import KedisUtilities

/// A small list in its cell: a count of 2 bytes, then the entries.
struct PackedList {
    static let countByteCount = 2

    let bytes: ByteView

    init(_ bytes: ByteView) { self.bytes = bytes }

    var count: Int { Int(UnsafeRawPointer(bytes.base).loadUnaligned(as: UInt16.self)) }

    var run: ByteView { bytes[PackedList.countByteCount..<bytes.count] }

    /// The run as a chunk, to be read only.
    var chunk: PackedChunk {
        let end = UInt32(truncatingIfNeeded: bytes.count)
        return PackedChunk(
            base: UnsafeMutableRawPointer(mutating: bytes.base), start: UInt32(PackedList.countByteCount), end: end,
            capacity: end, count: UInt32(truncatingIfNeeded: count))
    }
}

/// A borrowed list: valid while its stripe is locked and until the keyspace is changed.
package struct ListValue {
    private enum Form {
        case packed(PackedChunk)
        case deque(PackedDeque)
    }

    private let form: Form

    init(_ cell: Cell) {
        if let deque = cell.deque { form = .deque(deque) } else { form = .packed(PackedList(cell.value).chunk) }
    }

    /// How many elements there are, 1 or more. O(1).
    package var count: Int {
        switch form {
        case .packed(let chunk): Int(chunk.count)
        case .deque(let deque): deque.count
        }
    }

    /// The element at a position below ``count``. O(chunks).
    package func element(at position: Int) -> StringValue {
        switch form {
        case .packed(let chunk): return PackedEntry.value(at: chunk.address(ofEntry: position))
        case .deque(let deque):
            let place = deque.locate(position)
            return PackedEntry.value(at: deque.chunk(place.chunk).address(ofEntry: place.entry))
        }
    }

    /// Calls `body` with the elements of a range, first to last, until it answers false. O(chunks + elements).
    @inline(__always)
    package func forEach(in range: Range<Int>, _ body: (StringValue) -> Bool) {
        guard !range.isEmpty else { return }
        switch form {
        case .packed(let chunk): _ = ListValue.walk(chunk, from: range.lowerBound, count: range.count, body)
        case .deque(let deque):
            var (index, entry) = deque.locate(range.lowerBound)
            var left = range.count
            while left > 0 {
                let chunk = deque.chunk(index)
                let count = min(left, Int(chunk.count) &- entry)
                guard ListValue.walk(chunk, from: entry, count: count, body) else { return }
                left &-= count
                (index, entry) = (index &+ 1, 0)
            }
        }
    }

    @inline(__always)
    private static func walk(_ chunk: PackedChunk, from entry: Int, count: Int, _ body: (StringValue) -> Bool) -> Bool {
        var address = UnsafeRawPointer(chunk.address(ofEntry: entry))
        for _ in 0..<count {
            guard body(PackedEntry.value(at: address)) else { return false }
            address += PackedEntry.byteCount(at: address)
        }
        return true
    }

    /// Calls `body` with cursors at parts of a range, first to last, and the number of elements in each, until it
    /// answers false. O(chunks), and the caller's walk.
    package func forEachPart(of range: Range<Int>, _ body: (PackedEntryCursor, Int) -> Bool) {
        guard !range.isEmpty else { return }
        switch form {
        case .packed(let chunk): _ = body(PackedEntryCursor(chunk.address(ofEntry: range.lowerBound)), range.count)
        case .deque(let deque):
            var (index, entry) = deque.locate(range.lowerBound)
            var left = range.count
            while left > 0 {
                let chunk = deque.chunk(index)
                let count = min(left, Int(chunk.count) &- entry)
                guard body(PackedEntryCursor(chunk.address(ofEntry: entry)), count) else { return }
                left &-= count
                (index, entry) = (index &+ 1, 0)
            }
        }
    }

    /// Calls `body` with the elements of a range, last to first, until it answers false. O(chunks + elements).
    package func forEachReversed(in range: Range<Int>, _ body: (StringValue) -> Bool) {
        guard !range.isEmpty else { return }
        switch form {
        case .packed(let chunk): _ = ListValue.walkBack(chunk, to: range.upperBound, count: range.count, body)
        case .deque(let deque):
            var (index, entry) = deque.locate(range.upperBound - 1)
            entry += 1
            var left = range.count
            while left > 0 {
                let chunk = deque.chunk(index)
                let count = min(left, entry)
                guard ListValue.walkBack(chunk, to: entry, count: count, body) else { return }
                left -= count
                index -= 1
                if left > 0 { entry = Int(deque.chunk(index).count) }
            }
        }
    }

    private static func walkBack(
        _ chunk: PackedChunk, to entry: Int, count: Int, _ body: (StringValue) -> Bool
    ) -> Bool {
        var address = UnsafeRawPointer(chunk.address(ofEntry: entry))
        for _ in 0..<count {
            address -= PackedEntry.byteCount(before: address)
            guard body(PackedEntry.value(at: address)) else { return false }
        }
        return true
    }

    /// Calls `body` with each run of packed entries and their number, as snapshots store them, until it answers false.
    package func forEachRun(_ body: (ByteView, Int) -> Bool) {
        switch form {
        case .packed(let chunk): _ = body(chunk.run, Int(chunk.count))
        case .deque(let deque):
            if let pieces = Collection(deque.address).frozenPieces {
                return pieces.forEach { bytes, detail in
                    body(
                        ByteView(base: bytes.assumingMemoryBound(to: UInt8.self), count: Int(detail.byteCount)),
                        Int(detail.entryCount))
                }
            }
            for index in 0..<deque.chunkCount {
                let chunk = deque.chunk(index)
                guard body(chunk.run, Int(chunk.count)) else { return }
            }
        }
    }

    /// How many runs there are.
    package var runCount: Int {
        switch form {
        case .packed: 1
        case .deque(let deque): Collection(deque.address).frozenPieces?.count ?? deque.chunkCount
        }
    }
}

extension Entry {
    /// The value of a list.
    package var list: ListValue { ListValue(cell) }
}
