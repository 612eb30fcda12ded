// The event loops of a server, with their connections: `threads` of the transport that the configuration names, and,
// beside native ones, as many of SwiftNIO from the moment when TLS is listened on. A server without TLS starts none.
//
// Ownership: KedisServer's; the loops' threads end with `shutDown`. Threads: any, one mutex.

import KedisCommands
import KedisStore
import NIOCore
import NIOPosix
import Synchronization

/// What carries plain connections.
enum TransportKind: String {
    case ring = "io_uring"
    case epoll
    case nio

    /// What is best on this system: many do not have io_uring, or containers are not permitted to use it.
    static let standard: TransportKind = {
        #if os(Linux)
        SystemRing.isUsable ? .ring : .epoll
        #else
        .nio
        #endif
    }()
}

final class ServerLoops: Sendable {
    /// A group of SwiftNIO, and what belongs to each of its loops.
    struct NIOPart: Sendable {
        let group: MultiThreadedEventLoopGroup
        let clients: [LoopClients]
    }

    #if os(Linux)
    private let native: [NativeLoop]
    #endif
    private let state = Locked(State())
    private let count: Int
    private let server: ServerContext
    private let health: Health
    /// Native loops come first, those of SwiftNIO are numbered after them.
    private let nativeClients: [LoopClients]

    private struct State: Sendable {
        var nio: NIOPart?
        var isStarted = false
        var isOver = false
    }

    init(server: ServerContext, health: Health, kind: TransportKind, count: Int) throws(StartError) {
        self.server = server
        self.health = health
        self.count = count
        #if os(Linux)
        var native: [NativeLoop] = []
        if kind != .nio {
            if kind == .ring, !SystemRing.isUsable { throw StartError("io_uring cannot be used: \(systemText())") }
            let traffic = server.engine.statistics.traffic
            let trial = GatheringTrial(loopCount: count) { traffic.totals.reads }
            for number in 0..<count {
                native.append(
                    try NativeLoop(name: "kedis-loop-\(number)", usesRing: kind == .ring, gathering: trial))
            }
        }
        self.native = native
        nativeClients = native.enumerated().map { number, loop in
            LoopClients(loop: loop, number: number, server: server, health: health)
        }
        #else
        nativeClients = []
        #endif
        if kind == .nio { _ = nio() }
    }

    /// The most loops that there can be.
    static func countMax(threads: Int) -> Int { 2 * threads }

    /// All loops that there are; none when they have ended.
    var all: [LoopClients] {
        state.withLock { $0.isOver ? [] : nativeClients + ($0.nio?.clients ?? []) }
    }

    #if os(Linux)
    /// The native loops with their connections.
    var nativeParts: [(loop: NativeLoop, clients: LoopClients)] { Array(zip(native, nativeClients)) }
    #endif

    var isNative: Bool { !nativeClients.isEmpty }

    /// The loops of SwiftNIO, made when they are wanted first.
    func nio() -> NIOPart {
        state.withLock { state in
            if let part = state.nio { return part }
            let group = MultiThreadedEventLoopGroup(numberOfThreads: count)
            let first = nativeClients.count
            let clients = group.makeIterator().enumerated().map { number, loop in
                LoopClients(loop: NIOLoop(loop), number: first + number, server: server, health: health)
            }
            if state.isStarted { for one in clients { one.start() } }
            let part = NIOPart(group: group, clients: clients)
            state.nio = part
            return part
        }
    }

    /// Begins the checks of all loops.
    func start() {
        state.withLock { $0.isStarted = true }
        for one in all { one.start() }
    }

    /// Closes all connections.
    func stop() async {
        for one in all { await one.stop() }
    }

    /// Ends the threads.
    func shutDown() async {
        let nio = state.withLock { state in
            state.isOver = true
            defer { state.nio = nil }
            return state.nio
        }
        #if os(Linux)
        for loop in native { await loop.shutDown() }
        #endif
        try? await nio?.group.shutdownGracefully()
    }
}
