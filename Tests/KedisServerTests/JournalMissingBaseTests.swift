// Goal: nothing that a journal's records go on from can go missing unseen, and a folder without a journal, or a moment
// before it, is no empty store. Method: folders that servers of this process have left, and what a person does to them;
// the program itself where its words or its exit code are the matter.

import KedisDurability
import KedisPersistence
import KedisTestSupport
import Testing

@testable import KedisServer

@Suite("Journals whose beginning is missing", .enabled(if: KedisProcess.program != nil))
struct JournalMissingBaseTests {
    private func contents(_ folder: String) -> [String: [UInt8]] {
        var files: [String: [UInt8]] = [:]
        for path in TestFiles.list(below: folder, suffix: "") { files[path] = TestFiles.read(path) }
        return files
    }

    @Test("A first base that had data, and is gone, is missed by the start and by each tool, and nothing is changed")
    func firstBase() async throws {
        try await withFolder { folder in
            try await serve(folder, [], "SET a 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n")
            try await serve(folder, ["--appendonly", "yes"], "SET b 2\r\n", "+OK\r\n")
            let base = "\(folder)/appendonlydir/base-00000000000000000000.rdb"
            let bytes = try #require(TestFiles.read(base))
            try FileSystem.system.unlink(base)
            let before = contents(folder)
            let target = "\(folder)-copy"
            let error = await #expect(throws: (any Error).self) {
                try await serve(folder, ["--appendonly", "yes"], "GET a\r\n", "")
            }
            #expect("\(String(describing: error))".contains("\(base) is missing"))
            for arguments in [
                "check '\(folder)'", "check --repair '\(folder)'", "backup --dir '\(folder)' --into '\(target)'",
                "restore --dir '\(folder)' --into '\(target)'",
                "restore --dir '\(folder)' --until 1 --into '\(target)'",
            ] {
                let (output, code) = try kedis(arguments)
                #expect(code == 1 && output.contains("\(base) is missing"), "\(arguments): \(output)")
                #expect(TestFiles.list(below: target, suffix: "").isEmpty)
            }
            #expect(contents(folder) == before)
            #expect(TestFiles.write(bytes, to: base))
            try await serve(folder, ["--appendonly", "yes"], "MGET a b\r\n", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n")
        }
    }

    @Test("What has no journal is not restored to an empty store, and neither is a moment before the journal")
    func nothing() async throws {
        try await withFolder { folder in
            let target = "\(folder)-restored"
            func restore(_ options: String = "") throws -> (output: String, code: Int32) {
                let result = try kedis("restore --dir '\(folder)' --into '\(target)' \(options)")
                if result.code != 0 { #expect(TestFiles.list(below: target, suffix: "").isEmpty) }
                return result
            }
            var (output, code) = try restore()
            #expect(code == 1 && output.contains("there is no journal in \(folder)"), "\(output)")
            try await serve(folder, [], "SET a 1\r\nSAVE\r\n", "+OK\r\n+OK\r\n")
            (output, code) = try restore()
            #expect(code == 1 && output.contains("there is no journal in \(folder)"), "\(output)")
            try await serve(folder, ["--appendonly", "yes"], "SET b 2\r\n", "+OK\r\n")
            (output, code) = try restore("--until 2001-02-03T04:05:06Z")
            #expect(code == 1 && output.contains("the first one that it goes back to is 20"), "\(output)")
            // That one is possible, and one behind the end is the end.
            let first = output.split { $0 == " " || $0 == "\n" }.last
            (output, code) = try restore("--until \(first ?? "")")
            #expect(code == 0 && output.contains("1 key"), "\(output)")
            TestFiles.removeTemporaryFolder(target)
            (output, code) = try restore("--until 1000")
            #expect(code == 0 && output.contains("the journal ends before that"), "\(output)")
            TestFiles.removeTemporaryFolder(target)
        }
    }
}
