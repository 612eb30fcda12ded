// What becomes of a connection that comes in through a channel of SwiftNIO: it is refused, encrypted, or given its
// session.
//
// Accepted connections are spread over the event loops in turn. An accept that fails (no descriptors left) is tried
// again a moment later: NIO's server bootstrap does that.

import KedisCommands
import KedisUtilities
import NIOCore
import NIOPosix
import NIOSSL

/// Why the server does not start: a sentence for people.
package struct StartError: Error, CustomStringConvertible {
    package var description: String

    init(_ description: String) { self.description = description }
}

struct Listener: Sendable {
    let server: ServerContext
    let group: MultiThreadedEventLoopGroup
    let loops: [LoopClients]

    /// Accepts on a socket that listens, and owns it from now on.
    func accept(on descriptor: Int32, _ kind: DoorKind) -> any Acceptor {
        var bootstrap = ServerBootstrap(group: group)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.recvAllocator, value: Self.readBuffers)
            .childChannelInitializer { channel in initialise(channel, kind) }
        if kind != .unixSocket { bootstrap = bootstrap.childChannelOption(.tcpOption(.tcp_nodelay), value: 1) }
        return ChannelAcceptor(bootstrap.withBoundSocket(descriptor))
    }

    /// A channel keeps the buffer that it reads into. It begins small, so that 10,000 clients that wait or say little
    /// take little memory, and doubles with every read that fills it.
    private static let readBuffers = AdaptiveRecvByteBufferAllocator(
        minimum: 1024, initial: 2048, maximum: 64 << 10)

    /// Gives an accepted connection its handler, or refuses it.
    func initialise(_ channel: any Channel, _ kind: DoorKind) -> EventLoopFuture<Void> {
        let ipAddress = kind == .unixSocket ? nil : channel.remoteAddress?.ipAddress ?? "unknown"
        let refusal = server.admit(ipAddress: ipAddress, kind)
        return channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            if let refusal, kind != .encrypted { return try pipeline.addHandler(RefusalHandler(refusal)) }
            guard let clients = loops.first(where: { ($0.loop as? NIOLoop)?.base === channel.eventLoop }) else {
                if refusal == nil { server.releaseConnection() }
                throw ChannelError.ioOnClosedChannel
            }
            let endpoint = endpoint(of: channel)
            if kind != .unixSocket { server.keepAlive(endpoint.descriptor) }
            if kind == .encrypted { return try encrypt(pipeline, clients, endpoint, refusal) }
            try pipeline.addHandler(SessionHandler(server: server, clients: clients, endpoint: endpoint))
        }
    }

    /// Puts TLS in front of what follows the handshake. Who is refused is told so after one, as far as there are not
    /// many at a time, and there is memory for it.
    private func encrypt(
        _ pipeline: ChannelPipeline.SynchronousOperations, _ clients: LoopClients, _ endpoint: ClientEndpoint,
        _ refusal: Refusal?
    ) throws {
        if let refusal {
            guard refusal != .memoryExhausted, server.encryption.admitRefused() else {
                throw ChannelError.ioOnClosedChannel
            }
        }
        // From here on the place that the connection has taken is this handler's to give back.
        let handshake = HandshakeHandler(server: server, clients: clients, endpoint: endpoint, refusal: refusal)
        try pipeline.addHandler(handshake)
        guard let context = server.encryption.context else { throw ChannelError.ioOnClosedChannel }
        var settings = NIOSSLHandler.Configuration()
        settings.maximumPreservedOutboundBufferCapacity = 64 << 10
        let handler = NIOSSLServerHandler(context: context, configuration: settings)
        try pipeline.addHandler(handler, position: .before(handshake))
    }

    private func endpoint(of channel: any Channel) -> ClientEndpoint {
        var descriptor: Int32 = -1
        // Only sockets of the system have one.
        try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
            descriptor = $0
        }
        guard let address = channel.localAddress, case .unixDomainSocket = address else {
            return ClientEndpoint(
                address: text(channel.remoteAddress), localAddress: text(channel.localAddress), descriptor: descriptor
            )
        }
        let path = (address.pathname ?? "") + ":0"
        return ClientEndpoint(address: path, localAddress: path, descriptor: descriptor, isUnixSocket: true)
    }

    private func text(_ address: SocketAddress?) -> String {
        guard let address, let host = address.ipAddress, let port = address.port else { return "?:0" }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

/// A channel of SwiftNIO that accepts.
private final class ChannelAcceptor: Acceptor {
    private let channel: EventLoopFuture<any Channel>

    init(_ channel: EventLoopFuture<any Channel>) { self.channel = channel }

    func waitForStart() async throws { _ = try await channel.get() }

    func start(hasFailed: @escaping @Sendable (any Error) -> Void) { channel.whenFailure(hasFailed) }

    func closeSoon() { channel.whenSuccess { $0.close(promise: nil) } }

    func close() async { try? await channel.get().close() }
}

/// Says why a connection is refused and closes it.
private final class RefusalHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let refusal: Refusal

    init(_ refusal: Refusal) { self.refusal = refusal }

    func channelActive(context: ChannelHandlerContext) {
        let promise = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        promise.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(staticString: refusal.text)), promise: promise)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
