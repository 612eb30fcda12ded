// An event loop of SwiftNIO as a ServerLoop. SwiftNIO runs tasks when it has gone through the channels that were ready,
// so a task is the end of the round; and it runs all tasks, those that tasks add meanwhile too, before it looks at the
// channels again, so what is to come after them is a timer, a little ahead of the clock.

import NIOCore

final class NIOLoop: ServerLoop, @unchecked Sendable {
    // Sendable: `roundEnd` is set before the loop has connections, then read on the loop only.

    let base: any EventLoop
    private var roundEnd: (() -> Void)?

    /// Longer than the loop takes to find that nothing else is due.
    private static let pause = TimeAmount.microseconds(50)

    init(_ base: any EventLoop) { self.base = base }

    var isCurrent: Bool { base.inEventLoop }

    func execute(_ task: @escaping @Sendable () -> Void) { base.execute(task) }

    func nextRound(_ task: @escaping () -> Void) { base.assumeIsolated().scheduleTask(in: Self.pause) { task() } }

    func schedule(inNanoseconds delay: UInt64, _ task: @escaping () -> Void) -> any LoopTimer {
        let pause = TimeAmount.nanoseconds(Int64(clamping: delay))
        return Timer(base.assumeIsolated().scheduleTask(in: pause) { task() })
    }

    func setRoundEnd(_ body: @escaping () -> Void) { roundEnd = body }

    func requestRoundEnd() {
        base.assumeIsolatedUnsafeUnchecked().execute { [self] in roundEnd?() }
    }

    func afterRound(_ task: @escaping () -> Void) { base.assumeIsolated().execute(task) }

    private final class Timer: LoopTimer {
        private let scheduled: Scheduled<Void>

        init(_ scheduled: Scheduled<Void>) { self.scheduled = scheduled }

        func cancel() { scheduled.cancel() }
    }
}
