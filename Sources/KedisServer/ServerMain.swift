// `kedis server` as a process: log, signals, exit code.

import KedisCommands
import KedisUtilities
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
/// cleanly; a second one leaves at once. The end of a terminal or of a reader is no reason to end, as on redis-server.
package func runServer(_ arguments: [String]) async -> Int32 {
    _ = signal(SIGHUP, SIG_IGN)
    _ = signal(SIGPIPE, SIG_IGN)
    do {
        let options = try parseServerArguments(arguments).get()
        let configuration = options.configuration
        if mustDaemonize(configuration) {
            if let problem = startInBackground() { throw StartError("cannot go into the background: \(problem)") }
            return 0
        }
        if let problem = bindThread(toProcessors: configuration.text("server_cpulist")) {
            throw StartError("cannot use the processors of server_cpulist: \(problem)")
        }
        let log = try ServerLogHandler(
            path: logPath(of: configuration), system: SystemLog(configuration))
        showBanner(configuration, in: log)
        let logger = Logger(label: "kedis") { _ in log }
        let server = try KedisServer(
            configuration: configuration, configurationPath: options.configurationPath, logger: logger,
            process: ServerProcess(configuration)
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
                gracefulShutdownSignals: [], logger: quiet
            )
        )
        // Trapped before anybody can know that the server is there.
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        let watcher = Task { await follow(signals, server, logger) }
        defer { watcher.cancel() }
        try await group.run()
        return 0
    } catch {
        printError("kedis server: \(error)")
        return 1
    }
}

/// Says who starts: a line that tells the process's number, and a picture on terminals and where it is wanted.
private func showBanner(_ configuration: Configuration, in log: ServerLogHandler) {
    let isTerminal = isatty(STDOUT_FILENO) == 1 && configuration.text("logfile").isEmpty
    if configuration.boolean("always-show-logo") || (isTerminal && !configuration.boolean("syslog-enabled")) {
        log.writeRaw(
            """

                 █  ▄▀    Kedis \(kedisVersion), to clients a Redis \(redisVersion), \(Int.bitWidth) bit
                 █▄▀      Running in standalone mode
                 █ ▀▄     Port: \(configuration.text("port"))
                 █   ▀    PID: \(getpid())


            """)
    }
    let text = "Kedis \(kedisVersion) (Redis \(redisVersion)) is starting, PID: \(getpid())"
    Logger(label: "kedis") { _ in log }.log(.notice, text, under: configuration)
}

/// Passes signals on. Who asks twice wants out, whatever is not saved. A SIGTERM that follows another within a second
/// is the same wish: `timeout` and process managers send it to a process and then to its group.
private func follow(_ signals: UnixSignalsSequence, _ server: KedisServer, _ logger: Logger) async {
    var first: ContinuousClock.Instant?
    for await received in signals {
        guard let earlier = first else {
            first = .now
            server.leave(isInterrupt: received == .sigint)
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
