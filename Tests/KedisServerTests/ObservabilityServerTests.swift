// Goal: monitors see what happens on all event loops, each client's commands in their order; /metrics and /healthz
// answer whoever asks, and tell when the server cannot serve. Method: a real server behind real sockets.

import KedisCommands
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisServer

@Suite("Observability of a server", .serialized)
struct ObservabilityServerTests {
    private static func lines(_ client: LoopbackSocket, until last: String) -> [String] {
        var text = ""
        let deadline = monotonicNanoseconds() + 60_000_000_000
        while !text.hasSuffix(last), monotonicNanoseconds() < deadline {
            if case .bytes(let bytes) = client.receive(timeoutMilliseconds: 100) {
                text += String(decoding: bytes, as: UTF8.self)
            }
        }
        return text.split(separator: "\r\n").map(String.init)
    }

    @Test("A monitor sees the commands of all event loops, each client's in their order, once each")
    func monitors() async throws {
        try await TestServer.with(["--threads", "3"]) { server in
            let monitor = try server.connect()
            #expect(monitor.ask("MONITOR\r\n", "+OK\r\n"))
            let clients = try (0..<6).map { _ in try server.connect() }
            for round in 0..<50 {
                for (index, client) in clients.enumerated() {
                    client.send("SET c\(index) \(2 * round)\r\nSET c\(index) \(2 * round + 1)\r\n")
                }
                for client in clients { #expect(client.read(10) == "+OK\r\n+OK\r\n") }
            }
            #expect(clients[0].ask("ECHO end\r\n", "$3\r\nend\r\n"))
            let seen = Self.lines(monitor, until: "\"ECHO\" \"end\"\r\n").dropLast()
            #expect(seen.count == 600)
            for index in 0..<6 {
                let values = seen.filter { $0.contains("\"SET\" \"c\(index)\"") }.map { line in
                    line.split(separator: "\"").last.map(String.init) ?? ""
                }
                #expect(values == (0..<100).map { "\($0)" })
            }
        }
    }

    @Test("A monitor that is killed or goes away costs nobody anything")
    func monitorsThatGo() async throws {
        try await TestServer.with { server in
            let client = try server.connect()
            do {
                let gone = try server.connect()
                #expect(gone.ask("MONITOR\r\n", "+OK\r\n"))
                gone.close()
            }
            let killed = try server.connect()
            #expect(killed.ask("MONITOR\r\n", "+OK\r\n"))
            client.send("CLIENT LIST\r\n")
            var list = ""
            while !list.hasSuffix("\r\n"), list.utf8.count < 10_000 {
                list += client.read(1, timeoutMilliseconds: 1000)
            }
            #expect(list.contains("flags=O"))
            // The server may not have seen yet that the first one has gone.
            #expect(eventually { server.server.engine.clients.count == 2 })
            #expect(client.ask("CLIENT KILL SKIPME yes\r\n", ":1\r\n"))
            #expect(killed.isClosedWithin(milliseconds: 60_000))
            #expect(client.ask("PING\r\n", "+PONG\r\n"))
            for _ in 0..<200 where server.server.engine.interest.current.hasMonitors {
                TestFiles.sleep(milliseconds: 10)
            }
            #expect(!server.server.engine.interest.current.hasMonitors)
        }
    }

    // MARK: HTTP

    private static func get(_ path: String, port: Int, method: String = "GET") throws -> String {
        let client = try LoopbackSocket(port: UInt16(clamping: port))
        client.send("\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return client.read(10_000_000)
    }

    @Test("/metrics and /healthz answer, other paths and methods are refused, connections stay")
    func http() async throws {
        try await TestServer.with(["--metrics-port", "1"]) { server in
            let port = server.server.metricsPort
            #expect(port > 0)
            let client = try server.connect()
            #expect(client.ask("SET a 1\r\n", "+OK\r\n"))
            let metrics = try Self.get("/metrics?x=y", port: port)
            #expect(metrics.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(metrics.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"))
            #expect(metrics.contains("\nkedis_command_duration_seconds_count{command=\"set\"} 1\n"))
            #expect(metrics.contains("\nkedis_connected_clients 1\n"))
            #expect(try Self.get("/healthz", port: port).hasSuffix("\r\n\r\nok\n"))
            #expect(try Self.get("/", port: port).hasPrefix("HTTP/1.1 404 "))
            #expect(try Self.get("/metrics", port: port, method: "POST").hasPrefix("HTTP/1.1 405 "))
            let head = try Self.get("/metrics", port: port, method: "HEAD")
            #expect(head.hasPrefix("HTTP/1.1 200 ") && head.hasSuffix("\r\n\r\n"))
            // Two requests in one piece, then a third on the same connection.
            let kept = try LoopbackSocket(port: UInt16(clamping: port))
            for count in [2, 1] {
                kept.send(String(repeating: "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", count: count))
                var text = ""
                for _ in 0..<50 where text.components(of: "ok\n") < count {
                    text += kept.read(1_000_000, timeoutMilliseconds: 100)
                }
                #expect(text.components(of: "ok\n") == count)
            }
        }
    }

    @Test("What is no HTTP ends its connection and nothing else")
    func garbage() async throws {
        try await TestServer.with(["--metrics-port", "1"]) { server in
            let port = server.server.metricsPort
            var generator = RandomGenerator.forTest("no HTTP")
            for _ in 0..<20 {
                let client = try LoopbackSocket(port: UInt16(clamping: port))
                client.send(generator.bytes(1 + generator.next(below: 2000), of: Array(0...255)) + [10, 10, 13, 10])
                _ = client.read(10, timeoutMilliseconds: 50)
            }
            #expect(try Self.get("/healthz", port: port).hasSuffix("ok\n"))
        }
    }

    @Test("More connections than there is room for are closed, and the next one finds room again")
    func connectionLimit() async throws {
        try await TestServer.with(["--metrics-port", "1"]) { server in
            let port = UInt16(clamping: server.server.metricsPort)
            do {
                let clients = try (0..<64).map { _ in try LoopbackSocket(port: port) }
                for client in clients { client.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") }
                for client in clients { #expect(client.read(15).hasPrefix("HTTP/1.1 200 OK")) }
                let more = try LoopbackSocket(port: port)
                #expect(more.isClosedWithin(milliseconds: 60_000))
                for client in clients { client.close() }
            }
            var isServed = false
            for _ in 0..<100 where !isServed {
                isServed = try Self.get("/healthz", port: Int(port)).hasSuffix("ok\n")
                if !isServed { TestFiles.sleep(milliseconds: 20) }
            }
            #expect(isServed)
        }
    }

    @Test("Health complains while the server starts and stops, and about an event loop that is stuck")
    func health() {
        let health = Health(loopCount: 2)
        #expect(health.complaint() == "starting")
        health.enter(.serving)
        #expect(health.complaint() == nil)
        health.noteBeat(ofLoop: 1)
        health.noteBeat(ofLoop: 7)
        let now = monotonicNanoseconds()
        #expect(health.complaint(nowNanoseconds: now + Health.silenceNanosecondsMax / 2) == nil)
        let late = health.complaint(nowNanoseconds: now + Health.silenceNanosecondsMax + 1_000_000_000)
        #expect(late?.hasPrefix("event loop 1 has not run for ") == true)
        health.enter(.stopping)
        #expect(health.complaint() == "stopping")
    }

    @Test("A stuck event loop does not keep /healthz from saying so, and LATENCY tells of it afterwards")
    func lateness() async throws {
        let directives = ["--metrics-port", "1", "--threads", "1", "--enable-debug-command", "yes"]
        try await TestServer.with(directives) { server in
            let client = try server.connect()
            #expect(client.ask("CONFIG SET latency-monitor-threshold 100\r\n", "+OK\r\n"))
            client.send("DEBUG SLEEP 0.4\r\n")
            #expect(try Self.get("/healthz", port: server.server.metricsPort).hasSuffix("ok\n"))
            #expect(client.read(5) == "+OK\r\n")
            let latency = server.server.engine.observability.latency
            for _ in 0..<200 where latency.series(of: .eventLoop) == nil { TestFiles.sleep(milliseconds: 10) }
            #expect(latency.series(of: .eventLoop)?.longestMilliseconds ?? 0 >= 200)
            #expect(latency.series(of: .command)?.longestMilliseconds ?? 0 >= 400)
        }
    }
}

extension String {
    /// How often `piece` is in it.
    fileprivate func components(of piece: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: piece) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
