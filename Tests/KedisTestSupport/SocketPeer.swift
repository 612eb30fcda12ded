// A blocking TCP client on plain POSIX sockets, with time limits on every wait.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

package struct SocketError: Error, CustomStringConvertible {
    package let description: String

    init(_ what: String) { description = "\(what): \(String(cString: strerror(errno)))" }
}

extension RespPeer {
    /// Connects to a port of the loopback address.
    package static func connect(port: UInt16) throws -> RespPeer {
        let client = try LoopbackSocket(port: port)
        let inbox = RespInbox()
        return RespPeer(
            send: { client.send($0) },
            receive: { timeoutMilliseconds in
                let deadline = monotonicMilliseconds() + timeoutMilliseconds
                while true {
                    if let event = inbox.next() { return event }
                    if inbox.isClosed { return .closed }
                    switch client.receive(timeoutMilliseconds: max(0, deadline - monotonicMilliseconds())) {
                    case .bytes(let bytes): inbox.append(bytes)
                    case .closed: inbox.isClosed = true
                    case .timeout: return .timeout
                    }
                }
            },
            close: { client.close() }
        )
    }
}

func monotonicMilliseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Owns a connected socket; closed by `close` or when the last reference goes.
package final class LoopbackSocket {
    package enum Received {
        case bytes([UInt8])
        case closed
        case timeout
    }

    private var descriptor: Int32

    package init(port: UInt16, host: UInt32 = INADDR_LOOPBACK) throws {
        descriptor = try Self.makeDescriptor()
        var address = Self.loopback(port: port)
        address.sin_addr.s_addr = host.bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                posixConnect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            let error = SocketError("connecting to port \(port)")
            close()
            throw error
        }
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    }

    /// Connects to a Unix socket.
    package init(path: String) throws {
        descriptor = try Self.makeDescriptor(family: AF_UNIX)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { room in
            room.copyBytes(from: path.utf8.prefix(room.count - 1))
        }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                posixConnect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            let error = SocketError("connecting to \(path)")
            close()
            throw error
        }
    }

    deinit { close() }

    private static func makeDescriptor(family: Int32 = AF_INET) throws -> Int32 {
        #if canImport(Glibc)
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let descriptor = socket(family, SOCK_STREAM, 0)
        #endif
        guard descriptor >= 0 else { throw SocketError("making a socket") }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        return descriptor
    }

    private static func loopback(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    /// Sends all bytes. A broken connection is noticed by the next receive.
    package func send(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { posixSend(descriptor, $0.baseAddress, $0.count) }
            if count <= 0 { return }
            rest = rest.dropFirst(count)
        }
    }

    /// Ends this side: the peer finds the end of what is sent, and may send on.
    package func endSending() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

    package func receive(timeoutMilliseconds: Int) -> Received {
        var event = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&event, 1, Int32(clamping: timeoutMilliseconds)) > 0 else { return .timeout }
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        return count > 0 ? .bytes(Array(chunk[..<count])) : .closed
    }

    package func close() {
        guard descriptor >= 0 else { return }
        posixClose(descriptor)
        descriptor = -1
    }

    /// A port that was free a moment ago.
    package static func freePort() throws -> UInt16 {
        let descriptor = try makeDescriptor()
        defer { posixClose(descriptor) }
        var address = loopback(port: 0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 ? getsockname(descriptor, $0, &size) : -1
            }
        }
        guard result == 0 else { throw SocketError("looking for a free port") }
        return UInt16(bigEndian: address.sin_port)
    }
}

// The C functions whose names the methods above hide.

private func posixClose(_ descriptor: Int32) {
    _ = close(descriptor)
}

private func posixConnect(_ descriptor: Int32, _ address: UnsafePointer<sockaddr>, _ size: socklen_t) -> Int32 {
    connect(descriptor, address, size)
}

private func posixSend(_ descriptor: Int32, _ base: UnsafeRawPointer?, _ count: Int) -> Int {
    #if canImport(Darwin)
    send(descriptor, base, count, 0)
    #else
    send(descriptor, base, count, Int32(MSG_NOSIGNAL))
    #endif
}
