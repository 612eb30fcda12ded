// The connections of one event loop, and the check that goes over them, as often in a second as `hz` says: over those
// that have output waiting, or over all while `timeout` or `maxmemory-clients` is set, each once a second. `dynamic-hz`
// makes the checks more frequent rather than longer.
//
// Ownership: the server's, one for each loop. Threads: the loop's alone, `@unchecked Sendable` because it is made
// elsewhere.

import KedisCommands
import KedisStore
import KedisUtilities
import Synchronization

final class LoopClients: @unchecked Sendable {
    // Sendable: everything but `loop` is touched only on the event loop.

    let loop: any ServerLoop
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
    /// The same: looking whether it is empty, for each read, counts no reference.
    private let postboxReference: Unmanaged<Postbox>
    private let server: ServerContext
    private let health: Health
    /// Clients whose messages are to be sent.
    private var receivers: [Connection] = []
    private var connections: [Connection] = []
    /// Those of them whose output waits, or did at their last check.
    private var watched: [Connection] = []
    private var cursor = 0
    private var task: (any LoopTimer)?
    private var checksPerSecond = 10
    /// When the last check was done, or the first one was ordered, and when stages were last sampled.
    private var checkedNanoseconds: UInt64 = 0
    private var sampledNanoseconds: UInt64 = 0

    private static let checksPerSecondMax = 500
    /// The most that one check goes over, when it may be repeated more often instead.
    private static let checkedCountMax = 200
    private static let samplePauseNanoseconds: UInt64 = 90_000_000

    init(loop: any ServerLoop, number: Int, server: ServerContext, health: Health) {
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
        postboxReference = .passUnretained(postbox)
        bell.clients = self
    }

    /// Mail waits to be delivered.
    @inline(__always)
    var hasMail: Bool { postboxReference._withUnsafeGuaranteedRef { !$0.isEmpty } }

    private final class Bell: @unchecked Sendable {
        // Sendable: set when it is made, then read on the event loop only.
        weak var clients: LoopClients?
    }

    // MARK: Mail

    /// Delivers all mail and sends it. No session of the loop is executing.
    func deliverMail() {
        precondition(loop.isCurrent)
        postbox.deliver()
        // Sending may close connections, which changes nothing here.
        while let connection = receivers.popLast() {
            connection.hasMessages = false
            connection.sendMessages()
        }
    }

    func noteMessage(for connection: Connection) {
        guard !connection.hasMessages else { return }
        connection.hasMessages = true
        receivers.append(connection)
    }

    // MARK: Connections

    func add(_ connection: Connection) {
        precondition(loop.isCurrent)
        connection.loopIndex = connections.count
        connections.append(connection)
    }

    func remove(_ connection: Connection) {
        precondition(loop.isCurrent)
        unwatch(connection)
        if connection.session.pointee.isHeld { held.remove(connection) }
        let index = connection.loopIndex
        guard index >= 0, index < connections.count, connections[index] === connection else { return }
        let last = connections.removeLast()
        if last !== connection {
            connections[index] = last
            last.loopIndex = index
        }
        connection.loopIndex = -1
    }

    /// From now on a connection is checked, until it has nothing that is worth it.
    func watch(_ connection: Connection) {
        guard connection.watchIndex < 0 else { return }
        connection.watchIndex = watched.count
        watched.append(connection)
    }

    private func unwatch(_ connection: Connection) {
        let index = connection.watchIndex
        guard index >= 0 else { return }
        let last = watched.removeLast()
        if last !== connection {
            watched[index] = last
            last.watchIndex = index
        }
        connection.watchIndex = -1
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
            while checksPerSecond < Self.checksPerSecondMax,
                connections.count / checksPerSecond > Self.checkedCountMax
            {
                checksPerSecond = min(2 * checksPerSecond, Self.checksPerSecondMax)
            }
        }
        checkedNanoseconds = monotonicNanoseconds()
        task = loop.schedule(inMilliseconds: pauseMilliseconds) { [weak self] in
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
    func stop() async {
        await loop.run { [self] in
            task?.cancel()
            task = nil
            deadlines.removeAll()
            pressed.removeAll()
            roundEnd.sendAll()
            for connection in connections { connection.close() }
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
        let total = isEverybody ? connections.count : watched.count
        guard total > 0 else { return }
        let now = Int64(truncatingIfNeeded: monotonicNanoseconds() / 1_000_000)
        let wall = server.engine.clock.wallMilliseconds
        for _ in 0..<min(total, max(5, (total + checksPerSecond - 1) / checksPerSecond)) {
            // A check may close its connection, and another one takes the place.
            let count = isEverybody ? connections.count : watched.count
            guard count > 0 else { return }
            if cursor >= count { cursor = 0 }
            let connection = isEverybody ? connections[cursor] : watched[cursor]
            cursor += 1
            connection.check(nowMilliseconds: now, wallMilliseconds: wall)
            if connection.isUnwatched { unwatch(connection) }
        }
    }
}
