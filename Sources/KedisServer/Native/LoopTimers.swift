// The timers of a native loop: a binary heap, the earliest first, those of one time in the order in which they were
// set. Ownership: the loop's. Threads: the loop's alone. Cost: O(log n) to set, to cancel and to take.

final class NativeTimer: LoopTimer {
    fileprivate let nanoseconds: UInt64
    fileprivate let number: UInt64
    fileprivate var task: (() -> Void)?
    fileprivate var index = -1
    private weak var loop: NativeTimers?

    fileprivate init(_ nanoseconds: UInt64, _ number: UInt64, _ loop: NativeTimers, _ task: @escaping () -> Void) {
        self.nanoseconds = nanoseconds
        self.number = number
        self.loop = loop
        self.task = task
    }

    func cancel() { loop?.remove(self) }

    fileprivate func precedes(_ other: NativeTimer) -> Bool {
        nanoseconds != other.nanoseconds ? nanoseconds < other.nanoseconds : number < other.number
    }
}

final class NativeTimers {
    private var heap: [NativeTimer] = []
    private var nextNumber: UInt64 = 0
    /// When the earliest is due; `.max` without any.
    private(set) var earliestNanoseconds = UInt64.max

    /// Sets a timer for a time of the monotonic clock.
    func set(atNanoseconds nanoseconds: UInt64, _ task: @escaping () -> Void) -> NativeTimer {
        let timer = NativeTimer(nanoseconds, nextNumber, self, task)
        nextNumber += 1
        heap.append(timer)
        rise(timer, from: heap.count - 1)
        noteEarliest()
        return timer
    }

    /// Runs all that are due; what they set runs later, whenever it is due.
    func run(nowNanoseconds now: UInt64) {
        let end = nextNumber
        while let first = heap.first, first.nanoseconds <= now, first.number < end {
            let task = first.task
            remove(first)
            task?()
        }
    }

    func removeAll() {
        for timer in heap { timer.index = -1 }
        heap = []
        noteEarliest()
    }

    fileprivate func remove(_ timer: NativeTimer) {
        let index = timer.index
        guard index >= 0 else { return }
        timer.index = -1
        timer.task = nil
        let last = heap.removeLast()
        if last !== timer {
            sink(last, from: index)
            rise(last, from: last.index)
        }
        noteEarliest()
    }

    private func noteEarliest() { earliestNanoseconds = heap.first?.nanoseconds ?? .max }

    // MARK: The heap

    private func place(_ timer: NativeTimer, at index: Int) {
        heap[index] = timer
        timer.index = index
    }

    private func rise(_ timer: NativeTimer, from start: Int) {
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard timer.precedes(heap[parent]) else { break }
            place(heap[parent], at: index)
            index = parent
        }
        place(timer, at: index)
    }

    private func sink(_ timer: NativeTimer, from start: Int) {
        var index = start
        while true {
            var child = 2 * index + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
            guard heap[child].precedes(timer) else { break }
            place(heap[child], at: index)
            index = child
        }
        place(timer, at: index)
    }
}
