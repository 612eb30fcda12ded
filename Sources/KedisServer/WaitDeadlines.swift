// The deadlines of the blocked clients of one event loop: a heap, and one timer for the earliest.
//
// Ownership: the loop's clients. Threads: the loop's alone. Cost: O(log n) for a client that begins or ends to wait,
// nothing for those who go on waiting; a timer that fires too early (its client was served) finds nothing and is set
// anew.

import KedisUtilities

final class WaitDeadlines {
    private let loop: any ServerLoop
    /// A binary heap, the earliest first. A connection knows its place (`deadlineIndex`).
    private var heap: [Entry] = []
    private var timer: (any LoopTimer)?
    private var timerNanoseconds = UInt64.max

    private struct Entry {
        let nanoseconds: UInt64
        let connection: Connection
    }

    init(loop: any ServerLoop) { self.loop = loop }

    /// Enters a connection, which is not there, to be called at `nanoseconds` of the monotonic clock.
    func add(_ connection: Connection, nanoseconds: UInt64) {
        assert(connection.deadlineIndex < 0)
        heap.append(Entry(nanoseconds: nanoseconds, connection: connection))
        rise(heap.count - 1)
        setTimer()
    }

    func remove(_ connection: Connection) {
        let index = connection.deadlineIndex
        guard index >= 0 else { return }
        connection.deadlineIndex = -1
        let last = heap.removeLast()
        guard index < heap.count else { return }
        place(last, at: index)
        sink(index)
        rise(last.connection.deadlineIndex)
    }

    func removeAll() {
        timer?.cancel()
        timer = nil
        timerNanoseconds = .max
        for entry in heap { entry.connection.deadlineIndex = -1 }
        heap = []
    }

    private func setTimer() {
        guard let first = heap.first, first.nanoseconds < timerNanoseconds else { return }
        timer?.cancel()
        timerNanoseconds = first.nanoseconds
        let now = monotonicNanoseconds()
        let delay = first.nanoseconds > now ? first.nanoseconds - now : 0
        timer = loop.schedule(inNanoseconds: delay) { [weak self] in self?.fire() }
    }

    private func fire() {
        timer = nil
        timerNanoseconds = .max
        let now = monotonicNanoseconds()
        while let first = heap.first, first.nanoseconds <= now {
            remove(first.connection)
            first.connection.waitIsOver()
        }
        setTimer()
    }

    // MARK: The heap

    private func place(_ entry: Entry, at index: Int) {
        heap[index] = entry
        entry.connection.deadlineIndex = index
    }

    private func rise(_ start: Int) {
        let entry = heap[start]
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard entry.nanoseconds < heap[parent].nanoseconds else { break }
            place(heap[parent], at: index)
            index = parent
        }
        place(entry, at: index)
    }

    private func sink(_ start: Int) {
        let entry = heap[start]
        var index = start
        while true {
            var child = 2 * index + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].nanoseconds < heap[child].nanoseconds { child += 1 }
            guard heap[child].nanoseconds < entry.nanoseconds else { break }
            place(heap[child], at: index)
            index = child
        }
        place(entry, at: index)
    }
}
