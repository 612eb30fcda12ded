// Goal: the history survives runs, stays bounded and private, and keeps no password.

import KedisShell
import KedisTestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

@Test("Lines are kept between runs, in a file that only its owner reads")
func keepsLines() throws {
    let folder = try #require(TestFiles.makeTemporaryFolder())
    defer { TestFiles.removeTemporaryFolder(folder) }
    let path = folder + "/history"
    var history = History(path: path)
    for line in ["get a", "get a", "  ", " get hidden", "set \"é\" 1"] { history.add(line) }
    #expect(history.lines == ["get a", "set \"é\" 1"])
    #expect(History(path: path).lines == history.lines)
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
}

@Test("The history is bounded in memory and in its file")
func isBounded() throws {
    let folder = try #require(TestFiles.makeTemporaryFolder())
    defer { TestFiles.removeTemporaryFolder(folder) }
    let path = folder + "/history"
    #expect(TestFiles.write((0..<5_000).map { "get \($0)\n" }.joined(), to: path))
    var history = History(path: path)
    history.add("last")
    #expect(
        history.lines.count == History.lineLimit && history.lines.first == "get 4001" && history.lines.last == "last")
    #expect(try #require(TestFiles.read(path)).split(separator: 10).count == History.lineLimit + 1)
}

@Test("A history without a file, or with one that cannot be opened, works in memory")
func worksWithoutFile() {
    for path in [nil, "/nonexistent/folder/history"] {
        var history = History(path: path)
        history.add("ping")
        #expect(history.lines == ["ping"])
    }
}

@Test(
    "Lines with passwords are not kept",
    arguments: [
        "AUTH secret", "auth user secret", " AUTH \"secret", "3 auth x", "ACL SETUSER me >secret",
        "config set requirepass x",
        "CONFIG SET masterauth x", "CONFIG SET save '' requirepass x", "HELLO 3 AUTH me secret",
        "MIGRATE h 1 k 0 1 AUTH x", "migrate h 1 k 0 1 auth2 u x", "EXPLAIN AUTH x", "explain analyze auth x",
        "\"auth\" x",
    ])
func dropsPasswords(line: String) {
    #expect(History.isConfidential(line))
    var history = History(path: nil)
    history.add(line)
    #expect(history.lines.isEmpty)
}

@Test(
    "Other lines are kept",
    arguments: ["get auth", "acl list", "config get requirepass", "hello 3", "set k \"", "5", ""])
func keepsOthers(line: String) {
    #expect(!History.isConfidential(line))
}
