// Goal: the shell runs commands from a pipe and from an argument vector, shows replies in the right form, and its exit
// status tells whether a command failed. Method: a made-up backend, files in place of the standard streams.

import KedisProtocol
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

/// A backend that answers with what it was asked, and a few commands of its own.
func madeUpBackend() -> ShellBackend {
    ShellBackend(
        name: { "test" },
        execute: { arguments in
            switch String(decoding: arguments[0], as: UTF8.self).uppercased() {
            case "FAIL": return .success(.error(Array("ERR failed".utf8)))
            case "LOSE": return .failure(ShellFailure(message: "lost"))
            case "END": return .failure(ShellFailure(message: "gone", endsSession: true))
            case "SELECT", "MULTI", "EXEC", "QUIT", "EXPLAIN": return .success(.simple(Array("OK".utf8)))
            case "SLOW":
                usleep(20_000)
                return .success(.simple(Array("OK".utf8)))
            case "COMMAND": return .success(madeUpDocumentation)
            default: return .success(.array(arguments.map { .bulk($0) }))
            }
        })
}

private let madeUpDocumentation: Reply = {
    func text(_ text: String) -> Reply { .bulk(Array(text.utf8)) }
    func command(_ argument: String) -> Reply {
        .array([
            text("summary"), text("Does it"), text("group"), text("generic"),
            text("arguments"), .array([.array([text("name"), text(argument), text("type"), text("string")])]),
        ])
    }
    return .array([text("echo"), command("message"), text("select"), command("index")])
}()

/// Runs a shell with files as its streams. (A pipe would stay open in any child that another test starts meanwhile.)
func runShell(
    input: String, format: Shell.Options.Format = .automatic, _ run: (Shell) -> Int32
) -> (status: Int32, output: String) {
    guard let folder = TestFiles.makeTemporaryFolder() else { return (-1, "no folder") }
    defer { TestFiles.removeTemporaryFolder(folder) }
    let (inputPath, outputPath) = (folder + "/input", folder + "/output")
    guard TestFiles.write(input, to: inputPath) else { return (-1, "no file") }
    var options = Shell.Options(historyPath: nil)
    options.input = open(inputPath, O_RDONLY | O_CLOEXEC)
    options.output = open(outputPath, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    options.format = format
    let status = run(Shell(backend: madeUpBackend(), options: options))
    close(options.input)
    close(options.output)
    return (status, String(decoding: TestFiles.read(outputPath) ?? [], as: UTF8.self))
}

@Suite("Shell")
struct ShellTests {
    @Test(
        "Piped lines are executed, and the status tells of a failure",
        arguments: [
            ("", 0, ""), ("a b\n", 0, "a\nb\n"), ("a b", 0, "a\nb\n"), ("a\r\n\n  \nb\n", 0, "a\nb\n"),
            ("a \"b\nc\n", 1, "Invalid argument(s)\nc\n"), ("fail\na\n", 1, "ERR failed\n\na\n"),
            ("lose\na\n", 1, "Error: lost\na\n"), ("end\na\n", 1, "Error: gone\n"), ("a\nexit\nb\n", 0, "a\n"),
            ("fail\nquit\nb\n", 1, "ERR failed\n\n"), ("3 a\n", 0, "a\na\na\n"), ("0 a\n", 1, nil), ("-1 a\n", 1, nil),
            ("5\n", 0, "5\n"), ("help echo\n", 0, "\n  ECHO message\n  summary: Does it\n  group: generic\n"),
            ("a \"\\x00\"\n", 0, "a\n\u{0}\n"),
        ] as [(String, Int32, String?)])
    func runsPipedLines(input: String, status: Int32, output: String?) {
        let result = runShell(input: input) { $0.runInteractive() }
        #expect(result.status == status)
        if let output { #expect(result.output == output) }
    }

    @Test("One command: formatted for a person, plain for a pipe, its failure in the status")
    func runsOneCommand() {
        func run(_ words: [String], _ format: Shell.Options.Format) -> (status: Int32, output: String) {
            runShell(input: "", format: format) { $0.runOnce(words.map { Array($0.utf8) }) }
        }
        #expect(run(["a", "b c"], .automatic) == (0, "a\nb c\n"))
        #expect(run(["a", "b c"], .formatted) == (0, "1) \"a\"\n2) \"b c\"\n"))
        #expect(run(["fail"], .formatted) == (1, "(error) ERR failed\n"))
        #expect(run(["lose"], .raw) == (1, "Error: lost\n"))
        #expect(run([], .raw) == (0, ""))
        #expect(run(["explain", "get"], .formatted) == (0, "OK\n"))
        #expect(run(["help", "select"], .raw).output.contains("SELECT index"))
    }
}
