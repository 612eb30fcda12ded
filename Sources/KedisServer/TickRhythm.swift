// How often the background looks for work: every 10 ms while requests come or work is near, ten times a second while
// nobody asks anything. A wake-up of an idle server costs some tens of microseconds, a hundred of them a second near a
// hundredth of a core.
//
// Ownership: the server's context. Threads: `noteInput` any, the rest that of the loop that ticks. A request in the
// slow rhythm has the next tick come after 10 ms, as ever: no deadline is met later for it.

import Synchronization

final class TickRhythm: @unchecked Sendable {
    // Sendable: the atomics are for everybody, the rest is touched on the loop only.

    static let periodMilliseconds: Int64 = 10
    static let idlePeriodMilliseconds: Int64 = 100

    private let slow = Atomic<Bool>(false)
    /// Requests were read since the last tick.
    private let hasInput = Atomic<Bool>(false)
    private let isStopped = Atomic<Bool>(false)
    private var loop: (any ServerLoop)?
    private var next: (any LoopTimer)?
    /// Does the work of a tick and answers whether there is nothing to do soon.
    private var tick: (() -> Bool)?

    var isOver: Bool { isStopped.load(ordering: .relaxed) }

    var isSlow: Bool { slow.load(ordering: .relaxed) }

    /// Told of every read of a connection, by its loop.
    @inline(__always)
    func noteInput() {
        // Mostly set already, and then the line stays as it is.
        if !hasInput.load(ordering: .relaxed) { hasInput.store(true, ordering: .sequentiallyConsistent) }
        if slow.load(ordering: .sequentiallyConsistent) { quicken() }
    }

    @inline(never)
    private func quicken() {
        guard slow.exchange(false, ordering: .sequentiallyConsistent) else { return }
        loop?.execute { [self] in schedule() }
    }

    func start(on loop: any ServerLoop, _ tick: @escaping @Sendable () -> Bool) {
        // Before any connection is accepted, so that `noteInput` finds the loop.
        self.loop = loop
        loop.execute { [self] in
            self.tick = tick
            schedule()
        }
    }

    func stop() {
        isStopped.store(true, ordering: .relaxed)
        loop?.execute { [self] in
            next?.cancel()
            tick = nil
        }
    }

    private func schedule() {
        guard !isStopped.load(ordering: .relaxed), let loop else { return }
        next?.cancel()
        let period = isSlow ? Self.idlePeriodMilliseconds : Self.periodMilliseconds
        next = loop.schedule(inMilliseconds: period) { [self] in run() }
    }

    private func run() {
        guard let tick else { return }
        let hadInput = hasInput.exchange(false, ordering: .sequentiallyConsistent)
        let isIdle = tick()
        slow.store(isIdle && !hadInput, ordering: .sequentiallyConsistent)
        // Who came between has seen neither, or is seen now.
        if hasInput.load(ordering: .sequentiallyConsistent) { slow.store(false, ordering: .sequentiallyConsistent) }
        schedule()
    }
}
