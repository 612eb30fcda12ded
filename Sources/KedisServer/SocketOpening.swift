// Sockets that listen, opened by plain system calls, and what is asked of them.

import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A TCP socket that listens at `target`, or -1 and `errno`.
func openListeningSocket(_ target: SocketAddress, backlog: Int32, mark: UInt32) -> Int32 {
    let family = target.protocol == .inet6 ? AF_INET6 : AF_INET
    let descriptor = streamSocket(family)
    guard descriptor >= 0 else { return -1 }
    setOption(SOL_SOCKET, SO_REUSEADDR, 1, of: descriptor)
    if family == AF_INET6 { setOption(Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1, of: descriptor) }
    #if os(Linux)
    if mark > 0 { setOption(SOL_SOCKET, SO_MARK, Int32(bitPattern: mark), of: descriptor) }
    #endif
    let isBound = target.withSockAddr { address, length in bind(descriptor, address, socklen_t(length)) } == 0
    guard isBound, listen(descriptor, backlog) == 0 else {
        let code = errno
        close(descriptor)
        errno = code
        return -1
    }
    return descriptor
}

/// A Unix socket that listens at `path`, with the permissions that an octal number says; 0 leaves them as they are. A
/// socket that another server has left there is removed.
func openUnixSocket(_ path: String, backlog: Int32, permissions: String) throws(StartError) -> Int32 {
    func problem(_ code: Int32) -> StartError {
        StartError("cannot listen on the Unix socket \(path): \(String(cString: strerror(code)))")
    }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else { throw problem(ENAMETOOLONG) }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    var status = stat()
    if lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK { unlink(path) }
    let descriptor = streamSocket(AF_UNIX)
    guard descriptor >= 0 else { throw problem(errno) }
    let isBound = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
    guard isBound == 0, listen(descriptor, backlog) == 0 else {
        let code = errno
        close(descriptor)
        throw problem(code)
    }
    let mode = mode_t(permissions, radix: 8) ?? 0
    guard mode == 0 || chmod(path, mode) == 0 else {
        let code = errno
        close(descriptor)
        throw StartError("cannot set the permissions of \(path): \(String(cString: strerror(code)))")
    }
    return descriptor
}

/// A socket that no other program inherits, or -1 and `errno`.
private func streamSocket(_ family: Int32) -> Int32 {
    #if canImport(Darwin)
    let descriptor = socket(family, SOCK_STREAM, 0)
    if descriptor >= 0 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    return descriptor
    #elseif canImport(Glibc)
    return socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    #else
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)
    #endif
}

func setOption(_ level: Int32, _ option: Int32, _ value: Int32, of descriptor: Int32) {
    var value = value
    _ = setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
}
