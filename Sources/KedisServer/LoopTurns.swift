// Work that takes turns with the connections of an event loop.
//
// SwiftNIO runs all tasks of a loop, those that tasks add meanwhile too, before it looks at the channels again: work
// that goes on by `execute` keeps every connection waiting until it is done. So what is done in slices waits here, and
// one timer, a little ahead of the clock, gives each a slice. Behind it the loop finds nothing due, and looks.
//
// Ownership: one for each loop. Threads: the loop's alone, `@unchecked Sendable` because it is made elsewhere. Cost: a
// timer for each turn. When the loop ends, what waits is dropped.

import NIOCore

final class LoopTurns: @unchecked Sendable {
    // Sendable: everything but `loop` is touched only on the event loop.

    let loop: any EventLoop
    private var waiting: [() -> Void] = []
    private var isRunning = false
    private var isScheduled = false

    /// Longer than the loop takes to find that nothing else is due.
    private static let pause = TimeAmount.microseconds(50)

    init(loop: any EventLoop) { self.loop = loop }

    /// Runs `slice` after the loop's connections had their turn.
    func next(_ slice: @escaping () -> Void) {
        loop.preconditionInEventLoop()
        waiting.append(slice)
        if !isRunning { schedule() }
    }

    /// Runs `slices` now. What asks for another turn meanwhile gets it after the connections, however long this takes.
    func now(_ slices: () -> Void) {
        loop.preconditionInEventLoop()
        isRunning = true
        slices()
        isRunning = false
        schedule()
    }

    private func schedule() {
        guard !waiting.isEmpty, !isScheduled else { return }
        isScheduled = true
        loop.scheduleTask(in: Self.pause) { [self] in run() }
    }

    private func run() {
        isScheduled = false
        let slices = waiting
        waiting = []
        now { for slice in slices { slice() } }
    }
}
