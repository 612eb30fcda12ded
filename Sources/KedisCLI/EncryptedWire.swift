// TLS for `kedis cli`: SwiftNIO's handler on a channel without a network. The client's socket stays a plain blocking
// one; bytes go through here on their way.
//
// Threads: the one that made it. A server is trusted when an authority of --cacert or --cacertdir, or else of the
// system, has signed its certificate. With the system's authorities, which sign for anybody, the certificate must also
// be for the host; with own ones it need not, as in redis-cli.

import KedisServer
import KedisShell
import NIOCore
import NIOEmbedded
import NIOSSL
import NIOTLS

/// What `kedis cli` was told about TLS.
struct EncryptionOptions {
    var authorityFile: String?
    var authorityFolder: String?
    var certificateFile: String?
    var keyFile: String?
    var isInsecure = false
    var serverName: String?
    var ciphers: String?

    /// The context of all connections to `host`.
    func makeContext() throws(TLSProblem) -> NIOSSLContext {
        var settings = TLSConfiguration.makeClientConfiguration()
        settings.minimumTLSVersion = .tlsv12
        settings.shutdownTimeout = .zero
        try trust(&settings)
        if let certificateFile, let keyFile {
            let certificates = try certificateList(in: try readPlainFile(certificateFile), from: certificateFile)
            settings.certificateChain = certificates.map { .certificate($0) }
            settings.privateKey = .privateKey(
                try privateKey(in: try readPlainFile(keyFile), password: "", from: keyFile))
        }
        if let ciphers {
            guard let names = cipherNames(selectedBy: ciphers) else {
                throw TLSProblem("--tls-ciphers: '\(ciphers)' selects no cipher")
            }
            settings.cipherSuites = names.joined(separator: ":")
        }
        do {
            return try NIOSSLContext(configuration: settings)
        } catch NIOSSLError.failedToLoadPrivateKey {
            throw TLSProblem("--key and --cert do not belong together")
        } catch {
            throw TLSProblem("TLS cannot be set up: \(describe(error))")
        }
    }

    private func trust(_ settings: inout TLSConfiguration) throws(TLSProblem) {
        if isInsecure { return settings.certificateVerification = .none }
        let authorities = try authorityFile.map { path throws(TLSProblem) in
            try certificateList(in: try readPlainFile(path), from: path)
        }
        settings.certificateVerification =
            authorities == nil && authorityFolder == nil ? .fullVerification : .noHostnameVerification
        if let authorityFolder {
            settings.trustRoots = .file(authorityFolder)
            if let authorities { settings.additionalTrustRoots = [.certificates(authorities)] }
        } else if let authorities {
            settings.trustRoots = .certificates(authorities)
        } else {
            #if canImport(Darwin)
            // The system's own way of checking answers later, on another thread.
            settings.trustRoots = .file("/etc/ssl/cert.pem")
            #endif
        }
    }
}

final class EncryptedWire: WireEncryption {
    private let channel: EmbeddedChannel
    private let events = Events()
    private let host: String

    /// What the handler has said.
    private final class Events: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        var isEstablished = false
        var isEnded = false
        var error: (any Error)?

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            switch event as? TLSUserEvent {
            case .handshakeCompleted: isEstablished = true
            case .shutdownCompleted: isEnded = true
            case nil: context.fireUserInboundEventTriggered(event)
            }
        }

        func channelInactive(context: ChannelHandlerContext) { isEnded = true }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            if self.error == nil { self.error = error }
        }
    }

    /// - Parameter host: where the socket is connected to.
    init(_ context: NIOSSLContext, host: String, serverName: String?) throws(WireError) {
        self.host = host
        // A name can be checked, and told to the server so that it can choose its certificate; an address only checked.
        let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
        let isChecked = context.configuration.certificateVerification == .fullVerification
        let name = serverName ?? (isChecked && !isAddress ? host : nil)
        do {
            let handler = try NIOSSLClientHandler(context: context, serverHostname: name)
            channel = EmbeddedChannel()
            try channel.pipeline.syncOperations.addHandlers([handler, events])
        } catch {
            throw WireError(message: "TLS cannot begin with '\(name ?? "")': \(error)")
        }
    }

    /// The handlers go when the channel is closed, which TLS does at the next turn of the loop.
    deinit {
        channel.close(promise: nil)
        channel.embeddedEventLoop.advanceTime(by: .seconds(1))
    }

    var isEstablished: Bool { events.isEstablished }
    var isEnded: Bool { events.isEnded }

    func begin() throws(WireError) {
        let address = try? SocketAddress(ipAddress: host, port: 0)
        guard let address = address ?? (try? SocketAddress(ipAddress: "127.0.0.1", port: 0)) else { return }
        channel.connect(to: address, promise: nil)
        try check()
    }

    func receive(_ bytes: [UInt8]) throws(WireError) {
        // What it throws, `events` has seen.
        _ = try? channel.writeInbound(ByteBuffer(bytes: bytes))
        channel.embeddedEventLoop.run()
        try check()
    }

    func send(_ bytes: [UInt8]) throws(WireError) {
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        channel.embeddedEventLoop.run()
        try check()
    }

    func takeOutgoing() -> [UInt8] { take { try channel.readOutbound(as: ByteBuffer.self) } }

    func takeIncoming() -> [UInt8] { take { try channel.readInbound(as: ByteBuffer.self) } }

    private func take(_ next: () throws -> ByteBuffer?) -> [UInt8] {
        var bytes: [UInt8] = []
        while let buffer = try? next() { bytes += buffer.readableBytesView }
        return bytes
    }

    private func check() throws(WireError) {
        guard let error = events.error else { return }
        throw WireError(message: advice(describe(error)))
    }

    /// What went wrong, and what a person can do about it.
    private func advice(_ reason: String) -> String {
        let text = "TLS: \(reason)"
        return switch reason {
        case "certificate verify failed":
            "\(text): the server's certificate is of no authority that is trusted (--cacert FILE names one)"
        case "tlsv1 alert certificate required", "tlsv13 alert certificate required", "sslv3 alert handshake failure":
            "\(text): the server wants a certificate of the client (--cert FILE --key FILE)"
        case "tlsv1 alert unknown ca", "sslv3 alert bad certificate":
            "\(text): the server does not trust the client's certificate"
        case "wrong version number": "\(text): the server does not speak TLS on this port"
        case let reason where reason.contains("Hostname") || reason.contains("hostname"):
            "\(text): the server's certificate is for another host (--sni NAME, or --cacert FILE for one of your own)"
        default: text
        }
    }
}
