// A session without a transport, for tests of batches, splits and locks: bytes in, bytes out, on any engine.

package import KedisCommands
package import KedisProtocol
import KedisStore
import KedisUtilities

package final class TestSession {
    private var session: Session
    private let postbox = Postbox()

    package init(_ engine: Engine, version: ProtocolVersion = .resp2) {
        session = Session(engine: engine, version: version, postbox: postbox)
        session.client.pointee.record.receive = { [unowned self] mail in
            if case .message(let message) = mail { session.deliver(message) }
        }
    }

    deinit { session.client.pointee.record.receive = nil }

    package var isClosing: Bool { session.isClosing }

    /// The client waits in a blocking command.
    package var isBlocked: Bool { session.isBlocked }

    /// What came since for a client that waited: an outcome, or that its time is up.
    package func collect() -> [UInt8] {
        guard session.expireWaiting(nowNanoseconds: session.engine.clock.monotonicNanoseconds()) else { return [] }
        session.resume()
        return send([])
    }

    /// Feeds `bytes` in one piece and returns the replies, and the messages that came before.
    package func send(_ bytes: [UInt8]) -> [UInt8] {
        postbox.deliver()
        bytes.withUnsafeBytes { session.receive($0) }
        var replies: [UInt8] = []
        while true {
            let isPaused = session.isPaused
            replies += session.output.bytes.buffer
            session.output.removeAll()
            guard isPaused else { return replies }
            session.resume()
        }
    }

    /// Sends one request and decodes its reply; nil if there is none or it is not whole.
    package func call(_ arguments: String...) throws -> Reply? {
        try call(arguments)
    }

    package func call(_ arguments: [String]) throws -> Reply? {
        var decoder = ReplyDecoder()
        decoder.append(send(RespRunner.encode(arguments.map { Array($0.utf8) })))
        return try decoder.next()
    }
}

extension Engine {
    /// An engine with an empty store, on the given clock or on the real one.
    package static func forTest(clock: TestClock? = nil) -> Engine {
        Engine(store: Store(seed: HashSeed(1, 2)), clock: clock?.engineClock ?? .system, seed: 3)
    }
}
