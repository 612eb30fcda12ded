// What all connections of a server share: engine, counts and the switch that ends it.
//
// Ownership: KedisServer's. Threads: any; atomics and immutable references only.

import KedisCommands
import KedisDurability
import Logging
import Synchronization

final class ServerContext: Sendable {
    let engine: Engine
    let logger: Logger
    let encryption: TransportEncryption
    /// Connections that count against `maxclients`.
    let connectionCount = Atomic<Int>(0)
    /// After the last save no reply leaves: nobody may be told of a change that is not in it.
    let isStopped = Atomic<Bool>(false)
    let rhythm = TickRhythm()
    let gate = DurabilityGate()

    init(engine: Engine, logger: Logger, encryption: TransportEncryption) {
        self.encryption = encryption
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
            -DENIED Kedis is in protected mode: the user default has no password, so only clients on this machine are \
            let in. To let in others, set a password (requirepass), run CONFIG SET protected-mode no on this machine, \
            or start the server with --protected-mode no.\r\n

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
