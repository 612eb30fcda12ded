// Work that takes turns with the connections of an event loop: what is done in slices waits here, and each gets one
// when the connections have had their turn. Work that went on by itself would keep them all waiting until it is done.
//
// Ownership: one for each loop. Threads: the loop's alone, `@unchecked Sendable` because it is made elsewhere. Cost: a
// round of the loop for each turn. When the loop ends, what waits is dropped.

final class LoopTurns: @unchecked Sendable {
    // Sendable: everything but `loop` is touched only on the event loop.

    let loop: any ServerLoop
    private var waiting: [() -> Void] = []
    private var isRunning = false
    private var isScheduled = false

    init(loop: any ServerLoop) { self.loop = loop }

    /// Runs `slice` after the loop's connections had their turn.
    func next(_ slice: @escaping () -> Void) {
        precondition(loop.isCurrent)
        waiting.append(slice)
        if !isRunning { schedule() }
    }

    /// Runs `slices` now. What asks for another turn meanwhile gets it after the connections, however long this takes.
    func now(_ slices: () -> Void) {
        precondition(loop.isCurrent)
        isRunning = true
        slices()
        isRunning = false
        schedule()
    }

    private func schedule() {
        guard !waiting.isEmpty, !isScheduled else { return }
        isScheduled = true
        loop.nextRound { [self] in run() }
    }

    private func run() {
        isScheduled = false
        let slices = waiting
        waiting = []
        now { for slice in slices { slice() } }
    }
}
