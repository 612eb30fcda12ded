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
        let log = try ServerLogHandler(path: options.configuration.text("logfile"))
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
        let watcher = Task { await leaveAtSecondSignal() }
        defer { watcher.cancel() }
        try await group.run()
        return 0
    } catch {
        printError("kedis server: \(error)")
        return 1
    }
}

private func leaveAtSecondSignal() async {
    var count = 0
    for await received in await UnixSignalsSequence(trapping: .sigterm, .sigint) {
        count += 1
        if count == 2 { _exit(128 + (received == .sigint ? SIGINT : SIGTERM)) }
    }
}

private func printError(_ text: String) {
    var line = text + "\n"
    _ = line.withUTF8 { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
