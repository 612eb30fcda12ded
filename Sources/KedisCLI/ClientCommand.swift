// `kedis cli`: the same shell against a server, over the wire.

import ArgumentParser
import KedisShell

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct ClientCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cli",
        abstract: "Open a shell on a server (Kedis or Redis), or execute one command there.",
        helpNames: .long
    )

    @Option(name: .customShort("h"), help: "The server's host.")
    var host = "127.0.0.1"

    @Option(name: .customShort("p"), help: "The server's port.")
    var port: UInt16 = 6379

    @Option(name: .customShort("s"), help: "The server's Unix socket, instead of host and port.")
    var socket: String?

    @Option(
        name: .customShort("a"),
        help: "The password. The environment variable KEDISCLI_AUTH or REDISCLI_AUTH keeps it out of the process list.")
    var password: String?

    @Option(name: .customLong("user"), help: "The user that the password is for.")
    var user: String?

    @Option(name: .customShort("n"), help: "The database.")
    var database = 0

    @Flag(name: .customShort("3"), help: "Speak RESP3.")
    var usesRESP3 = false

    @Flag(help: "Print replies as they are, also on a terminal.")
    var raw = false

    @Flag(name: .customLong("no-raw"), help: "Format replies, also when the output is no terminal.")
    var formatted = false

    @Argument(parsing: .captureForPassthrough, help: "A command to execute instead of opening a shell.")
    var command: [String] = []

    func validate() throws {
        _ = try commandLength(command, of: Self.self, helpNames: ["--help"])
        if database < 0 { throw ValidationError("The database must not be negative.") }
    }

    func run() throws {
        var options = WireClient.Options(endpoint: socket.map { .unix(path: $0) } ?? .tcp(host: host, port: port))
        options.username = user.map { Array($0.utf8) }
        options.password = secret.map { Array($0.utf8) }
        options.database = database
        options.usesRESP3 = usesRESP3
        let client = WireClient(options: options)
        let length = try commandLength(command, of: Self.self)
        let isInteractive = length == 0 && isatty(0) == 1
        client.isInterruptible = isInteractive
        do {
            try client.connect()
        } catch {
            complain(error.message)
            // An interactive shell stays, as the server may come back.
            guard isInteractive else { throw ExitCode.failure }
        }
        var shellOptions = Shell.Options()
        shellOptions.database = database
        shellOptions.format = raw ? .raw : formatted ? .formatted : .automatic
        let shell = Shell(
            backend: ShellBackend(client: client, wantsCatalog: isInteractive && client.isConnected),
            options: shellOptions
        )
        throw ExitCode(length == 0 ? shell.runInteractive() : shell.runOnce(rawArguments(last: length)))
    }

    private var secret: String? {
        if let password { return password }
        for name in ["KEDISCLI_AUTH", "REDISCLI_AUTH"] {
            if let value = getenv(name) { return String(cString: value) }
        }
        return nil
    }
}
