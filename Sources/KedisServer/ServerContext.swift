// What all connections of a server share: engine, counts and the switch that ends it.
//
// Ownership: KedisServer's. Threads: any; atomics and immutable references only.

import KedisCommands
import Logging
import Synchronization

final class ServerContext: Sendable {
    let engine: Engine
    let logger: Logger
    /// Connections that count against `maxclients`.
    let connectionCount = Atomic<Int>(0)
    /// After the last save no reply leaves: nobody may be told of a change that is not in it.
    let isStopped = Atomic<Bool>(false)

    init(engine: Engine, logger: Logger) {
        self.engine = engine
        self.logger = logger
    }

    /// Takes a place for a connection, or says that none is left.
    func admitConnection() -> Bool {
        let limit = engine.configuration.clientCountMax.load(ordering: .relaxed)
        if connectionCount.wrappingAdd(1, ordering: .relaxed).newValue <= limit { return true }
        releaseConnection()
        return false
    }

    func releaseConnection() { connectionCount.wrappingSubtract(1, ordering: .relaxed) }
}

/// Why a connection is refused before it may say anything.
enum Refusal: Equatable {
    case tooManyClients
    case protected
    case memoryExhausted

    var text: StaticString {
        switch self {
        case .tooManyClients: "-ERR max number of clients reached\r\n"
        case .memoryExhausted: "-OOM out of memory: there is none for another connection\r\n"
        case .protected:
            """
            -DENIED Redis is running in protected mode because protected mode is enabled and no password is set for \
            the default user. In this mode connections are only accepted from the loopback interface. If you want to \
            connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable \
            protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by \
            connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly \
            accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively \
            you can just disable the protected mode by editing the Redis configuration file, and setting the \
            protected mode option to 'no', and then restarting the server. 3) If you started the server manually just \
            for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for \
            the default user. NOTE: You only need to do one of the above things in order for the server to start \
            accepting connections from the outside.\r\n
            """
        }
    }
}

/// Whether protected mode refuses a peer, the default user needing no password: one from another machine. This
/// machine's are 127.0.0.0/8, also mapped into IPv6, ::1, and Unix sockets, which have no IP address.
package func isRefusedByProtectedMode(ipAddress: String?, isProtected: Bool) -> Bool {
    guard isProtected, let ipAddress else { return false }
    return !(ipAddress.hasPrefix("127.") || ipAddress == "::1" || ipAddress.hasPrefix("::ffff:127."))
}
