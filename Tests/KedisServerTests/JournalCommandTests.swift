// Goal: `kedis check` says what is in a folder whose journal awaits its first base, and that a server would start with
// it; `kedis backup --json` says what it copied as one object. Method: the program itself, on folders that servers of
// this process have left; a server then starts with them.

import KedisCommands
import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisServer

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Runs `kedis` with arguments that a shell takes as they are: what it prints, and its exit code.
func kedis(_ arguments: String) throws -> (output: String, code: Int32) {
    let program = try #require(KedisProcess.program)
    let file = try #require(popen("'\(program)' \(arguments) 2>&1", "r"))
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = fread(&chunk, 1, chunk.count, file)
        guard count > 0 else { break }
        bytes += chunk[..<count]
    }
    let status = pclose(file)
    return (String(decoding: bytes, as: UTF8.self), (status >> 8) & 0xFF)
}

@Suite("Commands about journals", .enabled(if: KedisProcess.program != nil))
struct JournalCommandTests {
    /// Begins a journal whose first base does not come, with a record, as a crash of its server leaves it.
    private func begin(_ folder: String) throws {
        let generation = try JournalGeneration.begin(directory: "\(folder)/appendonlydir")
        let journal = try Journal.open(after: generation.recovered)
        Array("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n".utf8).withUnsafeBytes {
            _ = journal.append(ByteView($0), databaseIndex: 0, milliseconds: wallClockMilliseconds())
        }
        try journal.close()
    }

    private func expectStart(_ folder: String, _ request: String, _ reply: String) async throws {
        let server = try await TestServer(["--appendonly", "yes"], folder: folder)
        #expect(try server.connect().ask(request, reply))
        await server.stop()
    }

    @Test("A journal that awaits its base, beside nothing but a snapshot, is no damage")
    func awaited() async throws {
        try await withFolder { folder in
            let server = try await TestServer([], folder: folder)
            #expect(try server.connect().ask("SET a 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n"))
            await server.stop()
            try begin(folder)
            for path in [folder, "\(folder)/appendonlydir"] {
                let (output, code) = try kedis("check '\(path)'")
                #expect(code == 0, "\(output)")
                #expect(output.contains("awaits its first base snapshot") && output.contains("(1 file, "), "\(output)")
                #expect(output.contains("a start loads the snapshot") && output.hasSuffix("good\n"), "\(output)")
                #expect(!output.contains("damage"), "\(output)")
            }
            // Nothing to repair either, and nothing was changed.
            let (output, code) = try kedis("check --repair '\(folder)'")
            #expect(code == 0 && output.contains("nothing to repair"), "\(output)")
            #expect(!TestFiles.list(below: folder, suffix: ".awaited").isEmpty)
            try await expectStart(folder, "MGET a b\r\n", "*2\r\n$1\r\n1\r\n$-1\r\n")
        }
    }

    @Test("Beside an older journal, that one is checked, and it counts")
    func awaitedBesideOld() async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try server.connect().ask("SET a 1\r\n", "+OK\r\n"))
            await server.stop()
            try begin(folder)
            let (output, code) = try kedis("check '\(folder)'")
            #expect(code == 0, "\(output)")
            #expect(output.contains("awaits its first base snapshot"), "\(output)")
            #expect(output.contains("1 record, 1 to 1") && output.hasSuffix("good\n"), "\(output)")
            // Damage of the one that counts is damage.
            let path = "\(folder)/appendonlydir/journal-00000000000000000001.kjl"
            let bytes = try #require(TestFiles.read(path))
            var changed = bytes
            changed[70] ^= 1
            #expect(TestFiles.write(changed, to: path))
            let damaged = try kedis("check '\(folder)'")
            #expect(damaged.code == 1 && damaged.output.contains(path), "\(damaged.output)")
            #expect(TestFiles.write(bytes, to: path))
            try await expectStart(folder, "MGET a b\r\n", "*2\r\n$1\r\n1\r\n$-1\r\n")
        }
    }

    @Test("What a journal with its base has left behind is told, and does not count")
    func surpassed() async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try server.connect().ask("SET a 1\r\n", "+OK\r\n"))
            await server.stop()
            // A crash between the base and the removal of what is older.
            let old = TestFiles.list(below: folder, suffix: ".kjl").compactMap { path in
                TestFiles.read(path).map { (path, $0) }
            }
            let generation = try JournalGeneration.begin(directory: "\(folder)/appendonlydir")
            let base = TestFiles.list(below: folder, suffix: ".rdb").first.flatMap { TestFiles.read($0) }
            #expect(TestFiles.write(try #require(base), to: generation.basePath))
            #expect(!old.isEmpty)
            let (output, code) = try kedis("check '\(folder)'")
            #expect(code == 0, "\(output)")
            #expect(output.contains("of an earlier journal") && output.contains("which a start removes"), "\(output)")
            #expect(!output.contains("awaits") && output.hasSuffix("good\n"), "\(output)")
            try await expectStart(folder, "GET a\r\n", "$-1\r\n")
            #expect(TestFiles.list(below: folder, suffix: ".awaited").isEmpty)
        }
    }

    @Test("A folder without any journal is still refused")
    func none() async throws {
        try withFolder { folder in
            let (output, code) = try kedis("check '\(folder)'")
            #expect(code == 1 && output.contains("there is no journal in \(folder)"), "\(output)")
        }
    }

    // MARK: Backup

    @Test("A backup tells what it copied as one JSON object, an error in words with exit code 1")
    func json() async throws {
        try await withFolder { folder in
            let server = try await TestServer(["--appendonly", "yes"], folder: folder)
            #expect(try server.connect().ask("SET a 1\r\nSET b 2\r\nSAVE\r\n", "+OK\r\n+OK\r\n+OK\r\n"))
            await server.stop()
            let journal = try kedis("backup --json --dir '\(folder)' --into '\(folder)/one'")
            #expect(journal.code == 0)
            let size = TestFiles.list(below: "\(folder)/one", suffix: "").reduce(0) {
                $0 + (TestFiles.read($1)?.count ?? 0)
            }
            let start =
                "{\"path\":\"\(folder)/one/appendonlydir\",\"kind\":\"journal\",\"bytes\":\(size),\"keys\":0,"
                + "\"base_sequence\":0,\"records\":2,\"files\":1,\"last_sequence\":2,\"last_time\":\"20"
            #expect(journal.output.hasPrefix(start), "\(journal.output)")
            #expect(journal.output.hasSuffix("Z\",\"retries\":0,\"ignores_snapshot\":true}\n"), "\(journal.output)")
            #expect(journal.output.split(separator: "\n").count == 1)
            let snapshot = try kedis("backup --json --snapshot --dir '\(folder)' --into '\(folder)/two'")
            let byteCount = try #require(TestFiles.read("\(folder)/two/dump.rdb")?.count)
            let wanted =
                "{\"path\":\"\(folder)/two/dump.rdb\",\"kind\":\"snapshot\",\"bytes\":\(byteCount),\"keys\":2}\n"
            #expect(snapshot.code == 0 && snapshot.output == wanted, "\(snapshot.output)")
            let refused = try kedis("backup --json --dir '\(folder)' --into '\(folder)/two'")
            #expect(refused.code == 1 && refused.output.contains("is not empty"), "\(refused.output)")
        }
    }

    // MARK: What a killed save leaves

    @Test("A server that holds its folder's lock removes what a killed one has left, one that does not leaves it")
    func leftovers() async throws {
        try await withFolder { folder in
            let path = "\(folder)/temp-99999999-1.rdb"
            #expect(TestFiles.write("half of a snapshot", to: path))
            let sharing = try await TestServer([], folder: folder)
            #expect(TestFiles.read(path) != nil)
            await sharing.stop()
            let server = try await TestServer(["--save", "3600 1"], folder: folder)
            #expect(TestFiles.read(path) == nil)
            #expect(server.log.contains("Removed temp-99999999-1.rdb"))
            await server.stop()
        }
    }
}
