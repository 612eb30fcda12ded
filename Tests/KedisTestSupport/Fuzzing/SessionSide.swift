// One of the two servers of the session fuzzer: its connections, and the barrier after which everything that a request
// has caused lies in the sockets.
//
// The barrier asks each event loop for a PONG, several times one after the other. Servers spread connections over their
// loops in turn, so as many controls as loops, made one after the other, are one on each. First round: each loop has
// read what was sent before. Second: each loop has delivered what the others left it in the first. Third: what that
// caused (a client that was served, and its own messages). A server with one loop needs two: see `rounds`. Used by one
// thread.

package import KedisProtocol
import KedisUtilities

package final class SessionSide {
    package let name: String
    private let port: UInt16
    private let rounds: Int
    private let loopCount: Int
    private var controls: [LoopbackSocket] = []
    private var sockets: [LoopbackSocket] = []
    /// What came since the last `take`.
    package private(set) var inboxes: [[UInt8]] = []
    package private(set) var isClosed: [Bool] = []
    /// The numbers of the connections.
    package private(set) var identifiers: [Int64] = []

    package init(name: String, port: UInt16, loopCount: Int) throws {
        self.name = name
        self.port = port
        self.loopCount = loopCount
        rounds = loopCount == 1 ? 2 : 3
        controls = try (0..<loopCount).map { _ in try LoopbackSocket(port: port) }
    }

    // MARK: The control connection

    /// Asks on the control connection.
    package func ask(_ requests: [[String]]) throws -> [Reply] {
        controls[0].send(requests.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) })
        var decoder = ReplyDecoder()
        var replies: [Reply] = []
        while replies.count < requests.count {
            while let reply = try decoder.next() { replies.append(reply) }
            if replies.count == requests.count { break }
            switch controls[0].receive(timeoutMilliseconds: 30_000) {
            case .bytes(let bytes): decoder.append(bytes)
            case .closed: throw OracleError(description: "\(name) closed the control connection")
            case .timeout: throw OracleError(description: "\(name) does not answer")
            }
        }
        return replies
    }

    private static let ping = Array("*1\r\n$4\r\nPING\r\n".utf8)
    private static let pongByteCount = 7

    /// Comes back when all loops have done what is due.
    package func settle() throws {
        for _ in 0..<rounds {
            for control in controls { control.send(Self.ping) }
            for control in controls {
                var missing = Self.pongByteCount
                while missing > 0 {
                    switch control.receive(timeoutMilliseconds: 30_000) {
                    case .bytes(let bytes): missing -= bytes.count
                    case .closed: throw OracleError(description: "\(name) closed a control connection")
                    case .timeout: throw OracleError(description: "\(name) does not answer a PING")
                    }
                }
            }
        }
    }

    // MARK: Connections

    /// Closes all connections and opens others.
    package func reconnectAll(_ count: Int) throws {
        for socket in sockets { socket.close() }
        try settle()
        sockets = []
        inboxes = Array(repeating: [], count: count)
        isClosed = Array(repeating: false, count: count)
        identifiers = Array(repeating: 0, count: count)
        for index in 0..<count {
            sockets.append(try LoopbackSocket(port: port))
            try learnIdentifier(index)
        }
    }

    /// Another connection in the place of one that is closed.
    package func reconnect(_ index: Int) throws {
        sockets[index] = try LoopbackSocket(port: port)
        isClosed[index] = false
        inboxes[index] = []
        try learnIdentifier(index)
    }

    package func close(_ index: Int) { sockets[index].close() }

    private func learnIdentifier(_ index: Int) throws {
        sockets[index].send(RespRunner.encode(["CLIENT", "ID"].map { Array($0.utf8) }))
        var decoder = ReplyDecoder()
        while true {
            guard case .bytes(let bytes) = sockets[index].receive(timeoutMilliseconds: 30_000) else {
                throw OracleError(description: "\(name) does not tell a new connection its number")
            }
            decoder.append(bytes)
            guard let reply = try decoder.next() else { continue }
            guard case .integer(let identifier) = reply else {
                throw OracleError(description: "\(name): CLIENT ID answers \(reply)")
            }
            identifiers[index] = identifier
            return
        }
    }

    package func send(_ index: Int, _ request: [[UInt8]]) { sockets[index].send(RespRunner.encode(request)) }

    /// Takes what has arrived at all connections into their inboxes.
    package func collect() {
        for index in sockets.indices where !isClosed[index] {
            reading: while true {
                switch sockets[index].receive(timeoutMilliseconds: 0) {
                case .bytes(let bytes): inboxes[index] += bytes
                case .closed:
                    isClosed[index] = true
                    break reading
                case .timeout: break reading
                }
            }
        }
    }

    package func clearInboxes() {
        for index in inboxes.indices { inboxes[index].removeAll(keepingCapacity: true) }
    }
}
