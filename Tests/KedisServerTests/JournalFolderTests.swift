// Goal: in folders as people have them (a snapshot alone, journal and snapshot, what redis-server has left, a server that
// passed the journal over) the tools read all there is, or say why not; a terminal that ends takes no server with it.
// Method: the program itself, on folders that servers of this process have left.

import KedisPersistence
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

@Suite("Folders of all kinds", .enabled(if: KedisProcess.program != nil))
struct JournalFolderTests {
    private func damage(_ path: String, fromEnd distance: Int) throws {
        var bytes = try #require(TestFiles.read(path))
        bytes[bytes.count - distance] ^= 1
        #expect(TestFiles.write(bytes, to: path))
    }

    @Test("A snapshot alone is checked, and one beside a journal as well")
    func snapshot() async throws {
        try await withFolder { folder in
            try await serve(folder, [], "SET a 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n")
            var (output, code) = try kedis("check '\(folder)'")
            #expect(code == 0 && output.contains("1 key, ") && output.hasSuffix("good\n"), "\(output)")
            try await serve(folder, ["--appendonly", "yes"], "SET b 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n")
            (output, code) = try kedis("check '\(folder)'")
            #expect(code == 0 && output.contains("dump.rdb: ") && output.contains("1 record, "), "\(output)")
            try damage("\(folder)/dump.rdb", fromEnd: 12)
            (output, code) = try kedis("check '\(folder)'")
            #expect(code == 1 && output.contains("dump.rdb") && output.contains("1 record, "), "\(output)")
            (output, code) = try kedis("check '\(folder)/appendonlydir'")
            #expect(code == 0 && output.hasSuffix("good\n"), "\(output)")
        }
    }

    @Test("A repair is advised where it helps, and a base that no repair mends is not called whole")
    func advice() async throws {
        try await withFolder { folder in
            try await serve(folder, ["--appendonly", "yes"], "SET a 1\r\nSET b 2\r\n", "+OK\r\n+OK\r\n")
            let base = "\(folder)/appendonlydir/base-00000000000000000000.rdb"
            let whole = try #require(TestFiles.read(base))
            try damage(base, fromEnd: 4)
            for arguments in ["check '\(folder)'", "check --repair '\(folder)'"] {
                let (output, code) = try kedis(arguments)
                #expect(code == 1 && output.contains(base) && !output.contains("repair"), "\(output)")
            }
            #expect(TestFiles.write(whole, to: base))
            var (output, code) = try kedis("check --repair '\(folder)'")
            #expect(code == 0 && output.contains("nothing to repair"), "\(output)")
            try damage("\(folder)/appendonlydir/journal-00000000000000000001.kjl", fromEnd: 60)
            (output, code) = try kedis("check '\(folder)'")
            #expect(code == 1 && output.contains("check --repair \(folder)/appendonlydir"), "\(output)")
            (output, code) = try kedis("check --repair '\(folder)'")
            #expect(code == 0 && output.contains("cut: ") && !output.contains("nothing to repair"), "\(output)")
        }
    }

    @Test("Files of redis-server are not passed over for an older snapshot by a backup")
    func foreign() async throws {
        try await withFolder { folder in
            try await serve(folder, [], "SET a 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n")
            #expect(TestFiles.write("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n2\r\n", to: "\(folder)/appendonly.aof"))
            let target = "\(folder)-copy"
            defer { TestFiles.removeTemporaryFolder(target) }
            var (output, code) = try kedis("backup --dir '\(folder)' --into '\(target)'")
            #expect(code == 1 && output.contains("append-only file of redis-server"), "\(output)")
            #expect(TestFiles.list(below: target, suffix: "").isEmpty)
            (output, code) = try kedis("backup --snapshot --dir '\(folder)' --into '\(target)'")
            #expect(code == 0 && output.contains("1 key, "), "\(output)")
            TestFiles.removeTemporaryFolder(target)
            // As it says: a start begins a journal with them, which is copied.
            try await serve(folder, ["--appendonly", "yes"], "GET a\r\n", "$1\r\n2\r\n")
            (output, code) = try kedis("backup --dir '\(folder)' --into '\(target)'")
            #expect(code == 0, "\(output)")
            try await serve(target, ["--appendonly", "yes"], "GET a\r\n", "$1\r\n2\r\n")
        }
    }

    @Test("What a server without appendonly saves that passed the journal over, and is empty, does not take its place")
    func passedOver() async throws {
        try await withFolder { folder in
            #expect(try kedis("--dir '\(folder)' SET a 1").code == 0)
            try FileSystem.system.unlink("\(folder)/dump.rdb")
            TestFiles.sleep(milliseconds: 20)
            try await serve(folder, [], "DBSIZE\r\nSAVE\r\n", ":0\r\n+OK\r\n")
            let (output, code) = try kedis("--dir '\(folder)' GET a")
            #expect(code == 0 && output.contains("1"), "\(output)")
            #expect(TestFiles.list(below: folder, suffix: ".old") == ["\(folder)/dump.rdb.old"])
        }
    }

    @Test("A server says that it begins empty where it passes a journal over, and stays when its terminal ends")
    func process() async throws {
        try await withFolder { folder in
            try await serve(folder, ["--appendonly", "yes"], "SET a 1\r\n", "+OK\r\n")
            try? FileSystem.system.unlink("\(folder)/dump.rdb")
            let server = try KedisProcess(folder: folder, directives: [])
            let log = String(decoding: TestFiles.read("\(folder)/kedis.log") ?? [], as: UTF8.self)
            #expect(log.contains("the store begins EMPTY") && log.contains("SHUTDOWN NOSAVE"), "\(log)")
            for number in [SIGHUP, SIGPIPE] { kill(server.identifier, number) }
            TestFiles.sleep(milliseconds: 100)
            #expect(server.isRunning)
            #expect(server.terminate() == 0)
        }
    }
}
