// Goal: what a server with a journal has confirmed is there after a restart, however it ended; replies that wait for the
// disk keep their order; the journal's tools give the state of any moment. Method: servers of this process on one
// folder, one after the other; kills and full disks are tried on the program itself (Tests/clients).

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisServer

@Suite("Server with a journal")
struct JournalServerTests {
    private static let policies = ["always", "everysec", "no"]

    private func start(_ folder: String, _ policy: String = "everysec") async throws -> TestServer {
        try await TestServer(["--appendonly", "yes", "--appendfsync", policy], folder: folder)
    }

    private func digest(_ server: TestServer) throws -> KeyspaceSnapshot {
        KeyspaceSnapshot(of: server.server.engine.store, nowMilliseconds: wallClockMilliseconds()).restarted
    }

    @Test("A restart brings everything back, from records, from a base, and from both", arguments: policies)
    func restart(policy: String) async throws {
        try await withFolder { folder in
            var wanted: KeyspaceSnapshot?
            for round in 0..<4 {
                let server = try await start(folder, policy)
                if let wanted { #expect(try digest(server) == wanted, "round \(round)") }
                let client = try server.connect()
                #expect(client.ask("SET a \(round)\r\n", "+OK\r\n"))
                #expect(client.ask("RPUSH l \(round)\r\n", ":\(round + 1)\r\n"))
                client.send("SADD s\(round) 1 2 3 4 5\r\nSPOP s\(round) 2\r\nSET e x EX 1000\r\nSELECT 3\r\nSET b 1\r\n")
                client.send("MULTI\r\nSET t 1\r\nINCR t\r\nEXEC\r\nECHO done\r\n")
                let isOver = eventually { isDone(server) }
                #expect(isOver)
                if round == 1 {
                    #expect(try server.connect().ask(
                        "BGREWRITEAOF\r\n", "+Background append only file rewriting started\r\n"))
                    let hasBase = eventually { server.log.contains("has a new base") }
                    #expect(hasBase)
                }
                wanted = try digest(server)
                await server.stop()
            }
        }
    }

    /// The last command of a round is executed.
    private func isDone(_ server: TestServer) -> Bool {
        let engine = server.server.engine
        let echo = engine.table.commands.first { $0.pointee.fullName == "echo" }?.pointee.identifier ?? 0
        return engine.commandStatistics[echo].calls > 0
    }

    @Test("With always, every reply comes after its record, in order, from many connections")
    func held() async throws {
        try await withFolder { folder in
            let server = try await start(folder, "always")
            let clients = try (0..<8).map { _ in try server.connect() }
            for round in 0..<30 {
                for (number, client) in clients.enumerated() {
                    client.send("INCR n\(number)\r\nGET n\(number)\r\nPING\r\n")
                    client.send("INCR n\(number)\r\n")
                }
                for client in clients {
                    let (first, second) = (2 * round + 1, 2 * round + 2)
                    let reply = ":\(first)\r\n$\(String(first).count)\r\n\(first)\r\n+PONG\r\n:\(second)\r\n"
                    #expect(client.read(reply.utf8.count) == reply)
                }
            }
            let journal = try #require(server.server.engine.host.persistenceStatus().journal)
            #expect(journal.durableSequence == journal.appendedSequence && journal.appendedSequence >= 240)
            // Messages wait for what they tell of, and come in order.
            let listener = try server.connect()
            #expect(listener.ask("SUBSCRIBE c\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"))
            clients[0].send("SET a 1\r\nPUBLISH c 1\r\nSET a 2\r\nPUBLISH c 2\r\n")
            let messages = ["1", "2"].map { "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n\($0)\r\n" }.joined()
            #expect(listener.read(messages.utf8.count) == messages)
            await server.stop()
        }
    }

    @Test("WAITAOF comes back when what was written is on disk, or when its time is up", arguments: policies)
    func waiting(policy: String) async throws {
        try await withFolder { folder in
            let server = try await start(folder, policy)
            let clients = try (0..<4).map { _ in try server.connect() }
            let (onDisk, notYet) = ("*2\r\n:1\r\n:0\r\n", "*2\r\n:0\r\n:0\r\n")
            // The system decides with `no`, mostly later.
            guard policy != "no" else {
                clients[0].send("SET a 1\r\nWAITAOF 1 0 50\r\nPING\r\n")
                let reply = clients[0].read("+OK\r\n\(notYet)+PONG\r\n".utf8.count)
                #expect(["+OK\r\n\(notYet)+PONG\r\n", "+OK\r\n\(onDisk)+PONG\r\n"].contains(reply))
                return await server.stop()
            }
            for round in 0..<3 {
                for (number, client) in clients.enumerated() {
                    client.send("SET a\(number) \(round)\r\nWAITAOF 1 0 0\r\nPING\r\n")
                }
                for client in clients {
                    let reply = "+OK\r\n" + onDisk + "+PONG\r\n"
                    #expect(client.read(reply.utf8.count) == reply)
                }
                let journal = try #require(server.server.engine.host.persistenceStatus().journal)
                #expect(journal.durableSequence == journal.appendedSequence)
            }
            #expect(clients[0].ask("WAITAOF 1 0 0\r\nWAITAOF 0 0 0\r\n", onDisk + onDisk))
            // There is no replica, but there is the file.
            #expect(clients[0].ask("WAITAOF 1 1 20\r\n", onDisk))
            // One that goes away while it waits.
            clients[1].send("SET b 1\r\nWAITAOF 1 0 0\r\n")
            clients[1].close()
            await server.stop()
        }
    }

    @Test("The policy may change while the server runs, and nobody's reply is lost")
    func changingPolicy() async throws {
        try await withFolder { folder in
            let server = try await start(folder, "always")
            let client = try server.connect()
            for round in 0..<20 {
                #expect(client.ask("INCR n\r\n", ":\(round + 1)\r\n"))
                #expect(client.ask("CONFIG SET appendfsync \(Self.policies[round % 3])\r\n", "+OK\r\n"))
            }
            await server.stop()
        }
    }

    @Test("A journal begins with the snapshot that is there; a second server is refused")
    func beginning() async throws {
        try await withFolder { folder in
            let before = try await TestServer(["--save", "3600 1"], folder: folder)
            #expect(try before.connect().ask("SET old 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
            await before.stop()
            let server = try await start(folder)
            #expect(try server.connect().ask("GET old\r\nSET new 2\r\n", "$1\r\n1\r\n+OK\r\n"))
            var refusal = ""
            do { _ = try await start(folder) } catch { refusal = "\(error)" }
            #expect(refusal.contains("is in use by process"), "\(refusal)")
            await server.stop()
            let again = try await start(folder)
            #expect(try again.connect().ask("MGET old new\r\n", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n"))
            await again.stop()
        }
    }

    @Test("What is there and is not read is told, or refused")
    func ignored() async throws {
        try await withFolder { folder in
            let server = try await start(folder)
            #expect(try server.connect().ask("SET a 1\r\n", "+OK\r\n"))
            await server.stop()
            let without = try await TestServer([], folder: folder)
            #expect(without.log.contains("There is a journal in \(folder)/appendonlydir, which is not read"))
            await without.stop()
            let foreign = "\(folder)/appendonlydir/appendonly.aof.manifest"
            #expect(TestFiles.write("file appendonly.aof.1.base.rdb seq 1 type b\n", to: foreign))
            // Beside a journal of Kedis it is nobody's.
            await (try start(folder)).stop()
            for path in TestFiles.list(below: folder, suffix: ".kjl") + TestFiles.list(below: folder, suffix: ".rdb") {
                removeFile(path)
            }
            var refusal = ""
            do { await (try start(folder)).stop() } catch { refusal = "\(error)" }
            #expect(refusal.contains("appendonly.aof.1.base.rdb"), "\(refusal)")
        }
    }

    @Test("Damage stops the start with file and place, and changes nothing")
    func damage() async throws {
        try await withFolder { folder in
            let server = try await start(folder, "always")
            let client = try server.connect()
            for index in 0..<50 { #expect(client.ask("SET k\(index) v\r\n", "+OK\r\n")) }
            await server.stop()
            let path = "\(folder)/appendonlydir/journal-00000000000000000001.kjl"
            var bytes = try #require(TestFiles.read(path)).withoutRoom
            bytes[bytes.count / 2] ^= 1
            #expect(TestFiles.write(bytes, to: path))
            var refusal = ""
            do { await (try start(folder)).stop() } catch { refusal = "\(error)" }
            #expect(refusal.contains(path) && refusal.contains("kedis check --repair"), "\(refusal)")
            #expect(TestFiles.read(path) == bytes)
        }
    }

    @Test("Restore gives the state after any record, and before any moment")
    func restore() async throws {
        try await withFolder { folder in
            let server = try await start(folder, "always")
            let client = try server.connect()
            var moments: [Int64] = []
            for index in 1...20 {
                #expect(client.ask("SET n \(index)\r\n", "+OK\r\n"))
                moments.append(wallClockMilliseconds())
                TestFiles.sleep(milliseconds: 3)
            }
            await server.stop()
            func value(_ bound: JournalBound, _ name: String) async throws -> String {
                let target = "\(folder)/\(name)"
                _ = try restoreJournal("\(folder)/appendonlydir", until: bound, into: target)
                let restored = try await TestServer([], folder: target)
                let peer = try restored.connect()
                peer.send("GET n\r\n")
                let reply = peer.read(bound == .end ? 8 : 7)
                await restored.stop()
                return reply
            }
            #expect(try await value(.sequence(1), "a") == "$1\r\n1\r\n")
            #expect(try await value(.sequence(7), "b") == "$1\r\n7\r\n")
            #expect(try await value(.milliseconds(moments[4]), "c") == "$1\r\n5\r\n")
            #expect(try await value(.end, "d") == "$2\r\n20\r\n")
            #expect(throws: JournalToolError.self) {
                _ = try restoreJournal("\(folder)/appendonlydir", until: .end, into: "\(folder)/a")
            }
        }
    }

    @Test("Moments are read as ISO 8601 writes them", arguments: [
        ("1970-01-01T00:00:00Z", 0), ("2026-11-23T10:15:00Z", 1_795_428_900_000),
        ("2024-02-29T23:59:59.5Z", 1_709_251_199_500), ("2000-03-01T00:00:00+01:30", 951_863_400_000),
        ("1969-12-31T23:59:59.999Z", -1), ("2026-11-23 10:15:00.123456789-00:30", 1_795_430_700_123),
    ])
    func moments(text: String, milliseconds: Int64) {
        #expect(journalBound(text) == .milliseconds(milliseconds))
    }

    @Test("What is no moment is refused", arguments: [
        "", "now", "2026-11-23", "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z", "2026-11-23T24:00:00Z",
        "2026-11-23T10:15:00", "2026-11-23T10:15:00.Z", "2026-11-23T10:15:00+1:00", "-5", "2026-11-23T10:15:00Zx",
    ])
    func noMoments(text: String) { #expect(journalBound(text) == nil) }
}
