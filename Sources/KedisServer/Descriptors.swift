// Whole files by their descriptors, for what is read and written as it stands: configuration, certificates, numbers of
// processes. Calls that a signal interrupted are made again. Failures are told by `errno`.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What became of reading a file.
package enum WholeFile {
    case bytes([UInt8])
    /// It has more bytes than wanted.
    case tooLong
    /// `errno` says why.
    case unreadable
}

/// Reads to the end, at most about `byteCountMax` bytes.
package func readAll(_ descriptor: Int32, byteCountMax: Int = .max) -> WholeFile {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while bytes.count <= byteCountMax {
        let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { return .unreadable }
        guard count > 0 else { return .bytes(bytes) }
        bytes += chunk[0..<count]
    }
    return .tooLong
}

/// Writes all of `bytes`; false when that fails.
func writeAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
        let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return false }
        rest = rest.dropFirst(count)
    }
    return true
}

/// The system's words for `errno`.
func systemText() -> String { String(cString: strerror(errno)) }
