// Stands behind TLS until the handshake of a connection is done, then makes way for its session, or says why it is
// refused. A peer that has not shown who it is costs no session, and is gone when it takes too long.
//
//   socket ─▶ NIOSSLServerHandler ─▶ HandshakeHandler          before
//   socket ─▶ NIOSSLServerHandler ─▶ SessionHandler            after
//
// Ownership: the channel's pipeline. Threads: the channel's event loop. Invariant: whichever way it ends, the place
// that the connection took is given back once: by the session's handler, or here.

import KedisCommands
import NIOCore
import NIOSSL
import NIOTLS

final class HandshakeHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let server: ServerContext
    private let clients: LoopClients
    private let endpoint: ClientEndpoint
    /// Why the connection gets no session.
    private let refusal: Refusal?
    private var timer: Scheduled<Void>?
    private var phase = Phase.shaking

    private enum Phase {
        case shaking
        /// The session's handler has taken over.
        case handedOver
        /// Told why it is refused, or failed: what arrives is nobody's.
        case over
    }

    /// A connection without `refusal` counts against `maxclients` already.
    init(server: ServerContext, clients: LoopClients, endpoint: ClientEndpoint, refusal: Refusal?) {
        self.server = server
        self.clients = clients
        self.endpoint = endpoint
        self.refusal = refusal
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let seconds = server.encryption.handshakeSeconds
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(Int64(seconds))) { [weak self] in
            self?.fail("no handshake within \(seconds) seconds", context)
            // Also a peer that does not take the reason why it is refused.
            context.close(promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        guard phase != .handedOver else { return }
        if refusal == nil { server.releaseConnection() } else { server.encryption.releaseRefused() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if phase == .shaking, case .handshakeCompleted? = event as? TLSUserEvent { return finish(context) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

    func errorCaught(context: ChannelHandlerContext, error: any Error) { fail(describe(error), context) }

    func channelInactive(context: ChannelHandlerContext) {
        fail("the peer has closed the connection", context)
        context.fireChannelInactive()
    }

    private func fail(_ reason: String, _ context: ChannelHandlerContext) {
        guard phase == .shaking else { return }
        phase = .over
        server.encryption.noteFailure(reason, of: endpoint)
        context.close(promise: nil)
    }

    /// The handshake is done.
    private func finish(_ context: ChannelHandlerContext) {
        guard refusal == nil else { return refuse(context) }
        let handler = SessionHandler(server: server, clients: clients, endpoint: endpoint, isEncrypted: true)
        do {
            try context.pipeline.syncOperations.addHandler(handler, position: .after(self))
            phase = .handedOver
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        } catch {
            // The channel has ended meanwhile.
            phase = .over
            context.close(promise: nil)
        }
    }

    private func refuse(_ context: ChannelHandlerContext) {
        phase = .over
        guard let refusal else { return }
        let promise = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(staticString: refusal.text)), promise: promise)
    }
}
