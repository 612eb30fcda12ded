// The program `kedis`: argument parsing and little else. Each subcommand puts parts of the libraries together.

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
}
