// The program `kedis`: argument parsing and little else. Each subcommand puts parts of the libraries together.
//
// Linked under another name it is one of them: `redis-server` and `valkey-server` are `kedis server`, `redis-cli` and
// `valkey-cli` are `kedis cli`, so that scripts and harnesses that call those work unchanged.

import ArgumentParser
import KedisUtilities

@main
struct KedisMain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kedis",
        abstract: "A Redis-compatible in-memory data store: shell, server and client.",
        discussion: """
            Without a subcommand, a shell opens on a store inside the process; with a command of the store (kedis SET \
            name Karthik), that command is executed and the program ends.
            """,
        version: "kedis \(kedisVersion)",
        subcommands: [ShellCommand.self, ServerCommand.self, ClientCommand.self, ExplainCommand.self],
        defaultSubcommand: ShellCommand.self
    )

    static func main() async {
        let arguments = CommandLine.arguments
        let name = arguments.first?.split(separator: "/").last.map(String.init) ?? ""
        switch name {
        case "kedis-server", "redis-server", "valkey-server": await ServerCommand.main(Array(arguments.dropFirst()))
        case "kedis-cli", "redis-cli", "valkey-cli": ClientCommand.main(Array(arguments.dropFirst()))
        default: await main(nil)
        }
    }
}
