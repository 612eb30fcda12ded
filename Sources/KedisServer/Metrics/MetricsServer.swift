// The HTTP server of `metrics-port`: /metrics for Prometheus, /healthz for whoever looks after the process.
//
// On a thread of its own, so that it answers when the event loops of clients do not, and is never in their way. It is
// there before the data is loaded, and until the last client was let go. No password and no TLS: `metrics-bind` says
// who can reach it, at first this machine alone.
//
// Ownership: KedisServer's. Bounds: 64 connections, each closed after 30 seconds without a request; bodies are dropped
// as they come, heads are limited by the decoder.

import KedisCommands
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

final class MetricsServer: Sendable {
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let engine: Engine
    private let health: Health
    private let connectionCount = Atomic<Int>(0)

    private static let connectionCountMax = 64
    private static let idleSeconds: Int64 = 30

    init(engine: Engine, health: Health) {
        self.engine = engine
        self.health = health
    }

    /// Listens at `port` of all `addresses`; returns the channels.
    func open(addresses: [String], port: Int) async throws(StartError) -> [any Channel] {
        var channels: [any Channel] = []
        for address in addresses {
            do {
                let target = try SocketAddress.makeAddressResolvingHost(address, port: port)
                channels.append(try await bootstrap.bind(to: target).get())
            } catch {
                for channel in channels { try? await channel.close() }
                try? await group.shutdownGracefully()
                throw StartError("cannot listen on \(address):\(port) for metrics: \(error)")
            }
        }
        return channels
    }

    /// Ends the thread; all connections go.
    func stop() async { try? await group.shutdownGracefully() }

    private var bootstrap: ServerBootstrap {
        ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 16)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { [self] channel in initialise(channel) }
    }

    private func initialise(_ channel: any Channel) -> EventLoopFuture<Void> {
        guard connectionCount.wrappingAdd(1, ordering: .relaxed).newValue <= Self.connectionCountMax else {
            connectionCount.wrappingSubtract(1, ordering: .relaxed)
            return channel.eventLoop.makeFailedFuture(ChannelError.ioOnClosedChannel)
        }
        channel.closeFuture.whenComplete { [self] _ in connectionCount.wrappingSubtract(1, ordering: .relaxed) }
        return channel.eventLoop.makeCompletedFuture { [self] in
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(IdleStateHandler(readTimeout: .seconds(Self.idleSeconds)))
            try pipeline.configureHTTPServerPipeline(withErrorHandling: true)
            try pipeline.addHandler(MetricsHandler { [engine, health] path in Self.page(path, engine, health) })
        }
    }

    /// The page at `path`; nil when there is none.
    static func page(_ path: Substring, _ engine: Engine, _ health: Health) -> MetricsPage? {
        switch path {
        case "/metrics":
            return MetricsPage(
                status: .ok, type: "text/plain; version=0.0.4; charset=utf-8", body: metricsText(engine))
        case "/healthz":
            guard let complaint = health.complaint() else { return MetricsPage(status: .ok, text: "ok\n") }
            return MetricsPage(status: .serviceUnavailable, text: complaint + "\n")
        default: return nil
        }
    }
}

/// An answer.
struct MetricsPage {
    var status: HTTPResponseStatus
    var type: String
    var body: [UInt8]

    init(status: HTTPResponseStatus, type: String, body: [UInt8]) {
        self.status = status
        self.type = type
        self.body = body
    }

    init(status: HTTPResponseStatus, text: String) {
        self.init(status: status, type: "text/plain; charset=utf-8", body: Array(text.utf8))
    }
}
