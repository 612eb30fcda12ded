// Goal: a connection behaves the same whatever carries it: peers that end their side, that take nothing, that send all
// the time, and systems without descriptors. Method: servers of this process on each transport, real sockets.

import KedisCommands
import KedisStore
import KedisTestSupport
import KedisUtilities
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

@Suite("Transports", .serialized)
struct TransportTests {
    #if os(Linux)
    static let all = ["epoll", "nio"] + (SystemRing.isUsable ? ["io_uring"] : [])
    #else
    static let all = ["nio"]
    #endif

    private func withServer(
        _ transport: String, _ directives: [String] = [], _ body: (TestServer) async throws -> Void
    ) async throws {
        try await TestServer.with(["--transport", transport] + directives, body)
    }

    /// All that arrives until the peer closes, at most `byteCountMax`.
    private func readToEnd(_ client: LoopbackSocket, byteCountMax: Int = 100 << 20) -> [UInt8] {
        var bytes: [UInt8] = []
        let deadline = monotonicNanoseconds() + 60_000_000_000
        while bytes.count < byteCountMax, monotonicNanoseconds() < deadline {
            switch client.receive(timeoutMilliseconds: 1_000) {
            case .bytes(let more): bytes += more
            case .closed: return bytes
            case .timeout: break
            }
        }
        return bytes
    }

    @Test("The transport is the best one where nobody asked for another")
    func choice() async throws {
        try await TestServer.with(["--transport", "auto"]) { server in
            let client = try server.connect()
            #if os(Linux)
            let best = SystemRing.isUsable ? "io_uring" : "epoll"
            #else
            let best = "kqueue"
            #endif
            client.send("INFO server\r\nQUIT\r\n")
            #expect(String(decoding: readToEnd(client), as: UTF8.self).contains("multiplexing_api:\(best)\r\n"))
        }
        #expect((try? parseServerArguments(["--transport", "carrier-pigeon"]).get()) == nil)
    }

    // MARK: Peers that end

    @Test("A peer that ends its side gets the replies to all that it has sent, then the end", arguments: all)
    func halfClose(transport: String) async throws {
        try await withServer(transport) { server in
            let client = try server.connect()
            client.send("SET k v\r\nGET k\r\n")
            client.endSending()
            #expect(String(decoding: readToEnd(client), as: UTF8.self) == "+OK\r\n$1\r\nv\r\n")
            #expect(eventually { server.server.engine.clients.count == 0 })
        }
    }

    /// SwiftNIO's channels close when the peer ends its side.
    @Test("So does one that has yet to take megabytes of them", arguments: all.filter { $0 != "nio" })
    func halfCloseOfLateReader(transport: String) async throws {
        try await withServer(transport) { server in
            let client = try server.connect()
            let value = String(repeating: "x", count: 100_000)
            #expect(client.ask("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n\(value)\r\n", "+OK\r\n"))
            client.send((100..<400).map { "GET k\r\nECHO \($0)\r\n" }.joined())
            client.endSending()
            TestFiles.sleep(milliseconds: 300)
            let expected = (100..<400).map { "$100000\r\n\(value)\r\n$3\r\n\($0)\r\n" }.joined()
            let replies = readToEnd(client)
            #expect(replies.count == expected.utf8.count)
            // A difference of arrays as long as these would be looked for for minutes.
            let isSame = replies == Array(expected.utf8)
            #expect(isSame, "replies are lost, doubled or out of order")
            #expect(eventually { server.server.engine.clients.count == 0 })
        }
    }

    @Test("Who ends its side while it waits for an element is gone, and the element stays", arguments: all)
    func halfCloseOfBlocked(transport: String) async throws {
        try await withServer(transport) { server in
            let (client, other) = (try server.connect(), try server.connect())
            client.send("BLPOP q 0\r\n")
            #expect(eventually { server.server.engine.clients.all.contains { $0.isBlocked.load(ordering: .relaxed) } })
            client.endSending()
            #expect(client.isClosedWithin(milliseconds: 60_000))
            #expect(eventually { server.server.engine.clients.count == 1 })
            #expect(other.ask("RPUSH q x\r\nLLEN q\r\n", ":1\r\n:1\r\n"))
        }
    }

    @Test("The same while replies wait that it has yet to read: it gets those, and nobody serves it", arguments: all)
    func halfCloseOfBlockedWithOutput(transport: String) async throws {
        try await withServer(transport) { server in
            let (client, other) = (try server.connect(), try server.connect())
            let value = String(repeating: "x", count: 8 << 20)
            #expect(other.ask("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$\(value.utf8.count)\r\n\(value)\r\n", "+OK\r\n"))
            client.send("GET k\r\nBLPOP q 0\r\n")
            #expect(eventually { server.server.engine.clients.all.contains { $0.isBlocked.load(ordering: .relaxed) } })
            client.endSending()
            #expect(eventually { !server.server.engine.clients.all.contains { $0.isBlocked.load(ordering: .relaxed) } })
            #expect(other.ask("RPUSH q x\r\nLLEN q\r\n", ":1\r\n:1\r\n"))
            #expect(client.isClosedWithin(milliseconds: 60_000))
        }
    }

    @Test("A peer that is gone while its replies wait leaves nothing behind", arguments: all)
    func goneWithOutput(transport: String) async throws {
        try await withServer(transport, ["--client-output-pause-limit", "1mb"]) { server in
            let other = try server.connect()
            let value = String(repeating: "x", count: 1 << 20)
            #expect(other.ask("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$\(value.utf8.count)\r\n\(value)\r\n", "+OK\r\n"))
            for _ in 0..<5 {
                let client = try server.connect()
                client.send(String(repeating: "GET k\r\n", count: 100))
                #expect(
                    eventually {
                        server.server.engine.clients.all.contains { $0.memory.output.load(ordering: .relaxed) > 0 }
                    })
                // With unread replies this is a reset.
                client.close()
                #expect(eventually { server.server.engine.clients.count == 1 })
            }
            #expect(other.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    // MARK: Peers that press

    @Test("Who sends all the time keeps nobody of its loop waiting", arguments: all)
    func flooding(transport: String) async throws {
        try await withServer(transport, ["--threads", "1"]) { server in
            let other = try server.connect()
            let isOver = Atomic<Bool>(false)
            let requests = Array(String(repeating: "PING\r\n", count: 20_000).utf8)
            let flooders = try (0..<3).map { _ in try server.connect() }.map { socket in
                nonisolated(unsafe) let socket = socket
                return TestThread {
                    while !isOver.load(ordering: .relaxed) {
                        socket.send(requests)
                        while case .bytes = socket.receive(timeoutMilliseconds: 0) {}
                    }
                }
            }
            // Each is answered, though the others never end.
            for _ in 0..<10 { #expect(other.ask("PING\r\n", "+PONG\r\n")) }
            isOver.store(true, ordering: .relaxed)
            for flooder in flooders { flooder.join() }
        }
    }

    @Test("Messages for a subscriber that does not read wait, in their order, until it does", arguments: all)
    func lateSubscriber(transport: String) async throws {
        try await withServer(transport) { server in
            let (subscriber, other) = (try server.connect(), try server.connect())
            #expect(subscriber.ask("SUBSCRIBE c\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"))
            let text = String(repeating: "m", count: 9_995)
            for start in stride(from: 10_000, to: 11_500, by: 100) {
                other.send((start..<start + 100).map { "PUBLISH c \($0)\(text)\r\n" }.joined())
                #expect(other.read(400) == String(repeating: ":1\r\n", count: 100))
            }
            let expected = (10_000..<11_500)
                .map { "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$10000\r\n\($0)\(text)\r\n" }.joined()
            let isSame = subscriber.read(expected.utf8.count) == expected
            #expect(isSame, "messages are lost, doubled or out of order")
        }
    }

    // MARK: Accepting

    @Test("Numbers of clients are those of the order in which they came", arguments: all.filter { $0 != "nio" })
    func numbers(transport: String) async throws {
        try await withServer(transport) { server in
            let clients = try (0..<20).map { _ in try server.connect() }
            for (index, client) in clients.enumerated() {
                let number = "\(index + 1)"
                #expect(client.ask("CLIENT ID\r\n", ":\(number)\r\n"))
            }
        }
    }

    @Test(
        "Without descriptors nobody new is let in, whoever is there goes on, and who waits is let in afterwards",
        .enabled(if: KedisProcess.program != nil && TestFiles.program("prlimit") != nil, "it needs kedis and prlimit"))
    func noDescriptors() async throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let server = try KedisProcess(folder: folder, directives: ["--save", ""])
        func limit(_ count: Int) throws {
            let program = try #require(TestFiles.program("prlimit"))
            waitpid(try spawnProcess([program, "--pid", "\(server.identifier)", "--nofile=\(count):4096"]), nil, 0)
        }
        let first = try LoopbackSocket(port: server.port)
        #expect(first.ask("PING\r\n", "+PONG\r\n"))
        try limit(5)
        let waiting = try (0..<5).map { _ in try LoopbackSocket(port: server.port) }
        for client in waiting { client.send("PING\r\n") }
        #expect(waiting[0].read(7, timeoutMilliseconds: 500) == "", "nobody can be let in")
        #expect(first.ask("PING\r\n", "+PONG\r\n"))
        try limit(1_000)
        for client in waiting { #expect(client.read(7) == "+PONG\r\n") }
    }
}
