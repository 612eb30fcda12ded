// `kedis cli`: the same shell against a server, over the wire.

import ArgumentParser
import KedisProtocol
import KedisServer
import KedisShell
import KedisUtilities

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
        discussion: """
            Linked as redis-cli, kedis-cli or valkey-cli the program is this command, and takes the flags of redis-cli \
            that are listed here.
            """,
        version: "redis-cli \(redisVersion) (kedis \(kedisVersion))",
        helpNames: .long
    )

    @Option(name: .customShort("h"), help: "The server's host.")
    var host = "127.0.0.1"

    @Option(name: .customShort("p"), help: "The server's port.")
    var port: UInt16 = 6379

    @Option(name: .customShort("s"), help: "The server's Unix socket, instead of host and port.")
    var socket: String?

    @Option(
        name: .customShort("u"),
        help: "The server as redis://[user:password@]host[:port][/database], rediss:// for TLS."
    )
    var uri: String?

    @Option(
        name: [.customShort("a"), .customLong("pass")],
        help: "The password. The environment variable KEDISCLI_AUTH or REDISCLI_AUTH keeps it out of the process list.")
    var password: String?

    @Option(name: .customLong("user"), help: "The user that the password is for.")
    var user: String?

    @Option(name: .customShort("n"), help: "The database.")
    var database = 0

    @Flag(name: .customShort("3"), help: "Speak RESP3.")
    var usesRESP3 = false

    @Flag(name: .customShort("2"), help: "Speak RESP2, as without a flag.")
    var usesRESP2 = false

    @OptionGroup(title: "TLS") var encryption: EncryptionArguments

    @Option(name: .customShort("r"), parsing: .unconditional, help: "Execute the command so many times; -1 for ever.")
    var repetitionCount = 1

    @Option(name: .customShort("i"), help: "Seconds between them, also with a fraction.")
    var intervalSeconds = 0.0

    @Flag(help: "Ask for the password on the terminal.")
    var askpass = false

    @Flag(name: .customLong("quoted-input"), help: "Arguments in quotes are read as in the shell: '\"\\x00\"'.")
    var takesQuotes = false

    @Flag(name: .customShort("x"), help: "Take the last argument of the command from standard input.")
    var takesInput = false

    @Flag(name: .customShort("e"), help: "Return an exit code when the command failed, which is always done.")
    var returnsErrors = false

    @Flag(name: .customShort("c"), help: "Follow redirections of a cluster; a single server sends none.")
    var followsRedirections = false

    @Flag(name: .customLong("no-auth-warning"), help: "Do not warn about passwords on the command line: nobody does.")
    var isWithoutWarning = false

    @Flag(help: "Print replies as they are, also on a terminal.")
    var raw = false

    @Flag(name: .customLong("no-raw"), help: "Format replies, also when the output is no terminal.")
    var formatted = false

    @Flag(help: "Print replies as JSON; speaks RESP3 unless told otherwise.")
    var json = false

    @Flag(help: "Print replies as values between commas.")
    var csv = false

    @OptionGroup(title: "Modes") var modes: ClientModes

    @Argument(parsing: .captureForPassthrough, help: "A command to execute instead of opening a shell.")
    var command: [String] = []

    func validate() throws {
        if command.first == "--version" || command.first == "-v" { throw CleanExit.message(Self.configuration.version) }
        _ = try commandLength(command, of: Self.self, helpNames: ["--help"])
        if database < 0 { throw ValidationError("The database must not be negative.") }
        if uri != nil, socket != nil { throw ValidationError("A server has a URI or a socket.") }
        if json, csv { throw ValidationError("Replies are printed as JSON or CSV.") }
        if password != nil, askpass { throw ValidationError("The password is given or asked for.") }
        if !(0...3600).contains(intervalSeconds) { throw ValidationError("The interval is 0 to 3600 seconds.") }
        try modes.validate()
        if modes.isAny, !command.isEmpty { throw ValidationError("A mode such as --scan takes no command.") }
        if let uri, ServerAddress(uri) == nil { throw ValidationError("'\(uri)' is no redis:// address.") }
    }

    private var options: WireClient.Options {
        let address = uri.flatMap(ServerAddress.init) ?? ServerAddress(host: host, port: port)
        var options = WireClient.Options(
            endpoint: socket.map { .unix(path: $0) } ?? .tcp(host: address.host, port: address.port))
        options.username = (user ?? address.user).map { Array($0.utf8) }
        options.password = (askedPassword ?? secret ?? address.password).map { Array($0.utf8) }
        options.database = address.database ?? database
        options.usesRESP3 = usesRESP3 || (json && !usesRESP2)
        return options
    }

    func run() throws {
        var options = options
        try encryption.prepare(&options, isForced: uri.flatMap(ServerAddress.init)?.isEncrypted ?? false)
        let client = WireClient(options: options)
        let length = try commandLength(command, of: Self.self)
        let isInteractive = length == 0 && !modes.isAny && isatty(0) == 1
        client.isInterruptible = isInteractive
        do {
            try client.connect()
        } catch {
            complain(error.message)
            // An interactive shell stays, as the server may come back.
            guard isInteractive else { throw ExitCode.failure }
        }
        if modes.isAny { return try runMode(client) }
        var shellOptions = Shell.Options()
        shellOptions.database = options.database
        shellOptions.format = json ? .json : csv ? .csv : raw ? .raw : formatted ? .formatted : .automatic
        let shell = Shell(
            backend: ShellBackend(client: client, wantsCatalog: isInteractive && client.isConnected),
            options: shellOptions
        )
        guard length > 0 else { throw ExitCode(shell.runInteractive()) }
        throw ExitCode(runRepeatedly(shell, try unquoted(rawArguments(last: length))))
    }

    /// Executes the command as often as it is wanted; ends at the first one that fails.
    private func runRepeatedly(_ shell: Shell, _ command: [[UInt8]]) -> Int32 {
        let arguments = takesInput ? command + [readInput()] : command
        var count = 0
        while repetitionCount < 0 || count < max(1, repetitionCount) {
            if count > 0, intervalSeconds > 0 { usleep(UInt32(min(intervalSeconds, 3600) * 1e6)) }
            count += 1
            let status = shell.runOnce(arguments)
            if status != 0 { return status }
        }
        return 0
    }

    private func runMode(_ client: WireClient) throws {
        do throws(WireError) {
            let form: ServerWatch.LatencyForm? = csv ? .csv : raw || isatty(1) == 0 ? .plain : nil
            let code = try modes.run(client, pauseSeconds: intervalSeconds, plainLatency: form, isQuoted: isQuotingKeys)
            if code != 0 { throw WireError(message: "") }
        } catch {
            if !error.message.isEmpty { complain(error.message) }
            throw ExitCode.failure
        }
    }

    /// Keys may be any bytes, which a terminal should not get.
    private var isQuotingKeys: Bool { formatted || (!raw && isatty(1) == 1) }

    /// The arguments as they are, or with `--quoted-input` those in quotes without them.
    private func unquoted(_ arguments: [[UInt8]]) throws -> [[UInt8]] {
        guard takesQuotes else { return arguments }
        return try arguments.map { argument in
            guard let first = argument.first, first == 0x22 || first == 0x27 else { return argument }
            guard let words = splitArguments(argument), words.count == 1 else {
                complain("Invalid quoted string: \(String(decoding: argument, as: UTF8.self))")
                throw ExitCode.failure
            }
            return words[0]
        }
    }

    /// What a person types at a prompt, unseen.
    private var askedPassword: String? {
        guard askpass, let text = getpass("Please input password: ") else { return nil }
        return String(cString: text)
    }

    private func readInput() -> [UInt8] {
        if case .bytes(let bytes) = readAll(STDIN_FILENO) { bytes } else { [] }
    }

    private var secret: String? {
        if let password { return password }
        for name in ["KEDISCLI_AUTH", "REDISCLI_AUTH"] {
            if let value = getenv(name) { return String(cString: value) }
        }
        return nil
    }
}
