// Goal: a person at a terminal can edit, recall, search, complete, see hints, drop a line and leave, and finds the
// terminal as it was. Method: a real pseudoterminal; the screen is read through a model of a terminal.

import KedisShell
import KedisTestSupport
import Testing

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

    @Test("Pasted line ends do not execute anything")
    func pastes() throws {
        let terminal = try open()
        terminal.type("\u{1B}[200~one\ntwo\u{1B}[201~")
        #expect(terminal.waitForLine("test> one two"))
        terminal.type("\u{3}")
        #expect(terminal.waitForLine("test>"))
        leave(terminal)
    }
}
