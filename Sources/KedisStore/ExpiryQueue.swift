// The deadlines of one table, earliest first: a binary heap of (deadline, hash of the key).
//
// The queue never knows more than the table: when an entry fires, the table is looked up by hash and the real deadline
// decides whether the key is due, was given a later deadline (the queue is armed again) or is gone (the entry was
// stale). So deleting or persisting a key costs nothing here. Who rebuilds: the table, when stale entries outnumber
// live ones. Guarded by the stripe's lock. Cost: 16 bytes an entry, O(log n) to push and pop.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct ExpiryQueue: ~Copyable {
    struct Entry {
        var deadlineMilliseconds: Int64
        var hash: UInt64
    }

    private var entries: UnsafeMutablePointer<Entry>?
    private var capacity = 0
    private(set) var count = 0

    init() {}

    deinit { free(entries) }

    var allocatedByteCount: Int { capacity * MemoryLayout<Entry>.stride }

    /// The earliest deadline, or `Int64.max`.
    var earliestMilliseconds: Int64 {
        guard count > 0, let entries else { return .max }
        return entries[0].deadlineMilliseconds
    }

    /// Adds an entry; false when memory is exhausted (the key then expires on access only).
    mutating func push(deadlineMilliseconds: Int64, hash: UInt64) -> Bool {
        guard count < capacity || grow(), let entries else { return false }
        var index = count
        count += 1
        while index > 0 {
            let parent = (index - 1) / 2
            if entries[parent].deadlineMilliseconds <= deadlineMilliseconds { break }
            entries[index] = entries[parent]
            index = parent
        }
        entries[index] = Entry(deadlineMilliseconds: deadlineMilliseconds, hash: hash)
        return true
    }

    /// Takes the earliest entry when it is due at `now`.
    mutating func popDue(at nowMilliseconds: Int64) -> Entry? {
        guard count > 0, let entries, entries[0].deadlineMilliseconds <= nowMilliseconds else { return nil }
        let first = entries[0]
        count -= 1
        if count > 0 { siftDown(entries[count], in: entries) }
        return first
    }

    mutating func removeAll() {
        free(entries)
        entries = nil
        capacity = 0
        count = 0
    }

    private func siftDown(_ entry: Entry, in entries: UnsafeMutablePointer<Entry>) {
        var index = 0
        while true {
            var child = 2 * index + 1
            guard child < count else { break }
            if child + 1 < count, entries[child + 1].deadlineMilliseconds < entries[child].deadlineMilliseconds {
                child += 1
            }
            if entries[child].deadlineMilliseconds >= entry.deadlineMilliseconds { break }
            entries[index] = entries[child]
            index = child
        }
        entries[index] = entry
    }

    private mutating func grow() -> Bool {
        let target = max(16, capacity * 2)
        guard let moved = realloc(entries, target * MemoryLayout<Entry>.stride) else { return false }
        entries = moved.assumingMemoryBound(to: Entry.self)
        capacity = target
        return true
    }

    func checkInvariants() {
        guard let entries else { return }
        for index in 1..<max(1, count) {
            assert(entries[(index - 1) / 2].deadlineMilliseconds <= entries[index].deadlineMilliseconds)
        }
    }
}
