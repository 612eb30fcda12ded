// Goal: CONFIG SET of several directives sets all of them or none, whichever fails, as redis-server does; nothing of a
// change that is refused can be seen, by no file, socket or key. Method: servers of this process whose journal cannot
// begin, and redis-server beside them.

import KedisCommands
import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisServer

@Suite("CONFIG SET sets all or nothing")
struct ConfigurationAtomicityTests {
    private static let refusal =
        "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn on AOF. "
        + "Check server logs.\r\n"

    /// Runs `body` with a server that saves by itself, a folder in which no journal can begin, and one in which it can.
    private func withServer(
        _ directives: [String] = [], _ body: (TestServer, _ bad: String, _ good: String) async throws -> Void
    ) async throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let (bad, good) = ("\(folder)/bad", "\(folder)/good")
        for path in [bad, good] { try FileSystem.system.makeDirectory(path) }
        #expect(TestFiles.write("in the way", to: "\(bad)/appendonlydir"))
        let server = try await TestServer(
            ["--save", "3600 1", "--enable-protected-configs", "yes"] + directives, folder: folder)
        try await body(server, bad, good)
        await server.stop()
    }

    private func value(_ client: LoopbackSocket, _ name: String) -> String {
        let text = client.answer("CONFIG GET \(name)")
        let lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
        return lines.count > 4 ? String(lines[4]) : text
    }

    @Test("A folder, and what else came with it, stays when the journal cannot begin there")
    func folder() async throws {
        try await withServer { server, bad, good in
            let client = try server.connect()
            let dir = value(client, "dir")
            let order = [
                "dir \(bad) appendonly yes dbfilename other.rdb", "appendonly yes dir \(bad)",
                "maxmemory 1 dir \(bad) maxmemory-policy allkeys-random appendonly yes appendfsync always",
            ]
            #expect(client.ask("SET a 1\r\n", "+OK\r\n"))
            for directives in order {
                #expect(client.ask("CONFIG SET \(directives)\r\n", Self.refusal), "\(directives)")
                #expect(value(client, "dir") == dir && value(client, "dbfilename") == "dump.rdb")
                #expect(value(client, "appendonly") == "no" && value(client, "appendfsync") == "everysec")
                #expect(value(client, "maxmemory") == "0" && value(client, "maxmemory-policy") == "noeviction")
            }
            #expect(client.ask("SAVE\r\nGET a\r\n", "+OK\r\n$1\r\n1\r\n"))
            #expect(TestFiles.read("\(dir)/dump.rdb") != nil)
            #expect(TestFiles.list(below: bad, suffix: ".rdb").isEmpty)
            // The snapshot's lock is still the old one's, and none is left behind.
            #expect(throws: SnapshotLockError.self) { _ = try SnapshotLock.acquire(forSnapshot: "\(dir)/dump.rdb") }
            for name in ["dump.rdb", "other.rdb", "appendonlydir"] {
                let lock = try #require(try SnapshotLock.acquire(forSnapshot: "\(bad)/\(name)"))
                lock.release()
            }
            #expect(client.ask("CONFIG SET dir \(good) appendonly yes\r\n", "+OK\r\n"))
            let begins = eventually { !TestFiles.list(below: "\(good)/appendonlydir", suffix: ".rdb").isEmpty }
            #expect(begins)
            #expect(client.ask("SAVE\r\n", "+OK\r\n"))
            #expect(TestFiles.read("\(good)/dump.rdb") != nil)
        }
    }

    @Test("A port stays when the journal cannot begin, and a journal does not begin when a port cannot be")
    func port() async throws {
        try await withServer { server, bad, good in
            let client = try server.connect()
            let (first, second) = (try LoopbackSocket.freePort(), try LoopbackSocket.freePort())
            let taken = try await TestServer([], folder: bad)
            #expect(client.ask("CONFIG SET port \(first)\r\n", "+OK\r\n"))
            #expect(client.ask("CONFIG SET port \(second) dir \(bad) appendonly yes\r\n", Self.refusal))
            #expect(value(client, "port") == "\(first)" && server.port == first)
            let old = try LoopbackSocket(port: first)
            #expect(old.ask("PING\r\n", "+PONG\r\n"))
            #expect(throws: (any Error).self) { _ = try LoopbackSocket(port: second) }
            let text =
                "-ERR CONFIG SET failed (possibly related to argument 'port') - "
                + "Unable to listen on this port. Check server logs.\r\n"
            #expect(client.ask("CONFIG SET dir \(good) appendonly yes port \(taken.port)\r\n", text))
            #expect(value(client, "appendonly") == "no" && TestFiles.list(below: good, suffix: "") == [])
            #expect(server.port == first)
            await taken.stop()
        }
    }

    @Test("Nobody acts on a value before the change holds")
    func unseen() throws {
        let configuration = Configuration()
        #expect(throws: ConfigurationError.self) {
            try configuration.set([("maxmemory", "5"), ("appendfsync", "always")]) { names in
                #expect(names == ["maxmemory", "appendfsync"])
                #expect(configuration.text("maxmemory") == "5")
                #expect(configuration.memoryByteCountMax.load(ordering: .relaxed) == 0)
                return ConfigurationProblem(name: "appendfsync", reason: "no")
            } restore: { names in
                #expect(names == ["maxmemory", "appendfsync"])
                #expect(configuration.text("maxmemory") == "0")
            } follow: { _ in
                Issue.record("it was refused")
            }
        }
        var followed: [String] = []
        try configuration.set([("MaxMemory", "5")]) { _ in
            nil
        } follow: { names in
            followed = names
            #expect(configuration.memoryByteCountMax.load(ordering: .relaxed) == 5)
        }
        #expect(followed == ["maxmemory"])
    }

    @Test("redis-server does the same", .enabled(if: OracleServer.isUsable))
    func oracle() throws {
        let server = try OracleServer()
        let client = try LoopbackSocket(port: server.port)
        #expect(TestFiles.write("in the way", to: "\(server.folder)/appendonlydir"))
        let (port, other) = (value(client, "port"), try LoopbackSocket.freePort())
        for directives in ["maxmemory 5mb port \(other) appendonly yes", "appendonly yes maxmemory 5mb port \(other)"] {
            #expect(client.ask("CONFIG SET \(directives)\r\n", Self.refusal))
            #expect(value(client, "port") == port && value(client, "maxmemory") == "0")
            #expect(value(client, "appendonly") == "no")
            #expect(try LoopbackSocket(port: server.port).ask("PING\r\n", "+PONG\r\n"))
        }
    }
}
