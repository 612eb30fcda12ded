// Runs a `.resp` file against a target and reports what differs.
//
// One runner, one file, one thread. It keeps going after a wrong reply, since the next ones tell more, and stops when
// the connection is out of step (nothing came, or it was closed).

package import KedisProtocol

/// A reply that differs from what the file expects.
package struct RespMismatch: CustomStringConvertible {
    package let path: String
    package let line: Int
    package let request: String
    package let expected: String
    package let got: String

    package var description: String {
        "\(path):\(line): \(request)\n  expected: \(Self.shorten(expected))\n  got:      \(Self.shorten(got))"
    }

    /// The first lines of a text, later ones indented like a reply in a message.
    private static func shorten(_ text: String) -> String {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let shown = lines.prefix(60).joined(separator: "\n            ")
        return lines.count > 60 ? shown + "\n            … \(lines.count) lines" : shown
    }
}

package struct RespRunner {
    private let file: RespFile
    private let target: RespTarget
    private var peers: [Int: RespPeer] = [:]
    private var current = 1
    private var kept: [String: [UInt8]] = [:]
    private var last: Reply?

    package private(set) var mismatches: [RespMismatch] = []
    /// What came for the requests without expectations, by line: for the recorder.
    package private(set) var recorded: [Int: [Reply]] = [:]

    /// Long enough for a busy machine; only reached when something is wrong.
    private static let timeoutMilliseconds = 60_000
    private static let mismatchLimit = 20

    package init(_ file: RespFile, on target: RespTarget) {
        self.file = file
        self.target = target
    }

    /// Runs the whole file and returns what differs.
    package static func run(_ file: RespFile, on target: RespTarget) throws -> [RespMismatch] {
        var runner = RespRunner(file, on: target)
        try runner.run()
        return runner.mismatches
    }

    package mutating func run() throws {
        defer { closeAll() }
        try startAfresh()
        for step in file.steps {
            guard try run(step), mismatches.count < Self.mismatchLimit else { return }
        }
        checkNothingIsLeft()
    }

    /// Runs one step; false if there is no point in going on.
    private mutating func run(_ step: RespFile.Step) throws -> Bool {
        switch step {
        case .request(let request): return try run(request)
        case .sleep(let milliseconds): target.sleep(milliseconds)
        case .client(let number): current = number
        case .fresh: try startAfresh()
        case .closes(let line):
            let event = try peer().receive(Self.timeoutMilliseconds)
            if event != .closed { report(line, "! closes", "a closed connection", Self.describe(event)) }
            peers[current]?.close()
            peers[current] = nil
        case .keep(let name, let line):
            switch last {
            case .integer(let value): kept[name] = Array(String(value).utf8)
            case .bulk(let bytes), .simple(let bytes), .verbatim(_, let bytes): kept[name] = bytes
            default: report(line, "! keep \(name)", "an integer or a string", "\(String(describing: last))")
            }
        }
        return true
    }

    private mutating func run(_ request: RespFile.Request) throws -> Bool {
        if let only = request.protocolVersion, only != target.protocolVersion { return true }
        switch request.scope {
        case .everyone: break
        case .kedisOnly: if target.isOracle { return true }
        case .oracleOnly: if !target.isOracle { return true }
        }
        let peer = try peer()
        let identifier = request.isBlocking ? try askIdentifier(of: peer, request) : nil
        switch request.payload {
        case .nothing: break
        case .raw(let bytes): peer.send(bytes)
        case .arguments(let arguments): peer.send(Self.encode(arguments.map(substitute)))
        }
        guard let expected = request.expected else {
            recorded[request.line] = record(peer)
            return true
        }
        if let identifier { return try waitUntilBlocked(identifier, request) }
        for expectation in expected {
            let event = peer.receive(Self.timeoutMilliseconds)
            guard case .reply(let reply) = event else {
                report(request.line, request.text, request.expectedText, Self.describe(event))
                return false
            }
            last = reply
            if !expectation.matches(reply, protocolVersion: target.protocolVersion) {
                report(request.line, request.text, request.expectedText, Self.describe(event))
            }
        }
        return true
    }

    private func askIdentifier(of peer: RespPeer, _ request: RespFile.Request) throws -> Int64 {
        peer.send(Self.encode([Array("CLIENT".utf8), Array("ID".utf8)]))
        guard case .reply(.integer(let identifier)) = peer.receive(Self.timeoutMilliseconds) else {
            throw RespFileError(path: file.path, line: request.line, message: "the connection has no number")
        }
        return identifier
    }

    /// Asks over a connection of its own until the client waits: what the next clients send comes later.
    private mutating func waitUntilBlocked(_ identifier: Int64, _ request: RespFile.Request) throws -> Bool {
        let observer = try target.connect()
        defer { observer.close() }
        for attempt in 0..<3000 {
            if attempt > 0 { TestFiles.sleep(milliseconds: 10) }
            let words = ["CLIENT", "LIST", "ID", String(identifier)]
            observer.send(Self.encode(words.map { Array($0.utf8) }))
            guard case .reply(let reply) = observer.receive(Self.timeoutMilliseconds) else { break }
            if reply.respLines().contains(where: { $0.contains(" flags=b") }) { return true }
        }
        report(request.line, request.text, request.expectedText, "a client that does not wait")
        return false
    }

    /// Takes what comes until it is quiet.
    private mutating func record(_ peer: RespPeer) -> [Reply] {
        var replies: [Reply] = []
        while case .reply(let reply) = peer.receive(replies.isEmpty ? 300 : 20) {
            replies.append(reply)
            last = reply
        }
        return replies
    }

    /// A reply too many shows up as the answer to another request.
    private mutating func checkNothingIsLeft() {
        for (number, peer) in peers.sorted(by: { $0.key < $1.key }) {
            if target.renew != nil {
                let event = peer.receive(0)
                if event != .timeout { report(0, "the end of the file", "nothing", Self.describe(event)) }
                continue
            }
            peer.send(Self.encode([Array("ECHO".utf8), Array("end of file".utf8)]))
            let event = peer.receive(Self.timeoutMilliseconds)
            if event != .reply(.bulk(Array("end of file".utf8))) {
                report(0, "ECHO \"end of file\" on client \(number)", "\"end of file\"", Self.describe(event))
            }
        }
    }

    private mutating func startAfresh() throws {
        closeAll()
        current = 1
        if let renew = target.renew {
            renew()
            return
        }
        let peer = try peer()
        peer.send(Self.encode([Array("FLUSHALL".utf8)]))
        let event = peer.receive(Self.timeoutMilliseconds)
        if event != .reply(.simple(Array("OK".utf8))) { report(0, "FLUSHALL", "OK", Self.describe(event)) }
    }

    /// The connection in use, made if it is not there, in the protocol of the target.
    private mutating func peer() throws -> RespPeer {
        if let peer = peers[current] { return peer }
        let peer = try target.connect()
        peers[current] = peer
        if target.protocolVersion == 3, target.renew == nil {
            peer.send(Self.encode([Array("HELLO".utf8), Array("3".utf8)]))
            let event = peer.receive(Self.timeoutMilliseconds)
            guard case .reply(.map) = event else {
                report(0, "HELLO 3", "a map", Self.describe(event))
                return peer
            }
        }
        return peer
    }

    private mutating func closeAll() {
        for peer in peers.values { peer.close() }
        peers = [:]
    }

    /// Puts what was kept in the place of `${name}`.
    private func substitute(_ argument: [UInt8]) -> [UInt8] {
        guard !kept.isEmpty, argument.contains(UInt8(ascii: "$")) else { return argument }
        for (name, value) in kept where argument == Array("${\(name)}".utf8) { return value }
        return argument
    }

    private mutating func report(_ line: Int, _ request: String, _ expected: String, _ got: String) {
        let text = request.utf8.count > 200 ? String(request.prefix(200)) + "…" : request
        mismatches.append(
            RespMismatch(path: file.path, line: line, request: text, expected: expected, got: got)
        )
    }

    package static func describe(_ event: RespEvent) -> String {
        switch event {
        case .reply(let reply): reply.respLines().map { String($0.dropFirst(2)) }.joined(separator: "\n")
        case .closed: "the connection was closed"
        case .timeout: "nothing"
        case .garbage(let message): "bytes that are no reply: \(message)"
        }
    }

    /// A request as clients send it: an array of bulk strings.
    package static func encode(_ arguments: [[UInt8]]) -> [UInt8] {
        var bytes = Array("*\(arguments.count)\r\n".utf8)
        for argument in arguments {
            bytes += Array("$\(argument.count)\r\n".utf8)
            bytes += argument
            bytes += [0x0D, 0x0A]
        }
        return bytes
    }
}
