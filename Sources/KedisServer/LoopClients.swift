// The connections of one event loop, and the check that goes over them: as often in a second as `hz` says, with so many
// of them that each is checked once a second. `dynamic-hz` makes the checks more frequent rather than longer.
//
// Ownership: the server's, one for each loop. Threads: the loop's alone, `@unchecked Sendable` because it is made
// elsewhere.

import KedisCommands
import KedisUtilities
import NIOCore
import Synchronization

final class LoopClients: @unchecked Sendable {
    // Sendable: everything but `loop` is touched only on the event loop.

    let loop: any EventLoop
    let turns: LoopTurns
    let deadlines: WaitDeadlines
    /// Mail for the clients of this loop. It is delivered when the loop comes to it, or a client is heard.
    let postbox: Postbox
    private let server: ServerContext
    /// Clients whose messages are to be sent.
    private var receivers: [SessionHandler] = []
    private var handlers: [SessionHandler] = []
    private var cursor = 0
    private var task: Scheduled<Void>?
    private var checksPerSecond = 10

    private static let checksPerSecondMax = 500
    /// The most that one check goes over, when it may be repeated more often instead.
    private static let checkedCountMax = 200

    init(loop: any EventLoop, server: ServerContext) {
        self.loop = loop
        turns = LoopTurns(loop: loop)
        deadlines = WaitDeadlines(loop: loop)
        self.server = server
        let bell = Bell()
        postbox = Postbox(isShared: true) { loop.execute { bell.clients?.deliverMail() } }
        bell.clients = self
    }

    private final class Bell: @unchecked Sendable {
        // Sendable: set when it is made, then read on the event loop only.
        weak var clients: LoopClients?
    }

    // MARK: Mail

    /// Delivers all mail and sends it. No session of the loop is executing.
    func deliverMail() {
        loop.preconditionInEventLoop()
        postbox.deliver()
        // Sending may close connections, which changes nothing here.
        while let handler = receivers.popLast() {
            handler.hasMessages = false
            handler.sendMessages()
        }
    }

    func noteMessage(for handler: SessionHandler) {
        guard !handler.hasMessages else { return }
        handler.hasMessages = true
        receivers.append(handler)
    }

    // MARK: Connections

    func add(_ handler: SessionHandler) {
        loop.preconditionInEventLoop()
        handler.loopIndex = handlers.count
        handlers.append(handler)
    }

    func remove(_ handler: SessionHandler) {
        loop.preconditionInEventLoop()
        let index = handler.loopIndex
        guard index >= 0, index < handlers.count, handlers[index] === handler else { return }
        let last = handlers.removeLast()
        if last !== handler {
            handlers[index] = last
            last.loopIndex = index
        }
        handler.loopIndex = -1
    }

    func start() {
        loop.execute { [self] in scheduleCheck() }
    }

    private func scheduleCheck() {
        let configuration = server.engine.configuration
        checksPerSecond = configuration.checksPerSecond.load(ordering: .relaxed)
        if configuration.raisesChecksPerSecond.load(ordering: .relaxed) {
            while checksPerSecond < Self.checksPerSecondMax, handlers.count / checksPerSecond > Self.checkedCountMax {
                checksPerSecond = min(2 * checksPerSecond, Self.checksPerSecondMax)
            }
        }
        task = loop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(1000 / checksPerSecond))) { [weak self] in
            self?.checkSome()
            self?.scheduleCheck()
        }
    }

    /// Ends the checks and closes all connections; what was flushed before is sent as far as the peers take it now.
    func stop() -> EventLoopFuture<Void> {
        loop.submit { [self] in
            task?.cancel()
            task = nil
            deadlines.removeAll()
            for handler in handlers { handler.context?.close(promise: nil) }
        }
    }

    private func checkSome() {
        guard !handlers.isEmpty else { return }
        let now = Int64(truncatingIfNeeded: monotonicNanoseconds() / 1_000_000)
        let wall = server.engine.clock.wallMilliseconds
        let count = min(handlers.count, max(5, (handlers.count + checksPerSecond - 1) / checksPerSecond))
        for _ in 0..<count {
            // A check may close its connection, and another one takes the place.
            guard !handlers.isEmpty else { return }
            if cursor >= handlers.count { cursor = 0 }
            let handler = handlers[cursor]
            cursor += 1
            handler.check(nowMilliseconds: now, wallMilliseconds: wall)
        }
    }
}
