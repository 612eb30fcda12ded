// Goal: many clients on many keys are served in the order in which they blocked, across event loops; those that go
// leave nothing behind; keys that change their type serve who waits for that type; CLIENT UNBLOCK reaches every loop.
// Method: a server in this process with four loops, plain sockets, and a model of who is next.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisCommands
@testable import KedisServer

@Suite("Many blocked clients over sockets", .serialized)
struct BlockedManyTests {
    private func wait(for count: Int, _ server: TestServer) throws {
        let deadline = monotonicNanoseconds() + 60_000_000_000
        while monotonicNanoseconds() < deadline {
            if server.server.engine.waiters.blockedCount.load(ordering: .relaxed) == count { return }
        }
        throw TestServerError(description: "never \(count) blocked clients")
    }

    /// Keys that anybody waits for.
    private func waitedKeyCount(_ engine: Engine) -> Int {
        var count = 0
        engine.store.lock(.all)
        engine.waiters.forEachKey { _ in count += 1 }
        engine.store.unlock(.all)
        return count
    }

    @Test("Each push serves the client that has waited longest for its key, whatever else it waits for")
    func order() async throws {
        try await TestServer.with(["--threads", "4"]) { server in
            var random = RandomGenerator.forTest("blocked on many keys")
            let keyCount = 12, clientCount = 150
            let producer = try server.connect()
            var clients: [LoopbackSocket] = []
            var queues = [[Int]](repeating: [], count: keyCount)
            for index in 0..<clientCount {
                let keys = (0..<1 + random.next(below: 4)).map { _ in random.next(below: keyCount) }
                let client = try server.connect()
                let command = random.next(below: 2) == 0 ? "BLPOP" : "BRPOP"
                client.send("\(command) \(keys.map { "key:\($0)" }.joined(separator: " ")) 0\r\n")
                clients.append(client)
                for key in Set(keys) { queues[key].append(index) }
                try wait(for: index + 1, server)
            }
            var served = Set<Int>()
            for push in 0..<4 * clientCount where served.count < clientCount {
                let key = random.next(below: keyCount)
                guard let next = queues[key].first(where: { !served.contains($0) }) else { continue }
                #expect(producer.ask("RPUSH key:\(key) element:\(1000 + push)\r\n", ":1\r\n"))
                let name = "key:\(key)"
                let expected = "*2\r\n$\(name.utf8.count)\r\n\(name)\r\n$12\r\nelement:\(1000 + push)\r\n"
                #expect(clients[next].read(expected.utf8.count) == expected, "client \(next)")
                served.insert(next)
            }
            try wait(for: clientCount - served.count, server)
            #expect(producer.ask("DBSIZE\r\n", ":0\r\n"))
        }
    }

    private struct Remains {
        weak var waiter: Waiter?
        weak var record: ClientRecord?
    }

    @Test("Clients that disconnect while they wait leave no waiter, no key, no record")
    func disconnects() async throws {
        try await TestServer.with(["--threads", "4"]) { server in
            let engine = server.server.engine
            for round in 0..<3 {
                var clients: [LoopbackSocket] = []
                for index in 0..<200 {
                    let client = try server.connect()
                    let timeout = index % 2 == 0 ? "0" : "1000"
                    switch index % 4 {
                    case 0: client.send("BLPOP shared own:\(index) \(timeout)\r\n")
                    case 1: client.send("BZPOPMIN shared own:\(index) \(timeout)\r\n")
                    case 2: client.send("BLMOVE own:\(index) shared LEFT LEFT \(timeout)\r\n")
                    default: client.send("XREAD BLOCK 0 STREAMS shared own:\(index) $ $\r\nPING\r\n")
                    }
                    clients.append(client)
                }
                try wait(for: 200, server)
                #expect(waitedKeyCount(engine) == 201)
                let remains = engine.clients.all.map { record in
                    Remains(waiter: record.waiter.withLock { $0 }, record: record)
                }
                #expect(remains.count == 200 && remains.allSatisfy { $0.waiter != nil })
                // Some say that they go, some are just gone.
                for (index, client) in clients.enumerated() {
                    if index % 3 == round { client.send("QUIT\r\n") }
                    client.close()
                }
                try wait(for: 0, server)
                let deadline = monotonicNanoseconds() + 60_000_000_000
                while remains.contains(where: { $0.record != nil }), monotonicNanoseconds() < deadline {}
                #expect(remains.allSatisfy { $0.waiter == nil && $0.record == nil })
                #expect(engine.clients.all.isEmpty && waitedKeyCount(engine) == 0)
                #expect(!engine.interest.current.hasWaiters)
                #expect(engine.waiters.timedCount.load(ordering: .relaxed) == 0)
            }
        }
    }

    @Test("A key that becomes another type serves who waits for that type, and nobody else")
    func types() async throws {
        try await TestServer.with(["--threads", "4"]) { server in
            let producer = try server.connect()
            let (list, sortedSet, stream) = (try server.connect(), try server.connect(), try server.connect())
            let group = try server.connect()
            #expect(producer.ask("XGROUP CREATE log g $ MKSTREAM\r\n", "+OK\r\n"))
            list.send("BLPOP key 0\r\n")
            sortedSet.send("BZPOPMAX key 0\r\n")
            stream.send("XREAD BLOCK 0 STREAMS key 0\r\n")
            group.send("XREADGROUP GROUP g c BLOCK 0 STREAMS log >\r\n")
            try wait(for: 4, server)
            #expect(producer.ask("SET key text\r\n", "+OK\r\n") && producer.ask("DEL key\r\n", ":1\r\n"))
            #expect(producer.ask("SADD key member\r\n", ":1\r\n") && producer.ask("DEL key\r\n", ":1\r\n"))
            #expect(producer.ask("HSET key field value\r\n", ":1\r\n") && producer.ask("DEL key\r\n", ":1\r\n"))
            try wait(for: 4, server)
            #expect(producer.ask("ZADD key 7 member\r\n", ":1\r\n"))
            let popped = "*3\r\n$3\r\nkey\r\n$6\r\nmember\r\n$1\r\n7\r\n"
            #expect(sortedSet.read(popped.utf8.count) == popped)
            try wait(for: 3, server)
            // RENAME makes a list of it that is served, and gone, at once.
            #expect(producer.ask("RPUSH other element\r\n", ":1\r\n"))
            #expect(producer.ask("RENAME other key\r\n", "+OK\r\n"))
            let taken = "*2\r\n$3\r\nkey\r\n$7\r\nelement\r\n"
            #expect(list.read(taken.utf8.count) == taken && producer.ask("EXISTS key\r\n", ":0\r\n"))
            #expect(producer.ask("XADD key 1-1 f v\r\n", "$3\r\n1-1\r\n"))
            #expect(stream.read(52) == "*1\r\n*2\r\n$3\r\nkey\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n")
            #expect(producer.ask("SET log text\r\n", "+OK\r\n"))
            #expect(group.read(30).hasPrefix("-WRONGTYPE "))
            try wait(for: 0, server)
        }
    }

    @Test("CLIENT UNBLOCK ends waits on every loop, and what was sent meanwhile is executed then")
    func unblock() async throws {
        try await TestServer.with(["--threads", "4"]) { server in
            let other = try server.connect()
            for index in 0..<24 {
                let client = try server.connect()
                client.send("CLIENT ID\r\n")
                let identifier = client.read(4).dropFirst().prefix { $0.isNumber }
                client.send("BLPOP key:\(index) 0\r\nPING\r\n")
                try wait(for: 1, server)
                let isError = index % 2 == 0
                #expect(other.ask("CLIENT UNBLOCK \(identifier) \(isError ? "ERROR" : "TIMEOUT")\r\n", ":1\r\n"))
                let ended = isError ? "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n" : "*-1\r\n"
                let expected = ended + "+PONG\r\n"
                #expect(client.read(expected.utf8.count) == expected)
                #expect(other.ask("CLIENT UNBLOCK \(identifier)\r\n", ":0\r\n"))
                #expect(other.ask("RPUSH key:\(index) kept\r\n", ":1\r\n"))
            }
        }
    }
}
