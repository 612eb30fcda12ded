// A blocking TLS client of the tests, and the certificates that they use, made anew each time by the openssl command.

import KedisTestSupport
import KedisUtilities
import NIOCore
import NIOEmbedded
import NIOSSL
import NIOTLS

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A folder of certificates, as Tests/clients/make-certificates.sh makes them.
struct TestCertificates {
    static let isPossible = ["/usr/bin/openssl", "/usr/local/bin/openssl", "/opt/homebrew/bin/openssl"].contains {
        (path: String) in access(path, X_OK) == 0
    }

    let folder: String

    init() throws {
        guard let folder = TestFiles.makeTemporaryFolder() else { throw TestServerError(description: "no folder") }
        self.folder = folder
        let script = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
        let process = try spawnProcess([
            "/bin/sh", "-c", "exec sh '/\(script)/clients/make-certificates.sh' '\(folder)' 2> '\(folder)/log'",
        ])
        var status: Int32 = 0
        waitpid(process, &status, 0)
        guard status == 0 else {
            let log = String(decoding: TestFiles.read("\(folder)/log") ?? [], as: UTF8.self)
            throw TestServerError(description: "no certificates: \(log)")
        }
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// The directives of a server with them, which asks no client for a certificate.
    var directives: [String] {
        [
            "--tls-port", "1", "--tls-cert-file", path("server.crt"), "--tls-key-file", path("server.key"),
            "--tls-ca-cert-file", path("ca.crt"), "--tls-auth-clients", "no",
        ]
    }

    func remove() { TestFiles.removeTemporaryFolder(folder) }
}

final class EncryptedSocket {
    let socket: LoopbackSocket
    private let channel = EmbeddedChannel()
    private let events = Events()

    private final class Events: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        var isEstablished = false
        var isEnded = false
        var error: (any Error)?

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            switch event as? TLSUserEvent {
            case .handshakeCompleted: isEstablished = true
            case .shutdownCompleted: isEnded = true
            case nil: break
            }
        }

        func channelInactive(context: ChannelHandlerContext) { isEnded = true }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { self.error = error }
    }

    /// Connects and does the handshake; throws when that fails.
    ///
    /// - Parameters:
    ///   - authority: the file of the authority to trust; nil trusts anybody.
    ///   - identity: the client's certificate and key without `.crt` and `.key`.
    init(port: UInt16, authority: String? = nil, identity: String? = nil) throws {
        var settings = TLSConfiguration.makeClientConfiguration()
        settings.certificateVerification = authority == nil ? .none : .noHostnameVerification
        if let authority { settings.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(authority)) }
        if let identity {
            settings.certificateChain = try NIOSSLCertificate.fromPEMFile("\(identity).crt").map { .certificate($0) }
            settings.privateKey = .privateKey(try NIOSSLPrivateKey(file: "\(identity).key", format: .pem))
        }
        settings.shutdownTimeout = .zero
        socket = try LoopbackSocket(port: port)
        let handler = try NIOSSLClientHandler(
            context: try NIOSSLContext(configuration: settings), serverHostname: nil)
        try channel.pipeline.syncOperations.addHandlers([handler, events])
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: Int(port)), promise: nil)
        sendOutgoing()
        let deadline = monotonicNanoseconds() + 60_000_000_000
        while !events.isEstablished {
            guard monotonicNanoseconds() < deadline else { throw TestServerError(description: "no handshake") }
            guard take(timeoutMilliseconds: 100) else {
                throw events.error ?? TestServerError(description: "closed during the handshake")
            }
            if let error = events.error { throw error }
        }
    }

    /// The first bytes of a client.
    static func hello() throws -> [UInt8] {
        let channel = EmbeddedChannel()
        let context = try NIOSSLContext(configuration: .makeClientConfiguration())
        try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: context, serverHostname: nil))
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
        let bytes = try channel.readOutbound(as: ByteBuffer.self).map { Array($0.readableBytesView) } ?? []
        channel.close(promise: nil)
        channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        return bytes
    }

    /// The handlers go when the channel is closed, which TLS does at the next turn of the loop.
    deinit {
        channel.close(promise: nil)
        channel.embeddedEventLoop.advanceTime(by: .seconds(1))
    }

    private func sendOutgoing() {
        channel.embeddedEventLoop.run()
        while let buffer = try? channel.readOutbound(as: ByteBuffer.self) { socket.send(Array(buffer.readableBytesView)) }
    }

    /// Takes what has arrived; false at the end.
    private func take(timeoutMilliseconds: Int) -> Bool {
        switch socket.receive(timeoutMilliseconds: timeoutMilliseconds) {
        case .bytes(let bytes):
            _ = try? channel.writeInbound(ByteBuffer(bytes: bytes))
            sendOutgoing()
            return events.error == nil
        case .closed: return false
        case .timeout: return true
        }
    }

    func send(_ text: String) {
        channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
        sendOutgoing()
    }

    /// Sends `text` and the end of TLS together, and then leaves the socket alone.
    func sendLast(_ text: String) {
        channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
        channel.close(promise: nil)
        var bytes: [UInt8] = []
        while let buffer = try? channel.readOutbound(as: ByteBuffer.self) { bytes += buffer.readableBytesView }
        socket.send(bytes)
    }

    /// What arrives until `byteCount` bytes are there, the peer closes, or time is up.
    func read(_ byteCount: Int, timeoutMilliseconds: Int = 60_000) -> String {
        var bytes: [UInt8] = []
        let deadline = monotonicNanoseconds() + UInt64(timeoutMilliseconds) * 1_000_000
        while monotonicNanoseconds() < deadline {
            while let buffer = try? channel.readInbound(as: ByteBuffer.self) { bytes += buffer.readableBytesView }
            if bytes.count >= byteCount || events.isEnded || !take(timeoutMilliseconds: 50) { break }
        }
        while let buffer = try? channel.readInbound(as: ByteBuffer.self) { bytes += buffer.readableBytesView }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Whether `text` is what arrives next.
    func receives(_ text: String) -> Bool { read(text.utf8.count) == text }

    func ask(_ request: String, _ reply: String) -> Bool {
        send(request)
        return receives(reply)
    }

    /// Whether the peer closes within the time; what arrives before is dropped.
    func isClosedWithin(milliseconds: Int) -> Bool {
        let deadline = monotonicNanoseconds() + UInt64(milliseconds) * 1_000_000
        while monotonicNanoseconds() < deadline {
            if !take(timeoutMilliseconds: 50) || events.isEnded { return true }
        }
        return false
    }
}
