// Goal: one reply cannot grow past the hard limit of a client's output, however it is asked for. Method: a small limit, one MGET
// that names a large value many times.

import KedisCommands
import KedisProtocol
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Output limits")
struct OutputLimitTests {
    @Test("A reply that would pass the hard limit closes the client and is thrown away")
    func hugeReply() throws {
        let engine = Engine.forTest()
        try engine.configuration.set([("client-output-buffer-limit", "normal 1mb 0 0")], apply: { _ in nil })
        let session = TestSession(engine)
        _ = session.send(request(["SET", "k", String(repeating: "x", count: 100_000)]))
        let large = session.send(request(["MGET"] + [String](repeating: "k", count: 9)))
        #expect(large.count > 900_000)
        #expect(!session.isClosing)
        let tooLarge = session.send(request(["MGET"] + [String](repeating: "k", count: 1000)))
        #expect(tooLarge.isEmpty)
        #expect(session.isClosing)
    }

    private func request(_ arguments: [String]) -> [UInt8] { encodeRequest(arguments.map { Array($0.utf8) }) }
}
