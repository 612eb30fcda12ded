// `kedis`, `kedis SET a b`, `kedis explain …`: a store inside the process, through the embedding library.

import ArgumentParser
import Kedis
import KedisPersistence
import KedisShell
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Where the store of the shell lives.
struct StoreOptions: ParsableArguments {
    @Option(help: "Keep the data in this directory: every change goes to a journal there, and a snapshot on exit.")
    var dir: String?

    @Option(help: "The name of the snapshot in the directory.")
    var dbfilename = "dump.rdb"

    @Option(help: ArgumentHelp("Whether there is a journal, yes or no.", valueName: "yes|no"))
    var appendonly = "yes"

    @Option(help: ArgumentHelp("When the journal goes to disk.", valueName: "always|everysec|no"))
    var appendfsync = "everysec"

    @Option(help: "The journal's folder in the directory: appendonlydir, or DBFILENAME.appendonlydir beside another.")
    var appenddirname: String?

    /// Nil for words that are none.
    private var journal: KedisDatabase.Options.Journal? {
        guard ["yes", "no"].contains(appendonly), appendfsync != "off" else { return nil }
        return KedisDatabase.Options.Journal(rawValue: appendfsync).map { appendonly == "yes" ? $0 : .off }
    }

    func validate() throws {
        guard journal != nil else {
            throw ValidationError("appendonly is yes or no, appendfsync is always, everysec or no.")
        }
        if let appenddirname, appenddirname.isEmpty || appenddirname.contains("/") {
            throw ValidationError("appenddirname can't be a path, just a dirname.")
        }
        if dbfilename.isEmpty || dbfilename.contains("/") {
            throw ValidationError("dbfilename can't be a path, just a filename.")
        }
    }

    /// Opens the store, or ends the program with a message.
    func open() throws -> KedisDatabase {
        var options = KedisDatabase.Options()
        options.allowsDebug = true
        guard let dir else { return KedisDatabase(options: options) }
        options.snapshotName = dbfilename
        options.journal = journal ?? .everySecond
        options.journalName = appenddirname
        options.warn = { complain($0) }
        do {
            return try KedisDatabase.open(directory: dir, options: options)
        } catch {
            complain("\(error)")
            throw ExitCode.failure
        }
    }
}

struct ShellCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shell",
        abstract: "Open a shell on a store inside the process (the default), or execute one command.",
        discussion: """
            On a terminal the shell is interactive. Otherwise it reads one command a line from standard input and \
            exits with 0, or 1 if a command failed.
            """
    )

    @OptionGroup var store: StoreOptions

    @Flag(help: "Print replies as they are, also on a terminal.")
    var raw = false

    @Argument(parsing: .captureForPassthrough, help: "A command to execute instead, such as SET name Karthik.")
    var command: [String] = []

    func validate() throws {
        _ = try commandLength(command, of: Self.self)
    }

    func run() throws {
        let length = try commandLength(command, of: Self.self)
        let database = try store.open()
        saveOnTermination(database)
        let shell = Shell(backend: backend(of: database), options: shellOptions(database))
        var status = length == 0 ? shell.runInteractive() : shell.runOnce(rawArguments(last: length))
        do {
            try database.close()
        } catch {
            complain("\(error)")
            status = 1
        }
        throw ExitCode(status)
    }

    private func shellOptions(_ database: KedisDatabase) -> Shell.Options {
        var options = Shell.Options()
        if raw { options.format = .raw }
        let count = database.loadedKeyCount
        let loaded = count == 1 ? "1 key loaded" : "\(count) keys loaded"
        let place = store.dir.map { "\($0)/\(store.dbfilename), \(loaded)" } ?? "in memory"
        options.greeting = "Kedis \(kedisVersion), \(place). Type help for commands, Ctrl-D to leave."
        return options
    }
}

struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Show the way of a command through the engine.",
        discussion: """
            kedis explain SET name Karthik shows it without running it, kedis explain ANALYZE SET name Karthik runs \
            and measures it. Exits with 1 if the command would be refused.
            """
    )

    @OptionGroup var store: StoreOptions

    @Argument(parsing: .captureForPassthrough, help: "The command to explain, ANALYZE in front of it to run it.")
    var command: [String] = []

    func validate() throws {
        guard try commandLength(command, of: Self.self) > 0 else {
            throw ValidationError("Which command? For example: kedis explain SET name Karthik")
        }
    }

    func run() throws {
        let length = try commandLength(command, of: Self.self)
        let database = try store.open()
        var options = Shell.Options()
        options.format = .formatted
        let shell = Shell(backend: backend(of: database), options: options)
        let status = shell.runOnce([Array("EXPLAIN".utf8)] + rawArguments(last: length))
        do {
            try database.close()
        } catch {
            complain("\(error)")
            throw ExitCode.failure
        }
        throw ExitCode(status)
    }
}

/// Prints what a command of the store does, as the shell's `help`; returns the exit code.
func showHelp(_ topic: [String]) -> Int32 {
    let shell = Shell(backend: backend(of: KedisDatabase()))
    return shell.runOnce((["HELP"] + topic).map { Array($0.utf8) })
}

/// The shell's backend on a store in the process.
private func backend(of database: KedisDatabase) -> ShellBackend {
    let connection = database.connect()
    connection.deniesBlocking = true
    var backend = ShellBackend(name: { "kedis" }, execute: { .success(connection.execute($0)) })
    backend.loadCatalog()
    return backend
}
