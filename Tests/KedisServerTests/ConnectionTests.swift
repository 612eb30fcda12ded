// Goal: what a connection does at moments that real sockets show only now and then. Method: channels without a network.

import KedisCommands
import KedisStore
import KedisTestSupport
import NIOCore
import NIOEmbedded
import NIOPosix
import Synchronization
import Testing

@testable import KedisServer

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("Connections at rare moments")
struct ConnectionTests {
    private func withServer(_ directives: [String] = [], _ body: (ServerContext) throws -> Void) async throws {
        let options = try parseServerArguments(["--save", "", "--threads", "1"] + directives).get()
        let server = try KedisServer(options: options) { _ in }
        let result = Result { try body(server.context) }
        await server.stop()
        try result.get()
    }

    @Test("Replies were lost or doubled when the socket was full and the channel then took them at once")
    func takenAtOnce() async throws {
        let ends = try makeSocketPair()
        defer { for end in [ends.near, ends.far] { close(end) } }
        // The socket is full; the channel, which is none, takes everything while it is being given it.
        _ = fcntl(ends.near, F_SETFL, O_NONBLOCK)
        let filling = [UInt8](repeating: 0, count: 4096)
        while write(ends.near, filling, filling.count) > 0 {}
        try await withServer { context in
            let channel = EmbeddedChannel()
            let loop = LoopClients(
                loop: NIOLoop(channel.eventLoop), number: 0, server: context, health: Health(loopCount: 1))
            let handler = SessionHandler(
                server: context, clients: loop,
                endpoint: .init(address: "a:1", localAddress: "b:2", descriptor: ends.near))
            try channel.pipeline.syncOperations.addHandler(handler)
            let value = String(repeating: "x", count: 40_000)
            try channel.writeInbound(ByteBuffer(string: "SET k \(value)\r\n"))
            // Ten megabytes of replies: the session pauses after each.
            var requests = "", expected = "+OK\r\n"
            for index in 100..<350 {
                requests += "GET k\r\nECHO \(index)\r\n"
                expected += "$40000\r\n\(value)\r\n$3\r\n\(index)\r\n"
            }
            try channel.writeInbound(ByteBuffer(string: requests))
            channel.embeddedEventLoop.advanceTime(by: .seconds(1))
            var replies = ""
            while let part = try channel.readOutbound(as: ByteBuffer.self) { replies += String(buffer: part) }
            #expect(replies.utf8.count == expected.utf8.count)
            #expect(replies == expected, "replies are lost, doubled or out of order")
            _ = try channel.finish(acceptAlreadyClosed: true)
        }
    }

    @Test("A peer that had reset its connection had no address, and what it had sent was executed in protected mode")
    func noAddress() async throws {
        try await withServer { context in
            let channel = EmbeddedChannel()
            #expect(channel.remoteAddress == nil)
            let listener = Listener(server: context, group: .singleton, loops: [])
            try listener.initialise(channel, .plain).wait()
            #expect(context.engine.statistics.connectionsRejected.load(ordering: .relaxed) == 1)
            try channel.writeInbound(ByteBuffer(string: "SET pwned 1\r\n"))
            #expect(context.engine.store.keyspace(0, nowMilliseconds: 0).count == 0)
            _ = try channel.finish(acceptAlreadyClosed: true)
        }
    }
}
