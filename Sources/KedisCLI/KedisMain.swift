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
            name Karthik), that command is executed and the program ends. kedis help SET tells what a command does. \
            With --dir FOLDER the store is kept in that folder: kedis --dir data SET name Karthik.

            Exits with 0, with 1 when something failed (a command, a connection, a snapshot, a server's \
            configuration), with 64 when the arguments are not understood.
            """,
        version: "kedis \(kedisVersion)",
        subcommands: [
            ShellCommand.self, ServerCommand.self, ClientCommand.self, ExplainCommand.self, CheckCommand.self,
            RestoreCommand.self, BackupCommand.self,
        ],
        defaultSubcommand: ShellCommand.self
    )

    static func main() async {
        let arguments = CommandLine.arguments
        let name = arguments.first?.split(separator: "/").last.map(String.init) ?? ""
        switch name {
        case "kedis-server", "redis-server", "valkey-server": await ServerCommand.main(Array(arguments.dropFirst()))
        case "kedis-cli", "redis-cli", "valkey-cli": ClientCommand.main(Array(arguments.dropFirst()))
        default:
            if let topic = helpTopic(arguments) { exit(withError: ExitCode(showHelp(topic))) }
            await main(nil)
        }
    }

    /// The words behind `kedis help` when they name a command of the store, not one of the program.
    private static func helpTopic(_ arguments: [String]) -> [String]? {
        guard arguments.count > 2, arguments[1] == "help", !arguments[2].hasPrefix("-") else { return nil }
        let own = configuration.subcommands.map { $0.configuration.commandName ?? "" } + ["help"]
        return own.contains(arguments[2]) ? nil : Array(arguments.dropFirst(2))
    }
}
