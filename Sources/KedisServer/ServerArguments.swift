// The command line of `kedis server [FILE] [--directive value …] …`: the file first, then the options over it.

package import KedisCommands

/// What the arguments of `kedis server` amount to.
package struct ServerOptions: Sendable {
    package var configuration: Configuration
    /// The file that was read, or "".
    package var configurationPath: String
}

/// The names of all directives, for help.
package var directiveNames: [String] { Configuration.specs.map(\.name) }

/// Reads the file, if one is named, and applies the options. Values of an option run until the next word that begins
/// with `--`.
package func parseServerArguments(_ arguments: [String]) -> Result<ServerOptions, ConfigurationFileError> {
    let configuration = Configuration()
    var rest = arguments[...]
    var path = ""
    do throws(ConfigurationFileError) {
        if let first = rest.first, !first.hasPrefix("--") {
            rest = rest.dropFirst()
            var file = ConfigurationFile(configuration)
            try file.load(first)
            path = first == "-" ? "" : absolutePath(first) ?? first
        }
        try applyOptions(rest, to: configuration)
    } catch {
        return .failure(error)
    }
    return .success(ServerOptions(configuration: configuration, configurationPath: path))
}

private func applyOptions(_ arguments: ArraySlice<String>, to configuration: Configuration)
    throws(ConfigurationFileError)
{
    var index = arguments.startIndex
    while index < arguments.endIndex {
        let option = arguments[index]
        guard option.hasPrefix("--"), option.utf8.count > 2 else {
            throw ConfigurationFileError(description: "'\(option)' is no option: options are --directive value")
        }
        let start = index + 1
        index = arguments[start...].firstIndex { $0.hasPrefix("--") } ?? arguments.endIndex
        var name = String(option.dropFirst(2))
        var values = Array(arguments[start..<index])
        if let equals = name.firstIndex(of: "=") {
            values.insert(String(name[name.index(after: equals)...]), at: 0)
            name = String(name[..<equals])
        }
        guard !values.isEmpty else {
            let unknown = configuration.spec(name) == nil ? configure(configuration, name, [""]) : nil
            throw ConfigurationFileError(description: unknown ?? "\(option) needs a value")
        }
        if let reason = configure(configuration, name, values) {
            throw ConfigurationFileError(description: reason.hasPrefix("unknown") ? reason : "\(option): \(reason)")
        }
    }
}
