// Goal: a client that changes more than a snapshot takes is given no time, for a second at most, and no other client
// notices. Method: a snapshot that is begun here and not read, while one client overwrites large values.

import KedisCommands
import KedisServer
import KedisStore
import KedisTestSupport
import Testing

@Suite("Clients that change more than a snapshot takes")
struct SnapshotPressureTests {
    private static let keyCount = 4

    private func overwrite(_ socket: LoopbackSocket) {
        for index in 0..<Self.keyCount { #expect(socket.ask("SETRANGE key:\(index) 1048575 x\r\n", ":1048576\r\n")) }
    }

    @Test("Who has left too many copies waits until some are taken; others are answered")
    func pressure() async throws {
        try await TestServer.with { server in
            let store = server.server.engine.store
            let (writer, other) = (try server.connect(), try server.connect())
            overwrite(writer)
            let snapshot = try #require(store.beginSnapshotForTest(waitingByteCountMax: 8 << 20))
            overwrite(writer)
            #expect(store.handle.isPressedBySnapshot)
            writer.send("PING\r\n")
            #expect(other.ask("SET own value\r\n", "+OK\r\n"))
            #expect(writer.read(7, timeoutMilliseconds: 200) == "", "it waits")
            #expect(other.ask("GET own\r\n", "$5\r\nvalue\r\n"))
            var keyCount = 0
            while snapshot.next({ _, _ in keyCount += 1 }) {}
            #expect(keyCount == Self.keyCount)
            #expect(writer.read(7) == "+PONG\r\n")
            #expect(!store.handle.isPressedBySnapshot)
        }
    }

    @Test("Nobody waits longer than a second for a snapshot that takes nothing")
    func second() async throws {
        try await TestServer.with { server in
            let store = server.server.engine.store
            let writer = try server.connect()
            overwrite(writer)
            let snapshot = try #require(store.beginSnapshotForTest(waitingByteCountMax: 8 << 20))
            overwrite(writer)
            #expect(writer.ask("PING\r\n", "+PONG\r\n"))
            #expect(store.handle.isPressedBySnapshot)
            while snapshot.next({ _, _ in }) {}
        }
    }
}
