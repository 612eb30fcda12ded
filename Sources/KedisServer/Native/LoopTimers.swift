// The timers of a native loop: a heap, the earliest first, those of one time in the order in which they were set.
// Ownership: the loop's. Threads: the loop's alone. Cost: O(log n) to set, to cancel and to take.

final class NativeTimer: LoopTimer, DeadlineHeapMember {
    fileprivate let nanoseconds: UInt64
    fileprivate let number: UInt64
    fileprivate var task: (() -> Void)?
    var heapIndex = -1
    private weak var loop: NativeTimers?

    fileprivate init(_ nanoseconds: UInt64, _ number: UInt64, _ loop: NativeTimers, _ task: @escaping () -> Void) {
        self.nanoseconds = nanoseconds
        self.number = number
        self.loop = loop
        self.task = task
    }

    func cancel() { loop?.remove(self) }

    func precedes(_ other: NativeTimer) -> Bool {
        nanoseconds != other.nanoseconds ? nanoseconds < other.nanoseconds : number < other.number
    }
}

final class NativeTimers {
    private var heap = DeadlineHeap<NativeTimer>()
    private var nextNumber: UInt64 = 0
    /// When the earliest is due; `.max` without any.
    private(set) var earliestNanoseconds = UInt64.max

    /// Sets a timer for a time of the monotonic clock.
    func set(atNanoseconds nanoseconds: UInt64, _ task: @escaping () -> Void) -> NativeTimer {
        let timer = NativeTimer(nanoseconds, nextNumber, self, task)
        nextNumber += 1
        heap.add(timer)
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
        heap.removeAll()
        noteEarliest()
    }

    fileprivate func remove(_ timer: NativeTimer) {
        guard heap.remove(timer) else { return }
        timer.task = nil
        noteEarliest()
    }

    private func noteEarliest() { earliestNanoseconds = heap.first?.nanoseconds ?? .max }
}
