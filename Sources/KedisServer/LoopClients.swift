// The connections of one event loop, and the check that goes over them, as often in a second as `hz` says: over those
// that have output waiting, or over all while `timeout` or `maxmemory-clients` is set, each once a second. `dynamic-hz`
// makes the checks more frequent rather than longer.
//
// Ownership: the server's, one for each loop. Threads: the loop's alone, `@unchecked Sendable` because it is made
// elsewhere.

import KedisCommands
import KedisStore
import KedisUtilities
import NIOCore
import Synchronization

final class LoopClients: @unchecked Sendable {
    // Sendable: everything but `loop` is touched only on the event loop.

    let loop: any EventLoop
    /// Its place among the loops: counters of its own go by it.
    let number: Int
    let turns: LoopTurns
    let deadlines: WaitDeadlines
    let stages: LoopStages
    let roundEnd: RoundEnd
    let held: HeldReplies
    let pressed: PressedClients
    /// Mail for the clients of this loop. It is delivered when the loop comes to it, or a client is heard.
    let postbox: Postbox
    private let server: ServerContext
    private let health: Health
    /// Clients whose messages are to be sent.
    private var receivers: [SessionHandler] = []
    private var handlers: [SessionHandler] = []
    /// Those of them whose output waits, or did at their last check.
    private var watched: [SessionHandler] = []
    private var cursor = 0
    private var task: Scheduled<Void>?
    private var checksPerSecond = 10
    /// When the last check was done, or the first one was ordered, and when stages were last sampled.
    private var checkedNanoseconds: UInt64 = 0
    private var sampledNanoseconds: UInt64 = 0

    private static let checksPerSecondMax = 500
    /// The most that one check goes over, when it may be repeated more often instead.
    private static let checkedCountMax = 200
    private static let samplePauseNanoseconds: UInt64 = 90_000_000

    init(loop: any EventLoop, number: Int, server: ServerContext, health: Health) {
        self.loop = loop
        self.number = number
        self.health = health
        turns = LoopTurns(loop: loop)
        deadlines = WaitDeadlines(loop: loop)
        stages = LoopStages(loop: loop, engine: server.engine)
        roundEnd = RoundEnd(loop: loop, gate: server.gate)
        held = HeldReplies(loop: loop, gate: server.gate)
        pressed = PressedClients(loop: loop, store: server.engine.store.handle)
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
        unwatch(handler)
        if handler.session.pointee.isHeld { held.remove(handler) }
        let index = handler.loopIndex
        guard index >= 0, index < handlers.count, handlers[index] === handler else { return }
        let last = handlers.removeLast()
        if last !== handler {
            handlers[index] = last
            last.loopIndex = index
        }
        handler.loopIndex = -1
    }

    /// From now on a handler is checked, until it has nothing that is worth it.
    func watch(_ handler: SessionHandler) {
        guard handler.watchIndex < 0 else { return }
        handler.watchIndex = watched.count
        watched.append(handler)
    }

    private func unwatch(_ handler: SessionHandler) {
        let index = handler.watchIndex
        guard index >= 0 else { return }
        let last = watched.removeLast()
        if last !== handler {
            watched[index] = last
            last.watchIndex = index
        }
        handler.watchIndex = -1
    }

    func start() {
        loop.execute { [self] in
            health.noteBeat(ofLoop: number)
            scheduleCheck()
        }
    }

    private func scheduleCheck() {
        let configuration = server.engine.configuration
        checksPerSecond = configuration.checksPerSecond.load(ordering: .relaxed)
        if configuration.raisesChecksPerSecond.load(ordering: .relaxed) {
            while checksPerSecond < Self.checksPerSecondMax, handlers.count / checksPerSecond > Self.checkedCountMax {
                checksPerSecond = min(2 * checksPerSecond, Self.checksPerSecondMax)
            }
        }
        checkedNanoseconds = monotonicNanoseconds()
        task = loop.assumeIsolated().scheduleTask(in: .milliseconds(pauseMilliseconds)) { [weak self] in
            guard let self else { return }
            noteLateness()
            checkSome()
            sampleStages()
            scheduleCheck()
        }
    }

    /// The time between two checks.
    private var pauseMilliseconds: Int64 { Int64(1000 / checksPerSecond) }

    /// At most ten times a second, however often there are checks.
    private func sampleStages() {
        let now = monotonicNanoseconds()
        guard now &- sampledNanoseconds >= Self.samplePauseNanoseconds else { return }
        sampledNanoseconds = now
        stages.take()
    }

    /// Ends the checks and closes all connections; what was flushed before is sent as far as the peers take it now.
    func stop() -> EventLoopFuture<Void> {
        loop.submit { [self] in
            task?.cancel()
            task = nil
            deadlines.removeAll()
            pressed.removeAll()
            roundEnd.sendAll()
            for handler in handlers { handler.context.map { handler.close($0) } }
        }
    }

    /// The time between two checks is theirs alone: what is more, something else took.
    private func noteLateness() {
        let now = monotonicNanoseconds()
        health.noteBeat(ofLoop: number)
        let pause = UInt64(pauseMilliseconds) * 1_000_000
        guard now > checkedNanoseconds &+ pause else { return }
        server.engine.observability.latency.note(
            .eventLoop, nanoseconds: now - checkedNanoseconds - pause,
            wallMilliseconds: server.engine.clock.wallMilliseconds)
    }

    private func checkSome() {
        let configuration = server.engine.configuration
        let isEverybody =
            configuration.idleTimeoutSeconds.load(ordering: .relaxed) > 0
            || configuration.clientMemoryByteCountMax.load(ordering: .relaxed) > 0
        let total = isEverybody ? handlers.count : watched.count
        guard total > 0 else { return }
        let now = Int64(truncatingIfNeeded: monotonicNanoseconds() / 1_000_000)
        let wall = server.engine.clock.wallMilliseconds
        for _ in 0..<min(total, max(5, (total + checksPerSecond - 1) / checksPerSecond)) {
            // A check may close its connection, and another one takes the place.
            let count = isEverybody ? handlers.count : watched.count
            guard count > 0 else { return }
            if cursor >= count { cursor = 0 }
            let handler = isEverybody ? handlers[cursor] : watched[cursor]
            cursor += 1
            handler.check(nowMilliseconds: now, wallMilliseconds: wall)
            if handler.isUnwatched { unwatch(handler) }
        }
    }
}
