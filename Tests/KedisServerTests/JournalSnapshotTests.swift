// Goal: a server takes the journal, and a snapshot only where that has what the journal lost; a snapshot that it did not
// read is there after its saves. Method: servers of this process, one after another, on folders put together from what
// earlier ones have left.

import KedisTestSupport
import Testing

@testable import KedisServer

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("A journal and a snapshot beside it")
struct JournalSnapshotTests {
    @Test("A younger snapshot that is not read is kept when the server saves, and its own is not", arguments: [
        "SAVE\r\n", "BGSAVE\r\n",
    ])
    func younger(save: String) async throws {
        try await withFolder { folder in
            let first = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try first.connect().ask("SET a 1\r\n", "+OK\r\n"))
            await first.stop()
            TestFiles.sleep(milliseconds: 20)
            let without = try await TestServer([], folder: folder)
            #expect(try without.connect().ask("SET a 2\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
            await without.stop()
            let snapshot = try #require(TestFiles.read("\(folder)/dump.rdb"))

            let server = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(server.log.contains("with appendonly the journal counts"))
            let client = try server.connect()
            #expect(client.ask("GET a\r\n", "$1\r\n1\r\n"))
            client.send(save)
            let isKept = eventually { TestFiles.read("\(folder)/dump.rdb.old") == snapshot }
            #expect(isKept)
            await server.stop()
            #expect(server.log.contains("it is kept as \(folder)/dump.rdb.old"))

            let again = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try again.connect().ask("GET a\r\nSAVE\r\n", "$1\r\n1\r\n+OK\r\n"))
            await again.stop()
            #expect(TestFiles.list(below: folder, suffix: "dump.rdb.old-2").isEmpty)
        }
    }

    @Test("A snapshot with records that the journal has lost is loaded")
    func ahead() async throws {
        try await withFolder { folder in
            let first = try await TestServer(["--appendonly", "yes"], folder: folder)
            let client = try first.connect()
            #expect(client.ask("SET a 1\r\nWAITAOF 1 0 0\r\n", "+OK\r\n*2\r\n:1\r\n:0\r\n"))
            let files = TestFiles.list(below: "\(folder)/appendonlydir", suffix: "").map { ($0, TestFiles.read($0)) }
            #expect(client.ask("SET b 2\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
            await first.stop()
            for (path, bytes) in files { #expect(TestFiles.write(try #require(bytes), to: path)) }

            let server = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(server.log.contains("ends at record") && server.log.contains("appendonlydir.old"))
            let wanted = "*3\r\n$1\r\n1\r\n$1\r\n2\r\n"
            #expect(try server.connect().ask("SET c 3\r\nMGET a b c\r\n", "+OK\r\n\(wanted)$1\r\n3\r\n"))
            await server.stop()
            let again = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try again.connect().ask("MGET a b c\r\n", "\(wanted)$1\r\n3\r\n"))
            await again.stop()
        }
    }
}
