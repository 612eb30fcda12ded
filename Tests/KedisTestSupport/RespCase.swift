// A `.resp` file as the argument of a test, and the lists of them.

import KedisCommands
import KedisUtilities

/// A file to run, shown by its name in test reports.
package struct RespCase: Sendable, CustomStringConvertible {
    package let path: String

    package init(path: String) { self.path = path }

    package var description: String { path.split(separator: "/").suffix(2).joined(separator: "/") }

    package static let everyFile: [RespCase] =
        TestFiles.list(below: "\(TestFiles.packageRoot)/Tests/commands", suffix: ".resp").map { RespCase(path: $0) }

    /// All files, or those whose path contains KEDIS_RESP.
    package static let all: [RespCase] = everyFile.filter {
        $0.path.contains(TestFiles.environment("KEDIS_RESP") ?? "")
    }

    /// The files whose command the engine has; that none is missing is a test of its own.
    package static let registered: [RespCase] = {
        let table = CommandTable(allCommandSpecs)
        let names = Set(table.commands.map { $0.pointee.fullName.text })
        return all.filter { names.contains($0.name) }
    }()

    /// The command in lower case.
    package var name: String { String(path.split(separator: "/").last?.dropLast(5) ?? "") }

    /// The folder that the file lies in.
    package var family: String { String(path.split(separator: "/").dropLast().last ?? "") }

    package var file: RespFile {
        get throws { try RespFile(path: path) }
    }
}
