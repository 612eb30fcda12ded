// Goal: buffers of a session say that they cannot grow, and keep what they have. Method: more bytes than any address
// space has, of which none is read.

import KedisProtocol
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisCommands

@Suite("Refused memory")
struct MemoryRefusalTests {
    private let tooManyBytes = 1 << 56

    @Test("Input that waits stays when there is no memory for more")
    func input() {
        var buffer = InputBuffer()
        let bytes: [UInt8] = [1, 2, 3]
        let isTaken = bytes.withUnsafeBytes { buffer.append(ByteView($0), expectedByteCount: .max) }
        let isRefused = !buffer.append(ByteView(base: ByteView.nowhere, count: tooManyBytes))
        #expect(isTaken && isRefused)
        #expect(buffer.view.bytes == bytes)
        let isTakenAgain = bytes.withUnsafeBytes { buffer.append(ByteView($0)) }
        #expect(isTakenAgain)
        #expect(buffer.view.bytes == bytes + bytes)
    }

    @Test("Room for keys is refused")
    func keys() {
        var keys = KeyBuffer()
        let isRefused = !keys.reserve(tooManyBytes) && !keys.reserve(.max / 2)
        #expect(isRefused)
        let isTaken = keys.reserve(1000)
        #expect(isTaken)
    }

    @Test("A session whose request cannot be kept answers OOM, closes, and runs nothing of it")
    func session() {
        var session = Session(engine: Engine.forTest())
        let start = Array("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100\r\nx".utf8)
        start.withUnsafeBytes { session.receive($0) }
        session.receive(UnsafeRawBufferPointer(start: ByteView.nowhere, count: tooManyBytes))
        let (replies, isClosing) = (session.output.bytes.bytes, session.isClosing)
        #expect(replies.starts(with: Array("-OOM ".utf8)))
        #expect(isClosing)
    }

    @Test("The error of a request that could not be kept stood where the replies of earlier ones had been")
    func repliesBeforeRefusal() throws {
        let engine = Engine.forTest()
        try engine.configuration.set([("client-output-buffer-limit", "normal 1100 0 0")], apply: { _ in nil })
        var session = Session(engine: engine)
        // 1092 bytes of replies, which nobody takes: the error is too much.
        let ping = Array("*1\r\n$4\r\nPING\r\n".utf8)
        let requests = [[UInt8]](repeating: ping, count: 156).flatMap { $0 } + Array("*2\r\n$3\r\nGET\r\n".utf8)
        requests.withUnsafeBytes { session.receive($0) }
        let waiting = session.output.count
        #expect(waiting == 1092)
        session.receive(UnsafeRawBufferPointer(start: ByteView.nowhere, count: tooManyBytes))
        let (replies, isClosing) = (session.output.bytes.bytes, session.isClosing)
        #expect(replies.isEmpty)
        #expect(isClosing)
    }
}
