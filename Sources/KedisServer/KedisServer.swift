// The server: composes store, engine, persistence and transport, and runs them from start to shutdown.
//
// Ownership: it owns the engine and the event loops. Threads: `threads` event loops, each with its connections; ticks
// (expiry, save rules) on the first of them. Lifecycle: start loads, then listens; a shutdown saves, then closes.

package import KedisCommands
import KedisDurability
import KedisPersistence
import KedisStore
import KedisUtilities
package import Logging
import NIOCore
import ServiceLifecycle
import Synchronization

package final class KedisServer: Service {
    package let engine: Engine
    private let state: ServerState
    let context: ServerContext
    private let loops: ServerLoops
    private let sockets: ListeningSockets
    private let health: Health
    private let metrics: MetricsServer?
    private let running = Locked(Running())
    private let stopRequests: AsyncStream<StopReason>
    private let requestStop: AsyncStream<StopReason>.Continuation

    private struct Running: Sendable {
        var isListening = false
    }

    /// Makes a server that does nothing yet. `configuration` gets what was left to the surroundings: threads, absolute
    /// paths.
    package init(
        configuration: Configuration, configurationPath: String = "", logger: Logger,
        process: ServerProcess = ServerProcess()
    ) throws(StartError) {
        try settle(configuration)
        let seed = HashSeed(systemEntropy(), systemEntropy())
        let store = Store(databaseCount: configuration.integer("databases"), seed: seed)
        let state = ServerState(
            configuration: configuration, configurationPath: configurationPath, store: store, logger: logger,
            process: process
        )
        let engine = Engine(store: store, configuration: configuration, host: state.makeHost(), seed: systemEntropy())
        let encryption = TransportEncryption(
            configuration: configuration, statistics: engine.statistics, log: { state.log($0, $1) })
        let context = ServerContext(engine: engine, logger: logger, encryption: encryption)
        self.state = state
        self.engine = engine
        self.context = context
        let threadCount = configuration.integer("threads")
        let health = Health(loopCount: ServerLoops.countMax(threads: threadCount))
        self.health = health
        let kind = TransportKind(rawValue: configuration.text("transport")) ?? .standard
        let loops = try ServerLoops(server: context, health: health, kind: kind, count: threadCount)
        self.loops = loops
        let sockets = ListeningSockets(server: context, loops: loops, log: { state.log($0, $1) })
        self.sockets = sockets
        metrics = configuration.integer("metrics-port") > 0 ? MetricsServer(engine: engine, health: health) : nil
        (stopRequests, requestStop) = AsyncStream.makeStream(of: StopReason.self, bufferingPolicy: .bufferingNewest(4))
        let request = requestStop
        state.setHooks(
            ServerState.Hooks(
                setSaveFailed: { engine.set(.snapshotFailed, to: $0) },
                silence: { context.isStopped.store(true, ordering: .relaxed) },
                requestStop: { request.yield(.command) },
                applyNetwork: { names in
                    let before = encryption.context
                    if let problem = encryption.apply(names) { return problem }
                    guard let problem = sockets.apply(names) else { return nil }
                    encryption.restore(before)
                    return problem
                },
                boundPorts: { sockets.ports }
            )
        )
    }

    /// Makes a server that logs to `logSink`, whole lines.
    package convenience init(
        options: ServerOptions, logSink: @escaping @Sendable (String) -> Void
    ) throws(StartError) {
        let log = ServerLogHandler(sink: logSink)
        try self.init(
            configuration: options.configuration, configurationPath: options.configurationPath,
            logger: Logger(label: "kedis") { _ in log }
        )
    }

    /// The TCP port that the server listens on; 0 before it does, and without TCP.
    package var port: Int { sockets.ports.plain }

    /// The port with TLS that the server listens on; 0 before it does, and without TLS.
    package var tlsPort: Int { sockets.ports.encrypted }

    /// The port of /metrics and /healthz; 0 when there is none.
    package var metricsPort: Int { state.metricsPort.load(ordering: .relaxed) }

    /// Runs until SHUTDOWN or a graceful shutdown of the service group.
    package func run() async throws {
        try await start()
        await serve()
    }

    /// Waits for SHUTDOWN or a graceful shutdown, then leaves.
    package func serve() async {
        await withGracefulShutdownHandler {
            for await reason in stopRequests {
                guard let options = shutdownOptions(for: reason) else { break }
                log(.warning, "Received a signal to shut down...")
                // When the data is not safe the server stays up until SHUTDOWN; a second signal leaves at once.
                if state.prepareToLeave(options.mode, isForced: options.isForced) == nil { break }
            }
        } onGracefulShutdown: { [requestStop] in
            requestStop.yield(.termination)
        }
        await stop()
        log(.warning, "Kedis is now ready to exit, bye bye...")
    }

    private enum StopReason { case termination, interrupt, command }

    /// A signal came: the server saves and leaves as `shutdown-on-sigterm` or `shutdown-on-sigint` says.
    func leave(isInterrupt: Bool) { requestStop.yield(isInterrupt ? .interrupt : .termination) }

    /// How a signal ends the server; nil for a command, which has said that already.
    private func shutdownOptions(for reason: StopReason) -> (mode: ShutdownMode, isForced: Bool)? {
        guard reason != .command else { return nil }
        let directive = reason == .interrupt ? "shutdown-on-sigint" : "shutdown-on-sigterm"
        let words = engine.configuration.text(directive).split(separator: " ")
        let mode: ShutdownMode = words.contains("save") ? .save : words.contains("nosave") ? .noSave : .asConfigured
        return (mode, words.contains("force"))
    }

    // MARK: Start

    /// Loads the snapshot and listens.
    ///
    /// - Parameter ephemeralPort: listens on ports that the system chooses, whatever `port` and `tls-port` say.
    package func start(ephemeralPort: Bool = false) async throws(StartError) {
        do throws(StartError) {
            state.begin()
            limitClients()
            try prepareEncryption()
            try await openMetrics(ephemeralPort: ephemeralPort)
            try loadUsers()
            try state.lockSnapshot()
            try loadData()
            engine.warnAboutLimit()
            startTicks()
            try await listen(ephemeralPort: ephemeralPort)
        } catch {
            context.rhythm.stop()
            // Who came in through the first of several sockets goes before the journal does.
            await loops.stop()
            state.closeJournal()
            state.releaseSnapshotLock()
            await metrics?.stop()
            removeProcessFile()
            await loops.shutDown()
            throw error
        }
        health.enter(.serving)
        state.showTitle()
        log(.notice, "Ready to accept connections")
        state.process.supervisor.noteReady()
    }

    private func limitClients() {
        let wanted = engine.configuration.integer("maxclients")
        let possible = clientCountLimit(wanting: wanted)
        guard possible < wanted else { return }
        engine.configuration.settle("maxclients", String(possible))
        log(.warning, "maxclients is \(possible) instead of \(wanted): the system allows no more open descriptors")
    }

    private func prepareEncryption() throws(StartError) {
        guard context.encryption.isWanted else { return }
        do throws(TLSProblem) {
            try context.encryption.load()
        } catch {
            throw StartError("the TLS port cannot be opened: \(error.text)")
        }
    }

    /// The users of the configuration, or those of the file of users.
    private func loadUsers() throws(StartError) {
        do throws(AccessFileError) {
            try engine.access.loadAtStart(clients: engine.clients)
        } catch {
            throw StartError(error.description)
        }
    }

    /// The journal, if there is to be one; else the snapshot, or what redis-server has left, which is also what a new
    /// journal begins with.
    private func loadData() throws(StartError) {
        guard state.journal.isWanted else {
            state.journal.warnIfIgnored(beside: state.snapshotPath)
            try load()
            return prepareJournal()
        }
        do throws(JournalProblem) {
            try state.journal.acquire()
            let found = try state.journal.load(beside: state.snapshotPath, takesYounger: false)
            if let found {
                if let summary = found.base { note(summary) }
                state.keeper.noteLoaded(nowMilliseconds: wallClockMilliseconds())
            } else {
                do { try load() } catch { throw JournalProblem(error.description) }
            }
            prepareJournal()
            try state.journal.begin(after: found?.recovered)
        } catch {
            throw StartError(error.description)
        }
    }

    /// What is needed for a journal, now or later.
    private func prepareJournal() {
        let owner = JournalOwner(
            engine: { [engine] in engine },
            hasOpened: { [context] in context.gate.connect($0) },
            holdsReplies: { [context, loops] holds in
                context.gate.isOn.store(holds, ordering: .relaxed)
                if !holds { for loop in loops.all { loop.held.policyHasChanged() } }
            },
            hasAdvanced: { [context, loops, engine] sequence in
                context.gate.noteDurable(sequence)
                engine.journal.noteDurable(engine)
                for loop in loops.all { loop.held.noteDurable(sequence) }
            })
        state.journal.prepare(functions: state.functions.withLock { $0 }, owner: owner)
    }

    private func note(_ summary: LoadSummary) {
        state.functions.withLock { $0 = summary.functions }
        state.loaded.withLock { $0 = (summary.keyCount, summary.expiredCount) }
    }

    private func load() throws(StartError) {
        let summary: LoadSummary?
        do {
            summary = try loadSnapshot(
                into: engine.store, from: state.snapshotPath, nowMilliseconds: wallClockMilliseconds(),
                limits: engine.configuration.loadLimits
            )
        } catch {
            throw StartError("\(error)\nThe file was left as it is; without it the server would start empty.")
        }
        state.keeper.noteLoaded(nowMilliseconds: wallClockMilliseconds())
        guard let summary else {
            return log(.notice, "There is no snapshot at \(state.snapshotPath): starting empty")
        }
        note(summary)
        log(
            .notice,
            "Loaded \(summary.keyCount) keys (\(summary.expiredCount) had expired) from \(state.snapshotPath) "
                + "in \(summary.durationMilliseconds) ms"
        )
    }

    private func listen(ephemeralPort: Bool) async throws(StartError) {
        let (plain, encrypted) = (engine.configuration.integer("port"), engine.configuration.integer("tls-port"))
        var ports = ListeningSockets.Ports(plain: plain > 0 ? plain : nil, encrypted: encrypted > 0 ? encrypted : nil)
        if ephemeralPort {
            // Without a port of its own, TLS is all that there is.
            ports.plain = plain > 0 || encrypted == 0 ? 0 : nil
            ports.encrypted = encrypted > 0 ? 0 : nil
        }
        try await sockets.openAll(ports)
        running.withLock { $0.isListening = true }
    }

    private func openMetrics(ephemeralPort: Bool) async throws(StartError) {
        guard let metrics else { return }
        let addresses = engine.configuration.text("metrics-bind").split(separator: " ").map(String.init)
        let port = ephemeralPort ? 0 : engine.configuration.integer("metrics-port")
        let channels = try await metrics.open(addresses: addresses, port: port)
        for address in channels.compactMap(\.localAddress) {
            state.metricsPort.store(address.port ?? 0, ordering: .relaxed)
            log(.notice, "Metrics are at http://\(address.ipAddress ?? "?"):\(address.port ?? 0)/metrics")
        }
    }

    private func startTicks() {
        loops.start()
        guard let first = loops.all.first else { return }
        let ticks = Ticks(engine: engine, state: state, rhythm: context.rhythm)
        ticks.start(on: first.turns)
        first.loop.execute { ticks.startSaveRules(on: first.loop) }
    }

    // MARK: Stop

    /// Stops listening, closes all connections and ends the event loops. Saves nothing.
    package func stop() async {
        let running = running.withLock { state in
            defer { state = Running() }
            return state
        }
        health.enter(.stopping)
        if running.isListening { state.process.supervisor.noteStopping() }
        context.rhythm.stop()
        await sockets.closeAll()
        await loops.stop()
        state.keeper.waitUntilIdle()
        state.closeJournal()
        if running.isListening { removeProcessFile() }
        state.releaseSnapshotLock()
        await metrics?.stop()
        await loops.shutDown()
    }

    private func removeProcessFile() {
        let path = processFilePath(engine.configuration)
        if !path.isEmpty { removeFile(path) }
    }

    private func log(_ level: KedisCommands.LogLevel, _ message: String) { state.log(level, message) }
}

/// Fills in what a configuration leaves to the surroundings.
private func settle(_ configuration: Configuration) throws(StartError) {
    if !configuration.isGiven("threads") { configuration.settle("threads", String(System.coreCount)) }
    #if !os(Linux)
    if !["nio", "auto"].contains(configuration.text("transport")) {
        throw StartError("transport \(configuration.text("transport")) is there on Linux only: use nio, or auto")
    }
    #endif
    configuration.settle("dir", try dataFolder(of: configuration))
}

/// The absolute path of `dir`, which must be there.
private func dataFolder(of configuration: Configuration) throws(StartError) -> String {
    let folder = configuration.text("dir")
    guard let absolute = absolutePath(folder) else { throw StartError("the folder of `dir` is not there: \(folder)") }
    return absolute
}

/// The path of `logfile`, "" for none: in the folder of `dir` when it is relative, as in Redis.
package func logPath(of configuration: Configuration) throws(StartError) -> String {
    let path = configuration.text("logfile")
    return path.isEmpty || path.hasPrefix("/") ? path : "\(try dataFolder(of: configuration))/\(path)"
}
