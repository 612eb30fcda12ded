// From the directives `tls-…` to a context of BoringSSL, which every connection of the TLS port is made with.
//
// Blocks for as long as the files take, which the start and CONFIG SET do. Costs some hundred µs.

import KedisCommands
import KedisUtilities
import NIOCore
import NIOSSL

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct TLSSettings {
    let configuration: Configuration
    /// Where files with relative paths lie.
    let folder: String

    /// The context that the directives describe.
    func makeContext() throws(TLSProblem) -> NIOSSLContext {
        let (certificates, key) = try identity()
        var settings = TLSConfiguration.makeServerConfiguration(
            certificateChain: certificates.map { .certificate($0) }, privateKey: .privateKey(key))
        try requireClients(&settings)
        try limitVersions(&settings)
        try chooseCiphers(&settings)
        // A connection that is closed here says so and goes; it does not wait for the peer to say the same.
        settings.shutdownTimeout = .zero
        do {
            return try NIOSSLContext(configuration: settings)
        } catch NIOSSLError.failedToLoadPrivateKey {
            throw TLSProblem("tls-key-file and tls-cert-file do not belong together")
        } catch {
            throw TLSProblem("TLS cannot be set up: \(describe(error))")
        }
    }

    // MARK: Who the server is

    private func identity() throws(TLSProblem) -> ([NIOSSLCertificate], NIOSSLPrivateKey) {
        let certificates = try certificates(of: "tls-cert-file", purpose: "TLS needs a certificate")
        let bytes = try read("tls-key-file", purpose: "TLS needs the key of its certificate")
        let password = configuration.text("tls-key-file-pass")
        return (certificates, try privateKey(in: bytes, password: password, from: path(of: "tls-key-file")))
    }

    // MARK: Who clients are

    private func requireClients(_ settings: inout TLSConfiguration) throws(TLSProblem) {
        switch configuration.text("tls-auth-clients") {
        case "no": return settings.certificateVerification = .none
        case "optional": settings.certificateVerification = .optionalVerification
        default: settings.certificateVerification = .noHostnameVerification
        }
        let hasFile = !configuration.text("tls-ca-cert-file").isEmpty
        let folder = path(of: "tls-ca-cert-dir")
        guard hasFile || !folder.isEmpty else {
            throw TLSProblem(
                "tls-auth-clients needs tls-ca-cert-file or tls-ca-cert-dir, to know which clients to trust")
        }
        let authorities = hasFile ? try certificates(of: "tls-ca-cert-file", purpose: "") : []
        guard !folder.isEmpty else { return settings.trustRoots = .certificates(authorities) }
        guard isFolder(folder) else { throw TLSProblem("tls-ca-cert-dir: \(folder) is no folder") }
        settings.trustRoots = .file(folder)
        if hasFile { settings.additionalTrustRoots = [.certificates(authorities)] }
    }

    // MARK: Versions and ciphers

    private static let versions: [(name: String, version: TLSVersion)] = [
        ("tlsv1", .tlsv1), ("tlsv1.1", .tlsv11), ("tlsv1.2", .tlsv12), ("tlsv1.3", .tlsv13),
    ]

    private func limitVersions(_ settings: inout TLSConfiguration) throws(TLSProblem) {
        let words = configuration.text("tls-protocols").lowercased().split { $0.isWhitespace }
        guard !words.isEmpty else {
            settings.minimumTLSVersion = .tlsv12
            return
        }
        var places: Set<Int> = []
        for word in words {
            guard let place = Self.versions.firstIndex(where: { $0.name == word }) else {
                throw TLSProblem("tls-protocols: '\(word)' is none of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3")
            }
            places.insert(place)
        }
        let (low, high) = (places.min() ?? 0, places.max() ?? 0)
        guard high - low + 1 == places.count else {
            throw TLSProblem("tls-protocols: the versions between the lowest and the highest cannot be left out")
        }
        settings.minimumTLSVersion = Self.versions[low].version
        settings.maximumTLSVersion = Self.versions[high].version
    }

    private func chooseCiphers(_ settings: inout TLSConfiguration) throws(TLSProblem) {
        let list = configuration.text("tls-ciphers")
        guard !list.isEmpty else { return }
        guard let names = cipherNames(selectedBy: list) else {
            throw TLSProblem("tls-ciphers: '\(list)' selects no cipher")
        }
        settings.cipherSuites = names.joined(separator: ":")
    }

    // MARK: Files

    /// The absolute path that a directive names, "" for none.
    private func path(of directive: String) -> String {
        let path = configuration.text(directive)
        return path.isEmpty || path.hasPrefix("/") ? path : "\(folder)/\(path)"
    }

    private func certificates(of directive: String, purpose: String) throws(TLSProblem) -> [NIOSSLCertificate] {
        try certificateList(in: try read(directive, purpose: purpose), from: path(of: directive))
    }

    private func read(_ directive: String, purpose: String) throws(TLSProblem) -> [UInt8] {
        let path = path(of: directive)
        guard !path.isEmpty else { throw TLSProblem("\(directive) is not set, and \(purpose)") }
        return try readPlainFile(path)
    }

    private func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
}
