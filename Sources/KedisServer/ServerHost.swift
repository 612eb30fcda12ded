// The host of a server's engine: files, log and process behind the functions that commands call.

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisStore
import KedisUtilities
import NIOCore
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension ServerState {
    func makeHost() -> Host {
        Host(
            save: { [self] _, held in save(held: held) },
            load: { [self] store, held, replacesKeys in load(into: store, held: held, replacesKeys: replacesKeys) },
            startBackgroundSave: { [self] _ in saveInBackground() },
            startJournalRewrite: { [self] in journal.startRewrite() },
            persistenceStatus: { [self] in persistenceStatus },
            shutDown: { [self] mode, _, isForced in shutDown(mode, isForced: isForced) },
            // A shutdown never waits for anything, so there is none to take back.
            abortShutDown: { false },
            sleep: sleepFor(microseconds:),
            log: { [self] level, message in log(level, message) },
            information: { [self] section in information(section) },
            applyConfiguration: { [self] names in apply(names) },
            restoreConfiguration: { [self] names in restore(names) },
            awaitConfiguration: { [self] in journal.awaitEnd() },
            rewriteConfiguration: { [self] users in rewriteConfiguration(users) },
            releaseMemory: releaseFreeMemory,
            digest: { sha256($0) },
            readAccessFile: { [self] path in
                KedisPersistence.readAccessFile(absolute(path)).mapError { HostFileError($0.codeText) }
            },
            writeAccessFile: { [self] path, text in
                KedisPersistence.writeAccessFile(absolute(path), text)?.description
            }
        )
    }

    /// The path of a file of the configuration: relative ones lie in the folder of `dir` as it was at the start.
    private func absolute(_ path: String) -> String { path.hasPrefix("/") ? path : "\(startFolder)/\(path)" }

    private func rewriteConfiguration(_ users: [UserState]?) -> ConfigurationRewriteOutcome {
        guard !configurationPath.isEmpty else { return .noFile }
        guard let problem = rewriteConfigurationFile(configuration, users, path: configurationPath) else {
            return .written
        }
        log(.warning, "CONFIG REWRITE failed: \(problem)")
        return .failed(problem)
    }

    /// Applies what CONFIG SET changed; nil, or what cannot be. Then nothing has changed but what ``restore(_:)`` takes
    /// back: the snapshot moves last, what a journal has begun is not taken back.
    private func apply(_ names: [String]) -> ConfigurationProblem? {
        if names.contains("maxclients") {
            let wanted = configuration.integer("maxclients")
            let possible = clientCountLimit(wanting: wanted)
            if possible < wanted {
                return ConfigurationProblem(
                    name: "maxclients",
                    reason: """
                        The operating system is not able to handle the specified number of clients, try with \(possible)
                        """)
            }
        }
        if let name = names.first(where: { $0.hasPrefix("oom-score-adj") }), let problem = setMemoryScore() {
            log(.warning, "oom-score-adj is not applied: \(problem)")
            return ConfigurationProblem(
                name: name, reason: "Failed to apply new \(name) configuration, check server logs.")
        }
        hasMovedSockets.store(false, ordering: .relaxed)
        let problem = applySnapshotPlace(
            names,
            beforeMoving: {
                if let problem = applyNetwork(names) { return problem }
                hasMovedSockets.store(true, ordering: .relaxed)
                return journal.follow(names)
            })
        if let problem { return problem }
        if names.contains("stop-writes-on-bgsave-error") || names.contains("save") { refreshSaveFailure() }
        if names.contains(where: { ["proc-title-template", "bind", "port", "tls-port"].contains($0) }) { showTitle() }
        return nil
    }

    /// A change was refused, and the old values are back.
    private func restore(_ names: [String]) {
        if names.contains(where: { $0.hasPrefix("oom-score-adj") }), let problem = setMemoryScore() {
            log(.warning, "oom-score-adj is not applied: \(problem)")
        }
        if hasMovedSockets.load(ordering: .relaxed), let problem = applyNetwork(names) {
            log(.warning, "\(problem.name) cannot be as it was before a change that was refused: \(problem.reason)")
        }
    }

    /// Loads the snapshot; nil, or what went wrong.
    private func load(into store: Store, held: StripeSet, replacesKeys: Bool) -> String? {
        do {
            let summary = try loadSnapshot(
                into: store, held: held, from: snapshotPath, nowMilliseconds: wallClockMilliseconds(),
                limits: configuration.loadLimits, replacesKeys: replacesKeys)
            return summary == nil ? "there is no snapshot at \(snapshotPath)" : nil
        } catch {
            return "\(error)"
        }
    }

    // MARK: Information

    /// The facts of a section of INFO that only the process knows; fields have Redis's names.
    private func information(_ section: String) -> [(field: String, value: String)] {
        switch section {
        case "server": serverInformation()
        case "clients": [("maxclients", configuration.text("maxclients"))]
        case "memory": memoryInformation()
        case "cpu": processorInformation()
        default: []
        }
    }

    private func serverInformation() -> [(field: String, value: String)] {
        let ports = ports
        let uptime = max(0, wallClockMilliseconds() / 1000 - startSeconds)
        return [
            ("os", operatingSystem()), ("arch_bits", "64"), ("monotonic_clock", "POSIX clock_gettime"),
            ("multiplexing_api", multiplexingName), ("run_id", runIdentifier), ("process_id", String(getpid())),
            ("process_supervised", process.supervisor.rawValue),
            ("tcp_port", String(ports.plain > 0 ? ports.plain : ports.encrypted)),
            ("server_time_usec", String(wallClockMicroseconds())),
            ("uptime_in_seconds", String(uptime)), ("uptime_in_days", String(uptime / 86_400)),
            ("executable", executablePath() ?? CommandLine.arguments.first ?? ""), ("config_file", configurationPath),
            ("io_threads_active", configuration.integer("threads") > 1 ? "1" : "0"),
            ("io_threads", configuration.text("threads")),
        ] + listeners
    }

    /// `listener0:name=tcp,bind=127.0.0.1,port=6379`; each kind has its number, as in Redis.
    private var listeners: [(field: String, value: String)] {
        var result: [(field: String, value: String)] = []
        let addresses = configuration.text("bind").split(separator: " ").map { ",bind=\($0)" }.joined()
        let (port, tlsPort) = ports
        if port > 0 { result.append(("listener0", "name=tcp\(addresses),port=\(port)")) }
        let path = configuration.text("unixsocket")
        if !path.isEmpty { result.append(("listener1", "name=unix,bind=\(path)")) }
        if tlsPort > 0 { result.append(("listener2", "name=tls\(addresses),port=\(tlsPort)")) }
        return result
    }

    private var multiplexingName: String {
        #if os(Linux)
        let kind = TransportKind(rawValue: configuration.text("transport")) ?? .standard
        return kind == .ring ? kind.rawValue : "epoll"
        #else
        "kqueue"
        #endif
    }

    private func operatingSystem() -> String {
        var name = utsname()
        guard uname(&name) == 0 else { return "unknown" }
        return "\(text(of: name.sysname)) \(text(of: name.release)) \(text(of: name.machine))"
    }

    /// A C array of characters as text.
    private func text<Array>(of array: Array) -> String {
        withUnsafeBytes(of: array) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    private func processorInformation() -> [(field: String, value: String)] {
        var usage = rusage()
        #if canImport(Glibc)
        getrusage(RUSAGE_SELF.rawValue, &usage)
        #else
        getrusage(RUSAGE_SELF, &usage)
        #endif
        return [
            ("used_cpu_sys", seconds(usage.ru_stime)), ("used_cpu_user", seconds(usage.ru_utime)),
            ("used_cpu_sys_children", "0.000000"), ("used_cpu_user_children", "0.000000"),
        ]
    }

    private func seconds(_ time: timeval) -> String {
        let fraction = String(Int(time.tv_usec))
        return "\(Int(time.tv_sec))." + String(repeating: "0", count: max(0, 6 - fraction.count)) + fraction
    }
}

/// Descriptors that are no clients: files, listeners, event loops.
private let reservedDescriptorCount = 32

/// Raises the limit of open descriptors for `count` clients as far as the system lets, and returns how many can be.
package func clientCountLimit(wanting count: Int) -> Int {
    #if canImport(Glibc)
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #else
    let resource = RLIMIT_NOFILE
    #endif
    var limit = rlimit()
    guard getrlimit(resource, &limit) == 0 else { return count }
    let needed = rlim_t(clamping: count + reservedDescriptorCount)
    if limit.rlim_cur >= needed { return count }
    var raised = limit
    raised.rlim_cur = needed
    raised.rlim_max = max(limit.rlim_max, needed)
    if setrlimit(resource, &raised) == 0 { return count }
    raised.rlim_cur = min(needed, limit.rlim_max)
    raised.rlim_max = limit.rlim_max
    let reached = setrlimit(resource, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur
    return max(1, min(count, Int(clamping: reached) - reservedDescriptorCount))
}

/// An absolute form of a path that exists, or nil.
func absolutePath(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
}

/// Removes a file, if it is there.
func removeFile(_ path: String) { _ = unlink(path) }

/// Blocks this thread.
private func sleepFor(microseconds: Int64) {
    guard microseconds > 0 else { return }
    var wanted = timespec()
    wanted.tv_sec = time_t(microseconds / 1_000_000)
    wanted.tv_nsec = Int(microseconds % 1_000_000) * 1000
    var left = timespec()
    while nanosleep(&wanted, &left) != 0, errno == EINTR { wanted = left }
}
