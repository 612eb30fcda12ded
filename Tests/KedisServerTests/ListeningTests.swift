// Goal: CONFIG SET of `bind`, `port` and `tls-port` moves the server while it runs, or refuses and leaves everything as
// it was; connections that are there stay.
// Method: a server of this process whose ports are tried from outside; ports are chosen by the system beforehand.

import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisServer

@Suite("Listening")
struct ListeningTests {
    private func set(
        _ server: TestServer, _ client: LoopbackSocket, _ text: String, refused reason: String? = nil
    ) -> Bool {
        client.ask(
            "CONFIG SET \(text)\r\n",
            reason.map {
                "-ERR CONFIG SET failed (possibly related to argument '\(text.prefix { $0 != " " })') - \($0)\r\n"
            } ?? "+OK\r\n")
    }

    private func answers(_ port: Int, host: UInt32 = 0x7F00_0001) -> Bool {
        guard let socket = try? LoopbackSocket(port: UInt16(clamping: port), host: host) else { return false }
        return socket.ask("PING\r\n", "+PONG\r\n")
    }

    @Test("CONFIG SET port opens the new port and closes the old one, connections stay")
    func port() async throws {
        let new = Int(try LoopbackSocket.freePort())
        try await TestServer.with { server in
            let client = try server.connect()
            let old = server.server.port
            #expect(set(server, client, "port \(new)"))
            #expect(answers(new) && !answers(old))
            #expect(server.server.port == new)
            #expect(client.ask("CONFIG GET port\r\n", "*2\r\n$4\r\nport\r\n$\(String(new).count)\r\n\(new)\r\n"))
            // None at all: who is there stays, and can open one again.
            #expect(set(server, client, "port 0"))
            #expect(!answers(new) && client.ask("PING\r\n", "+PONG\r\n"))
            #expect(set(server, client, "port \(old)"))
            #expect(answers(old))
        }
    }

    @Test("A port that cannot be had is refused, and the old one goes on")
    func refusedPort() async throws {
        try await TestServer.with { other in
            try await TestServer.with { server in
                let client = try server.connect()
                let old = server.server.port
                #expect(
                    set(server, client, "port \(other.server.port)",
                        refused: "Unable to listen on this port. Check server logs."))
                #expect(client.ask("CONFIG GET port\r\n", "*2\r\n$4\r\nport\r\n$4\r\n6379\r\n"))
                #expect(answers(old) && server.server.port == old)
                #expect(server.log.contains("cannot listen on 127.0.0.1:\(other.server.port): Address already in use"))
                // Nothing of several is kept.
                #expect(
                    client.ask(
                        "CONFIG SET maxclients 77 port \(other.server.port)\r\n",
                        "-ERR CONFIG SET failed (possibly related to argument 'port') - "
                            + "Unable to listen on this port. Check server logs.\r\n"))
                #expect(client.ask("CONFIG GET maxclients\r\n", "*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n"))
            }
        }
    }

    @Test("CONFIG SET bind moves between one address and all, which share the port only one after the other")
    func bind() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            let port = server.server.port
            let elsewhere: UInt32 = 0x7F00_0002
            #expect(answers(port) && !answers(port, host: elsewhere))
            #expect(set(server, client, "bind *"))
            #expect(answers(port) && answers(port, host: elsewhere))
            #expect(set(server, client, "bind 127.0.0.2"))
            #expect(!answers(port) && answers(port, host: elsewhere))
            #expect(set(server, client, "bind \"127.0.0.1 127.0.0.2\""))
            #expect(answers(port) && answers(port, host: elsewhere))
            // 192.0.2.1 is nobody's; with a minus it may be missing.
            #expect(set(server, client, "bind 192.0.2.1", refused: "Failed to bind to specified addresses."))
            #expect(answers(port) && answers(port, host: elsewhere))
            #expect(set(server, client, "bind \"127.0.0.1 -192.0.2.1\""))
            #expect(answers(port) && !answers(port, host: elsewhere))
            #expect(client.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    @Test("A TLS port without a certificate is refused")
    func tlsPort() async throws {
        let port = Int(try LoopbackSocket.freePort())
        try await TestServer.with { server in
            let client = try server.connect()
            #expect(
                set(server, client, "tls-port \(port)",
                    refused: "Unable to update TLS configuration. Check server logs."))
            #expect(server.server.tlsPort == 0 && answers(server.server.port))
        }
    }

    @Test("Ports that change from several connections at once leave one that answers, and no socket behind")
    func race() async throws {
        let ports = [Int(try LoopbackSocket.freePort()), Int(try LoopbackSocket.freePort()), Int(try LoopbackSocket.freePort())]
        try await TestServer.with { server in
            let clients = try (0..<4).map { _ in try server.connect() }
            // Nobody else listens at this address, whatever the ports.
            let here: UInt32 = 0x7F00_0009
            #expect(set(server, clients[0], "bind 127.0.0.9"))
            // All requests are on their way before the first reply is read.
            for round in 0..<25 {
                for (number, client) in clients.enumerated() {
                    // Refused now and then: a socket that is being closed holds its port for a moment.
                    client.send("CONFIG SET port \(ports[(number + round) % ports.count])\r\n")
                }
            }
            for client in clients { while case .bytes = client.receive(timeoutMilliseconds: 200) {} }
            var isSet = false
            for _ in 0..<20 where !isSet {
                clients[0].send("CONFIG SET port \(ports[0])\r\n")
                isSet = clients[0].read(5).hasPrefix("+OK")
                while case .bytes = clients[0].receive(timeoutMilliseconds: 50) {}
            }
            #expect(isSet && server.server.port == ports[0])
            #expect(answers(server.server.port, host: here))
            for port in ports.dropFirst() { #expect(!answers(port, host: here), "a socket was left behind") }
        }
    }
}
