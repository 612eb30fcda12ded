// What a server does for who started it: leaving the terminal (`daemonize`), telling a service manager that it is ready
// (`supervised`), a file with its number (`pidfile`), and its part in the choice of a victim when the machine's memory
// runs out (`oom-score-adj`).
//
// A Swift process cannot fork, so a daemon is a second process with the same arguments in a session of its own; a
// variable of the environment tells it what it is.

import KedisCommands
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Who is told how the server fares.
enum Supervisor: String, Sendable {
    case none = "no"
    case upstart
    case systemd

    /// What `supervised` comes to in this environment.
    init(_ configuration: Configuration) {
        let hasJob = getenv("UPSTART_JOB") != nil, hasSocket = getenv("NOTIFY_SOCKET") != nil
        switch configuration.text("supervised") {
        case "upstart": self = hasJob ? .upstart : .none
        case "systemd": self = hasSocket ? .systemd : .none
        case "auto": self = hasJob ? .upstart : hasSocket ? .systemd : .none
        default: self = .none
        }
    }

    /// The server accepts connections. Upstart waits for the process to stop, and lets it go on.
    func noteReady() {
        switch self {
        case .none: break
        case .upstart:
            unsetenv("UPSTART_JOB")
            raise(SIGSTOP)
        case .systemd: notifySystemd("STATUS=Ready to accept connections\nREADY=1\n")
        }
    }

    func noteStopping() {
        if self == .systemd { notifySystemd("STOPPING=1\n") }
    }
}

/// What the process of a server is, beyond the server: a server inside a test has the default, nothing.
package struct ServerProcess: Sendable {
    var title: ProcessTitle?
    var supervisor = Supervisor.none

    package init() {}

    /// For a process that is there for the server alone. Called once, before other threads start.
    init(_ configuration: Configuration) {
        if configuration.boolean("set-proc-title") { title = .reserve() }
        supervisor = Supervisor(configuration)
    }
}

/// Sends a message to the service manager's socket: a path, or behind `@` a name that has none. Nobody is told when
/// that fails: the manager finds out by itself.
private func notifySystemd(_ message: String) {
    guard let name = getenv("NOTIFY_SOCKET").map({ String(cString: $0) }), name.utf8.count > 1 else { return }
    #if canImport(Glibc)
    let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    #else
    let descriptor = socket(AF_UNIX, SOCK_DGRAM, 0)
    #endif
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(name.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
    withUnsafeMutableBytes(of: &address.sun_path) { path in
        path.copyBytes(from: bytes)
        if bytes[0] == 0x40 { path[0] = 0 }
    }
    let length = socklen_t((MemoryLayout.offset(of: \sockaddr_un.sun_path) ?? 2) + bytes.count)
    let payload = Array(message.utf8)
    withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            _ = sendto(descriptor, payload, payload.count, 0, $0, length)
        }
    }
}

// MARK: The process's number

/// The file that `pidfile` and `daemonize` ask for, "" for none.
func processFilePath(_ configuration: Configuration) -> String {
    let path = configuration.text("pidfile")
    return path.isEmpty && configuration.boolean("daemonize") ? "/var/run/redis.pid" : path
}

/// Writes the number of this process; nil, or the system's words.
func writeProcessFile(_ path: String) -> String? {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { return systemText() }
    defer { close(descriptor) }
    return writeAll(descriptor, Array("\(getpid())\n".utf8)) ? nil : systemText()
}

// MARK: The background

private let daemonVariable = "KEDIS_DAEMON"

/// Whether this process is to start another one in the background and leave.
func mustDaemonize(_ configuration: Configuration) -> Bool {
    guard configuration.boolean("daemonize"), Supervisor(configuration) == .none else { return false }
    return getenv(daemonVariable) == nil
}

/// Starts this program again, with the same arguments, in a session of its own and without a terminal; nil, or the
/// system's words.
func startInBackground() -> String? {
    guard let path = executablePath() else { return "the program's own file cannot be found" }
    var actions = noFileActions, attributes = noSpawnAttributes
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] {
        posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0)
    }
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(newSessionFlag))
    setenv(daemonVariable, "1", 1)
    var child = pid_t()
    let code = posix_spawn(&child, path, &actions, &attributes, CommandLine.unsafeArgv, environ)
    return code == 0 ? nil : String(cString: strerror(code))
}

#if canImport(Darwin)
private let noFileActions: posix_spawn_file_actions_t? = nil
private let noSpawnAttributes: posix_spawnattr_t? = nil
private let newSessionFlag: Int32 = 0x0400
#else
private var noFileActions: posix_spawn_file_actions_t { posix_spawn_file_actions_t() }
private var noSpawnAttributes: posix_spawnattr_t { posix_spawnattr_t() }
/// POSIX_SPAWN_SETSID, which the headers hide.
private let newSessionFlag: Int32 = 0x80
#endif

/// The file of this program.
func executablePath() -> String? {
    #if os(Linux)
    absolutePath("/proc/self/exe")
    #else
    CommandLine.arguments.first.flatMap(absolutePath)
    #endif
}

// MARK: Memory that runs out

/// Tells the system what `oom-score-adj` says; nil, or why it could not be told. `initial` is the score that the
/// process had at the start.
func applyMemoryScore(_ configuration: Configuration, initial: Int) -> String? {
    let values = configuration.text("oom-score-adj-values").split(separator: " ").compactMap { Int($0) }
    let wanted: Int
    switch configuration.text("oom-score-adj") {
    case "absolute": wanted = values.first ?? 0
    case "relative", "yes": wanted = initial + (values.first ?? 0)
    default: wanted = initial
    }
    let score = min(1000, max(-1000, wanted))
    guard score != currentMemoryScore() else { return nil }
    let descriptor = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return systemText() }
    defer { close(descriptor) }
    return writeAll(descriptor, Array(String(score).utf8)) ? nil : systemText()
}

/// The score of this process; 0 where the system knows none.
func currentMemoryScore() -> Int {
    let descriptor = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return 0 }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 16)
    let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    let text = String(decoding: bytes.prefix(max(0, count)).filter { !isASCIISpace($0) }, as: UTF8.self)
    return Int(text) ?? 0
}
