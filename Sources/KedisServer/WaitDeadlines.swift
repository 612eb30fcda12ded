// The deadlines of the blocked clients of one event loop: a heap, and one timer for the earliest.
//
// Ownership: the loop's clients. Threads: the loop's alone. Cost: O(log n) for a client that begins or ends to wait,
// nothing for those who go on waiting; a timer that fires too early (its client was served) finds nothing and is set
// anew.

import KedisUtilities

final class WaitDeadlines {
    private let loop: any ServerLoop
    private var heap = DeadlineHeap<Connection>()
    private var timer: (any LoopTimer)?
    private var timerNanoseconds = UInt64.max

    init(loop: any ServerLoop) { self.loop = loop }

    /// Enters a connection, which is not there, to be called at `nanoseconds` of the monotonic clock.
    func add(_ connection: Connection, nanoseconds: UInt64) {
        connection.deadlineNanoseconds = nanoseconds
        heap.add(connection)
        setTimer()
    }

    func remove(_ connection: Connection) { heap.remove(connection) }

    func removeAll() {
        timer?.cancel()
        timer = nil
        timerNanoseconds = .max
        heap.removeAll()
    }

    private func setTimer() {
        guard let first = heap.first, first.deadlineNanoseconds < timerNanoseconds else { return }
        timer?.cancel()
        timerNanoseconds = first.deadlineNanoseconds
        let now = monotonicNanoseconds()
        let delay = first.deadlineNanoseconds > now ? first.deadlineNanoseconds - now : 0
        timer = loop.schedule(inNanoseconds: delay) { [weak self] in self?.fire() }
    }

    private func fire() {
        timer = nil
        timerNanoseconds = .max
        let now = monotonicNanoseconds()
        while let first = heap.first, first.deadlineNanoseconds <= now {
            heap.remove(first)
            first.waitIsOver()
        }
        setTimer()
    }
}
