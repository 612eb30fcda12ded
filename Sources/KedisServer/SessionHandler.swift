// The one handler of a connection: bytes that were read go into the session where they lie, all replies of a read leave
// in one buffer with one write.
//
//   read ─▶ channelRead ─▶ session.receive ─▶ channelReadComplete ─▶ one writeAndFlush
//                                                └ not writable: no more reads until the peer has taken what waits
//
// Ownership: the channel's pipeline owns the handler, the handler owns the session; both live on the channel's event loop. Invariant: while
// output waits beyond the channel's watermark, or the session is paused, nothing is read. So what a client makes the
// server hold is bounded by the watermark, the session's pause and one reply.
// Cost: a system call for reading and one for writing a request; no allocation: the reply buffer is ours again when it was sent.

import KedisCommands
import KedisProtocol
import KedisUtilities
import NIOCore
import Synchronization

final class SessionHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let session: UnsafeMutablePointer<Session>
    let server: ServerContext
    private let loop: LoopClients
    private(set) var context: ChannelHandlerContext?
    private var replies = ByteBuffer()
    /// The channel holds more output than its watermark.
    private var isBlocked = false
    /// The session has input that waits until its output was sent.
    private var isPaused = false
    private var isReadingOff = false
    private var isPumping = false
    private var isFinishing = false
    /// Bytes of replies that were given to the channel.
    private(set) var sentByteCount: UInt64 = 0
    var watch = OutputWatch()
    /// Where `loop` keeps this handler.
    var loopIndex = -1

    /// Replies for which a buffer is kept between reads, in bytes.
    private static let keptByteCount = 64 << 10
    /// Rounds of a paused session before other connections of the loop get their turn.
    private static let roundsMax = 4

    init(server: ServerContext, loop: LoopClients, endpoint: ClientEndpoint, channel: any Channel) {
        self.server = server
        self.loop = loop
        let loopOfChannel = channel.eventLoop
        session = .allocate(capacity: 1)
        session.initialize(
            to: Session(engine: server.engine, endpoint: endpoint) {
                // Never at once: a client may kill itself, and its reply goes out first.
                loopOfChannel.execute { channel.close(promise: nil) }
            }
        )
    }

    deinit {
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
        loop.remove(self)
        server.releaseConnection()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isFinishing else { return }
        let buffer = unwrapInboundIn(data)
        server.engine.statistics.inputByteCount.wrappingAdd(UInt64(buffer.readableBytes), ordering: .relaxed)
        buffer.withUnsafeReadableBytes { session.pointee.receive($0) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        send(context)
        if isPaused { pump(context) }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isBlocked = !context.channel.isWritable
        guard !isFinishing else { return }
        if isBlocked { stopReading(context) } else if !isPumping { pump(context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A peer that resets its connection is no news; the others feel nothing.
        context.close(promise: nil)
    }

    // MARK: Sending

    /// Hands what the session has written to the channel.
    private func send(_ context: ChannelHandlerContext) {
        let byteCount = session.pointee.output.count
        if byteCount > 0 {
            isPaused = session.pointee.isPaused
            guard !server.isStopped.load(ordering: .relaxed) else { return context.close(promise: nil) }
            replies.clear()
            replies.writeBytes(session.pointee.output.bytes.raw)
            session.pointee.output.removeAll()
            sentByteCount &+= UInt64(truncatingIfNeeded: byteCount)
            if session.pointee.isClosing { return finish(context) }
            context.writeAndFlush(wrapOutboundOut(replies), promise: nil)
            if byteCount > Self.keptByteCount { afterLargeReplySlowly(context) }
            server.engine.statistics.outputByteCount.wrappingAdd(UInt64(byteCount), ordering: .relaxed)
        } else {
            isPaused = false
            if session.pointee.isClosing {
                replies.clear()
                finish(context)
            }
        }
    }

    @inline(never)
    private func afterLargeReplySlowly(_ context: ChannelHandlerContext) {
        replies = ByteBuffer()
        if isBlocked { checkHardLimit(context) }
    }

    /// Sends what is in `replies` and before it, then closes.
    private func finish(_ context: ChannelHandlerContext) {
        isFinishing = true
        isPaused = false
        stopReading(context)
        let promise = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(replies), promise: promise)
        replies = ByteBuffer()
    }

    /// Goes on with a session that paused, as long as the peer takes its replies; then reads again.
    private func pump(_ context: ChannelHandlerContext) {
        guard !isPumping, !isFinishing else { return }
        isPumping = true
        defer { isPumping = false }
        var rounds = 0
        while isPaused, !isBlocked, !isFinishing, context.channel.isActive {
            if rounds == Self.roundsMax { return yield(context) }
            rounds += 1
            session.pointee.resume()
            send(context)
        }
        if isPaused || isBlocked { stopReading(context) } else if !isFinishing { startReading(context) }
    }

    /// Lets the other connections of this loop run, then goes on.
    private func yield(_ context: ChannelHandlerContext) {
        stopReading(context)
        context.eventLoop.assumeIsolated().execute { [weak self] in
            guard let self, let context = self.context else { return }
            self.pump(context)
        }
    }

    // MARK: Reading

    private func stopReading(_ context: ChannelHandlerContext) {
        guard !isReadingOff else { return }
        isReadingOff = true
        // Fails only for a channel that is closed.
        try? context.channel.syncOptions?.setOption(.autoRead, value: false)
    }

    private func startReading(_ context: ChannelHandlerContext) {
        guard isReadingOff else { return }
        isReadingOff = false
        try? context.channel.syncOptions?.setOption(.autoRead, value: true)
    }
}
