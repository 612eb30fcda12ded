// Configuration files, arguments and CONFIG's texts.

import KedisCommands
import KedisServer
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

private func write(_ text: String, to path: String) {
    guard let file = fopen(path, "w") else { return }
    fputs(text, file)
    fclose(file)
}

/// The configuration of a file's text and options, or the error's text.
private func parse(_ text: String? = nil, _ options: [String] = []) -> (Configuration?, String) {
    guard let folder = TestFiles.makeTemporaryFolder() else { return (nil, "no folder") }
    defer { TestFiles.removeTemporaryFolder(folder) }
    var arguments = options
    if let text {
        write(text.replacing("FOLDER", with: folder), to: "\(folder)/test.conf")
        write("timeout 7\nhz 20\n", to: "\(folder)/one.inc")
        write("include FOLDER/test.conf".replacing("FOLDER", with: folder), to: "\(folder)/loop.inc")
        arguments.insert("\(folder)/test.conf", at: 0)
    }
    switch parseServerArguments(arguments) {
    case .success(let options): return (options.configuration, "")
    case .failure(let error): return (nil, error.description.replacing("\(folder)/", with: ""))
    }
}

extension String {
    fileprivate func replacing(_ old: String, with new: String) -> String {
        var result = "", rest = self[...]
        while let range = rest.firstRange(of: old) {
            result += rest[..<range.lowerBound] + new
            rest = rest[range.upperBound...]
        }
        return result + rest
    }
}

@Suite("Configuration")
struct ConfigurationTests {
    @Test("A file's lines: comments, quotes, escapes, sizes; later lines win, save lines add up")
    func file() throws {
        let (configuration, error) = parse(
            """
            # a comment
              port 7000   
            PORT 7001
            dbfilename "a\\x20b.rdb"
            unixsocket '/tmp/it\\'s'
            client-query-buffer-limit 64mb
            save 900 1
            save 300 10 60 1000
            rdbcompression NO
            client-output-buffer-limit pubsub 1mb 512kb 5
            bind 127.0.0.1 -::1
            """
        )
        let result = try #require(configuration, "\(error)")
        #expect(result.integer("port") == 7001)
        #expect(result.text("dbfilename") == "a b.rdb")
        #expect(result.text("unixsocket") == "/tmp/it's")
        #expect(result.text("client-query-buffer-limit") == "67108864")
        #expect(result.text("save") == "900 1 300 10 60 1000")
        #expect(!result.boolean("rdbcompression"))
        #expect(result.text("client-output-buffer-limit").hasSuffix("pubsub 1048576 524288 5"))
        #expect(result.text("bind") == "127.0.0.1 -::1")
    }

    @Test("Included files, by name and by pattern; loops end with an error")
    func includes() {
        #expect(parse("timeout 1\ninclude FOLDER/one.inc").0?.integer("timeout") == 7)
        #expect(parse("include FOLDER/*.none\nhz 5").0?.integer("hz") == 5)
        #expect(parse("include FOLDER/one.*\ntimeout 2").0?.integer("timeout") == 2)
        #expect(parse("include FOLDER/loop.inc").1.contains("too many files include each other"))
        #expect(
            parse("\ninclude FOLDER/missing").1
                == "test.conf:2: 'include missing' cannot read the configuration file missing: No such file or directory")
    }

    @Test(
        "Errors name file, line and reason",
        arguments: [
            ("\nprot 1", "test.conf:2: 'prot 1' unknown directive 'prot', did you mean 'port'?"),
            ("frobnicate 1gb", "test.conf:1: 'frobnicate 1gb' unknown directive 'frobnicate'"),
            ("loadmodule a", "test.conf:1: 'loadmodule a' there are no modules: only '' is accepted"),
            ("rename-command nothing a", "test.conf:1: 'rename-command nothing a' No such command in rename-command"),
            ("rename-command GET set", "test.conf:1: 'rename-command GET set' Target command name already exists"),
            ("rename-command GET", "test.conf:1: 'rename-command GET' wrong number of arguments"),
            ("user a +nothing >pw",
                "test.conf:1: 'user a …' Error in user declaration '+nothing': Unknown command or category name in ACL"),
            ("user a on\nuser a off",
                "test.conf:2: 'user a …' Error in user declaration 'a': Duplicate user found. A user can only be "
                    + "defined once in config files"),
            ("port abc", "test.conf:1: 'port abc' argument couldn't be parsed into an integer"),
            ("port 1 2", "test.conf:1: 'port 1 2' wrong number of arguments"),
            ("port", "test.conf:1: 'port' wrong number of arguments"),
            ("port \"1", "test.conf:1: 'port \"1' Unbalanced quotes in configuration line"),
            ("rdbcompression maybe", "test.conf:1: 'rdbcompression maybe' argument must be 'yes' or 'no'"),
            ("save 1", "test.conf:1: 'save 1' Invalid save parameters"),
            (
                "aof-use-rdb-preamble no",
                "test.conf:1: 'aof-use-rdb-preamble no' the journal has a form of its own: only 'yes' is accepted"
            ),
        ])
    func errors(text: String, error: String) {
        #expect(parse(text).1 == error)
    }

    @Test("All wrong lines are reported, those of included files too, up to a limit")
    func severalErrors() {
        let (_, text) = parse("port x\ntimeout 5\ninclude FOLDER/nope.conf\nprot 1")
        let lines = text.split(separator: "\n")
        #expect(lines.map { $0.prefix(12) } == ["test.conf:1:", "test.conf:3:", "test.conf:4:"])
        #expect(parse(String(repeating: "port x\n", count: 1000)).1.split(separator: "\n").count == 20)
    }

    @Test("A relative logfile lies in dir, as in Redis; a dir that is not there is an error")
    func logFile() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        func path(_ options: String...) throws -> String {
            try logPath(of: try #require(parse(nil, options).0))
        }
        #expect(try path("--dir", folder) == "")
        #expect(try path("--dir", folder, "--logfile", "/tmp/a.log") == "/tmp/a.log")
        #expect(try path("--dir", folder, "--logfile", "a.log").hasSuffix("\(folder)/a.log"))
        #expect(throws: StartError.self) { try path("--dir", "\(folder)/none", "--logfile", "a.log") }
    }

    @Test("Options win over the file; several values for one; unknown ones are named")
    func options() {
        #expect(parse("port 1", ["--port", "2"]).0?.integer("port") == 2)
        #expect(parse(nil, ["--save", "60", "1", "--port", "5"]).0?.text("save") == "60 1")
        #expect(parse(nil, ["--save", ""]).0?.text("save") == "")
        #expect(parse(nil, ["--port=99"]).0?.integer("port") == 99)
        #expect(parse(nil, ["--io-threads", "3"]).0?.integer("threads") == 3)
        #expect(parse(nil, ["--prot", "1"]).1 == "unknown directive 'prot', did you mean 'port'?")
        #expect(parse(nil, ["--port"]).1 == "--port needs a value")
        #expect(parse(nil, ["--port", "x"]).1 == "--port: argument couldn't be parsed into an integer")
        #expect(parse(nil, ["--frobnicate"]).1 == "unknown directive 'frobnicate'")
        #expect(parse(nil, ["--requirepass", "a b"]).0?.text("requirepass") == "a b")
        #expect(parse(nil, ["--rename-command", "GET", "hidden"]).0?.renames.map(\.newName) == ["hidden"])
    }

    @Test("CONFIG SET sets all or nothing, with Redis's texts")
    func set() throws {
        let configuration = Configuration()
        func error(_ pairs: [(name: String, value: String)], protected: Bool = false) -> String {
            do throws(ConfigurationError) {
                try configuration.set(pairs, allowsProtected: protected)
                return ""
            } catch {
                return error.commandText
            }
        }
        let failed = "ERR CONFIG SET failed (possibly related to argument "
        #expect(
            error([("timeout", "5"), ("nosuch", "1")])
                == "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'")
        #expect(
            error([("timeout", "5"), ("maxclients", "x")]) == failed
                + "'maxclients') - argument couldn't be parsed into an integer")
        #expect(configuration.integer("timeout") == 0)
        #expect(error([("databases", "3")]) == failed + "'databases') - can't set immutable config")
        #expect(error([("dir", "/tmp")]) == failed + "'dir') - can't set protected config")
        #expect(
            error([("dbfilename", "a/b")], protected: true) == failed
                + "'dbfilename') - dbfilename can't be a path, just a filename")
        #expect(error([("timeout", "5"), ("TIMEOUT", "6")]) == failed + "'TIMEOUT') - duplicate parameter")
        #expect(
            error([("loglevel", "x")]) == failed
                + "'loglevel') - argument(s) must be one of the following: debug, verbose, notice, warning, nothing")
        #expect(
            error([("proto-max-bulk-len", "1")]) == failed
                + "'proto-max-bulk-len') - argument must be between 1048576 and 9223372036854775807 inclusive")
        #expect(error([("Timeout", "5"), ("proto-max-bulk-len", "1mb")]) == "")
        #expect(configuration.idleTimeoutSeconds.load(ordering: .relaxed) == 5)
        #expect(configuration.bulkByteCountMax.load(ordering: .relaxed) == 1 << 20)
    }

    @Test("What cannot be applied is taken back")
    func refusedByHost() {
        let configuration = Configuration()
        #expect(throws: ConfigurationError.refused(name: "maxclients", reason: "no")) {
            try configuration.set([("maxclients", "5")]) { _ in
                ConfigurationProblem(name: "maxclients", reason: "no")
            }
        }
        #expect(configuration.integer("maxclients") == 10_000)
    }

    @Test("CONFIG GET matches patterns in any case and shows other names too")
    func get() {
        let configuration = Configuration()
        #expect(configuration.get("MAXCL*").map(\.name) == ["maxclients"])
        #expect(configuration.get("save").map(\.value) == ["3600 1 300 100 60 10000"])
        #expect(configuration.get("*threads").map(\.name) == ["threads", "io-threads"])
        #expect(configuration.get("nothing").isEmpty)
    }
}
