// The text tests of commands as values, and the parser of their files (`Tests/commands/<family>/<command>.resp`).
//
// The format is described in `Tests/commands/README.md`. Parsing is strict: a line that is not understood is an error
// that names file and line, so that a typing mistake never turns into a test that checks nothing.

/// A parsed `.resp` file.
package struct RespFile: Sendable {
    package let path: String
    /// The command that the file is about, in capitals.
    package let command: String
    package let steps: [Step]

    package enum Step: Sendable {
        case request(Request)
        case sleep(milliseconds: Int)
        /// Later requests go over the connection of this number; the first one is 1.
        case client(Int)
        /// The connection in use must have been closed by the server; a new one takes its place.
        case closes(line: Int)
        /// An empty store and new connections.
        case fresh
        /// Keeps the last reply (an integer or a string) for `${name}` in later requests.
        case keep(name: String, line: Int)
    }

    package struct Request: Sendable {
        package enum Payload: Sendable {
            case arguments([[UInt8]])
            case raw([UInt8])
            /// Nothing is sent: replies come to an earlier request.
            case nothing
        }

        package let line: Int
        /// The request as it stands in the file.
        package let text: String
        package let payload: Payload
        /// Who gets the request.
        package let scope: Scope
        /// The only protocol in which it is sent, if there is one.
        package let protocolVersion: Int?
        /// One for each reply; nil where nothing is written down yet (to be recorded), empty for no reply at all.
        package let expected: [RespExpectation]?
        /// The `<` lines as they stand in the file.
        package let expectedText: String
        /// There is no reply yet: the client waits (`< blocks`).
        package let isBlocking: Bool
    }

    package enum Scope: Sendable { case everyone, kedisOnly, oracleOnly }
}

/// A mistake in a `.resp` file.
package struct RespFileError: Error, CustomStringConvertible {
    package let path: String
    package let line: Int
    package let message: String

    package var description: String { "\(path):\(line): \(message)" }
}

extension RespFile {
    package init(path: String) throws {
        guard let bytes = TestFiles.read(path) else {
            throw RespFileError(path: path, line: 0, message: "cannot be read")
        }
        try self.init(path: path, text: String(decoding: bytes, as: UTF8.self))
    }

    package init(path: String, text: String) throws {
        var parser = RespFileParser(path: path, text: text)
        try parser.parse()
        guard let command = parser.command else {
            throw RespFileError(path: path, line: 1, message: "no line \"# command: NAME\" before the first request")
        }
        self.init(path: path, command: command, steps: parser.steps)
    }
}

extension RespFile {
    /// The file up to its first `! sleep`, for those who run it many times.
    package var untilFirstSleep: RespFile {
        var steps = steps.prefix {
            if case .sleep = $0 { return false }
            return true
        }
        // A request whose reply comes behind the sleep.
        if case .request(let request) = steps.last, request.expected?.isEmpty == true { steps.removeLast() }
        return RespFile(path: path, command: command, steps: Array(steps))
    }

    /// The file without the requests that only one side gets.
    package var sharedWithOracle: RespFile {
        let steps = steps.filter {
            if case .request(let request) = $0 { return request.scope == .everyone }
            return true
        }
        return RespFile(path: path, command: command, steps: steps)
    }
}

/// The parser: one pass over the lines, with the directives that wait for their request.
struct RespFileParser {
    let path: String
    let lines: [Substring]
    var index = 0
    var command: String?
    var steps: [RespFile.Step] = []

    /// The reply that was read last was `< blocks`.
    var isBlocking = false
    private var scope = RespFile.Scope.everyone
    /// The scope of requests without a directive of their own.
    private var fileScope = RespFile.Scope.everyone
    private var protocolVersion: Int?

    init(path: String, text: String) {
        self.path = path
        self.lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    }

    func error(_ message: String) -> RespFileError {
        RespFileError(path: path, line: index, message: message)
    }

    mutating func parse() throws {
        while index < lines.count {
            let line = lines[index]
            index += 1
            switch line.first {
            case nil: continue
            case "#": comment(line)
            case ">": try request(line.dropFirst())
            case "!": try directive(line.dropFirst())
            case "<": throw error("a reply without a request")
            default: throw error("a line starts with #, >, < or !")
            }
        }
        if scope != fileScope || protocolVersion != nil { throw error("a directive without a request") }
    }

    private mutating func comment(_ line: Substring) {
        let mark = "# command: "
        if command == nil, line.hasPrefix(mark) { command = String(line.dropFirst(mark.count)) }
        if steps.isEmpty, line.hasPrefix("# since: ") { (scope, fileScope) = (.kedisOnly, .kedisOnly) }
    }

    private mutating func directive(_ line: Substring) throws {
        let words = line.split(separator: " ", maxSplits: 1)
        let argument = words.count > 1 ? words[1] : ""
        switch words.first {
        case "kedis-only", "since":
            guard !argument.isEmpty else { throw error("the reason is missing") }
            scope = .kedisOnly
        case "oracle-only":
            guard !argument.isEmpty else { throw error("the reason is missing") }
            scope = .oracleOnly
        case "resp2": protocolVersion = 2
        case "resp3": protocolVersion = 3
        case "sleep": steps.append(.sleep(milliseconds: try number(argument)))
        case "client": steps.append(.client(try number(argument)))
        case "closes": steps.append(.closes(line: index))
        case "fresh": steps.append(.fresh)
        case "keep":
            guard !argument.isEmpty else { throw error("the name is missing") }
            steps.append(.keep(name: String(argument), line: index))
        case "receive": try append(.nothing, text: "receive")
        case "raw":
            let arguments = try split(argument)
            guard arguments.count == 1 else { throw error("raw takes one quoted string") }
            try append(.raw(arguments[0]), text: "raw " + argument)
        default: throw error("an unknown directive")
        }
    }

    private func number(_ text: Substring) throws -> Int {
        guard let value = Int(text), value >= 0 else { throw error("a number is expected") }
        return value
    }

    func split(_ text: Substring) throws -> [[UInt8]] {
        switch RespQuoting.split(text) {
        case .success(let arguments): return arguments
        case .failure(let failure): throw error(failure.message)
        }
    }

    private mutating func request(_ line: Substring) throws {
        let arguments = try split(line)
        guard !arguments.isEmpty else { throw error("an empty request") }
        try append(.arguments(arguments), text: String(line.drop(while: { $0 == " " })))
    }

    private mutating func append(_ payload: RespFile.Request.Payload, text: String) throws {
        guard command != nil else { throw error("no line \"# command: NAME\" before the first request") }
        let line = index
        isBlocking = false
        let expected = try expectations()
        let expectedText = lines[line..<index].map { String($0.dropFirst(2)) }.joined(separator: "\n")
        steps.append(
            .request(
                RespFile.Request(
                    line: line, text: text, payload: payload, scope: scope, protocolVersion: protocolVersion,
                    expected: expected, expectedText: expectedText, isBlocking: isBlocking
                )
            )
        )
        scope = fileScope
        protocolVersion = nil
    }
}
