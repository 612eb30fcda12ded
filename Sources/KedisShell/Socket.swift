// A blocking stream socket: connecting, sending, receiving. Owned by one `WireClient`.
//
// Safe against interrupted calls and against a peer that is gone (no SIGPIPE). Messages are the system's words.

import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Where a server listens.
package enum WireEndpoint: Equatable, Sendable {
    case tcp(host: String, port: UInt16)
    case unix(path: String)

    package var name: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): path
        }
    }
}

/// Why something between client and server failed, in a sentence for a person.
package struct WireError: Error, Equatable, Sendable {
    package var message: String
    /// Nothing came for as long as the client would wait.
    package var isSilence = false

    package init(message: String) {
        self.message = message
    }

    static func silence(seconds: Int) -> WireError {
        var error = WireError(message: "No replies for \(seconds) seconds: exiting.")
        error.isSilence = true
        return error
    }
}

#if canImport(Glibc)
private let streamType = Int32(SOCK_STREAM.rawValue)
#else
private let streamType = SOCK_STREAM
#endif

#if canImport(Darwin)
private let sendFlags: Int32 = 0
#else
private let sendFlags = Int32(MSG_NOSIGNAL)
#endif

struct Socket: ~Copyable {

    private let descriptor: Int32

    deinit {
        close(descriptor)
    }

    private init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    // MARK: Connecting

    init(_ endpoint: WireEndpoint) throws(WireError) {
        switch endpoint {
        case .tcp(let host, let port): self = try Socket.connectTCP(host, port)
        case .unix(let path): self = try Socket.connectUnix(path)
        }
    }

    private static func connectTCP(_ host: String, _ port: UInt16) throws(WireError) -> Socket {
        var hints = addrinfo()
        hints.ai_socktype = streamType
        hints.ai_family = AF_UNSPEC
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, String(port), &hints, &list)
        guard status == 0 else { throw WireError(message: String(cString: gai_strerror(status))) }
        defer { freeaddrinfo(list) }
        var failure: Int32 = EHOSTUNREACH
        var next = list
        while let candidate = next?.pointee {
            next = candidate.ai_next
            let descriptor = socket(candidate.ai_family, candidate.ai_socktype, candidate.ai_protocol)
            guard descriptor >= 0 else {
                failure = errno
                continue
            }
            failure = establish(descriptor, candidate.ai_addr, candidate.ai_addrlen)
            guard failure == 0 else {
                close(descriptor)
                continue
            }
            var isOn: Int32 = 1
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &isOn, socklen_t(MemoryLayout<Int32>.size))
            return Socket(descriptor: descriptor)
        }
        throw WireError(message: errorText(failure))
    }

    private static func connectUnix(_ path: String) throws(WireError) -> Socket {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { room in
            guard bytes.count < room.count, !bytes.contains(0) else { return false }
            room.copyBytes(from: bytes)
            return true
        }
        guard fits else { throw WireError(message: errorText(ENAMETOOLONG)) }
        let descriptor = socket(AF_UNIX, streamType, 0)
        guard descriptor >= 0 else { throw WireError(message: errorText(errno)) }
        let failure = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                establish(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard failure == 0 else {
            close(descriptor)
            throw WireError(message: errorText(failure))
        }
        return Socket(descriptor: descriptor)
    }

    /// Connects and returns 0 or the error's number. An interrupted connect goes on by itself: wait for its end.
    private static func establish(
        _ descriptor: Int32, _ address: UnsafePointer<sockaddr>?, _ byteCount: socklen_t
    ) -> Int32 {
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        #if canImport(Darwin)
        var isOn: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_NOSIGPIPE, &isOn, socklen_t(MemoryLayout<Int32>.size))
        #endif
        guard let address else { return EINVAL }
        if connect(descriptor, address, byteCount) == 0 { return 0 }
        guard errno == EINTR else { return errno }
        var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        while poll(&request, 1, -1) < 0 {
            guard errno == EINTR else { return errno }
        }
        var failure: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &size) == 0 else { return errno }
        return failure
    }

    // MARK: Traffic

    /// False if the peer has closed the connection or it is broken; does not wait and takes no byte.
    borrowing func isAlive() -> Bool {
        var byte: UInt8 = 0
        while true {
            let count = recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
            if count > 0 { return true }
            guard count < 0 else { return false }
            if errno == EINTR { continue }
            return errno == EAGAIN || errno == EWOULDBLOCK
        }
    }

    /// True if there is something to receive, or the end; does not wait.
    borrowing func hasBytes() -> Bool {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&request, 1, 0) > 0
    }

    /// Waits until there is something to receive, Ctrl-C, or the patience is over. The signal may arrive on another
    /// thread: look often.
    private borrowing func waitForBytes(_ patience: WirePatience) throws(WireError) {
        let start = monotonicNanoseconds()
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        while true {
            let count = poll(&request, 1, 100)
            // What is wrong with the socket, the call that receives will say.
            if count > 0 || (count < 0 && errno != EINTR) { return }
            if patience.isInterruptible, Interruption.isRequested {
                throw WireError(message: "interrupted; the connection is closed")
            }
            if let seconds = patience.secondsMax, monotonicNanoseconds() &- start >= UInt64(seconds) * 1_000_000_000 {
                throw .silence(seconds: seconds)
            }
        }
    }

    borrowing func sendAll(_ bytes: [UInt8]) throws(WireError) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                send(descriptor, buffer.baseAddress.map { $0 + sent }, buffer.count - sent, sendFlags)
            }
            if count > 0 {
                sent += count
            } else if count < 0, errno != EINTR {
                throw WireError(message: errorText(errno))
            }
        }
    }

    /// Waits for bytes and puts them into `buffer`. Returns how many; 0 at the end.
    borrowing func receive(into buffer: inout [UInt8], _ patience: WirePatience) throws(WireError) -> Int {
        if patience.isBounded { try waitForBytes(patience) }
        while true {
            let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
            if count >= 0 { return count }
            guard errno == EINTR else { throw WireError(message: errorText(errno)) }
        }
    }
}

/// What ends the wait for bytes before they come.
struct WirePatience {
    /// Ctrl-C does.
    var isInterruptible = false
    /// So many seconds without any.
    var secondsMax: Int?

    var isBounded: Bool { isInterruptible || secondsMax != nil }
}

private func errorText(_ number: Int32) -> String {
    strerror(number).map { String(cString: $0) } ?? "error \(number)"
}
