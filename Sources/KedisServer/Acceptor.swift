// What accepts connections on a socket that listens, and the rules for who is let in, whatever the transport.

import KedisCommands
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Accepts on a socket, which it owns. Threads: any.
protocol Acceptor: AnyObject, Sendable {
    /// Begins to accept. `hasFailed` is called when nothing can be accepted.
    func start(hasFailed: @escaping @Sendable (any Error) -> Void)

    /// Waits until connections are accepted, or throws why they are not.
    func waitForStart() async throws

    /// Accepts no more, and closes the socket soon.
    func closeSoon()

    /// The same, and waits for it.
    func close() async
}

/// What a connection comes in through.
enum DoorKind: Sendable {
    case plain
    case encrypted
    case unixSocket
}

/// More than a connection takes for itself: session, and what its transport keeps.
private let connectionByteCount = 256 << 10
/// With TLS also the state of BoringSSL and two buffers of records, which nothing can refuse later.
private let encryptedConnectionByteCount = 1 << 20

extension ServerContext {
    /// Why a connection is refused; nil when it is let in, and counts from now on. `ipAddress` is nil for a Unix
    /// socket; a TCP peer that has reset its connection by now has no address any more, but what it sent can still be
    /// read: it counts as one from elsewhere.
    func admit(ipAddress: String?, _ kind: DoorKind) -> Refusal? {
        let refusal = refusal(ipAddress: ipAddress, kind)
        if refusal == nil {
            engine.statistics.connectionsReceived.wrappingAdd(1, ordering: .relaxed)
        } else {
            engine.statistics.connectionsRejected.wrappingAdd(1, ordering: .relaxed)
        }
        return refusal
    }

    private func refusal(ipAddress: String?, _ kind: DoorKind) -> Refusal? {
        let isProtected = engine.configuration.isProtected.load(ordering: .relaxed) && engine.access.admitsAnybody
        if isRefusedByProtectedMode(ipAddress: ipAddress, isProtected: isProtected) { return .protected }
        let byteCount = kind == .encrypted ? encryptedConnectionByteCount : connectionByteCount
        guard hasHeadroom(beside: byteCount) else { return .memoryExhausted }
        return admitConnection() ? nil : .tooManyClients
    }

    /// `tcp-keepalive` as it is now: it may change while the server runs. A connection without it works as well.
    func keepAlive(_ descriptor: Int32) {
        let seconds = engine.configuration.keepAliveSeconds.load(ordering: .relaxed)
        guard seconds > 0, descriptor >= 0 else { return }
        setOption(SOL_SOCKET, SO_KEEPALIVE, 1, of: descriptor)
        #if os(Linux)
        // As Redis spreads it: the first probe after the interval, two more a third of it apart.
        let interval = Int32(clamping: seconds)
        setOption(Int32(IPPROTO_TCP), TCP_KEEPIDLE, interval, of: descriptor)
        setOption(Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, interval / 3), of: descriptor)
        setOption(Int32(IPPROTO_TCP), TCP_KEEPCNT, 3, of: descriptor)
        #endif
    }
}
