// Listening: one server channel for each address of `bind`, and one for the Unix socket.
//
// Accepted connections are spread over the event loops in turn. An accept that fails (no descriptors left) is tried
// again a moment later: NIO's server bootstrap does that.

import KedisCommands
import KedisUtilities
import NIOCore
import NIOPosix
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

    /// Opens all that the configuration names. `port` overrides the configured one.
    func open(port: Int) async throws(StartError) -> [any Channel] {
        var channels: [any Channel] = []
        do throws(StartError) {
            if port >= 0 {
                for address in words(server.engine.configuration.text("bind")) {
                    if let channel = try await open(address: address, port: port) { channels.append(channel) }
                }
            }
            let path = server.engine.configuration.text("unixsocket")
            if !path.isEmpty { channels.append(try await open(path: path)) }
            guard !channels.isEmpty else {
                throw StartError("there is nothing to listen on: no port and no unixsocket")
            }
            return channels
        } catch {
            for channel in channels { try? await channel.close() }
            throw error
        }
    }

    private func words(_ text: String) -> [String] { text.split(separator: " ").map(String.init) }

    /// nil when the address is not there and its leading `-` allows that.
    private func open(address: String, port: Int) async throws(StartError) -> (any Channel)? {
        let isOptional = address.hasPrefix("-")
        var host = isOptional ? String(address.dropFirst()) : address
        if host == "*" { host = "0.0.0.0" } else if host == "::*" { host = "::" }
        do {
            let target = try SocketAddress.makeAddressResolvingHost(host, port: port)
            return try await tcpBootstrap(isIPv6: target.protocol == .inet6).bind(to: target).get()
        } catch {
            if isOptional, let code = (error as? IOError)?.errnoCode, [EADDRNOTAVAIL, EAFNOSUPPORT].contains(code) {
                return nil
            }
            throw StartError("cannot listen on \(host):\(port): \(reason(error))")
        }
    }

    private func open(path: String) async throws(StartError) -> any Channel {
        do {
            let channel = try await bootstrap(isUnixSocket: true)
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

    private func bootstrap(isUnixSocket: Bool) -> ServerBootstrap {
        let configuration = server.engine.configuration
        return ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: Int32(clamping: configuration.integer("tcp-backlog")))
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.recvAllocator, value: Self.readBuffers)
            .childChannelInitializer { channel in initialise(channel, isUnixSocket: isUnixSocket) }
    }

    private func tcpBootstrap(isIPv6: Bool) -> ServerBootstrap {
        var result = bootstrap(isUnixSocket: false).serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
        if isIPv6 {
            result = result.serverChannelOption(
                .socket(SocketOptionLevel(IPPROTO_IPV6), SocketOptionName(IPV6_V6ONLY)), value: 1)
        }
        #if os(Linux)
        let mark = server.engine.configuration.integer("socket-mark-id")
        if mark > 0 {
            result = result.serverChannelOption(
                .socket(SocketOptionLevel(SOL_SOCKET), SocketOptionName(SO_MARK)), value: SocketOptionValue(mark))
        }
        #endif
        return result
    }

    /// `tcp-keepalive` as it is now: it may change while the server runs. A connection without it works as well.
    private func keepAlive(_ descriptor: Int32) {
        let seconds = server.engine.configuration.keepAliveSeconds.load(ordering: .relaxed)
        guard seconds > 0, descriptor >= 0 else { return }
        set(SOL_SOCKET, SO_KEEPALIVE, 1, of: descriptor)
        #if os(Linux)
        // As Redis spreads it: the first probe after the interval, two more a third of it apart.
        let interval = Int32(clamping: seconds)
        set(Int32(IPPROTO_TCP), TCP_KEEPIDLE, interval, of: descriptor)
        set(Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, interval / 3), of: descriptor)
        set(Int32(IPPROTO_TCP), TCP_KEEPCNT, 3, of: descriptor)
        #endif
    }

    private func set(_ level: Int32, _ option: Int32, _ value: Int32, of descriptor: Int32) {
        var value = value
        _ = setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    /// A channel keeps the buffer that it reads into. It begins small, so that 10,000 clients that wait or say little
    /// take little memory, and doubles with every read that fills it.
    private static let readBuffers = AdaptiveRecvByteBufferAllocator(
        minimum: 1024, initial: 2048, maximum: 64 << 10)

    /// More than a connection takes for itself: session, channel, and the buffer that it reads into.
    private static let connectionByteCount = 256 << 10

    /// Gives an accepted connection its handler, or refuses it.
    func initialise(_ channel: any Channel, isUnixSocket: Bool) -> EventLoopFuture<Void> {
        let statistics = server.engine.statistics
        let isProtected =
            server.engine.configuration.isProtected.load(ordering: .relaxed) && server.engine.access.admitsAnybody
        // A TCP peer that has reset its connection by now has no address any more, but what it sent can still be read:
        // it counts as one from elsewhere.
        let ipAddress = isUnixSocket ? nil : channel.remoteAddress?.ipAddress ?? "unknown"
        if isRefusedByProtectedMode(ipAddress: ipAddress, isProtected: isProtected) {
            return refuse(channel, .protected)
        }
        guard hasHeadroom(beside: Self.connectionByteCount) else { return refuse(channel, .memoryExhausted) }
        guard server.admitConnection() else { return refuse(channel, .tooManyClients) }
        guard let loop = loops.first(where: { $0.loop === channel.eventLoop }) else {
            server.releaseConnection()
            return channel.eventLoop.makeFailedFuture(ChannelError.ioOnClosedChannel)
        }
        statistics.connectionsReceived.wrappingAdd(1, ordering: .relaxed)
        return channel.eventLoop.makeCompletedFuture {
            let endpoint = endpoint(of: channel)
            if !isUnixSocket { keepAlive(endpoint.descriptor) }
            let handler = SessionHandler(server: server, loop: loop, endpoint: endpoint)
            try channel.pipeline.syncOperations.addHandler(handler)
        }
    }

    private func refuse(_ channel: any Channel, _ refusal: Refusal) -> EventLoopFuture<Void> {
        server.engine.statistics.connectionsRejected.wrappingAdd(1, ordering: .relaxed)
        return channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(RefusalHandler(refusal))
        }
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
