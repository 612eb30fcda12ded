// What a shell talks to: an engine in the process or a server. Values of plain functions, so that the shell depends on
// neither, and tests can put anything in their place.

package import KedisProtocol

/// Why a command got no reply.
package struct ShellFailure: Error, Equatable, Sendable {
    /// For a person. Empty: nothing is shown.
    package var message: String
    /// True if no further command can succeed.
    package var endsSession: Bool

    package init(message: String, endsSession: Bool = false) {
        self.message = message
        self.endsSession = endsSession
    }
}

package struct ShellBackend {
    /// What the prompt begins with: `kedis`, `127.0.0.1:6379`, `not connected`. The shell adds database and state.
    package var name: () -> String
    package var execute: ([[UInt8]]) -> Result<Reply, ShellFailure>
    /// Waits for a reply without a request (after SUBSCRIBE, MONITOR). Nil where there is no such thing.
    package var receive: (() -> Result<Reply, ShellFailure>)?
    package var catalog: CommandCatalog?

    package init(
        name: @escaping () -> String,
        execute: @escaping ([[UInt8]]) -> Result<Reply, ShellFailure>,
        receive: (() -> Result<Reply, ShellFailure>)? = nil,
        catalog: CommandCatalog? = nil
    ) {
        self.name = name
        self.execute = execute
        self.receive = receive
        self.catalog = catalog
    }

    /// A server over the wire. Its catalog is asked for if `wantsCatalog`, as only an interactive shell needs it.
    package init(client: WireClient, wantsCatalog: Bool) {
        let endpoint = client.options.endpoint.name
        self.init(
            name: { client.isConnected ? endpoint : "not connected" },
            execute: { arguments in
                Result { () throws(WireError) in try client.execute(arguments) }
                    .mapError { ShellFailure(message: $0.message) }
            },
            receive: {
                Result { () throws(WireError) in try client.receive() }.mapError { ShellFailure(message: $0.message) }
            }
        )
        if wantsCatalog { loadCatalog() }
    }

    /// Asks the backend itself what commands it has. Without an answer there is no help, no hint, no completion.
    package mutating func loadCatalog() {
        guard case .success(let reply) = execute([Array("COMMAND".utf8), Array("DOCS".utf8)]) else { return }
        let loaded = CommandCatalog(documentation: reply)
        catalog = loaded.isEmpty ? nil : loaded
    }
}
