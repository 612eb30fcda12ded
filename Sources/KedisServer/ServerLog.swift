// The log: one line a message, in the form of Redis's log, to standard output or a file.
//
//   4711:M 23 Nov 2026 13:00:00.123 * Ready to accept connections
//
// The sign tells the level: `.` debug, `-` verbose, `*` notice, `#` warning. swift-log's trace and debug are debug,
// info is verbose. Threads: any; a line is one write, so lines never mix.

import KedisCommands
import KedisUtilities
package import Logging
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

package struct ServerLogHandler: LogHandler {
    package var logLevel = Logger.Level.trace
    package var metadata = Logger.Metadata()
    package var metadataProvider: Logger.MetadataProvider?
    /// Takes whole lines, their line feed included.
    private let sink: @Sendable (String) -> Void
    private let system: SystemLog?

    package init(sink: @escaping @Sendable (String) -> Void) { self.init(sink: sink, system: nil) }

    init(sink: @escaping @Sendable (String) -> Void, system: SystemLog?) {
        self.sink = sink
        self.system = system
    }

    /// - Parameter path: a file to append to; standard output when empty.
    init(path: String, system: SystemLog? = nil) throws(StartError) {
        let descriptor = path.isEmpty ? STDOUT_FILENO : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        if descriptor < 0 { throw StartError("cannot open the log file \(path): \(String(cString: strerror(errno)))") }
        self.init(
            sink: { line in
                var line = line
                // A log that cannot be written has nobody to tell.
                _ = line.withUTF8 { write(descriptor, $0.baseAddress, $0.count) }
            }, system: system)
    }

    /// Writes `text` as it is.
    func writeRaw(_ text: String) { sink(text) }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var line = "\(getpid()):M \(timeText()) \(sign(event.level)) \(event.message)"
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) { line += " \(key)=\(value)" }
        sink(line + "\n")
        system?.write(event.level, event.message.description)
    }

    private func sign(_ level: Logger.Level) -> String {
        switch level {
        case .trace, .debug: "."
        case .info: "-"
        case .notice: "*"
        case .warning, .error, .critical: "#"
        }
    }

    private func timeText() -> String {
        let now = wallClockMilliseconds()
        var seconds = time_t(now / 1000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let month = months[max(0, min(11, Int(parts.tm_mon)))]
        let clock = "\(padded(Int(parts.tm_hour), 2)):\(padded(Int(parts.tm_min), 2)):\(padded(Int(parts.tm_sec), 2))"
        let date = "\(padded(Int(parts.tm_mday), 2)) \(month) \(1900 + Int(parts.tm_year))"
        return "\(date) \(clock).\(padded(Int(now % 1000), 3))"
    }

    private func padded(_ number: Int, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}

extension Logger {
    /// Logs with the levels of Redis, as far as `loglevel` lets.
    func log(_ level: KedisCommands.LogLevel, _ message: String, under configuration: Configuration) {
        let (index, mapped): (Int, Logger.Level) =
            switch level {
            case .debug: (0, .debug)
            case .verbose: (1, .info)
            case .notice: (2, .notice)
            case .warning: (3, .warning)
            }
        guard index >= configuration.logLevelIndex.load(ordering: .relaxed) else { return }
        log(level: mapped, "\(message)")
    }
}
