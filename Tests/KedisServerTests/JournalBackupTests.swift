// Goal: `kedis backup` of a server that takes writes, begins files and compacts is a server's data of one moment, with
// everything that was confirmed before; `kedis restore` tells where a journal ends and takes any number of databases.
// Method: servers of this process; what is copied is started.

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisServer

/// Writes numbers to a server until it is told to stop, and knows the last that was confirmed.
private final class NumberWriter: Sendable {
    private let last = Atomic<Int>(0)
    private let isOver = Atomic<Bool>(false)
    private let hasEnded = Atomic<Bool>(false)

    var confirmed: Int { last.load(ordering: .acquiring) }

    func start(_ client: LoopbackSocket) {
        let client = UncheckedSocket(client)
        let padding = String(repeating: "p", count: 2000)
        let isStarted = startThread { [self] in
            var value = 0
            while !isOver.load(ordering: .acquiring) {
                value += 1
                client.socket.send("MULTI\r\nSET n \(value)\r\nRPUSH l \(padding)\r\nEXEC\r\n")
                let reply = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:\(value)\r\n"
                guard client.socket.read(reply.utf8.count) == reply else { break }
                last.store(value, ordering: .releasing)
            }
            hasEnded.store(true, ordering: .releasing)
        }
        if !isStarted { hasEnded.store(true, ordering: .releasing) }
    }

    func stop() {
        isOver.store(true, ordering: .releasing)
        while !hasEnded.load(ordering: .acquiring) { TestFiles.sleep(milliseconds: 1) }
    }

    private struct UncheckedSocket: @unchecked Sendable {
        // Sendable: used by the thread of the writer only.
        let socket: LoopbackSocket

        init(_ socket: LoopbackSocket) { self.socket = socket }
    }
}

@Suite("Backup and restore")
struct JournalBackupTests {
    @Test("A backup of a server under writes has all that was confirmed, of one moment")
    func underWrites() async throws {
        try await withFolder { folder in
            let server = try await TestServer(
                ["--appendonly", "yes", "--appendfsync", "always", "--journal-segment-size", "1mb"], folder: folder)
            let control = try server.connect()
            let writer = NumberWriter()
            writer.start(try server.connect())
            var backups: [(path: String, confirmed: Int, summary: BackupSummary)] = []
            for round in 0..<6 {
                TestFiles.sleep(milliseconds: 100)
                if round % 2 == 1 { control.send("BGREWRITEAOF\r\n") }
                let (path, confirmed) = ("\(folder)/backup-\(round)", writer.confirmed)
                backups.append((path, confirmed, try backUp(folder, into: path)))
            }
            writer.stop()
            await server.stop()
            for backup in backups { try await check(backup.path, backup.confirmed, backup.summary) }
            #expect(backups[5].confirmed > 20)
        }
    }

    private func check(_ path: String, _ confirmed: Int, _ summary: BackupSummary) async throws {
        let journal = try #require(summary.journal)
        let check = try checkJournal(directory: "\(path)/appendonlydir")
        #expect(check.damage == nil && check.wasClosed && check.lastSequence == journal.lastSequence)
        // Back to a record within.
        if journal.recordCount > 1 {
            let restored = try restoreJournal(
                "\(path)/appendonlydir", until: .sequence(journal.lastSequence - 1), into: "\(path)-restored")
            #expect(restored.lastSequence == journal.lastSequence - 1 && !restored.endsBeforeBound)
        }
        let server = try await TestServer(["--appendonly", "yes"], folder: path)
        let client = try server.connect()
        client.send("LLEN l\r\n")
        var text: [UInt8] = []
        while text.last != 0x0A { text += Array(client.read(1).utf8) }
        let count = try #require(Int(String(decoding: text.dropFirst().dropLast(2), as: UTF8.self)))
        #expect(count >= confirmed)
        #expect(client.ask("GET n\r\n", "$\(String(count).count)\r\n\(count)\r\n") || count == 0)
        await server.stop()
    }

    @Test("Without a journal the snapshot is copied; what is no data, or no empty folder, is refused")
    func snapshot() async throws {
        try await withFolder { folder in
            #expect(throws: JournalToolError.self) { _ = try backUp(folder, into: "\(folder)/none") }
            #expect(throws: JournalToolError.self) { _ = try backUp("\(folder)/nowhere", into: "\(folder)/none") }
            let server = try await TestServer([], folder: folder)
            #expect(try server.connect().ask("SET a 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
            let summary = try backUp(folder, into: "\(folder)/copy")
            #expect(summary.journal == nil && summary.keyCount == 1)
            #expect(TestFiles.read("\(folder)/copy/dump.rdb") == TestFiles.read("\(folder)/dump.rdb"))
            #expect(throws: JournalToolError.self) { _ = try backUp(folder, into: "\(folder)/copy") }
            await server.stop()
            var bytes = try #require(TestFiles.read("\(folder)/dump.rdb"))
            bytes[bytes.count - 12] ^= 1
            #expect(TestFiles.write(bytes, to: "\(folder)/dump.rdb"))
            #expect(throws: JournalToolError.self) { _ = try backUp(folder, into: "\(folder)/bad") }
            #expect(TestFiles.list(below: "\(folder)/bad", suffix: "") == [])
        }
    }

    @Test("A snapshot that is younger than the journal, and not of it, is not passed over")
    func disagreement() async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try server.connect().ask("SET a 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
            await server.stop()
            _ = try backUp(folder, into: "\(folder)-agreed")
            defer { TestFiles.removeTemporaryFolder("\(folder)-agreed") }
            TestFiles.sleep(milliseconds: 20)
            let without = try await TestServer([], folder: folder)
            #expect(try without.connect().ask("SET a 2\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
            await without.stop()
            let error = #expect(throws: JournalToolError.self) { _ = try backUp(folder, into: "\(folder)/copy") }
            let text = error?.description ?? ""
            #expect(text.contains("\(folder)/dump.rdb") && text.contains("\(folder)/appendonlydir"))
            #expect(try backUp(folder, into: "\(folder)/one", prefersSnapshot: true).journal == nil)
            #expect(try backUp("\(folder)/appendonlydir", into: "\(folder)/two").journal != nil)
        }
    }

    @Test("Beside a snapshot of another name its journal is copied, not that of the store with the usual names")
    func otherName() async throws {
        try await withFolder { folder in
            let names = ["--dbfilename", "other.rdb", "--appenddirname", "other.rdb.appendonlydir"]
            for (options, key) in [(names, "other"), ([], "usual")] {
                let server = try await TestServer(["--appendonly", "yes"] + options, folder: folder)
                #expect(try server.connect().ask("SET \(key) 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
                await server.stop()
            }
            let replies = [
                "other.rdb": "*2\r\n$1\r\n1\r\n$-1\r\n", "dump.rdb": "*2\r\n$-1\r\n$1\r\n1\r\n",
            ]
            for (name, wanted) in replies {
                let copy = "\(folder)/copy-of-\(name)"
                #expect(try backUp(folder, into: copy, snapshotName: name).journal != nil)
                let server = try await TestServer(["--appendonly", "yes"], folder: copy)
                #expect(try server.connect().ask("MGET other usual\r\n", wanted))
                await server.stop()
            }
        }
    }

    @Test("A restore says when the journal ends before the moment, takes any database, and leaves nothing when it fails")
    func restore() async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendonly", "yes", "--databases", "40"], folder: folder)
            #expect(try server.connect().ask("SELECT 33\r\nSET a 1\r\nSET b 2\r\n", "+OK\r\n+OK\r\n+OK\r\n"))
            await server.stop()
            let journal = "\(folder)/appendonlydir"
            let last = try checkJournal(directory: journal).lastSequence
            func restore(_ bound: JournalBound, _ name: String) throws -> RestoreSummary {
                try restoreJournal(journal, until: bound, into: "\(folder)/\(name)")
            }
            let whole = try restore(.end, "a")
            #expect(whole.keyCount == 2 && whole.databaseCount == 34 && !whole.endsBeforeBound)
            #expect(try !restore(.sequence(last), "b").endsBeforeBound)
            #expect(try restore(.sequence(last + 1), "c").endsBeforeBound)
            #expect(try restore(.milliseconds(wallClockMilliseconds() + 60_000), "d").endsBeforeBound)
            #expect(try !restore(.sequence(0), "e").endsBeforeBound)
            #expect(try checkSnapshot("\(folder)/a/dump.rdb").keyCount == 2)
            let path = try #require(TestFiles.list(below: journal, suffix: ".kjl").first)
            var bytes = try #require(TestFiles.read(path))
            bytes[70] ^= 1
            #expect(TestFiles.write(bytes, to: path))
            #expect(throws: JournalToolError.self) { _ = try restore(.end, "f") }
            #expect(throws: SystemError.self) { _ = try FileSystem.system.names("\(folder)/f") }
        }
    }
}
