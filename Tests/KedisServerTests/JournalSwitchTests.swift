// Goal: a journal that begins or ends while the server runs loses nothing that it should have, brings nothing back that
// was gone, and answers as redis-server does. Method: servers of this process on one folder; folders as a crash between
// the steps leaves them; the program itself, killed while the switch is thrown under writes.

import KedisCommands
import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisServer

@Suite("A journal that begins and ends while the server runs")
struct JournalSwitchTests {
    private func information(_ server: TestServer) -> JournalInformation? {
        server.server.engine.host.persistenceStatus().journal
    }

    /// The first base is there.
    private func isWhole(_ server: TestServer) -> Bool {
        guard let journal = information(server) else { return false }
        return journal.isEnabled && !journal.isRewriting && !journal.isRewriteScheduled
    }

    private func turnOn(_ server: TestServer) throws {
        #expect(try server.connect().ask("CONFIG SET appendonly yes\r\n", "+OK\r\n"))
        let isWhole = eventually { self.isWhole(server) }
        #expect(isWhole)
    }

    @Test("What was there before and what came after is there, and INFO tells of it", arguments: ["always", "everysec"])
    func turningOn(policy: String) async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendfsync", policy], folder: folder)
            let client = try server.connect()
            #expect(information(server) == nil || information(server)?.isEnabled == false)
            #expect(client.ask("SET before 1\r\nWAITAOF 0 0 0\r\n", "+OK\r\n*2\r\n:0\r\n:0\r\n"))
            try turnOn(server)
            #expect(client.ask("CONFIG SET appendonly yes\r\nSET after 2\r\n", "+OK\r\n+OK\r\n"))
            #expect(client.ask("MULTI\r\nINCR n\r\nINCR n\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:2\r\n"))
            #expect(client.ask("WAITAOF 1 0 0\r\n", "*2\r\n:1\r\n:0\r\n"))
            #expect(information(server)?.rewriteCount == 1)
            await server.stop()
            let again = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try again.connect().ask(
                "MGET before after n\r\n", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n2\r\n"))
            await again.stop()
        }
    }

    @Test("What was changed without a journal is not undone by the old one when it begins again")
    func again() async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendonly", "yes"], folder: folder)
            let client = try server.connect()
            for round in 1...3 {
                #expect(client.ask("SET a \(round)\r\nSET gone \(round)\r\n", "+OK\r\n+OK\r\n"))
                #expect(client.ask("CONFIG SET appendonly no\r\n", "+OK\r\n"))
                #expect(information(server)?.isEnabled != true)
                #expect(server.log.contains("has ended: everything of it is on disk"))
                #expect(client.ask("DEL gone\r\nSET quiet \(round)\r\n", ":1\r\n+OK\r\n"))
                try turnOn(server)
                #expect(client.ask("INCR loud\r\n", ":\(round)\r\n"))
                #expect(!TestFiles.list(below: folder, suffix: ".awaited").contains { _ in true })
                #expect(TestFiles.list(below: folder, suffix: ".rdb").count == 1)
            }
            let wanted = "*4\r\n$1\r\n3\r\n$-1\r\n$1\r\n3\r\n$1\r\n3\r\n"
            #expect(client.ask("MGET a gone quiet loud\r\n", wanted))
            await server.stop()
            let again = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try again.connect().ask("MGET a gone quiet loud\r\n", wanted))
            await again.stop()
        }
    }

    @Test("Without appendonly its files stay, and the next start says that they are not read")
    func turningOff() async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try server.connect().ask("SET a 1\r\nCONFIG SET appendonly no\r\n", "+OK\r\n+OK\r\n"))
            // The folder is free for another one.
            let other = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try other.connect().ask("GET a\r\n", "$1\r\n1\r\n"))
            #expect(try server.connect().ask(
                "CONFIG SET appendonly yes\r\n",
                "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn on AOF. "
                    + "Check server logs.\r\n"))
            #expect(try server.connect().ask("CONFIG GET appendonly\r\n", "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"))
            #expect(server.log.contains("is in use by process"))
            await other.stop()
            await server.stop()
            let without = try await TestServer([], folder: folder)
            #expect(without.log.contains("There is a journal in \(folder)/appendonlydir, which is not read"))
            await without.stop()
        }
    }

    // MARK: What a crash before the first base leaves

    /// A folder with a snapshot (`a` is 1), and a journal behind it whose base never came (`b`).
    private func leaveIncomplete(_ folder: String) async throws {
        let server = try await TestServer(["--save", "3600 1"], folder: folder)
        #expect(try server.connect().ask("SET a 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
        await server.stop()
        let generation = try JournalGeneration.begin(directory: "\(folder)/appendonlydir")
        let journal = try Journal.open(after: generation.recovered)
        Array("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n".utf8).withUnsafeBytes {
            _ = journal.append(ByteView($0), databaseIndex: 0, milliseconds: wallClockMilliseconds())
        }
        try journal.close()
    }

    @Test("A crash before the first base: the snapshot is loaded, no record without its base, and a journal begins")
    func incomplete() async throws {
        try await withFolder { folder in
            try await leaveIncomplete(folder)
            let server = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(server.log.contains("ended before it had its first base"))
            #expect(try server.connect().ask("MGET a b\r\nSET c 1\r\n", "*2\r\n$1\r\n1\r\n$-1\r\n+OK\r\n"))
            await server.stop()
            #expect(TestFiles.list(below: folder, suffix: ".awaited").isEmpty)
            let again = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try again.connect().ask("MGET a b c\r\n", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n1\r\n"))
            await again.stop()
        }
    }

    @Test("With an older journal there, the younger of it and the snapshot is loaded", arguments: [false, true])
    func incompleteBesideOld(hasYoungerSnapshot: Bool) async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--save", "3600 1", "--appendonly", "yes"], folder: folder)
            let client = try server.connect()
            // The times of files tell which is younger.
            #expect(client.ask("SET a 0\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
            TestFiles.sleep(milliseconds: 20)
            #expect(client.ask("SET a old\r\nCONFIG SET appendonly no\r\nSET a new\r\n", "+OK\r\n+OK\r\n+OK\r\n"))
            TestFiles.sleep(milliseconds: 20)
            if hasYoungerSnapshot { #expect(client.ask("SAVE\r\n", "+OK\r\n")) }
            #expect(client.ask("SHUTDOWN NOSAVE\r\n", ""))
            await server.stop()
            let generation = try JournalGeneration.begin(directory: "\(folder)/appendonlydir")
            try Journal.open(after: generation.recovered).close()
            for _ in 0..<2 {
                let again = try await TestServer(["--appendonly", "yes"], folder: folder)
                #expect(try again.connect().ask("GET a\r\n", hasYoungerSnapshot ? "$3\r\nnew\r\n" : "$3\r\nold\r\n"))
                await again.stop()
            }
        }
    }

    // MARK: Clients meanwhile

    @Test("Replies that wait come when the journal ends, and in their order, however often it does")
    func heldReplies() async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendonly", "yes", "--appendfsync", "always"], folder: folder)
            let clients = try (0..<6).map { _ in try server.connect() }
            let other = try server.connect()
            for round in 0..<30 {
                for (number, client) in clients.enumerated() { client.send("INCR n\(number)\r\nGET n\(number)\r\n") }
                let isOn = round % 2 == 1
                #expect(other.ask("CONFIG SET appendonly \(isOn ? "yes" : "no")\r\n", "+OK\r\n"))
                for client in clients {
                    let value = "\(round + 1)"
                    let reply = ":\(value)\r\n$\(value.count)\r\n\(value)\r\n"
                    #expect(client.read(reply.utf8.count) == reply)
                }
            }
            let isWhole = eventually { self.isWhole(server) }
            #expect(isWhole)
            await server.stop()
            let again = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try again.connect().ask("GET n5\r\n", "$2\r\n30\r\n"))
            await again.stop()
        }
    }

    @Test("WAITAOF does not wait for a journal that has ended; a transaction may end it and begin it")
    func waiting() async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendonly", "yes", "--appendfsync", "no"], folder: folder)
            let client = try server.connect()
            client.send("SET a 1\r\nWAITAOF 1 0 0\r\n")
            #expect(client.read(5) == "+OK\r\n")
            #expect(try server.connect().ask("CONFIG SET appendonly no\r\n", "+OK\r\n"))
            // As on Redis 7.2, though it is on disk.
            let refusal = "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"
            #expect(client.read(refusal.utf8.count) == refusal)
            #expect(client.ask("WAITAOF 1 0 0\r\n", refusal))
            let queued = "+OK\r\n+QUEUED\r\n+QUEUED\r\n"
            #expect(client.ask("MULTI\r\nSET b 1\r\nCONFIG SET appendonly yes\r\n", queued))
            #expect(client.ask("EXEC\r\n", "*2\r\n+OK\r\n+OK\r\n"))
            let isOn = eventually { self.isWhole(server) }
            #expect(isOn)
            #expect(client.ask("MULTI\r\nSET c 1\r\nCONFIG SET appendonly no\r\n", queued))
            #expect(client.ask("EXEC\r\n", "*2\r\n+OK\r\n+OK\r\n"))
            #expect(client.ask("CONFIG SET maxclients 100\r\n", "+OK\r\n"))
            await server.stop()
            let again = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try again.connect().ask("MGET a b c\r\n", "*3\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n"))
            await again.stop()
        }
    }

    // MARK: The program, killed

    private final class Confirmed: Sendable {
        let counts = (0..<4).map { _ in Counter() }
        let runningCount = Atomic<Int>(0)

        final class Counter: Sendable {
            let value = Atomic<Int>(0)
        }
    }

    /// Counts up until the server is gone; what was answered is confirmed.
    private static func count(_ number: Int, _ port: UInt16, _ confirmed: Confirmed.Counter) {
        guard let client = try? LoopbackSocket(port: port) else { return }
        while true {
            let next = confirmed.value.load(ordering: .relaxed) + 1
            let reply = ":\(next)\r\n"
            client.send("INCR n\(number)\r\n")
            guard client.read(reply.utf8.count, timeoutMilliseconds: 60_000) == reply else { return }
            confirmed.value.store(next, ordering: .relaxed)
        }
    }

    @Test(
        "Killed at any moment after the switch, with always, no confirmed write is missing",
        .enabled(if: KedisProcess.program != nil))
    func killed() async throws {
        try withFolder { folder in
            var randomness = RandomGenerator.forTest("journal switch")
            let confirmed = Confirmed()
            for round in 0..<reducedWhenSanitized(8) {
                // The first one has no journal; the next ones begin with what the one before has left.
                let directives = ["--save", "", "--appendfsync", "always", "--appendonly", round == 0 ? "no" : "yes"]
                var server: KedisProcess? = try KedisProcess(folder: folder, directives: directives)
                let port = try #require(server?.port)
                let client = try LoopbackSocket(port: port)
                for (number, counter) in confirmed.counts.enumerated() {
                    let wanted = counter.value.load(ordering: .relaxed)
                    let found = Self.value(client, "n\(number)")
                    #expect(found == wanted || found == wanted + 1, "round \(round): n\(number) is \(found)")
                    counter.value.store(found, ordering: .relaxed)
                }
                if round > 0 { #expect(client.ask("CONFIG SET appendonly no\r\n", "+OK\r\n")) }
                for (number, counter) in confirmed.counts.enumerated() {
                    confirmed.runningCount.wrappingAdd(1, ordering: .relaxed)
                    let isStarted = startThread {
                        Self.count(number, port, counter)
                        confirmed.runningCount.wrappingSubtract(1, ordering: .relaxed)
                    }
                    #expect(isStarted)
                }
                TestFiles.sleep(milliseconds: Int(randomness.next() % 100))
                #expect(client.ask("CONFIG SET appendonly yes\r\n", "+OK\r\n"))
                let isWhole = eventually { Self.isWhole(client) }
                #expect(isWhole)
                TestFiles.sleep(milliseconds: Int(randomness.next() % 150))
                server = nil
                let isOver = eventually { confirmed.runningCount.load(ordering: .relaxed) == 0 }
                #expect(isOver)
            }
            print("journal switch: \(confirmed.counts.map { $0.value.load(ordering: .relaxed) }) confirmed")
        }
    }

    private static func value(_ client: LoopbackSocket, _ key: String) -> Int {
        Int(client.answer("INCRBY \(key) 0").split(separator: "\r\n").first?.dropFirst() ?? "") ?? -1
    }

    private static func isWhole(_ client: LoopbackSocket) -> Bool {
        let text = client.answer("INFO persistence")
        return ["aof_enabled:1", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"].allSatisfy { text.contains($0) }
    }

}
