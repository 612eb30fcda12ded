// The address of one end of a TCP connection, as the system tells it and as CLIENT LIST shows it.

import CKedis

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct PeerAddress {
    private var storage = sockaddr_storage()

    init() {}

    /// This machine's end of a connection.
    init(localOf descriptor: Int32) {
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
        }
    }

    #if os(Linux)
    /// Takes the next connection of a socket that listens, and its peer's address; -1 with `errno` when there is none.
    mutating func accept(_ listening: Int32) -> Int32 {
        var length = UInt32(MemoryLayout<sockaddr_storage>.size)
        return kedis_accept(listening, &storage, &length)
    }
    #endif

    /// The IP address; nil when there is none.
    var host: String? {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let isKnown = withUnsafeBytes(of: storage) { bytes in
            // Behind family and port in IPv4, and the flow as well in IPv6.
            let family = Int32(storage.ss_family)
            guard family == AF_INET || family == AF_INET6, let base = bytes.baseAddress else { return false }
            return inet_ntop(family, base + (family == AF_INET ? 4 : 8), &text, socklen_t(text.count)) != nil
        }
        return isKnown ? text.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } } : nil
    }

    /// It stands behind the family; 0 without an address.
    var port: Int {
        withUnsafeBytes(of: storage) { Int(UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self))) }
    }

    /// `127.0.0.1:51234`, `[::1]:51234`, or `?:0`.
    var text: String {
        guard let host else { return "?:0" }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
