// The one handler of a connection: bytes that were read go into the session where they lie, all replies of a read leave
// with one system call from where the session wrote them.
//
//   read ─▶ channelRead ─▶ session.receive ─▶ channelReadComplete ─▶ the loop has read all its connections ─▶ send(2)
//                                                                             the socket is full: the rest goes ┘
//                                  through the channel, which waits for the peer; when too much waits, nothing is read
//
// With TLS the handler of SwiftNIO stands between socket and this one: all output goes through the channel, and at the
// end of a read, as the peer may have ended the connection in it. No plain connection passes a handler more for that.
//
// Ownership: the channel's pipeline owns the handler, the handler owns the session; both live on the channel's event
// loop. Invariants: bytes go past the channel only when it holds none, so their order stands; the descriptor is used
// only until the channel is inactive. While more output waits than `client-output-pause-limit`, nothing is read and
// nothing is executed: what a client makes the server hold is bounded by that limit, the session's pause (1 MiB) and
// one reply. Cost: a system call for reading and one for writing, no allocation. Writing past the channel saves about 1
// µs a request (2-core EPYC, Swift 6.3.1, SwiftNIO 2.101, 2026-11).

import KedisCommands
import KedisDurability
import KedisProtocol
import KedisUtilities
import NIOCore
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

final class SessionHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let session: UnsafeMutablePointer<Session>
    let server: ServerContext
    private let loop: LoopClients
    private(set) var context: ChannelHandlerContext?
    /// The socket, or -1 when nothing may go past the channel: it encrypts, is not active or does not say.
    private var descriptor: NIOBSDSocket.Handle
    private let isEncrypted: Bool
    /// Bytes of replies that the channel holds.
    private(set) var waitingByteCount = 0
    /// The session has input that waits until its output was sent.
    private var isPaused = false
    private var isReadingOff = false
    private var isPumping = false
    private var isSending = false
    /// The connection is closed, or will be when its output was sent: nothing is executed any more.
    private var isFinishing = false
    /// Something was read since the last time that reading was complete.
    private var hasRead = false
    /// What the session has written waits for the end of the loop's round.
    private var isAwaitingRoundEnd = false
    /// Messages were delivered and not sent yet.
    var hasMessages = false
    /// Bytes of replies that were given to the channel.
    private(set) var queuedByteCount: UInt64 = 0
    var watch = OutputWatch()
    private var stageWatch = StageWatch()
    /// Where `loop` keeps this handler, and where while output waits; where its deadlines do while the client waits
    /// until one.
    var loopIndex = -1
    var watchIndex = -1
    var deadlineIndex = -1
    /// What the first bytes of the output wait for, and how many those are: Journal/HeldReplies.swift.
    private(set) var heldSequence: UInt64 = 0
    private var heldByteCount = 0
    /// What the client changes a snapshot cannot take as fast: nothing is read.
    private var isPressed = false
    /// The client waits in a blocking command, and the deadline has been entered.
    private var isWaiting = false

    /// Rounds of a paused session before other connections of the loop get their turn.
    private static let roundsMax = 4

    init(server: ServerContext, loop: LoopClients, endpoint: ClientEndpoint, isEncrypted: Bool = false) {
        self.server = server
        self.loop = loop
        self.isEncrypted = isEncrypted
        descriptor = isEncrypted ? -1 : endpoint.descriptor
        session = .allocate(capacity: 1)
        session.initialize(
            to: Session(
                engine: server.engine, endpoint: endpoint, postbox: loop.postbox, loopNumber: loop.number))
        session.pointee.client.pointee.record.receive = { [unowned self] mail in take(mail) }
    }

    deinit {
        session.pointee.client.pointee.record.receive = nil
        session.deinitialize(count: 1)
        session.deallocate()
    }

    // MARK: Events of the channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        loop.add(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        session.pointee.client.pointee.record.receive = nil
        leave()
        loop.remove(self)
        server.releaseConnection()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // What happened before the client has sent this comes first.
        if !loop.postbox.isEmpty { loop.deliverMail() }
        guard !isFinishing, isActive(context) else { return }
        hasRead = true
        let buffer = unwrapInboundIn(data)
        session.pointee.traffic.pointee.noteInput(byteCount: buffer.readableBytes)
        server.rhythm.noteInput()
        let sampledSince = loop.stages.noteRead()
        session.pointee.sampleStages(since: sampledSince)
        buffer.withUnsafeReadableBytes { session.pointee.receive($0) }
        if sampledSince != 0 { endSampleSlowly() }
    }

    @inline(__always)
    private func isActive(_ context: ChannelHandlerContext) -> Bool { descriptor >= 0 || context.channel.isActive }

    /// The commands of a read that is in the sample of stages have been executed; what follows them is not.
    @inline(never)
    private func endSampleSlowly() {
        session.pointee.sampleStages(since: 0)
        stageWatch.begin(server.engine, commandCount: session.pointee.executedCommandCount)
    }

    /// Replies wait for the end of the loop's round when they are short. Complete without anything read means that the
    /// peer has ended its side, and the channel is closed right after this.
    func channelReadComplete(context: ChannelHandlerContext) {
        guard !isFinishing else { return }
        if hasRead, !isEncrypted, session.pointee.output.count <= RoundEnd.outputByteCountMax {
            if !isAwaitingRoundEnd { loop.roundEnd.add(self) }
            isAwaitingRoundEnd = true
        } else {
            sendAndGoOn(context)
        }
        hasRead = false
    }

    /// The loop's round is over.
    func roundHasEnded() {
        guard isAwaitingRoundEnd, let context, !isFinishing else { return }
        sendAndGoOn(context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        // From here on the number may be another connection's.
        descriptor = -1
        leave()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A peer that resets its connection is no news; the others feel nothing.
        close(context)
    }

    /// Closes the connection at once. TLS takes a moment for its goodbye; what arrives meanwhile is nobody's.
    func close(_ context: ChannelHandlerContext) {
        isFinishing = true
        isPaused = false
        context.close(promise: nil)
    }

    // MARK: Sending

    @inline(__always)
    private func sendAndGoOn(_ context: ChannelHandlerContext) {
        send(context)
        if session.pointee.hasLeftCopies { press(context) }
        if isPaused || isReadingOff || waitingByteCount > 0 { pump(context) }
    }

    @inline(never)
    private func press(_ context: ChannelHandlerContext) {
        guard session.pointee.takePressure(), !isPressed, !isFinishing else { return }
        isPressed = true
        stopReading(context)
        loop.pressed.add(self)
    }

    /// A snapshot has taken enough of what was changed.
    func pressureIsOver() {
        isPressed = false
        guard let context, !isFinishing else { return }
        pump(context)
    }

    /// Sends what the session has written, unless that has to wait for the journal.
    private func send(_ context: ChannelHandlerContext) {
        if server.gate.isOn.load(ordering: .relaxed), holdsReplies() { return }
        send(context, byteCount: session.pointee.output.count)
    }

    /// Sends the first `byteCount` bytes of what the session has written.
    private func send(_ context: ChannelHandlerContext, byteCount: Int) {
        // The channel may have sent what it gets before it returns: nothing may be executed until the output is empty.
        isSending = true
        isAwaitingRoundEnd = false
        defer { isSending = false }
        if byteCount > 0 {
            isPaused = session.pointee.isPaused
            guard !server.isStopped.load(ordering: .relaxed) else { return close(context) }
            session.pointee.traffic.pointee.noteOutput(byteCount: byteCount)
            let sentByteCount = waitingByteCount == 0 ? sendNow(session.pointee.output.bytes[0..<byteCount]) : 0
            if sentByteCount < byteCount { queueSlowly(context, sentByteCount..<byteCount) }
            session.pointee.output.removeFirst(byteCount)
        } else {
            isPaused = false
        }
        if stageWatch.isOpen, waitingByteCount == 0 { stageWatch.end(server.engine) }
        if session.pointee.isClosing, session.pointee.output.isEmpty { finish(context) }
        if session.pointee.isBlocked != isWaiting { followWaiting() }
    }

    /// Gives bytes to the socket and returns how many it took: none when it is full or broken.
    @inline(__always)
    private func sendNow(_ bytes: ByteView) -> Int {
        guard descriptor >= 0 else { return 0 }
        let result = posixSend(descriptor, bytes.base, bytes.count)
        return max(0, result)
    }

    /// Leaves a part of the session's output to the channel, which sends it as the peer takes it.
    @inline(never)
    private func queueSlowly(_ context: ChannelHandlerContext, _ range: Range<Int>) {
        let output = session.pointee.output.bytes[0..<range.upperBound]
        let byteCount = range.count
        queuedByteCount &+= UInt64(truncatingIfNeeded: byteCount)
        waitingByteCount += byteCount
        loop.watch(self)
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenSuccess { [weak self] in self?.wasSent(byteCount) }
        var position = range.lowerBound
        // A buffer of the channel cannot refuse: long replies go to it in pieces that are small beside the headroom,
        // and each is freed when it was sent.
        while position < output.count {
            let end = min(position + ClientMemory.outputPieceByteCount, output.count)
            guard mayAllocate(byteCount: (end - position) * (isEncrypted ? 3 : 1)) else {
                promise.fail(ChannelError.ioOnClosedChannel)
                return dropForMemory(context)
            }
            let piece = ByteBuffer(bytes: output[position..<end].raw)
            context.write(wrapOutboundOut(piece), promise: end == output.count ? promise : nil)
            position = end
            // TLS encrypts at a flush, all that waits into one buffer.
            if isEncrypted { context.flush() }
        }
        if !isEncrypted { context.flush() }
        checkHardLimit(context)
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
        loop.held.add(self)
        return true
    }

    /// What the output has waited for is on disk: it is sent, and what came meanwhile is executed. Messages that were
    /// delivered since wait for themselves.
    func releaseReplies() {
        guard session.pointee.isHeld else { return }
        session.pointee.isHeld = false
        guard let context, !isFinishing else { return }
        send(context, byteCount: min(heldByteCount, session.pointee.output.count))
        if !session.pointee.output.isEmpty { send(context) }
        guard !isFinishing, !session.pointee.isHeld else { return }
        if session.pointee.hasPendingInput, !session.pointee.isBlocked { isPaused = true }
        if isPaused || isReadingOff { pump(context) }
    }

    private func wasSent(_ byteCount: Int) {
        waitingByteCount -= byteCount
        if stageWatch.isOpen, waitingByteCount == 0 { stageWatch.end(server.engine) }
        guard let context, !isSending, !isPumping, !isFinishing else { return }
        if isPaused || isReadingOff { pump(context) }
    }

    private var isBlocked: Bool {
        waitingByteCount > 0
            && waitingByteCount >= server.engine.configuration.outputPauseByteCount.load(ordering: .relaxed)
    }

    /// Closes when all output was sent.
    private func finish(_ context: ChannelHandlerContext) {
        guard !isFinishing else { return }
        isFinishing = true
        isPaused = false
        guard waitingByteCount > 0 else { return context.close(promise: nil) }
        stopReading(context)
        let promise = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
    }

    /// Goes on with a session that paused, as long as the peer takes its replies; then reads again.
    private func pump(_ context: ChannelHandlerContext) {
        guard !isPumping, !isFinishing else { return }
        isPumping = true
        defer { isPumping = false }
        var rounds = 0
        while isPaused, !isPressed, !isBlocked, !isFinishing, !session.pointee.isHeld, isActive(context) {
            if rounds == Self.roundsMax { return yield(context) }
            rounds += 1
            session.pointee.resume()
            send(context)
            if session.pointee.hasLeftCopies { press(context) }
        }
        // While replies are held, input is kept, up to its limit.
        if session.pointee.isHeld { return }
        if isPaused || isBlocked || isPressed { stopReading(context) } else if !isFinishing { startReading(context) }
    }

    /// Lets the other connections of this loop run, then goes on.
    private func yield(_ context: ChannelHandlerContext) {
        stopReading(context)
        loop.turns.next { [weak self] in
            guard let self, let context = self.context else { return }
            self.pump(context)
        }
    }

    // MARK: Blocked clients

    /// The client began to wait, or waits no more.
    private func followWaiting() {
        isWaiting.toggle()
        loop.deadlines.remove(self)
        guard isWaiting, let deadline = session.pointee.waitDeadlineNanoseconds else { return }
        loop.deadlines.add(self, nanoseconds: deadline)
    }

    /// The deadline has passed.
    func waitIsOver() {
        if session.pointee.expireWaiting(nowNanoseconds: monotonicNanoseconds()) { goOn() }
    }

    /// Sends the answer to a client that has waited, and executes what it has sent meanwhile.
    private func goOn() {
        guard let context, !isFinishing else { return }
        send(context)
        guard !isFinishing, session.pointee.hasPendingInput else { return }
        isPaused = true
        pump(context)
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
            guard context != nil, !isFinishing else { return }
            session.pointee.deliver(message)
            loop.noteMessage(for: self)
        case .wake:
            if session.pointee.finishWaiting() { goOn() }
        case .close:
            // A client may kill itself, and its reply goes out first.
            roundHasEnded()
            if let context { close(context) }
        }
    }

    /// Sends what was delivered.
    func sendMessages() {
        guard let context, !isFinishing else { return }
        sendAndGoOn(context)
    }

    // MARK: Reading

    private func stopReading(_ context: ChannelHandlerContext) {
        guard !isReadingOff else { return }
        isReadingOff = true
        // Fails only for a channel that is closed.
        try? context.channel.syncOptions?.setOption(.autoRead, value: false)
    }

    private func startReading(_ context: ChannelHandlerContext) {
        guard isReadingOff, !isPressed else { return }
        isReadingOff = false
        try? context.channel.syncOptions?.setOption(.autoRead, value: true)
    }
}

/// The C function, whose name a method above hides. A broken connection must not raise SIGPIPE; SwiftNIO ignores the
/// signal on systems that cannot say so for one call.
@inline(__always)
private func posixSend(_ descriptor: Int32, _ base: UnsafePointer<UInt8>, _ byteCount: Int) -> Int {
    #if os(Linux)
    send(descriptor, base, byteCount, Int32(MSG_NOSIGNAL))
    #else
    send(descriptor, base, byteCount, 0)
    #endif
}
