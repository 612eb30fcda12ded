// The deadlines of the blocked clients of one event loop: a heap, and one timer for the earliest.
//
// Ownership: the loop's clients. Threads: the loop's alone. Cost: O(log n) for a client that begins or ends to wait,
// nothing for those who go on waiting; a timer that fires too early (its client was served) finds nothing and is set
// anew.

import NIOCore

final class WaitDeadlines {
    private let loop: any EventLoop
    /// A binary heap, the earliest first. A handler knows its place (`deadlineIndex`).
    private var heap: [Entry] = []
    private var timer: Scheduled<Void>?
    private var timerNanoseconds = UInt64.max

    private struct Entry {
        let nanoseconds: UInt64
        let handler: SessionHandler
    }

    init(loop: any EventLoop) { self.loop = loop }

    /// Enters a handler, which is not there, to be called at `nanoseconds` of the monotonic clock.
    func add(_ handler: SessionHandler, nanoseconds: UInt64) {
        assert(handler.deadlineIndex < 0)
        heap.append(Entry(nanoseconds: nanoseconds, handler: handler))
        rise(heap.count - 1)
        setTimer()
    }

    func remove(_ handler: SessionHandler) {
        let index = handler.deadlineIndex
        guard index >= 0 else { return }
        handler.deadlineIndex = -1
        let last = heap.removeLast()
        guard index < heap.count else { return }
        place(last, at: index)
        sink(index)
        rise(last.handler.deadlineIndex)
    }

    func removeAll() {
        timer?.cancel()
        timer = nil
        timerNanoseconds = .max
        for entry in heap { entry.handler.deadlineIndex = -1 }
        heap = []
    }

    private func setTimer() {
        guard let first = heap.first, first.nanoseconds < timerNanoseconds else { return }
        timer?.cancel()
        timerNanoseconds = first.nanoseconds
        let deadline = NIODeadline.uptimeNanoseconds(min(first.nanoseconds, UInt64(Int64.max)))
        // The timer runs on the loop, which these deadlines belong to.
        timer = loop.assumeIsolated().scheduleTask(deadline: deadline) { [weak self] in self?.fire() }
    }

    private func fire() {
        timer = nil
        timerNanoseconds = .max
        let now = NIODeadline.now().uptimeNanoseconds
        while let first = heap.first, first.nanoseconds <= now {
            remove(first.handler)
            first.handler.waitIsOver()
        }
        setTimer()
    }

    // MARK: The heap

    private func place(_ entry: Entry, at index: Int) {
        heap[index] = entry
        entry.handler.deadlineIndex = index
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
