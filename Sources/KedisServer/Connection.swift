// A connection, whatever carries it: bytes that were read go into the session where they lie, all replies of a read
// leave with one system call from where the session wrote them.
//
//   read ─▶ receive ─▶ session.receive ─▶ readIsComplete ─▶ the loop has read all its connections ─▶ send(2)
//                                                                       the socket is full: the rest goes ┘
//                                 to the transport, which waits for the peer; when too much waits, nothing is read
//
// On a native loop short reads are planned, and maybe executed, before `receive` (`planAhead`, `join`).
//
// With TLS all output goes through the transport, and at the end of a read, as the peer may have ended the connection
// in it.
//
// Ownership: the transport owns the connection, which owns the session, and refers to the transport until `end`; all
// live on the loop's thread. Invariants: bytes go past the transport only when it holds none, so their order stands;
// the descriptor is used only until `socketIsGone`. While more output waits than `client-output-pause-limit`, nothing
// is read and nothing is executed: what a client makes the server hold is bounded by that limit, the session's pause
// (1 MiB), one reply, and a short read that came in the same round. Cost: a system call for reading and one for
// writing, no allocation.

import CKedis
import KedisCommands
import KedisDurability
import KedisProtocol
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

final class Connection: DeadlineHeapMember {
    let session: UnsafeMutablePointer<Session>
    let server: ServerContext
    let clients: LoopClients
    private(set) var transport: (any ConnectionTransport)?
    /// The socket, or -1 when nothing may go past the transport: it encrypts, is not active or does not say.
    private var descriptor: Int32
    private let isEncrypted: Bool
    /// Bytes of replies that the transport holds.
    private(set) var waitingByteCount = 0
    /// The session has input that waits until its output was sent.
    private var isPaused = false
    private var isReadingOff = false
    private var isPumping = false
    private var isSending = false
    /// What the socket took of the output before ``send(byteCount:)`` asks it to.
    private var sentAhead: Int?
    /// The connection is closed, or will be when its output was sent: nothing is executed any more.
    private var isFinishing = false
    /// The peer sends no more, but may still read: what it has sent is executed and answered.
    private var hasPeerEnded = false
    /// Something was read since the last time that reading was complete.
    private var hasRead = false
    /// What the session has written waits for the end of the loop's round.
    private var isAwaitingRoundEnd = false
    /// `clients.roundEnd` has the connection.
    var isInRoundEnd = false
    /// Messages were delivered and not sent yet.
    var hasMessages = false
    /// Bytes of replies that were given to the transport.
    private(set) var givenByteCount: UInt64 = 0
    var watch = OutputWatch()
    private var stageWatch = StageWatch()
    /// Where `clients` keeps this connection, and where while output waits; where its deadlines do while the client
    /// waits until one, which is this.
    var loopIndex = -1
    var watchIndex = -1
    var heapIndex = -1
    var deadlineNanoseconds: UInt64 = 0
    /// What the first bytes of the output wait for, and how many those are: Journal/HeldReplies.swift.
    private(set) var heldSequence: UInt64 = 0
    private var heldByteCount = 0
    /// What is held is the last that the peer gets.
    private var endsWhenReleased = false
    /// What the client changes a snapshot cannot take as fast: nothing is read.
    private var isPressed = false
    /// The client waits in a blocking command, and the deadline has been entered.
    private var isWaiting = false

    /// Rounds of a paused session before other connections of the loop get their turn.
    private static let roundsMax = 4

    init(
        server: ServerContext, clients: LoopClients, endpoint: ClientEndpoint, identifier: Int64? = nil,
        isEncrypted: Bool = false
    ) {
        self.server = server
        self.clients = clients
        self.isEncrypted = isEncrypted
        descriptor = isEncrypted ? -1 : endpoint.descriptor
        session = .allocate(capacity: 1)
        session.initialize(
            to: Session(
                engine: server.engine, endpoint: endpoint, postbox: clients.postbox, loopNumber: clients.number,
                identifier: identifier))
        session.pointee.client.pointee.record.receive = { [unowned self] mail in take(mail) }
    }

    deinit {
        session.pointee.client.pointee.record.receive = nil
        session.deinitialize(count: 1)
        session.deallocate()
    }

    // MARK: Events of the transport

    func begin(_ transport: any ConnectionTransport) {
        self.transport = transport
        clients.add(self)
    }

    /// The connection is over, and what belongs to it goes. No method of it is running.
    func end() {
        transport = nil
        session.pointee.client.pointee.record.receive = nil
        leave()
        if isInRoundEnd { clients.roundEnd.remove(self) }
        clients.remove(self)
        server.releaseConnection()
    }

    /// The socket was closed; ``end()`` follows. From here on its number may be another connection's.
    func socketIsGone() {
        descriptor = -1
        leave()
    }

    @inline(__always)
    func receive(_ bytes: UnsafeRawBufferPointer) {
        // What happened before the client has sent this comes first.
        if clients.hasMail { clients.deliverMail() }
        guard !isFinishing, isActive else { return session.pointee.forgetPlan() }
        hasRead = true
        session.pointee.traffic.pointee.noteInput(byteCount: bytes.count)
        server.rhythm.noteInput()
        let sampledSince = clients.stages.noteRead()
        session.pointee.sampleStages(since: sampledSince)
        session.pointee.receive(bytes)
        if sampledSince != 0 { endSampleSlowly() }
    }

    /// Has the session plan what ``receive(_:)`` will bring. In the sample of stages, each read has its own.
    @inline(__always)
    func planAhead(_ bytes: UnsafeRawBufferPointer) {
        if !isFinishing, isActive, !clients.stages.isSampling { session.pointee.planAhead(bytes) }
    }

    /// What was planned is about to be executed, with that of others if it can be.
    @inline(__always)
    func join(_ group: inout SessionGroup) {
        // Those that have joined must not be closed by it.
        if group.isEmpty, clients.hasMail { clients.deliverMail() }
        if !isFinishing, isActive { group.add(session) }
    }

    @inline(__always)
    private var isActive: Bool { descriptor >= 0 || transport?.isActive == true }

    /// The commands of a read that is in the sample of stages have been executed; what follows them is not.
    @inline(never)
    private func endSampleSlowly() {
        session.pointee.sampleStages(since: 0)
        stageWatch.begin(server.engine, commandCount: session.pointee.executedCommandCount)
    }

    /// Replies wait for the end of the loop's round when they are short.
    @inline(__always)
    func readIsComplete() {
        guard !isFinishing else { return }
        if hasRead, !isEncrypted, session.pointee.output.count <= RoundEnd.outputByteCountMax {
            if !isInRoundEnd { clients.roundEnd.add(self) }
            isAwaitingRoundEnd = true
        } else {
            sendAndGoOn()
        }
        hasRead = false
    }

    /// The loop's round is over.
    @inline(__always)
    func roundHasEnded() {
        guard isAwaitingRoundEnd else { return }
        isAwaitingRoundEnd = false
        guard transport != nil, !isFinishing else { return }
        sendAndGoOn()
    }

    /// What the end of the round would send, if nothing speaks against it.
    @inline(__always)
    var readyOutput: SendRequest? {
        guard isAwaitingRoundEnd, !isFinishing, descriptor >= 0, waitingByteCount == 0, sentAhead == nil,
            !session.pointee.output.isEmpty, !server.isStopped.load(ordering: .relaxed), mayLeave
        else { return nil }
        return SendRequest(descriptor: descriptor, bytes: session.pointee.output.bytes)
    }

    @inline(__always)
    private var mayLeave: Bool {
        guard server.gate.isOn.load(ordering: .relaxed) else { return true }
        return !session.pointee.isHeld && server.gate.isDurable(session.pointee.neededSequence)
    }

    /// The socket took so many bytes of ``readyOutput``, or it failed with that error's number, negative.
    @inline(__always)
    func wasSentAhead(_ byteCount: Int) { sentAhead = byteCount }

    /// The peer has ended its side, and reads on maybe. Who waits for something will not get it, as in Redis.
    func peerHasEnded() {
        guard !isFinishing else { return }
        hasPeerEnded = true
        isAwaitingRoundEnd = false
        sendAndGoOn()
        guard !isFinishing, transport != nil else { return }
        guard session.pointee.isBlocked else { return pump() }
        leave()
        // What was answered before goes out, when it may.
        if session.pointee.isHeld { endsWhenReleased = true } else { finish() }
    }

    /// Closes the connection at once. TLS takes a moment for its goodbye; what arrives meanwhile is nobody's.
    func close() {
        isFinishing = true
        isPaused = false
        transport?.close()
    }

    // MARK: Sending

    @inline(__always)
    private func sendAndGoOn() {
        send()
        if session.pointee.hasLeftCopies { press() }
        if isPaused || isReadingOff || waitingByteCount > 0 { pump() }
    }

    @inline(never)
    private func press() {
        guard session.pointee.takePressure(), !isPressed, !isFinishing else { return }
        isPressed = true
        stopReading()
        clients.pressed.add(self)
    }

    /// A snapshot has taken enough of what was changed.
    func pressureIsOver() {
        isPressed = false
        guard transport != nil, !isFinishing else { return }
        pump()
    }

    /// Sends what the session has written, unless that has to wait for the journal.
    @inline(__always)
    private func send() {
        if server.gate.isOn.load(ordering: .relaxed), holdsReplies() { return }
        send(byteCount: session.pointee.output.count)
    }

    /// Sends the first `byteCount` bytes of what the session has written.
    private func send(byteCount: Int) {
        // The transport may have sent what it gets before it returns: nothing may be executed until the output is
        // empty.
        isSending = true
        isAwaitingRoundEnd = false
        defer { isSending = false }
        if byteCount > 0 {
            isPaused = session.pointee.isPaused
            guard !server.isStopped.load(ordering: .relaxed) else { return close() }
            session.pointee.traffic.pointee.noteOutput(byteCount: byteCount)
            let sentByteCount = waitingByteCount == 0 ? sendNow(byteCount) : 0
            if sentByteCount < byteCount { queueSlowly(sentByteCount, byteCount) }
            session.pointee.output.removeFirst(byteCount)
        } else {
            isPaused = false
        }
        if stageWatch.isOpen, waitingByteCount == 0 { stageWatch.end(server.engine) }
        if session.pointee.isClosing, session.pointee.output.isEmpty { finish() }
        if session.pointee.isBlocked != isWaiting { followWaiting() }
    }

    /// Gives output to the socket and returns how many bytes it took: 0 when it is full, -1 when it is broken.
    @inline(__always)
    private func sendNow(_ byteCount: Int) -> Int {
        guard descriptor >= 0 else { return 0 }
        if let byteCount = sentAhead {
            sentAhead = nil
            return byteCount >= 0 || byteCount == -Int(EAGAIN) || byteCount == -Int(EINTR) ? max(0, byteCount) : -1
        }
        var result = posixSend(descriptor, session.pointee.output.bytes.base, byteCount)
        while result < 0, errno == EINTR {
            result = posixSend(descriptor, session.pointee.output.bytes.base, byteCount)
        }
        return result >= 0 || errno == EAGAIN || errno == EWOULDBLOCK ? max(0, result) : -1
    }

    /// Leaves a part of the session's output to the transport, which sends it as the peer takes it.
    @inline(never)
    private func queueSlowly(_ start: Int, _ end: Int) {
        guard start >= 0 else { return close() }
        givenByteCount &+= UInt64(truncatingIfNeeded: end - start)
        waitingByteCount += end - start
        clients.watch(self)
        guard let transport else { return }
        guard transport.queue(session.pointee.output.bytes[start..<end]) else { return dropForMemory() }
        checkHardLimit()
    }

    /// Whether the output waits for the journal, from now on or already.
    @inline(never)
    private func holdsReplies() -> Bool {
        guard !session.pointee.isHeld else { return true }
        guard !session.pointee.output.isEmpty, !server.gate.isDurable(session.pointee.neededSequence) else {
            return false
        }
        isAwaitingRoundEnd = false
        session.pointee.isHeld = true
        heldSequence = session.pointee.neededSequence
        heldByteCount = session.pointee.output.count
        clients.held.add(self)
        return true
    }

    /// What the output has waited for is on disk: it is sent, and what came meanwhile is executed. Messages that were
    /// delivered since wait for themselves.
    func releaseReplies() {
        guard session.pointee.isHeld else { return }
        session.pointee.isHeld = false
        guard transport != nil, !isFinishing else { return }
        send(byteCount: min(heldByteCount, session.pointee.output.count))
        if !session.pointee.output.isEmpty { send() }
        guard !isFinishing, !session.pointee.isHeld else { return }
        if endsWhenReleased { return finish() }
        if session.pointee.hasPendingInput, !session.pointee.isBlocked { isPaused = true }
        if isPaused || isReadingOff || hasPeerEnded { pump() }
    }

    /// The transport has sent bytes that were queued.
    func wasSent(_ byteCount: Int) {
        waitingByteCount -= byteCount
        if stageWatch.isOpen, waitingByteCount == 0 { stageWatch.end(server.engine) }
        guard transport != nil, !isSending, !isPumping, !isFinishing else { return }
        if isPaused || isReadingOff || hasPeerEnded { pump() }
    }

    private var isBlocked: Bool {
        waitingByteCount > 0
            && waitingByteCount >= server.engine.configuration.outputPauseByteCount.load(ordering: .relaxed)
    }

    /// Closes when all output was sent.
    private func finish() {
        guard !isFinishing else { return }
        isFinishing = true
        isPaused = false
        // From here on nobody serves a client that would not get it.
        leave()
        guard waitingByteCount > 0 else {
            transport?.close()
            return
        }
        stopReading()
        transport?.closeWhenSent()
    }

    /// Goes on with a session that paused, as long as the peer takes its replies; then reads again.
    private func pump() {
        guard !isPumping, !isFinishing else { return }
        isPumping = true
        defer { isPumping = false }
        var rounds = 0
        while isPaused, !isPressed, !isBlocked, !isFinishing, !session.pointee.isHeld, isActive {
            if rounds == Self.roundsMax { return yield() }
            rounds += 1
            session.pointee.resume()
            send()
            if session.pointee.hasLeftCopies { press() }
        }
        // While replies are held, input is kept, up to its limit.
        if session.pointee.isHeld || isFinishing { return }
        if isPaused || isBlocked || isPressed { return stopReading() }
        if hasPeerEnded { finish() } else { startReading() }
    }

    /// Lets the other connections of this loop run, then goes on.
    private func yield() {
        stopReading()
        clients.turns.next { [weak self] in
            guard let self, transport != nil else { return }
            pump()
        }
    }

    // MARK: Blocked clients

    func precedes(_ other: Connection) -> Bool { deadlineNanoseconds < other.deadlineNanoseconds }

    /// The client began to wait, or waits no more.
    private func followWaiting() {
        isWaiting.toggle()
        clients.deadlines.remove(self)
        guard isWaiting, let deadline = session.pointee.waitDeadlineNanoseconds else { return }
        clients.deadlines.add(self, nanoseconds: deadline)
    }

    /// The deadline has passed.
    func waitIsOver() {
        if session.pointee.expireWaiting(nowNanoseconds: monotonicNanoseconds()) { goOn() }
    }

    /// Sends the answer to a client that has waited, and executes what it has sent meanwhile.
    private func goOn() {
        guard transport != nil, !isFinishing else { return }
        send()
        guard !isFinishing, session.pointee.hasPendingInput else { return }
        isPaused = true
        pump()
    }

    /// The connection is gone.
    private func leave() {
        session.pointee.leave()
        if isWaiting { followWaiting() }
    }

    // MARK: Mail

    private func take(_ mail: ClientMail) {
        switch mail {
        case .message(let message):
            guard transport != nil, !isFinishing else { return }
            session.pointee.deliver(message)
            clients.noteMessage(for: self)
        case .wake:
            if session.pointee.finishWaiting() { goOn() }
        case .close:
            // A client may kill itself, and its reply goes out first.
            roundHasEnded()
            if transport != nil { close() }
        }
    }

    /// Sends what was delivered.
    func sendMessages() {
        guard transport != nil, !isFinishing else { return }
        sendAndGoOn()
    }

    // MARK: Reading

    private func stopReading() {
        guard !isReadingOff else { return }
        isReadingOff = true
        transport?.setReading(false)
    }

    private func startReading() {
        guard isReadingOff, !isPressed else { return }
        isReadingOff = false
        transport?.setReading(true)
    }
}

/// The C function, whose name a method above hides. A broken connection must not raise SIGPIPE; SwiftNIO ignores the
/// signal on systems that cannot say so for one call.
@inline(__always)
private func posixSend(_ descriptor: Int32, _ base: UnsafePointer<UInt8>, _ byteCount: Int) -> Int {
    #if os(Linux)
    kedis_send(descriptor, base, byteCount)
    #else
    send(descriptor, base, byteCount, 0)
    #endif
}
