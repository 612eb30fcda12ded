// The sockets that the server listens on: one for each address of `bind` and each port, and the Unix socket. CONFIG SET
// of `bind`, `port` and `tls-port` opens what is new and closes what is gone; the connections that are there stay.
//
// Sockets are opened by plain system calls, so that it is known at once whether an address can be had; an acceptor of
// the transport takes them over: the native loops' for plain connections, SwiftNIO's for others.
// Ownership: KedisServer's. Threads: any, a mutex; CONFIG SET comes one at a time.

import KedisCommands
import KedisStore
import NIOCore
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

final class ListeningSockets: Sendable {
    /// The ports to listen on, 0 for one that the system chooses.
    struct Ports: Equatable {
        var plain: Int?
        var encrypted: Int?
    }

    private struct Open: Sendable {
        var place: ListeningPlace
        /// Accepts on the socket.
        var acceptor: any Acceptor
        /// Another number of the acceptor's socket, -1 for none: with it the address is free at once, whenever the
        /// acceptor closes its own.
        var descriptor: Int32
    }

    private struct State: Sendable {
        var open: [Open] = []
        var ports = Ports()
        var isClosed = false
    }

    private let server: ServerContext
    private let loops: ServerLoops
    private let configuration: Configuration
    private let log: @Sendable (KedisCommands.LogLevel, String) -> Void
    private let state = Locked(State())

    init(
        server: ServerContext, loops: ServerLoops, log: @escaping @Sendable (KedisCommands.LogLevel, String) -> Void
    ) {
        self.server = server
        self.loops = loops
        configuration = server.engine.configuration
        self.log = log
    }

    /// The ports that are bound; 0 for none.
    var ports: (plain: Int, encrypted: Int) {
        state.withLock { ($0.ports.plain ?? 0, $0.ports.encrypted ?? 0) }
    }

    // MARK: Opening and closing

    /// At the start: all that the configuration names.
    func openAll(_ ports: Ports) async throws(StartError) {
        do throws(StartError) {
            for place in places(at: ports) {
                if let one = try open(place) { keep(one) }
            }
            let path = configuration.text("unixsocket")
            if !path.isEmpty { keep(try open(path: path)) }
            guard state.withLock({ !$0.open.isEmpty }) else {
                throw StartError("there is nothing to listen on: no port, no tls-port and no unixsocket")
            }
            for one in state.withLock({ $0.open }) { try await wait(one) }
        } catch {
            await closeAll()
            throw error
        }
    }

    private func wait(_ one: Open) async throws(StartError) {
        do {
            try await one.acceptor.waitForStart()
        } catch {
            throw StartError("cannot listen on \(one.place): \(error)")
        }
    }

    /// Closes all, and removes the Unix socket's file.
    func closeAll() async {
        let open = state.withLock { state in
            defer {
                state = State()
                state.isClosed = true
            }
            return state.open
        }
        for one in open {
            release(one.descriptor)
            await one.acceptor.close()
            if one.place.kind == .unixSocket { removeFile(one.place.host) }
        }
    }

    /// After CONFIG SET of `names`: nil, or which of them cannot be, and everything is as it was.
    func apply(_ names: [String]) -> ConfigurationProblem? {
        guard let name = names.first(where: { ["bind", "port", "tls-port"].contains($0) }) else { return nil }
        let before = state.withLock { $0 }
        var ports = before.ports
        if names.contains("port") { ports.plain = port("port") }
        if names.contains("tls-port") { ports.encrypted = port("tls-port") }
        let wanted = places(at: ports)
        let gone = before.open.filter { $0.place.kind != .unixSocket && !wanted.contains($0.place) }
        // One socket may be in the way of another: 127.0.0.1 and * share a port only one after the other.
        for one in gone { _ = shutdown(one.descriptor, Int32(SHUT_RDWR)) }
        state.withLock { state in
            state.ports = ports
            state.open.removeAll { one in gone.contains { $0.place == one.place } }
        }
        var made: [Open] = []
        do throws(StartError) {
            for place in wanted where !before.open.contains(where: { $0.place == place }) {
                if let one = try open(place) { made.append(one) }
            }
        } catch {
            log(.warning, "\(error)")
            for one in made + gone { closeLater(one) }
            state.withLock { $0.ports = before.ports }
            restore(gone.map(\.place))
            return ConfigurationProblem(
                name: name,
                reason: name == "bind"
                    ? "Failed to bind to specified addresses."
                    : "Unable to listen on this port. Check server logs.")
        }
        for one in gone {
            closeLater(one)
            log(.notice, "No longer listening on \(one.place)")
        }
        for one in made { keep(one) }
        return nil
    }

    /// Opens again what was shut for something that could not be.
    private func restore(_ places: [ListeningPlace]) {
        for place in places {
            do throws(StartError) {
                if let one = try open(place) { keep(one) }
            } catch {
                log(.warning, "\(error)")
            }
        }
    }

    /// The directive's port; nil when it is 0.
    private func port(_ name: String) -> Int? {
        let port = configuration.integer(name)
        return port > 0 ? port : nil
    }

    private func places(at ports: Ports) -> [ListeningPlace] {
        let hosts = configuration.text("bind").split(separator: " ").map(String.init)
        var result: [ListeningPlace] = []
        for (port, kind) in [(ports.plain, DoorKind.plain), (ports.encrypted, .encrypted)] {
            guard let port else { continue }
            for host in hosts {
                let place = ListeningPlace(host: host, port: port, kind: kind)
                if !result.contains(place) { result.append(place) }
            }
        }
        return result
    }

    // MARK: One socket

    /// Nil when the address is not there, and its leading `-` allows that.
    private func open(_ place: ListeningPlace) throws(StartError) -> Open? {
        let target: SocketAddress
        do {
            target = try SocketAddress.makeAddressResolvingHost(place.address, port: place.port)
        } catch {
            throw StartError("cannot listen on \(place): \(error)")
        }
        let descriptor = openListeningSocket(
            target, backlog: Int32(clamping: configuration.integer("tcp-backlog")),
            mark: UInt32(clamping: configuration.integer("socket-mark-id")))
        guard descriptor >= 0 else {
            let code = errno
            if place.isOptional, [EADDRNOTAVAIL, EAFNOSUPPORT].contains(code) { return nil }
            throw StartError("cannot listen on \(place): \(String(cString: strerror(code)))")
        }
        var bound = place
        bound.port = PeerAddress(localOf: descriptor).port
        let other = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        return Open(place: bound, acceptor: accept(on: descriptor, bound), descriptor: other)
    }

    private func open(path: String) throws(StartError) -> Open {
        let backlog = Int32(clamping: configuration.integer("tcp-backlog"))
        let descriptor = try openUnixSocket(path, backlog: backlog, permissions: configuration.text("unixsocketperm"))
        let place = ListeningPlace(host: path, port: 0, kind: .unixSocket)
        return Open(place: place, acceptor: accept(on: descriptor, place), descriptor: -1)
    }

    /// Gives a socket that listens to an acceptor.
    private func accept(on descriptor: Int32, _ place: ListeningPlace) -> any Acceptor {
        #if os(Linux)
        if place.kind != .encrypted, loops.isNative {
            return NativeAcceptor(
                server: server, parts: loops.nativeParts, descriptor: descriptor, kind: place.kind, path: place.host)
        }
        #endif
        let part = loops.nio()
        return Listener(server: server, group: part.group, loops: part.clients).accept(on: descriptor, place.kind)
    }

    private func keep(_ one: Open) {
        let isClosed = state.withLock { state in
            guard !state.isClosed else { return true }
            state.open.append(one)
            // What the system has chosen is the port from here on.
            switch one.place.kind {
            case .plain: state.ports.plain = one.place.port
            case .encrypted: state.ports.encrypted = one.place.port
            case .unixSocket: break
            }
            return false
        }
        guard !isClosed else { return closeLater(one) }
        log(.notice, "Listening on \(one.place)")
        one.acceptor.start { [self] error in
            log(.warning, "Nothing is accepted on \(one.place): \(error)")
            let isMine = state.withLock { state in
                let index = state.open.firstIndex { $0.descriptor == one.descriptor }
                if let index { state.open.remove(at: index) }
                return index != nil
            }
            if isMine { release(one.descriptor) }
        }
    }

    private func closeLater(_ one: Open) {
        _ = shutdown(one.descriptor, Int32(SHUT_RDWR))
        release(one.descriptor)
        one.acceptor.closeSoon()
    }

    private func release(_ descriptor: Int32) {
        if descriptor >= 0 { close(descriptor) }
    }
}

/// An address as `bind` names it, at a port.
struct ListeningPlace: Equatable, Sendable, CustomStringConvertible {
    var host: String
    var port: Int
    var kind: DoorKind

    /// It may be missing.
    var isOptional: Bool { host.hasPrefix("-") }

    /// The address, or a name of it.
    var address: String {
        switch isOptional ? String(host.dropFirst()) : host {
        case "*": "0.0.0.0"
        case "::*": "::"
        case let name: name
        }
    }

    var description: String {
        switch kind {
        case .plain: "\(address):\(port)"
        case .encrypted: "\(address):\(port) with TLS"
        case .unixSocket: "the Unix socket \(host)"
        }
    }
}
