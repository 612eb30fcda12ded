// TLS of a server: the context that new connections are made with, which CONFIG SET replaces while old connections go
// on with theirs; and what is known of handshakes that fail.
//
// Ownership: KedisServer's. Threads: any, a mutex and atomics. Bounds: whoever cannot complete a handshake costs a line
// of the log a second, however often it tries.

import KedisCommands
import KedisStore
import KedisUtilities
import NIOSSL
import Synchronization

final class TransportEncryption: Sendable {
    private let configuration: Configuration
    private let folder: String
    private let statistics: EngineStatistics
    private let log: @Sendable (KedisCommands.LogLevel, String) -> Void
    private let current = Locked<NIOSSLContext?>(nil)
    private let report = Locked(Report())
    /// Connections that are refused and do a handshake only to be told so.
    private let refusedCount = Atomic<Int>(0)

    private struct Report: Sendable {
        var lineNanoseconds: UInt64 = 0
        var silentCount = 0
    }

    private static let refusedCountMax = 64
    private static let linePauseNanoseconds: UInt64 = 1_000_000_000
    private static let handshakeSecondsMax = 10

    init(
        configuration: Configuration, statistics: EngineStatistics,
        log: @escaping @Sendable (KedisCommands.LogLevel, String) -> Void
    ) {
        self.configuration = configuration
        self.statistics = statistics
        self.log = log
        folder = configuration.text("dir")
    }

    // MARK: The context

    var isWanted: Bool { configuration.integer("tls-port") > 0 }

    /// What a new connection is encrypted with; nil before ``load()``.
    var context: NIOSSLContext? { current.withLock { $0 } }

    /// Makes the context anew from the directives as they are; when that fails, the old one stays.
    func load() throws(TLSProblem) {
        let context = try TLSSettings(configuration: configuration, folder: folder).makeContext()
        current.withLock { $0 = context }
    }

    /// Puts back what ``context`` was, when something else of the same CONFIG SET was refused.
    func restore(_ old: NIOSSLContext?) { current.withLock { $0 = old } }

    /// After CONFIG SET of `names`: nil, or what cannot be. Without a TLS port nothing reads the files, as in Redis.
    func apply(_ names: [String]) -> ConfigurationProblem? {
        guard isWanted, let name = names.first(where: { $0.hasPrefix("tls-") }) else { return nil }
        do throws(TLSProblem) {
            try load()
            log(.notice, "TLS is configured anew: connections from now on use it")
            return nil
        } catch {
            log(.warning, "The configuration of TLS stays as it was: \(error.text)")
            return ConfigurationProblem(
                name: name, reason: "Unable to update TLS configuration. Check server logs.")
        }
    }

    // MARK: Handshakes

    /// How long a handshake may take: not longer than an idle client is kept.
    var handshakeSeconds: Int {
        let idle = configuration.idleTimeoutSeconds.load(ordering: .relaxed)
        return idle > 0 ? min(idle, Self.handshakeSecondsMax) : Self.handshakeSecondsMax
    }

    /// Takes a place for a connection that is to be refused, or says that it gets no handshake.
    func admitRefused() -> Bool {
        if refusedCount.wrappingAdd(1, ordering: .relaxed).newValue <= Self.refusedCountMax { return true }
        releaseRefused()
        return false
    }

    func releaseRefused() { refusedCount.wrappingSubtract(1, ordering: .relaxed) }

    /// Counts a handshake that has failed, and logs it unless another one was logged within the last second.
    func noteFailure(_ reason: String, of endpoint: ClientEndpoint) {
        statistics.handshakeFailures.wrappingAdd(1, ordering: .relaxed)
        let silentCount: Int? = report.withLock { report in
            // Read under the lock: another loop's later time may stand there otherwise.
            let now = monotonicNanoseconds()
            guard report.lineNanoseconds == 0 || now &- report.lineNanoseconds >= Self.linePauseNanoseconds else {
                report.silentCount += 1
                return nil
            }
            defer { report = Report(lineNanoseconds: now) }
            return report.silentCount
        }
        guard let silentCount else { return }
        let others = silentCount > 0 ? ", and \(silentCount) others before it" : ""
        log(
            .notice,
            "Error accepting a client connection: \(reason) "
                + "(addr=\(endpoint.address) laddr=\(endpoint.localAddress))\(others)")
    }
}
