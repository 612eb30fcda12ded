// What the connections of a loop need of it, whatever waits for their sockets: NativeLoop (epoll), or one of SwiftNIO.
//
//   round   sockets that are ready ─▶ the end of the round: replies are sent ─▶ timers ─▶ tasks ─▶ sleep
//
// Ownership: KedisServer's (ServerLoops.swift). Threads: a loop has one of its own; `execute` and `isCurrent` are for
// any, everything else for that one. Cost: dynamic dispatch, so nothing here is called for a command.

import KedisUtilities

protocol ServerLoop: AnyObject, Sendable {
    /// Whether the caller runs on the loop's thread.
    var isCurrent: Bool { get }

    /// Runs `task` on the loop's thread soon, after what was given before. Any thread. Dropped when the loop has ended.
    func execute(_ task: @escaping @Sendable () -> Void)

    /// Runs `task` when the connections that are ready have had their turn once more.
    func nextRound(_ task: @escaping () -> Void)

    /// Runs `task` after so many nanoseconds.
    func schedule(inNanoseconds delay: UInt64, _ task: @escaping () -> Void) -> any LoopTimer

    /// What ``requestRoundEnd()`` has called. Set once, before the loop has connections.
    func setRoundEnd(_ body: @escaping () -> Void)

    /// Calls what was set by ``setRoundEnd(_:)`` when the connections that are ready now have been read.
    func requestRoundEnd()

    /// Runs `task` at the end of this round. Seldom.
    func afterRound(_ task: @escaping () -> Void)

    /// Sends with one call what `request` gives for 0 to `count` - 1, and tells `result` how many bytes each socket
    /// took, or the error's number, negative. False, and nothing is sent, where each is a call of its own.
    func sendTogether(
        count: Int, request: (_ index: Int) -> SendRequest?, result: (_ index: Int, _ byteCount: Int) -> Void
    ) -> Bool
}

/// Bytes for a socket.
struct SendRequest {
    let descriptor: Int32
    let bytes: ByteView
}

/// Something that happens later, unless it is cancelled.
protocol LoopTimer: AnyObject {
    /// On the loop's thread.
    func cancel()
}

extension ServerLoop {
    func sendTogether(count: Int, request: (Int) -> SendRequest?, result: (Int, Int) -> Void) -> Bool { false }

    func schedule(inMilliseconds delay: Int64, _ task: @escaping () -> Void) -> any LoopTimer {
        schedule(inNanoseconds: UInt64(max(0, delay)) &* 1_000_000, task)
    }

    /// Runs `body` on the loop and waits for it.
    func run(_ body: @escaping @Sendable () -> Void) async {
        await withCheckedContinuation { continuation in
            execute {
                body()
                continuation.resume()
            }
        }
    }
}
