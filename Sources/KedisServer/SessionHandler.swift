// A connection whose bytes a channel of SwiftNIO carries: with TLS, and where the native loop is not used. The handler
// passes events on and does what the connection wants of its transport. A peer that ends its side ends the connection:
// what the socket has taken by then still reaches it.
//
// Ownership: the channel's pipeline owns the handler, the handler the connection. Threads: the channel's event loop.

import KedisCommands
import KedisUtilities
import NIOCore

final class SessionHandler: ChannelInboundHandler, ConnectionTransport {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let connection: Connection
    private var context: ChannelHandlerContext?
    private let isEncrypted: Bool

    init(server: ServerContext, clients: LoopClients, endpoint: ClientEndpoint, isEncrypted: Bool = false) {
        self.isEncrypted = isEncrypted
        connection = Connection(server: server, clients: clients, endpoint: endpoint, isEncrypted: isEncrypted)
    }

    // MARK: Events of the channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        connection.begin(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        connection.end()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        unwrapInboundIn(data).withUnsafeReadableBytes { connection.receive($0) }
    }

    func channelReadComplete(context: ChannelHandlerContext) { connection.readIsComplete() }

    func channelInactive(context: ChannelHandlerContext) { connection.socketIsGone() }

    /// A peer that resets its connection is no news; the others feel nothing.
    func errorCaught(context: ChannelHandlerContext, error: any Error) { connection.close() }

    // MARK: What the connection wants

    var isActive: Bool { context?.channel.isActive ?? false }

    var queuedByteCount: Int {
        (try? context?.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? connection.waitingByteCount
    }

    func setReading(_ isOn: Bool) {
        // Fails only for a channel that is closed.
        try? context?.channel.syncOptions?.setOption(.autoRead, value: isOn)
    }

    /// A buffer of the channel cannot refuse: long replies go to it in pieces that are small beside the headroom, and
    /// each is freed when it was sent.
    func queue(_ output: ByteView) -> Bool {
        guard let context else { return false }
        let promise = context.eventLoop.makePromise(of: Void.self)
        let byteCount = output.count
        promise.futureResult.assumeIsolated().whenSuccess { [weak connection] in connection?.wasSent(byteCount) }
        var position = 0
        while position < byteCount {
            let end = min(position + ClientMemory.outputPieceByteCount, byteCount)
            guard mayAllocate(byteCount: (end - position) * (isEncrypted ? 3 : 1)) else {
                promise.fail(ChannelError.ioOnClosedChannel)
                return false
            }
            let piece = ByteBuffer(bytes: output[position..<end].raw)
            context.write(wrapOutboundOut(piece), promise: end == byteCount ? promise : nil)
            position = end
            // TLS encrypts at a flush, all that waits into one buffer.
            if isEncrypted { context.flush() }
        }
        if !isEncrypted { context.flush() }
        return true
    }

    func closeWhenSent() {
        guard let context else { return }
        let promise = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
    }

    func close() { context?.close(promise: nil) }
}
