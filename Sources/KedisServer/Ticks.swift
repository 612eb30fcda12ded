// Work in the background: expiry every 10 ms, save rules every second. On the first event loop, in slices of about a
// millisecond at most, so that its connections never wait long.

import KedisCommands
import KedisStore
import KedisUtilities
import NIOCore
import Synchronization

final class Ticks: Sendable {
    let engine: Engine
    let state: ServerState
    /// The rest of a long expiry waits for its turn on the loop. One at a time: a new one with every tick would add up,
    /// and their slices with them.
    private let isGoingOn = Atomic<Bool>(false)

    init(engine: Engine, state: ServerState) {
        self.engine = engine
        self.state = state
    }

    /// Keys of a stripe that one slice removes.
    private static let sliceKeyCount = 16
    private static let sliceNanoseconds: UInt64 = 1_000_000

    /// Removes what is due, as far as a slice of time goes; the rest follows after the loop's other work.
    func expire(on loop: any EventLoop) {
        guard !isGoingOn.load(ordering: .relaxed) else { return }
        guard engine.isActiveExpiryEnabled.load(ordering: .relaxed) else { return }
        let start = monotonicNanoseconds()
        var removed = 0
        repeat {
            removed = engine.store.expireDue(nowMilliseconds: engine.clock.wallMilliseconds, limit: Self.sliceKeyCount)
            if removed < Self.sliceKeyCount { return }
        } while monotonicNanoseconds() - start < Self.sliceNanoseconds / 2
        isGoingOn.store(true, ordering: .relaxed)
        loop.execute { [self] in
            isGoingOn.store(false, ordering: .relaxed)
            expire(on: loop)
        }
    }

    func applySaveRules() { state.saveWhenDue() }
}
