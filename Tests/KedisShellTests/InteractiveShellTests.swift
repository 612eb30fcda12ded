// Goal: a person at a terminal can edit, recall, search, complete, see hints, drop a line and leave, and finds the
// terminal as it was. Method: a real pseudoterminal; the screen is read through a model of a terminal.

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

// One after the other: raw mode belongs to the process.
@Suite("Interactive shell", .serialized)
struct InteractiveShellTests {
    private func open(columnCount: Int = 60, historyPath: String? = nil) throws -> Pseudoterminal {
        let terminal = try #require(
            Pseudoterminal(columnCount: columnCount, historyPath: historyPath) {
                var backend = madeUpBackend()
                backend.loadCatalog()
                return backend
            })
        #expect(terminal.waitForLine("test>"))
        return terminal
    }

    private func leave(_ terminal: Pseudoterminal) {
        terminal.type("\u{4}")
        #expect(terminal.status() == 0)
        #expect(terminal.isCooked)
    }

    @Test("Commands are edited and executed; Ctrl-C drops a line, Ctrl-D leaves")
    func edits() throws {
        let terminal = try open()
        terminal.type("x eco \u{1B}[D\u{1B}[D\u{1B}[Dc\u{8}\u{1}\u{1B}[3~\u{1B}[3~\u{5}")
        #expect(terminal.waitForLine("test> eco"))
        terminal.type("é\u{7F}日\r")
        #expect(terminal.wait { $0.text.contains("\n1) \"eco\"\n2) \"\\xe6\\x97\\xa5\"\ntest>") })
        terminal.type("dropped")
        #expect(terminal.waitForLine("test> dropped"))
        terminal.type("\u{3}")
        #expect(terminal.wait { $0.text.hasSuffix("test> dropped^C\ntest>") })
        terminal.type("\"a\r")
        #expect(terminal.wait { $0.text.hasSuffix("Invalid argument(s)\ntest>") })
        #expect(terminal.screen.unknown.isEmpty)
        leave(terminal)
    }

    @Test("The prompt shows database and transaction; an error is shown as such; exit leaves")
    func showsState() throws {
        let terminal = try open()
        terminal.type("select 3\r")
        #expect(terminal.waitForLine("test[3]>"))
        terminal.type("multi\r")
        #expect(terminal.waitForLine("test[3](TX)>"))
        terminal.type("exec\rfail\r")
        #expect(terminal.wait { $0.text.hasSuffix("(error) ERR failed\ntest[3]>") })
        terminal.type("exit\r")
        #expect(terminal.status() == 0 && terminal.isCooked)
    }

    @Test("Hints are grey and behind the text; Tab completes and cycles back")
    func completes() throws {
        let terminal = try open()
        terminal.type("EC\t")
        #expect(terminal.waitForLine("test> ECHO message"))
        terminal.clearGrey()
        terminal.type(" ")
        #expect(terminal.wait { $0.grey == "message" && $0.column == 11 })
        terminal.type("x")
        #expect(terminal.waitForLine("test> ECHO x"))
        terminal.type("\u{15}help s\t")
        #expect(terminal.waitForLine("test> help SELECT"))
        terminal.type("\u{15}zz\t")
        #expect(terminal.waitForLine("test> zz"))
        terminal.type("\u{15}")
        leave(terminal)
    }

    @Test("Lines are recalled, searched and kept for the next run")
    func recalls() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let first = try open(historyPath: folder + "/history")
        first.type("one 1\rtwo 2\rauth secret\rthree\u{10}\u{10}")
        #expect(first.waitForLine("test> one 1"))
        first.type("\u{E}\u{E}")
        #expect(first.waitForLine("test> three"))
        first.type("\u{15}")
        leave(first)
        let second = try open(historyPath: folder + "/history")
        second.type("\u{1B}[A")
        #expect(second.waitForLine("test> two 2"))
        second.type("\u{15}\u{12}on")
        #expect(second.waitForLine("(reverse search)`on': one 1"))
        second.type("\u{12}")
        #expect(second.waitForLine("(failed reverse search)`on': one 1"))
        second.type("\r")
        #expect(second.wait { $0.text.hasSuffix("test> one 1\n1) \"one\"\n2) \"1\"\ntest>") })
        second.type("\u{12}two\u{7}")
        #expect(second.waitForLine("test>"))
        leave(second)
    }

    @Test("A line wider than the window wraps and is edited without garbage")
    func wraps() throws {
        let terminal = try open(columnCount: 20)
        let text = "abcdefghijklmnopqrstuvwxyz0123456789"
        terminal.type(text)
        #expect(terminal.wait { $0.text == "test> abcdefghijklmn\nopqrstuvwxyz01234567\n89" })
        terminal.type("\u{1}X")
        #expect(terminal.wait { $0.text == "test> Xabcdefghijklm\nnopqrstuvwxyz0123456\n789" && $0.row == 0 })
        terminal.type("\u{5}\u{15}")
        #expect(terminal.wait { $0.text == "test>" })
        terminal.type("12345678901234")
        #expect(terminal.wait { $0.text == "test> 12345678901234\n" && $0.row == 1 && $0.column == 0 })
        terminal.type("\u{7F}")
        #expect(terminal.wait { $0.text == "test> 1234567890123" && $0.row == 0 })
        terminal.type("\u{15}")
        leave(terminal)
    }

    @Test("Pasted lines were joined into one command: each is executed, the last one waits for Enter")
    func pastes() throws {
        let terminal = try open(columnCount: 40)
        terminal.type("x\u{1B}[200~ 1\ny 2\r\n\nselect 4\rlast\u{1B}[201~")
        #expect(
            terminal.wait {
                $0.text
                    == "test> x 1\n1) \"x\"\n2) \"1\"\ntest> y 2\n1) \"y\"\n2) \"2\"\ntest>\n"
                    + "test> select 4\nOK\ntest[4]> last"
            })
        terminal.type("\u{3}\u{12}\u{1B}[200~y\nx\u{1B}[201~")
        #expect(terminal.waitForLine("(reverse search)`y': y 2"))
        terminal.type("\u{7}")
        #expect(terminal.waitForLine("test[4]>"))
        terminal.type("\u{1B}[200~" + String(repeating: "a", count: 70_000) + "\nfail\u{1B}[201~x")
        #expect(terminal.wait { $0.text.hasSuffix("test[4]> x") })
        terminal.type("\u{15}")
        #expect(terminal.waitForLine("test[4]>"))
        leave(terminal)
    }

    /// Sends SIGINT, as Ctrl-C does outside raw mode, until the screen is as wanted.
    private func interrupt(_ terminal: Pseudoterminal, until isReached: (Screen) -> Bool) -> Bool {
        var attemptCount = 0
        return terminal.wait { screen in
            if isReached(screen) { return true }
            attemptCount += 1
            if attemptCount % 4 == 0 { kill(getpid(), SIGINT) }
            return false
        }
    }

    @Test("Ctrl-C ended the whole shell: it stops a repetition and what was pasted behind it")
    func stopsRepetition() throws {
        let terminal = try open()
        terminal.type("\u{1B}[200~1000000 slow\nx\n\u{1B}[201~")
        #expect(terminal.wait { $0.text.contains("\nOK\nOK\n") })
        #expect(interrupt(terminal) { $0.text.contains("of 1000000)\ntest>") && $0.lines[$0.row] == "test>" })
        #expect(!terminal.screen.text.contains("test> x"))
        terminal.type("slow\r")
        #expect(terminal.wait { $0.text.hasSuffix("test> slow\nOK\ntest>") })
        leave(terminal)
    }

    @Test("Ctrl-C while a server does not answer closes the connection and brings the prompt back")
    func stopsWaiting() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let path = folder + "/silent"
        let listener = try #require(listen(atPath: path))
        defer { close(listener) }
        let terminal = try #require(
            Pseudoterminal(columnCount: 60) {
                let client = WireClient(options: .init(endpoint: .unix(path: path)))
                client.isInterruptible = true
                return ShellBackend(client: client, wantsCatalog: false)
            })
        #expect(terminal.waitForLine("not connected>"))
        terminal.type("GET a\r")
        #expect(
            interrupt(terminal) { $0.text.hasSuffix("Error: interrupted; the connection is closed\nnot connected>") })
        leave(terminal)
    }
}

/// A Unix socket that takes connections and says nothing.
private func listen(atPath path: String) -> Int32? {
    #if canImport(Glibc)
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    #else
        let descriptor = socket(AF_UNIX, SOCK_STREAM, 0)
    #endif
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let status = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
    return status == 0 && listen(descriptor, 4) == 0 ? descriptor : nil
}
