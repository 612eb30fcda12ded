// What becomes of a connection that comes in: it is refused, encrypted, or given its session.
//
// Accepted connections are spread over the event loops in turn. An accept that fails (no descriptors left) is tried
// again a moment later: NIO's server bootstrap does that.

import KedisCommands
import KedisUtilities
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Why the server does not start: a sentence for people.
package struct StartError: Error, CustomStringConvertible {
    package var description: String

    init(_ description: String) { self.description = description }
}

struct Listener: Sendable {
    let server: ServerContext
    let group: MultiThreadedEventLoopGroup
    let loops: [LoopClients]

    /// What a connection comes in through.
    enum Kind: Sendable {
        case plain
        case encrypted
        case unixSocket
    }

    /// Accepts on a TCP socket that listens, and owns it from now on.
    func accept(on descriptor: Int32, _ kind: Kind) -> EventLoopFuture<any Channel> {
        bootstrap(kind).childChannelOption(.tcpOption(.tcp_nodelay), value: 1).withBoundSocket(descriptor)
    }

    func open(path: String) async throws(StartError) -> any Channel {
        do {
            let channel = try await bootstrap(.unixSocket)
                .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
            let permissions = UInt32(server.engine.configuration.text("unixsocketperm"), radix: 8) ?? 0
            if permissions != 0, chmod(path, mode_t(permissions)) != 0 {
                throw StartError("cannot set the permissions of \(path): \(String(cString: strerror(errno)))")
            }
            return channel
        } catch let error as StartError {
            throw error
        } catch {
            throw StartError("cannot listen on the Unix socket \(path): \(reason(error))")
        }
    }

    private func reason(_ error: any Error) -> String {
        guard let error = error as? IOError else { return "\(error)" }
        return String(cString: strerror(error.errnoCode))
    }

    // MARK: Channels

    private func bootstrap(_ kind: Kind) -> ServerBootstrap {
        let configuration = server.engine.configuration
        return ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: Int32(clamping: configuration.integer("tcp-backlog")))
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.recvAllocator, value: Self.readBuffers)
            .childChannelInitializer { channel in initialise(channel, kind) }
    }

    /// `tcp-keepalive` as it is now: it may change while the server runs. A connection without it works as well.
    private func keepAlive(_ descriptor: Int32) {
        let seconds = server.engine.configuration.keepAliveSeconds.load(ordering: .relaxed)
        guard seconds > 0, descriptor >= 0 else { return }
        setOption(SOL_SOCKET, SO_KEEPALIVE, 1, of: descriptor)
        #if os(Linux)
        // As Redis spreads it: the first probe after the interval, two more a third of it apart.
        let interval = Int32(clamping: seconds)
        setOption(Int32(IPPROTO_TCP), TCP_KEEPIDLE, interval, of: descriptor)
        setOption(Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, interval / 3), of: descriptor)
        setOption(Int32(IPPROTO_TCP), TCP_KEEPCNT, 3, of: descriptor)
        #endif
    }

    /// A channel keeps the buffer that it reads into. It begins small, so that 10,000 clients that wait or say little
    /// take little memory, and doubles with every read that fills it.
    private static let readBuffers = AdaptiveRecvByteBufferAllocator(
        minimum: 1024, initial: 2048, maximum: 64 << 10)

    /// More than a connection takes for itself: session, channel, and the buffer that it reads into.
    private static let connectionByteCount = 256 << 10
    /// With TLS also the state of BoringSSL and two buffers of records, which nothing can refuse later.
    private static let encryptedConnectionByteCount = 1 << 20

    /// Gives an accepted connection its handler, or refuses it.
    func initialise(_ channel: any Channel, _ kind: Kind) -> EventLoopFuture<Void> {
        let refusal = refusal(of: channel, kind)
        let counters = server.engine.statistics
        if refusal == nil {
            counters.connectionsReceived.wrappingAdd(1, ordering: .relaxed)
        } else {
            counters.connectionsRejected.wrappingAdd(1, ordering: .relaxed)
        }
        return channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            if let refusal, kind != .encrypted { return try pipeline.addHandler(RefusalHandler(refusal)) }
            guard let loop = loops.first(where: { $0.loop === channel.eventLoop }) else {
                if refusal == nil { server.releaseConnection() }
                throw ChannelError.ioOnClosedChannel
            }
            let endpoint = endpoint(of: channel)
            if kind != .unixSocket { keepAlive(endpoint.descriptor) }
            if kind == .encrypted { return try encrypt(pipeline, loop, endpoint, refusal) }
            try pipeline.addHandler(SessionHandler(server: server, loop: loop, endpoint: endpoint))
        }
    }

    /// Why a connection is refused; nil when it is let in, and counts from now on.
    private func refusal(of channel: any Channel, _ kind: Kind) -> Refusal? {
        let isProtected =
            server.engine.configuration.isProtected.load(ordering: .relaxed) && server.engine.access.admitsAnybody
        // A TCP peer that has reset its connection by now has no address any more, but what it sent can still be read:
        // it counts as one from elsewhere.
        let ipAddress = kind == .unixSocket ? nil : channel.remoteAddress?.ipAddress ?? "unknown"
        if isRefusedByProtectedMode(ipAddress: ipAddress, isProtected: isProtected) { return .protected }
        let byteCount = kind == .encrypted ? Self.encryptedConnectionByteCount : Self.connectionByteCount
        guard hasHeadroom(beside: byteCount) else { return .memoryExhausted }
        return server.admitConnection() ? nil : .tooManyClients
    }

    /// Puts TLS in front of what follows the handshake. Who is refused is told so after one, as far as there are not
    /// many at a time, and there is memory for it.
    private func encrypt(
        _ pipeline: ChannelPipeline.SynchronousOperations, _ loop: LoopClients, _ endpoint: ClientEndpoint,
        _ refusal: Refusal?
    ) throws {
        if let refusal {
            guard refusal != .memoryExhausted, server.encryption.admitRefused() else {
                throw ChannelError.ioOnClosedChannel
            }
        }
        // From here on the place that the connection has taken is this handler's to give back.
        let handshake = HandshakeHandler(server: server, loop: loop, endpoint: endpoint, refusal: refusal)
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
