// `proc-title-template`: what the process list shows. The system shows the memory that the arguments came in, so the
// title is written there, over the arguments and the environment behind them, which move elsewhere first.
//
// Threads: ``reserve()`` once, before others start; then one call of ``set(_:)`` at a time. Linux only: elsewhere
// nothing happens.

import KedisCommands

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

struct ProcessTitle: @unchecked Sendable {
    // Sendable: the memory is the process's own and lives as long; nobody else writes it.

    private let base: UnsafeMutablePointer<CChar>
    private let byteCount: Int

    /// Takes the memory of arguments and environment; nil where there is none to take.
    static func reserve() -> ProcessTitle? {
        #if os(Linux)
        // Copies of what the memory says, made while it still says it.
        guard !CommandLine.arguments.isEmpty, let first = CommandLine.unsafeArgv[0] else { return nil }
        var end = first
        for index in 0..<Int(CommandLine.argc) {
            guard let argument = CommandLine.unsafeArgv[index], argument == end else { break }
            end = argument + strlen(argument) + 1
            CommandLine.unsafeArgv[index] = strdup(argument)
        }
        var index = 0
        while let variable = environ[index] {
            if variable == end { end = variable + strlen(variable) + 1 }
            guard let copy = strdup(variable) else { return nil }
            environ[index] = copy
            index += 1
        }
        return ProcessTitle(base: first, byteCount: end - first)
        #else
        return nil
        #endif
    }

    /// Shows `title`, as much of it as there is room for.
    func set(_ title: String) {
        guard byteCount > 1 else { return }
        let bytes = title.utf8.prefix(byteCount - 1)
        for (index, byte) in bytes.enumerated() { base[index] = CChar(bitPattern: byte) }
        memset(base + bytes.count, 0, byteCount - bytes.count)
    }
}

/// The title that the configuration asks for.
func processTitle(_ configuration: Configuration, configurationPath: String, port: Int, tlsPort: Int) -> String {
    let template = TitleTemplate(configuration.text("proc-title-template"))
    return template?.filled { variable in
        switch variable {
        case .title: CommandLine.arguments.first ?? "kedis"
        case .address: listeningAddress(configuration, port: port > 0 ? port : tlsPort)
        case .mode: ""
        case .port: String(port)
        case .tlsPort: String(tlsPort)
        case .unixSocket: configuration.text("unixsocket")
        case .configurationFile: configurationPath
        }
    } ?? ""
}

private func listeningAddress(_ configuration: Configuration, port: Int) -> String {
    let socket = configuration.text("unixsocket")
    guard port > 0 else { return socket }
    let first = configuration.text("bind").split(separator: " ").first.map(String.init) ?? "*"
    return "\(first.hasPrefix("-") ? String(first.dropFirst()) : first):\(port)"
}
