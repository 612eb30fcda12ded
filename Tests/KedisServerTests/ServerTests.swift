// A real server behind real sockets: replies, limits, and that nobody disturbs the others.

import KedisCommands
import KedisServer
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

/// Waits until `condition` holds; the time is for slow machines, and only reached when something is wrong.
///
/// Blocks its thread: other tests may keep all threads of the pool, and a task that sleeps there wakes up when they let
/// it.
func eventually(milliseconds: Int = 60_000, _ condition: () -> Bool) -> Bool {
    for _ in 0..<(milliseconds / 10) {
        if condition() { return true }
        TestFiles.sleep(milliseconds: 10)
    }
    return condition()
}

@Suite("The server", .serialized)
struct ServerTests {
    @Test("Pipelined requests are answered in order")
    func pipelines() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            var requests = "", replies = ""
            for index in 0..<2_000 {
                requests +=
                    "SET key:\(index) \(index)\r\n*2\r\n$3\r\nGET\r\n$\(4 + "\(index)".count)\r\nkey:\(index)\r\n"
                replies += "+OK\r\n$\("\(index)".count)\r\n\(index)\r\n"
            }
            client.send(requests)
            #expect(client.read(replies.utf8.count) == replies)
        }
    }

    @Test("A request that is split at any byte gets its reply")
    func splits() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            let request = Array(
                "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nva\r\nu\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n".utf8)
            let statistics = server.server.engine.statistics
            for split in 1..<request.count {
                let target = statistics.traffic.totals.inputByteCount + UInt64(split)
                client.send(Array(request[..<split]))
                let isRead = eventually { statistics.traffic.totals.inputByteCount == target }
                #expect(isRead, "the first part has not been read on its own")
                client.send(Array(request[split...]))
                #expect(client.read(16) == "+OK\r\n$5\r\nva\r\nu\r\n", "split at \(split)")
            }
        }
    }

    @Test("Values of megabytes arrive whole, in both directions, many at once")
    func largeValues() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            let value = String(repeating: "0123456789abcdef", count: 3 << 16)
            #expect(client.ask("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$\(value.utf8.count)\r\n\(value)\r\n", "+OK\r\n"))
            client.send(String(repeating: "GET k\r\n", count: 10))
            let reply = "$\(value.utf8.count)\r\n\(value)\r\n"
            #expect(
                client.read(10 * reply.utf8.count, timeoutMilliseconds: 60_000) == String(repeating: reply, count: 10))
        }
    }

    @Test(
        "A thousand clients at once, each with a pipeline",
        .enabled(if: raiseDescriptorLimit(to: 2_500), "the system gives too few descriptors"))
    func thousandClients() async throws {
        try await TestServer.with { server in
            let clients = try (0..<1_000).map { _ in try server.connect() }
            for round in 0..<3 {
                for (index, client) in clients.enumerated() {
                    client.send(String(repeating: "SET client:\(index) \(round)\r\nGET client:\(index)\r\n", count: 20))
                }
                let reply = String(repeating: "+OK\r\n$1\r\n\(round)\r\n", count: 20)
                var answered = 0
                for client in clients where client.read(reply.utf8.count) == reply { answered += 1 }
                #expect(answered == 1_000)
            }
            #expect(server.server.engine.clients.count == 1_000)
        }
    }

    @Test("A client that never reads is bounded, then dropped with a log line, while others go on")
    func neverReading() async throws {
        try await TestServer.with([
            "--client-output-stall-timeout", "1", "--client-output-pause-limit", "1mb",
        ]) { server in
            let other = try server.connect()
            let value = String(repeating: "x", count: 1 << 20)
            #expect(other.ask("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$\(value.utf8.count)\r\n\(value)\r\n", "+OK\r\n"))
            let silent = try server.connect()
            #expect(silent.ask("PING\r\n", "+PONG\r\n"))
            silent.send(String(repeating: "GET k\r\n", count: 500))
            var most = 0
            let isDropped = eventually {
                #expect(other.ask("PING\r\n", "+PONG\r\n"))
                for record in server.server.engine.clients.all {
                    most = max(most, record.memory.output.load(ordering: .relaxed))
                }
                return server.server.engine.clients.count == 1
            }
            #expect(isDropped)
            #expect(most > 0 && most < 4 << 20)
            #expect(server.log.contains("it has taken none of its replies for 1 seconds"))
            #expect(other.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    @Test("Output beyond the hard limit closes the client, in the words of Redis")
    func hardLimit() async throws {
        try await TestServer.with(["--client-output-buffer-limit", "normal", "2mb", "0", "0"]) { server in
            let other = try server.connect()
            let value = String(repeating: "x", count: 16 << 20)
            #expect(other.ask("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$\(value.utf8.count)\r\n\(value)\r\n", "+OK\r\n"))
            let silent = try server.connect()
            #expect(silent.ask("PING\r\n", "+PONG\r\n"))
            silent.send("GET k\r\n")
            #expect(eventually { server.server.engine.clients.count == 1 })
            #expect(server.log.contains("scheduled to be closed ASAP for overcoming of output buffer limits."))
        }
    }

    @Test("A client that sends a long pipeline before it reads anything gets all replies")
    func lateReader() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            let value = String(repeating: "x", count: 10_000)
            #expect(client.ask("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10000\r\n\(value)\r\n", "+OK\r\n"))
            // 20 MB of replies: far more than sockets hold.
            client.send((1000..<3000).map { "GET k\r\nECHO \($0)\r\n" }.joined())
            TestFiles.sleep(milliseconds: 200)
            client.send(String(repeating: "PING\r\n", count: 200_000))
            let replies =
                (1000..<3000).map { "$10000\r\n\(value)\r\n$4\r\n\($0)\r\n" }.joined()
                + String(repeating: "+PONG\r\n", count: 200_000)
            let isAsSent = client.read(replies.utf8.count, timeoutMilliseconds: 60_000) == replies
            #expect(isAsSent, "replies are lost, doubled or out of order")
            #expect(client.ask("ECHO end\r\n", "$3\r\nend\r\n"))
        }
    }

    @Test("Garbage gets its error and the end of its connection; others feel nothing")
    func garbage() async throws {
        try await TestServer.with { server in
            let other = try server.connect()
            let errors = [
                "*1\r\n+x\r\n": "-ERR Protocol error: expected '$', got '+'\r\n",
                "*x\r\n": "-ERR Protocol error: invalid multibulk length\r\n",
                "GET \"k\r\n": "-ERR Protocol error: unbalanced quotes in request\r\n",
            ]
            for (request, error) in errors {
                let client = try server.connect()
                client.send("PING\r\n" + request)
                #expect(client.read(1_000) == "+PONG\r\n" + error)
                #expect(client.isClosedWithin(milliseconds: 60_000))
                #expect(other.ask("PING\r\n", "+PONG\r\n"))
            }
            #expect(eventually { server.server.engine.clients.count == 1 })
        }
    }

    @Test("Clients beyond maxclients are told and closed; a place that gets free is given again")
    func clientLimit() async throws {
        try await TestServer.with(["--maxclients", "2"]) { server in
            let first = try server.connect(), second = try server.connect()
            #expect(first.ask("PING\r\n", "+PONG\r\n"))
            #expect(second.ask("PING\r\n", "+PONG\r\n"))
            let third = try server.connect()
            #expect(third.read(1_000) == "-ERR max number of clients reached\r\n")
            first.close()
            #expect(eventually { server.server.engine.clients.count == 1 })
            let fourth = try server.connect()
            #expect(fourth.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    @Test(
        "Protected mode lets in this machine only",
        arguments: [
            ("127.0.0.1", false), ("127.9.9.9", false), ("::1", false), ("::ffff:127.0.0.1", false), (nil, false),
            ("10.0.0.1", true), ("128.0.0.1", true), ("::2", true), ("::ffff:10.0.0.1", true), ("fe80::1", true),
        ] as [(String?, Bool)])
    func protectedMode(address: String?, isRefused: Bool) {
        #expect(isRefusedByProtectedMode(ipAddress: address, isProtected: true) == isRefused)
        #expect(!isRefusedByProtectedMode(ipAddress: address, isProtected: false))
    }

    @Test("An idle client is closed after the timeout, a busy one is not")
    func idleTimeout() async throws {
        try await TestServer.with(["--timeout", "2"]) { server in
            let idle = try server.connect(), busy = try server.connect()
            #expect(idle.ask("PING\r\n", "+PONG\r\n"))
            let isClosed = eventually {
                #expect(busy.ask("PING\r\n", "+PONG\r\n"))
                return server.server.engine.clients.count == 1
            }
            #expect(isClosed)
            #expect(idle.isClosedWithin(milliseconds: 60_000))
        }
    }

    @Test("A Unix socket serves like a port, with the permissions asked for")
    func unixSocket() async throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let path = "\(folder)/socket"
        try await TestServer.with(["--unixsocket", path, "--unixsocketperm", "700"]) { server in
            let client = try LoopbackSocket(path: path)
            #expect(client.ask("SET a 1\r\n", "+OK\r\n"))
            #expect(server.server.engine.clients.all.first?.endpoint.isUnixSocket == true)
            #expect(server.log.contains("Listening on the Unix socket \(path)"))
        }
        #expect(throws: (any Error).self) { try LoopbackSocket(path: path) }
    }

    @Test("Peers that vanish in the middle of a request leave nothing behind")
    func vanishing() async throws {
        try await TestServer.with { server in
            for _ in 0..<100 {
                let client = try server.connect()
                client.send("*2\r\n$3\r\nGET\r\n$100\r\nab")
                client.close()
            }
            let client = try server.connect()
            #expect(client.ask("PING\r\n", "+PONG\r\n"))
            #expect(eventually { server.server.engine.clients.count == 1 })
        }
    }

    @Test("A killed client is closed, whichever thread asks")
    func kill() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            #expect(client.ask("PING\r\n", "+PONG\r\n"))
            server.server.engine.clients.all.first?.kill()
            #expect(client.isClosedWithin(milliseconds: 60_000))
        }
    }

    @Test("Keys vanish on time without being asked for")
    func expiry() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            client.send(String(repeating: "SET a 1 PX 50\r\n", count: 1))
            for index in 0..<500 { client.send("SET k\(index) 1 PX 50\r\n") }
            #expect(client.read(5 * 501).utf8.count == 5 * 501)
            let store = server.server.engine.store
            #expect(eventually {
                store.lock(.all)
                defer { store.unlock(.all) }
                return store.keyspace(0, nowMilliseconds: 0, held: .all).count == 0
            })
        }
    }

    @Test("A shutdown saves, closes the clients, and the next server has the keys")
    func shutdown() async throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let first = try await TestServer(["--save", "3600", "1"], folder: folder)
        let client = try first.connect()
        #expect(client.ask("SET name Karthik\r\n", "+OK\r\n"))
        let serving = Task { await first.server.serve() }
        #expect(first.server.engine.host.shutDown(.asConfigured, false, false) == nil)
        await serving.value
        #expect(client.isClosedWithin(milliseconds: 60_000))
        let second = try await TestServer(folder: folder)
        #expect(second.log.contains("Loaded 1 keys"))
        let again = try second.connect()
        #expect(again.ask("GET name\r\n", "$7\r\nKarthik\r\n"))
        await second.stop()
    }

    @Test("A save that fails keeps the server up, unless it is forced to leave")
    func failedSave() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            TestFiles.removeTemporaryFolder(server.folder)
            #expect(server.server.engine.host.shutDown(.save, false, false) != nil)
            #expect(client.ask("PING\r\n", "+PONG\r\n"))
            #expect(server.log.contains("Error trying to save the DB, can't exit."))
            #expect(server.server.engine.host.shutDown(.save, false, true) == nil)
        }
    }

    @Test("A port that is taken is an error for people")
    func takenPort() async throws {
        try await TestServer.with { server in
            let options = try parseServerArguments(["--port", "\(server.port)", "--dir", server.folder]).get()
            let second = try KedisServer(options: options) { _ in }
            let error = await #expect(throws: StartError.self) { try await second.start() }
            #expect(error?.description.contains("cannot listen on 127.0.0.1:\(server.port)") == true)
        }
    }
}

/// Lets this process have enough descriptors for both ends of many connections.
private func raiseDescriptorLimit(to count: Int) -> Bool { clientCountLimit(wanting: count) >= count }
