// Accepts connections on a socket that listens, on the first native loop, and hands them to the loops in turn.
//
// A burst is accepted in one round, up to a limit, so that the connections that are there have their turn. Without a
// descriptor or memory left for a connection, the loop looks at the socket again a moment later, and not before: it
// would be ready all the time.
//
// Ownership: ListeningSockets has the acceptor, the loop while it accepts; the acceptor owns the descriptor. Threads:
// the loop's, but for what `Acceptor` says.

#if os(Linux)

import CKedis
import KedisCommands
import KedisStore
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

final class NativeAcceptor: EventSource, Acceptor, @unchecked Sendable {
    // Sendable: what changes is locked, or touched on the loop's thread only.

    typealias Part = (loop: NativeLoop, clients: LoopClients)

    private let server: ServerContext
    private let loop: NativeLoop
    private let parts: [Part]
    private let kind: DoorKind
    /// The path of a Unix socket.
    private let path: String
    private var descriptor: Int32
    /// Which loop is next.
    private var turn = 0
    private var isClosed = false
    private var hasComplained = false
    /// Why nothing is accepted.
    private let failure = Locked<StartError?>(nil)

    private static let burstMax = 64
    private static let pauseMilliseconds: Int64 = 100

    /// Takes over `descriptor`, which listens.
    init(server: ServerContext, parts: [Part], descriptor: Int32, kind: DoorKind, path: String) {
        self.server = server
        self.parts = parts
        self.descriptor = descriptor
        self.kind = kind
        self.path = path
        loop = parts[0].loop
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    func start(hasFailed: @escaping @Sendable (any Error) -> Void) {
        loop.execute { [self] in
            guard !isClosed else { return }
            guard !loop.add(self, descriptor, kedis_event_input, isEdge: false) else { return }
            let error = StartError("cannot wait for connections: \(systemText())")
            failure.withLock { $0 = error }
            closeHere()
            hasFailed(error)
        }
    }

    func waitForStart() async throws {
        await loop.run {}
        if let failure = failure.withLock({ $0 }) { throw failure }
    }

    func closeSoon() { loop.execute { [self] in closeHere() } }

    func close() async { await loop.run { [self] in closeHere() } }

    private func closeHere() {
        guard !isClosed else { return }
        isClosed = true
        loop.remove(self)
        closeDescriptor(descriptor)
        descriptor = -1
    }

    // MARK: Accepting

    override func isReady(_ flags: UInt32) {
        for _ in 0..<Self.burstMax {
            guard !isClosed else { return }
            var address = PeerAddress()
            let accepted = address.accept(descriptor)
            if accepted >= 0 {
                hand(accepted, address)
            } else if !goesOn(errno) {
                return
            }
        }
    }

    /// Whether to accept on after `code`: one connection may have ended before it came in.
    private func goesOn(_ code: Int32) -> Bool {
        switch code {
        case EINTR, ECONNABORTED, EPROTO: return true
        case EAGAIN, EWOULDBLOCK: return false
        case EINVAL:
            // It was shut down, and will be closed.
            loop.suspend(descriptor)
            return false
        default:
            pause(code)
            return false
        }
    }

    private func pause(_ code: Int32) {
        if !hasComplained {
            hasComplained = true
            server.engine.host.log(.warning, "Error accepting a client connection: \(String(cString: strerror(code)))")
        }
        loop.suspend(descriptor)
        resumeLater()
    }

    private func resumeLater() {
        _ = loop.schedule(inMilliseconds: Self.pauseMilliseconds) { [self] in
            guard !isClosed, !loop.resume(self, descriptor, kedis_event_input) else { return }
            resumeLater()
        }
    }

    private func hand(_ accepted: Int32, _ address: PeerAddress) {
        hasComplained = false
        let part = parts[turn]
        turn = (turn + 1) % parts.count
        let arrival = Arrival(
            server: server, part: part, descriptor: accepted, address: address,
            identifier: server.engine.clients.takeIdentifier(), kind: kind, path: path)
        if part.loop === loop { arrival.enter() } else { part.loop.execute { arrival.enter() } }
    }
}

/// A connection that was accepted and is to be let in or refused, on the loop that it goes to.
private struct Arrival: @unchecked Sendable {
    // Sendable: its parts are, but for the tuple that Swift does not look into.

    let server: ServerContext
    let part: NativeAcceptor.Part
    let descriptor: Int32
    let address: PeerAddress
    let identifier: Int64
    let kind: DoorKind
    let path: String

    func enter() {
        let peer = kind == .unixSocket ? nil : address.host
        if let refusal = server.admit(ipAddress: kind == .unixSocket ? nil : peer ?? "unknown", kind) {
            return refuse(refusal)
        }
        if kind != .unixSocket {
            setOption(Int32(IPPROTO_TCP), TCP_NODELAY, 1, of: descriptor)
            server.keepAlive(descriptor)
        }
        let kind = part.loop.ring == nil ? NativeSocket.self : RingSocket.self
        kind.init(
            server: server, clients: part.clients, loop: part.loop, endpoint: endpoint, identifier: identifier
        ).begin()
    }

    /// Says why, as far as the socket takes that at once: it is empty.
    private func refuse(_ refusal: Refusal) {
        let text = refusal.text
        _ = kedis_send(descriptor, text.utf8Start, text.utf8CodeUnitCount)
        closeDescriptor(descriptor)
    }

    private var endpoint: ClientEndpoint {
        guard kind != .unixSocket else {
            return ClientEndpoint(
                address: path + ":0", localAddress: path + ":0", descriptor: descriptor, isUnixSocket: true)
        }
        return ClientEndpoint(
            address: address.text, localAddress: PeerAddress(localOf: descriptor).text, descriptor: descriptor)
    }
}

/// The C function, whose name a method above hides.
private func closeDescriptor(_ descriptor: Int32) { close(descriptor) }

#endif
