// `syslog-enabled`: messages also go to the system's log, under `syslog-ident` and `syslog-facility`.
//
// Threads: any; the C library locks. The name is kept for as long as the process lives, as the library keeps a pointer.

import KedisCommands
import Logging

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct SystemLog: Sendable {
    /// Opens the log that the configuration asks for; nil when it asks for none.
    init?(_ configuration: Configuration) {
        guard configuration.boolean("syslog-enabled") else { return nil }
        let name = strdup(configuration.text("syslog-ident"))
        openlog(name, LOG_PID | LOG_NDELAY | LOG_NOWAIT, Self.facility(configuration.text("syslog-facility")))
    }

    /// The system's number for the name: the facilities are multiples of 8, user is 1 and the local ones follow 16.
    static func facility(_ name: String) -> Int32 {
        guard name.hasPrefix("local"), let number = Int32(name.dropFirst(5)), 0...7 ~= number else { return 1 << 3 }
        return (16 + number) << 3
    }

    func write(_ level: Logger.Level, _ message: String) {
        let priority: Int32 =
            switch level {
            case .trace, .debug: LOG_DEBUG
            case .info: LOG_INFO
            case .notice: LOG_NOTICE
            case .warning, .error, .critical: LOG_WARNING
            }
        message.withCString { text in withVaList([text]) { vsyslog(priority, "%s", $0) } }
    }
}
