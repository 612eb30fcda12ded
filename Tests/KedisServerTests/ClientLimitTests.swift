// What clients may take together, how many there may be, and CLIENT PAUSE over sockets and threads.

import KedisCommands
import KedisProtocol
import KedisServer
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@Suite("Limits of clients")
struct ClientLimitTests {
    /// A number of INFO.
    private static func figure(_ name: String, of server: TestServer) throws -> Int? {
        let peer = try RespPeer.connect(port: server.port)
        defer { peer.close() }
        peer.send(Array("INFO\r\n".utf8))
        guard case .reply(.bulk(let bytes)) = peer.receive(60_000) else { return nil }
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\r\n") where line.hasPrefix(name + ":") {
            return Int(line.dropFirst(name.utf8.count + 1))
        }
        return nil
    }

    private static func integer(_ peer: RespPeer) -> Int64? {
        switch peer.receive(20_000) {
        case .reply(.integer(let number)): number
        case .reply(.bulk(let bytes)): Int64(String(decoding: bytes, as: UTF8.self))
        default: nil
        }
    }

    @Test("maxmemory-clients closes those who take the most, with Redis's words, and spares NO-EVICT")
    func clientEviction() async throws {
        try await TestServer.with(["--maxmemory-clients", "4mb"]) { server in
            let small = try server.connect(), spared = try server.connect(), large = try server.connect()
            #expect(small.ask("PING\r\n", "+PONG\r\n"))
            #expect(spared.ask("CLIENT NO-EVICT ON\r\n", "+OK\r\n"))
            let text = String(repeating: "x", count: 1 << 20)
            // Half a request each: it waits for its rest.
            spared.send("*2\r\n$4\r\nECHO\r\n$8000000\r\n" + text + text)
            large.send("*2\r\n$4\r\nECHO\r\n$8000000\r\n" + text + text + text)
            #expect(eventually { server.log.contains("Evicting client: id=3 ") })
            #expect(eventually { server.server.engine.clients.count == 2 })
            #expect(small.ask("PING\r\n", "+PONG\r\n"))
            #expect(try Self.figure("evicted_clients", of: server) == 1)
            #expect(try (Self.figure("mem_clients_normal", of: server) ?? 0) > 2 << 20)
            #expect(!server.log.contains("Evicting client: id=2 "))
            // A lower limit counts at once.
            #expect(small.ask("CLIENT NO-EVICT ON\r\n", "+OK\r\n"))
            #expect(small.ask("CONFIG SET maxmemory-clients 1mb\r\n", "+OK\r\n"))
            #expect(small.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    @Test("Percentages of maxmemory are limits as well; what is too small is raised")
    func percentages() throws {
        let configuration = Configuration()
        try configuration.set([(name: "maxmemory-clients", value: "10%")])
        #expect(configuration.clientMemoryByteCountMax.load(ordering: .relaxed) == 0)
        try configuration.set([(name: "maxmemory", value: "100mb")])
        #expect(configuration.clientMemoryByteCountMax.load(ordering: .relaxed) == (100 << 20) / 100 * 10)
        try configuration.set([(name: "maxmemory-clients", value: "1")])
        #expect(configuration.clientMemoryByteCountMax.load(ordering: .relaxed) == 128 << 10)
        #expect(throws: ConfigurationError.self) { try configuration.set([(name: "maxmemory-clients", value: "101%")]) }
    }

    @Test("maxclients is changed while the server runs; who is too many is told")
    func clientCount() async throws {
        try await TestServer.with(["--maxclients", "100"]) { server in
            let first = try server.connect()
            #expect(first.ask("CONFIG SET maxclients 2\r\n", "+OK\r\n"))
            let second = try server.connect()
            #expect(second.ask("PING\r\n", "+PONG\r\n"))
            let third = try server.connect()
            #expect(third.read(100) == "-ERR max number of clients reached\r\n")
            #expect(first.ask("CONFIG SET maxclients 3\r\n", "+OK\r\n"))
            #expect(try Self.figure("rejected_connections", of: server) == 1)
        }
    }

    @Test("An idle client is closed after `timeout`, also when `hz` is low; one that is subscribed is not")
    func idleness() async throws {
        try await TestServer.with(["--timeout", "1", "--hz", "1"]) { server in
            let idle = try server.connect(), listening = try server.connect()
            #expect(idle.ask("PING\r\n", "+PONG\r\n"))
            #expect(listening.ask("SUBSCRIBE c\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"))
            #expect(eventually { server.server.engine.clients.count == 1 })
            #expect(server.log.contains("Closing idle client"))
            #expect(listening.ask("PING\r\n", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"))
        }
    }

    @Test("After the answer to CLIENT PAUSE nothing is written, by any of four threads, and nothing is lost")
    func pauseIsABarrier() async throws {
        try await TestServer.with(["--threads", "4"]) { server in
            let observer = try RespPeer.connect(port: server.port)
            let clients = try (0..<8).map { _ in try RespPeer.connect(port: server.port) }
            for client in clients { client.send(Array(String(repeating: "INCR counter\r\n", count: 200).utf8)) }
            observer.send(Array("CLIENT PAUSE 300 WRITE\r\nGET counter\r\n".utf8))
            #expect(observer.receive(60_000) == .reply(.simple(Array("OK".utf8))))
            let before = observer.receive(60_000)
            TestFiles.sleep(milliseconds: 50)
            observer.send(Array("GET counter\r\n".utf8))
            #expect(observer.receive(60_000) == before)
            var last: Int64 = 0
            for client in clients {
                var previous: Int64 = 0
                for _ in 0..<200 {
                    let number = Self.integer(client) ?? -1
                    #expect(number > previous)
                    previous = number
                }
                last = max(last, previous)
            }
            #expect(last == 1600)
            for peer in clients + [observer] { peer.close() }
        }
    }

    @Test("What is behind a command that waits for the end of a pause is refused, and logged, once")
    func refusalBehindPause() async throws {
        try await TestServer.with { server in
            let admin = try server.connect(), client = try server.connect()
            #expect(admin.ask("ACL SETUSER limited on nopass ~a +get +set\r\n", "+OK\r\n"))
            #expect(client.ask("AUTH limited x\r\n", "+OK\r\n"))
            #expect(admin.ask("CLIENT PAUSE 100000 WRITE\r\n", "+OK\r\n"))
            client.send("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$6\r\nsecret\r\n")
            #expect(eventually { server.server.engine.pause.waitingCount == 1 })
            #expect(try Self.figure("acl_access_denied_key", of: server) == 0)
            #expect(admin.ask("CLIENT UNPAUSE\r\n", "+OK\r\n"))
            let refusal = "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"
            #expect(client.read(5 + refusal.utf8.count) == "+OK\r\n" + refusal)
            #expect(try Self.figure("acl_access_denied_key", of: server) == 1)
        }
    }

    @Test("No key expires in the background while clients are paused")
    func pausedExpiry() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            #expect(client.ask("CLIENT PAUSE 400 WRITE\r\nDBSIZE\r\n", "+OK\r\n:0\r\n"))
            #expect(client.ask("CLIENT UNPAUSE\r\nSET a 1 PX 50\r\n", "+OK\r\n+OK\r\n"))
            #expect(client.ask("CLIENT PAUSE 400 WRITE\r\n", "+OK\r\n"))
            TestFiles.sleep(milliseconds: 150)
            #expect(client.ask("DBSIZE\r\nGET a\r\n", ":1\r\n$-1\r\n"))
            #expect(eventually { client.ask("DBSIZE\r\n", ":0\r\n") })
        }
    }
}
