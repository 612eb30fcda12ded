// `kedis server` as a process: log, signals, exit code.

import KedisCommands
import Logging
import ServiceLifecycle
import UnixSignals

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Runs a server until it is told to leave; returns the exit code. SIGTERM and SIGINT save where configured and leave
/// cleanly; a second one leaves at once.
package func runServer(_ arguments: [String]) async -> Int32 {
    do {
        let options = try parseServerArguments(arguments).get()
        let log = try ServerLogHandler(path: logPath(of: options.configuration))
        let logger = Logger(label: "kedis") { _ in log }
        let server = try KedisServer(
            configuration: options.configuration, configurationPath: options.configurationPath, logger: logger
        )
        // The group's own messages are of no interest to who runs a server.
        var quiet = logger
        quiet.logLevel = .error
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [
                    .init(
                        service: server, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .cancelGroup, serviceName: "kedis")
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet
            )
        )
        let watcher = Task { await leaveAtSecondSignal(logger) }
        defer { watcher.cancel() }
        try await group.run()
        return 0
    } catch {
        printError("kedis server: \(error)")
        return 1
    }
}

/// Who asks twice wants out, whatever is not saved. A SIGTERM that follows another within a second is the same wish:
/// `timeout` and process managers send it to a process and then to its group.
private func leaveAtSecondSignal(_ logger: Logger) async {
    var first: ContinuousClock.Instant?
    for await received in await UnixSignalsSequence(trapping: .sigterm, .sigint) {
        guard let earlier = first else {
            first = .now
            continue
        }
        if received == .sigterm, ContinuousClock.now - earlier < .seconds(1) { continue }
        logger.warning("You insist... exiting now, without a save.")
        _exit(128 + (received == .sigint ? SIGINT : SIGTERM))
    }
}

private func printError(_ text: String) {
    var line = text + "\n"
    _ = line.withUTF8 { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
