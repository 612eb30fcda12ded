// What all connections of a server share: engine, counts and the switch that ends it.
//
// Ownership: KedisServer's. Threads: any; atomics and immutable references only.

import KedisCommands
import Logging
import NIOCore
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

    var text: StaticString {
        switch self {
        case .tooManyClients: "-ERR max number of clients reached\r\n"
        case .protected:
            """
            -DENIED Kedis is in protected mode: no password is set, so only clients on this machine are let in. To let in \
            others, run CONFIG SET protected-mode no on this machine, or start the server with --protected-mode no.\r\n

            """
        }
    }
}

/// Whether protected mode refuses a peer: one from another machine, while the default user has no password.
func isRefusedByProtectedMode(_ peer: SocketAddress?, isProtected: Bool) -> Bool {
    guard isProtected, let peer else { return false }
    return !isLoopback(peer)
}

/// Whether an address is of this machine's loopback interface: 127.0.0.0/8, ::1, 127.0.0.0/8 mapped into IPv6, a Unix socket.
func isLoopback(_ address: SocketAddress) -> Bool {
    switch address {
    case .unixDomainSocket: return true
    case .v4: return address.ipAddress?.hasPrefix("127.") ?? false
    case .v6:
        let text = address.ipAddress ?? ""
        return text == "::1" || text.hasPrefix("::ffff:127.")
    }
}
