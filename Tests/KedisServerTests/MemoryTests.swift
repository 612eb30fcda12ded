// Goal: what commands have no time for happens by itself: eviction down to the limit, memory given back. Method: a server that
// is told once and then left alone; its store is watched from here.

import KedisCommands
import KedisProtocol
import KedisServer
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@Suite("Memory of a server")
struct MemoryTests {
    private static let valueByteCount = 1000

    private func fill(_ socket: LoopbackSocket, keyCount: Int, valueByteCount: Int = valueByteCount) {
        let value = String(repeating: "x", count: valueByteCount)
        for start in stride(from: 0, to: keyCount, by: 500) {
            let requests = (start..<start + 500).map {
                "*3\r\n$3\r\nSET\r\n$\(4 + "\($0)".count)\r\nkey:\($0)\r\n$\(value.count)\r\n\(value)\r\n"
            }
            socket.send(requests.joined())
            #expect(socket.read(2500) == String(repeating: "+OK\r\n", count: 500))
        }
    }

    private func waits(_ condition: () -> Bool) async throws -> Bool {
        for _ in 0..<1000 where !condition() { try await Task.sleep(for: .milliseconds(10)) }
        return condition()
    }

    @Test("A lower limit is reached without another command")
    func lowerLimit() async throws {
        try await TestServer.with(["--maxmemory-policy", "allkeys-lru"]) { server in
            let store = server.server.engine.store
            let socket = try server.connect()
            fill(socket, keyCount: 5000)
            let limit = store.usedByteCount - 3000 * Self.valueByteCount
            socket.send("CONFIG SET maxmemory \(limit)\r\n")
            #expect(socket.read(5) == "+OK\r\n")
            #expect(try await waits { store.usedByteCount <= limit })
            #expect(store.rareStatistics().evicted > 2000)
        }
    }

    @Test("After FLUSHALL the memory goes back by itself")
    func flushedMemory() async throws {
        try await TestServer.with { server in
            let store = server.server.engine.store
            let empty = store.usedByteCount
            let socket = try server.connect()
            fill(socket, keyCount: 20_000)
            let full = store.memoryStatistics()
            #expect(full.usedByteCount > empty + 20_000 * Self.valueByteCount)
            socket.send("FLUSHALL\r\n")
            #expect(socket.read(5) == "+OK\r\n")
            #expect(store.usedByteCount < empty + (1 << 20))
            let isGivenBack = try await waits {
                let now = store.memoryStatistics()
                return now.pendingCount == 0 && now.arenaResidentByteCount * 4 <= full.arenaResidentByteCount
            }
            #expect(isGivenBack, "\(store.memoryStatistics())")
        }
    }

    @Test("Eviction in the background kept the connections of its loop waiting until it was done")
    func turns() async throws {
        try await TestServer.with(
            ["--threads", "1", "--maxmemory-policy", "allkeys-lru", "--maxmemory-eviction-tenacity", "0"]
        ) { server in
            let store = server.server.engine.store
            let socket = try server.connect()
            fill(socket, keyCount: 100_000, valueByteCount: 64)
            let limit = store.usedByteCount / 10
            socket.send("CONFIG SET maxmemory \(limit)\r\n")
            #expect(socket.read(5) == "+OK\r\n")
            // Requests that are sent while it is under way, and answered before it ends.
            var answeredCount = 0
            while store.usedByteCount > limit {
                let isUnderWay = store.rareStatistics().evicted > 1000
                socket.send("PING\r\n")
                #expect(socket.read(7) == "+PONG\r\n")
                if isUnderWay, store.usedByteCount > limit { answeredCount += 1 }
            }
            #expect(answeredCount > 5, "\(answeredCount)")
        }
    }

    @Test("A limit below what is used is warned of at the start, and when it is set")
    func warning() async throws {
        try await TestServer.with(["--maxmemory", "100"]) { server in
            #expect(server.log.contains("maxmemory is 100, less than the"))
            #expect(server.log.contains("commands that need memory are refused"))
            let socket = try server.connect()
            socket.send("CONFIG SET maxmemory 200 maxmemory-policy allkeys-lru\r\n")
            #expect(socket.read(5) == "+OK\r\n")
            #expect(server.log.contains("maxmemory is 200, less than the"))
            #expect(server.log.contains("keys are evicted by allkeys-lru"))
        }
    }

    @Test("After keys went in the order of SCAN, the background comes to an end and has given memory back")
    func keysDeletedInScanOrder() async throws {
        try await TestServer.with { server in
            let engine = server.server.engine
            let socket = try server.connect()
            // Some segments for each stripe.
            fill(socket, keyCount: 300_000, valueByteCount: 32)
            let full = engine.store.memoryStatistics()
            let session = TestSession(engine)
            var cursor = "0"
            var left = 270_000
            repeat {
                guard case .array(let parts)? = try session.call("SCAN", cursor, "COUNT", "500"), parts.count == 2,
                    case .bulk(let next) = parts[0], case .array(let keys) = parts[1]
                else { break }
                cursor = String(decoding: next, as: UTF8.self)
                let names = keys.prefix(left).compactMap { key -> String? in
                    guard case .bulk(let bytes) = key else { return nil }
                    return String(decoding: bytes, as: UTF8.self)
                }
                left -= names.count
                if !names.isEmpty { _ = try session.call(["DEL"] + names) }
            } while cursor != "0" && left > 0
            let isDone = try await waits {
                !engine.memory.isMaintaining.load(ordering: .relaxed)
                    && engine.store.memoryStatistics().arenaResidentByteCount * 2 <= full.arenaResidentByteCount
            }
            #expect(isDone, "\(engine.store.memoryStatistics())")
            engine.store.checkInvariants()
        }
    }
}
