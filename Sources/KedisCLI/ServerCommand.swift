// `kedis server`: hands its arguments to KedisServer, which knows the directives.

import ArgumentParser
import KedisServer
import KedisUtilities

struct ServerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "server",
        abstract: "Serves a store over TCP and Unix sockets.",
        usage: "kedis server [FILE] [--directive value ...] ...",
        discussion: """
            FILE has the form of redis.conf. Every directive is an option too and wins over the file:
              kedis server --port 6380 --dir /var/lib/kedis --save 900 1 300 10

            The directives, explained in docs/configuration.md: \(directiveNames.joined(separator: ", ")).
            """
    )

    @Argument(parsing: .captureForPassthrough, help: "A configuration file, then directives.")
    var arguments: [String] = []

    /// In the form of redis-server's, which tools take apart.
    private var versionLine: String {
        "Redis server v=\(redisVersion) sha=00000000:0 malloc=libc bits=\(Int.bitWidth) build=0 kedis=\(kedisVersion)"
    }

    mutating func run() async throws {
        switch arguments.first {
        case "--help", "-h": return print(Self.helpMessage())
        case "--version", "-v": return print(versionLine)
        default: break
        }
        let code = await runServer(arguments)
        if code != 0 { throw ExitCode(code) }
    }
}
