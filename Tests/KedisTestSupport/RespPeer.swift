// What a `.resp` file is run against: a connection (`RespPeer`) and the place that makes them (`RespTarget`).
//
// Both are bundles of functions, so that the engine in process, a server behind a socket and a real redis-server plug
// in with a few lines each. Used by one thread at a time.

package import KedisProtocol

/// What comes from a connection.
package enum RespEvent: Equatable {
    case reply(Reply)
    case closed
    /// Nothing came in time.
    case timeout
    /// Bytes that are no reply.
    case garbage(String)
}

/// One connection to what is tested.
package struct RespPeer {
    package var send: ([UInt8]) -> Void
    package var receive: (_ timeoutMilliseconds: Int) -> RespEvent
    package var close: () -> Void

    package init(
        send: @escaping ([UInt8]) -> Void,
        receive: @escaping (_ timeoutMilliseconds: Int) -> RespEvent,
        close: @escaping () -> Void = {}
    ) {
        self.send = send
        self.receive = receive
        self.close = close
    }
}

/// Something that connections can be made to.
package struct RespTarget {
    package var name: String
    /// A real redis-server: it does not get what only Kedis knows.
    package var isOracle: Bool
    /// 2 or 3.
    package var protocolVersion: Int
    /// A new connection, still in RESP2.
    package var connect: () throws -> RespPeer
    /// Lets time pass: really, or on the clock of a simulation.
    package var sleep: (_ milliseconds: Int) -> Void
    /// Makes a new, empty target, whose connections speak the right protocol at once and answer without delay. Where
    /// there is none, FLUSHALL and HELLO do that work.
    package var renew: (() -> Void)?

    package init(
        name: String,
        isOracle: Bool = false,
        protocolVersion: Int,
        connect: @escaping () throws -> RespPeer,
        sleep: @escaping (_ milliseconds: Int) -> Void = { TestFiles.sleep(milliseconds: $0) }
    ) {
        self.name = name
        self.isOracle = isOracle
        self.protocolVersion = protocolVersion
        self.connect = connect
        self.sleep = sleep
    }
}

extension RespPeer {
    /// A connection without a network: `process` takes request bytes and returns the reply bytes, and whether the
    /// session is closed after them; `collect` asks the same without a request, for what others did to the session.
    package static func inProcess(
        _ process: @escaping ([UInt8]) -> (replies: [UInt8], isClosed: Bool),
        collect: @escaping () -> (replies: [UInt8], isClosed: Bool) = { ([], false) }
    ) -> RespPeer {
        let inbox = RespInbox()
        return RespPeer(
            send: { bytes in
                guard !inbox.isClosed else { return }
                let (replies, isClosed) = process(bytes)
                inbox.append(replies)
                inbox.isClosed = isClosed
            },
            receive: { _ in
                if let event = inbox.next() { return event }
                guard !inbox.isClosed else { return .closed }
                let (replies, isClosed) = collect()
                inbox.append(replies)
                inbox.isClosed = isClosed
                return inbox.next() ?? (isClosed ? .closed : .timeout)
            }
        )
    }

    /// The same connection with every byte sent on its own. `sendPart` sends and waits until the other side has it.
    package func sendingByteByByte(_ sendPart: (([UInt8]) -> Void)? = nil) -> RespPeer {
        let sendPart = sendPart ?? send
        var peer = self
        peer.send = { bytes in
            for byte in bytes { sendPart([byte]) }
        }
        return peer
    }

    /// The same connection with every request sent in two parts: the first request after byte `offset` + 1, the next
    /// ones each a byte later, from the front again where a request is shorter. `sendPart` as above.
    package func sendingInTwoParts(_ offset: Int, _ sendPart: @escaping ([UInt8]) -> Void) -> RespPeer {
        var peer = self
        var turn = offset
        peer.send = { bytes in
            guard bytes.count > 1 else { return send(bytes) }
            let split = 1 + turn % (bytes.count - 1)
            turn += 1
            sendPart(Array(bytes[..<split]))
            send(Array(bytes[split...]))
        }
        return peer
    }
}

/// Received bytes on their way to becoming replies.
final class RespInbox {
    private var decoder = ReplyDecoder()
    private var failure: String?
    var isClosed = false

    func append(_ bytes: [UInt8]) { decoder.append(bytes) }

    /// The next whole reply, or nil if more bytes are needed.
    func next() -> RespEvent? {
        if let failure { return .garbage(failure) }
        do {
            return try decoder.next().map { .reply($0) }
        } catch {
            failure = "\(error)"
            return .garbage("\(error)")
        }
    }
}
