// Files of certificates and keys, and the words for what is wrong with them.
//
// Files are read here, whole and only when they are plain files of a sensible size, so that what is wrong is told in
// the system's words, and nothing that a directive or an option names can hold up or end the process.

import NIOCore
package import NIOSSL

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Why there is no TLS with what was given: a sentence for people.
package struct TLSProblem: Error {
    package let text: String

    package init(_ text: String) { self.text = text }
}

/// The certificates of a PEM file, at least one. `path` is for the message.
package func certificateList(in bytes: [UInt8], from path: String) throws(TLSProblem) -> [NIOSSLCertificate] {
    let certificates = (try? NIOSSLCertificate.fromPEMBytes(bytes)) ?? []
    guard !certificates.isEmpty else { throw TLSProblem("\(path) has no PEM certificate that can be read") }
    return certificates
}

/// The key of a PEM file, which may need a password. `path` is for the message.
package func privateKey(in bytes: [UInt8], password: String, from path: String) throws(TLSProblem) -> NIOSSLPrivateKey {
    let password = Array(password.utf8)
    // SwiftNIO's hook for passwords takes no others.
    guard password.allSatisfy({ $0 < 0x80 }) else { throw TLSProblem("the password of \(path) must be ASCII") }
    do {
        // Without the hook an encrypted key would make BoringSSL ask at the terminal.
        return try NIOSSLPrivateKey(bytes: bytes, format: .pem) { $0(password) }
    } catch {
        throw TLSProblem("\(path) has no PEM key that can be read, or another password")
    }
}

/// Certificates of all authorities of a system take 200 KiB.
private let fileByteCountMax = 16 << 20

/// The contents of a plain file.
package func readPlainFile(_ path: String) throws(TLSProblem) -> [UInt8] {
    // A pipe that nobody writes to must not keep the caller.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw TLSProblem("\(path): \(systemText())") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw TLSProblem("\(path): \(systemText())") }
    guard status.st_mode & S_IFMT == S_IFREG else { throw TLSProblem("\(path) is no plain file") }
    switch readAll(descriptor, byteCountMax: fileByteCountMax) {
    case .bytes(let bytes): return bytes
    case .unreadable: throw TLSProblem("\(path): \(systemText())")
    case .tooLong: throw TLSProblem("\(path) is too large")
    }
}

/// What went wrong in TLS, in few words: of BoringSSL's text, which names its own source, the reason.
package func describe(_ error: any Error) -> String {
    let text: String
    switch error {
    case NIOSSLError.handshakeFailed(.sslError(let stack)), BoringSSLError.sslError(let stack),
        BoringSSLError.unknownError(let stack):
        text = stack.first?.description ?? "unknown"
    case NIOSSLError.uncleanShutdown: return "the peer ended the connection without saying so"
    case let error as IOError: return String(cString: strerror(error.errnoCode))
    default: text = "\(error)"
    }
    guard let start = text.firstRange(of: "OPENSSL_internal:")?.upperBound else { return text }
    return text[start...].prefix { $0 != " " }.lowercased().replacing("_", with: " ")
}
