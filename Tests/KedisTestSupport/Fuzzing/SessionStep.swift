// One step of what several connections do, for the session fuzzer: who does what, and how it is told.

package struct SessionStep {
    package enum Action {
        case request
        /// The connection is closed from the client's side; another one takes its place.
        case close
    }

    package var action = Action.request
    /// Which connection; the last one is the operator's.
    package var connection: Int
    package var command = FuzzCommand(arguments: [], rule: .exact)
    /// So long nobody does anything after the request: what it gave a deadline is due then.
    package var pauseMilliseconds = 0
    /// It is sent while the connection waits in a blocking command too, and executed after that.
    package var mayQueueBehindWait = false

    package init(_ connection: Int, _ words: [String], _ rule: FuzzRule = .exact) {
        self.connection = connection
        command = FuzzCommand(arguments: words.map { Array($0.utf8) }, rule: rule)
    }

    package init(closing connection: Int) {
        self.connection = connection
        action = .close
    }

    // MARK: Numbers of connections

    /// A word that stands for the number which a server has given to a connection.
    package static func identifierWord(_ connection: Int) -> String { "\u{1}id-of-\(connection)" }

    /// The request as one server gets it.
    package func request(_ identifiers: [Int64]) -> [[UInt8]] {
        command.arguments.map { word in
            guard word.first == 1, let digit = word.last else { return word }
            let connection = Int(digit) - 0x30
            return identifiers.indices.contains(connection) ? Array("\(identifiers[connection])".utf8) : word
        }
    }

    // MARK: Names

    /// The command, its subcommand behind a bar.
    package var name: String {
        let words = command.arguments.prefix(2).map { String(decoding: $0, as: UTF8.self).lowercased() }
        guard let first = words.first else { return "close" }
        let isContainer = ["client", "acl", "pubsub", "config", "object", "xgroup", "xinfo", "debug"].contains(first)
        return isContainer && words.count > 1 ? "\(first)|\(words[1])" : first
    }

    /// As it is printed: `c2> GET s1`.
    package var line: String {
        guard action == .request else { return "c\(connection)> (closes its connection)" }
        let words = command.arguments.map { word in
            word.first == 1 && word.count > 1 ? "<id of c\(word.last.map { $0 - 0x30 } ?? 0)>" : RespQuoting.quote(word)
        }
        let pause = pauseMilliseconds > 0 ? "   (then \(pauseMilliseconds) ms)" : ""
        return "c\(connection)> " + words.joined(separator: " ") + pause
    }
}
