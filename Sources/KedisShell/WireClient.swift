// A blocking client of a Kedis or Redis server: one connection, one request at a time.
//
// Owns its socket and decoder; used by one thread. A connection that was dropped while idle is made anew before the
// next request, with the same user, protocol and database. A request that was sent and not answered is never sent
// again, as nobody knows whether it was executed.

package import KedisProtocol

package final class WireClient {
    package struct Options {
        package var endpoint: WireEndpoint
        package var username: [UInt8]?
        package var password: [UInt8]?
        package var database = 0
        package var usesRESP3 = false
        /// Makes what encrypts a connection; nil for plain ones.
        package var makeEncryption: (() throws(WireError) -> any WireEncryption)?

        package init(endpoint: WireEndpoint) {
            self.endpoint = endpoint
        }
    }

    package let options: Options
    /// Called with each push message (RESP3) that arrives before a reply.
    package var onPush: (Reply) -> Void = { _ in }
    /// True if Ctrl-C ends the wait for a reply, and with it the connection. For an interactive shell.
    package var isInterruptible = false
    /// How long to wait for a reply before that is an error; nil for ever.
    package var silenceSecondsMax: Int?
    /// The database that requests go to.
    package private(set) var database: Int
    private var connection: WireConnection?
    private var isInTransaction = false

    package init(options: Options) {
        self.options = options
        database = options.database
    }

    package var isConnected: Bool { connection != nil }

    package func disconnect() {
        connection = nil
        isInTransaction = false
    }

    // MARK: Connecting

    /// Connects, authenticates, chooses protocol and database. Does nothing if there is a connection.
    package func connect() throws(WireError) {
        guard connection == nil else { return }
        do {
            let encryption = try options.makeEncryption?()
            connection = try WireConnection(
                options.endpoint, encryption: encryption, patience)
        } catch {
            throw WireError(message: "Could not connect to Kedis at \(options.endpoint.name): \(error.message)")
        }
        do {
            try introduce()
        } catch {
            disconnect()
            throw error
        }
    }

    private func introduce() throws(WireError) {
        if let password = options.password {
            let user = options.username.map { [$0] } ?? []
            try require([Array("AUTH".utf8)] + user + [password], name: "AUTH")
        }
        if options.usesRESP3 { try require([Array("HELLO".utf8), Array("3".utf8)], name: "HELLO 3") }
        if database != 0 {
            try require([Array("SELECT".utf8), Array(String(database).utf8)], name: "SELECT \(database)")
        }
    }

    private func require(_ arguments: [[UInt8]], name: String) throws(WireError) {
        try send(arguments)
        if case .error(let text) = try receiveReply() {
            throw WireError(message: "\(name) failed: " + String(decoding: text, as: UTF8.self))
        }
    }

    // MARK: Requests

    /// Sends a request and waits for its reply, connecting first if there is no live connection.
    package func execute(_ arguments: [[UInt8]]) throws(WireError) -> Reply {
        try ensureConnected()
        do {
            try send(arguments)
            let reply = try receiveReply()
            follow(arguments, reply)
            return reply
        } catch {
            disconnect()
            // A server that shuts down as told says nothing.
            if WireClient.word(arguments.first) == "SHUTDOWN" { return .simple(Array("OK".utf8)) }
            throw error
        }
    }

    /// Sends requests one behind the other, then waits for all replies. So many at a time that neither side waits for
    /// the other with full buffers: requests and replies are short.
    package func executeAll(_ requests: [[[UInt8]]]) throws(WireError) -> [Reply] {
        var replies: [Reply] = []
        var rest = requests[...]
        while !rest.isEmpty {
            let part = rest.prefix(256)
            replies += try exchange(part.flatMap { encodeRequest($0) }, replyCount: part.count)
            rest = rest.dropFirst(part.count)
        }
        return replies
    }

    /// Sends the bytes of requests and waits for so many replies.
    package func exchange(_ requests: [UInt8], replyCount: Int) throws(WireError) -> [Reply] {
        try ensureConnected()
        guard let connection else { throw WireError(message: "Not connected") }
        do {
            try connection.send(requests)
            var replies: [Reply] = []
            for _ in 0..<replyCount { replies.append(try receiveReply()) }
            return replies
        } catch {
            disconnect()
            throw error
        }
    }

    /// Waits for the next reply without a request, as after SUBSCRIBE or MONITOR.
    package func receive() throws(WireError) -> Reply {
        do {
            return try receiveReply()
        } catch {
            disconnect()
            throw error
        }
    }

    private func ensureConnected() throws(WireError) {
        if let connection, !connection.isAlive() {
            let wasInTransaction = isInTransaction
            disconnect()
            if wasInTransaction { throw WireError(message: "The connection was lost, and the transaction with it") }
        }
        try connect()
    }

    private func send(_ arguments: [[UInt8]]) throws(WireError) {
        guard let connection else { throw WireError(message: "Not connected") }
        try connection.send(encodeRequest(arguments))
    }

    private func receiveReply() throws(WireError) -> Reply {
        while true {
            let reply = try receiveAny()
            guard case .push = reply else { return reply }
            onPush(reply)
        }
    }

    private func receiveAny() throws(WireError) -> Reply {
        guard let connection else { throw WireError(message: "Not connected") }
        return try connection.nextReply(patience)
    }

    private var patience: WirePatience {
        WirePatience(isInterruptible: isInterruptible, secondsMax: silenceSecondsMax)
    }

    /// Keeps what a new connection must be told again.
    private func follow(_ arguments: [[UInt8]], _ reply: Reply) {
        if reply.isError { return }
        switch WireClient.word(arguments.first) {
        case "SELECT" where reply == .simple(Array("OK".utf8)):
            database = Int(String(decoding: arguments.last ?? [], as: UTF8.self)) ?? database
        case "RESET": database = 0; isInTransaction = false
        case "MULTI": isInTransaction = true
        case "EXEC", "DISCARD": isInTransaction = false
        default: break
        }
    }

    private static func word(_ argument: [UInt8]?) -> String {
        argument.map { String(decoding: $0, as: UTF8.self).uppercased() } ?? ""
    }
}
