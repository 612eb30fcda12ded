// A server in this process, on a port that the system chose and in a folder of its own.

import KedisCommands
import KedisServer
import KedisStore
import KedisTestSupport
import KedisUtilities

final class TestServer: Sendable {
    let server: KedisServer
    let folder: String
    private let lines: Lines

    private final class Lines: Sendable {
        let all = Locked<[String]>([])
    }

    /// Starts a server with `directives` as on the command line, over a port of its own, no saving and two threads.
    init(_ directives: [String] = [], folder: String) async throws {
        let arguments =
            ["--dir", folder, "--save", "", "--threads", "2", "--loglevel", "debug"] + TestFiles.transportDirectives
            + directives
        let lines = Lines()
        let options = try parseServerArguments(arguments).get()
        server = try KedisServer(options: options) { line in lines.all.withLock { $0.append(line) } }
        self.lines = lines
        self.folder = folder
        try await server.start(ephemeralPort: true)
    }

    /// Runs `body` with a server and stops it.
    static func with(_ directives: [String] = [], _ body: (TestServer) async throws -> Void) async throws {
        guard let folder = TestFiles.makeTemporaryFolder() else { throw TestServerError(description: "no folder") }
        defer { TestFiles.removeTemporaryFolder(folder) }
        let server = try await TestServer(directives, folder: folder)
        do {
            try await body(server)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    var port: UInt16 { UInt16(clamping: server.port) }

    var tlsPort: UInt16 { UInt16(clamping: server.tlsPort) }

    func connect() throws -> LoopbackSocket { try LoopbackSocket(port: port) }

    /// The log so far.
    var log: String { lines.all.withLock { $0.joined() } }

    func stop() async { await server.stop() }
}

struct TestServerError: Error, CustomStringConvertible {
    let description: String
}

extension LoopbackSocket {
    func send(_ text: String) { send(Array(text.utf8)) }

    /// What arrives until `byteCount` bytes are there, the peer closes, or time is up.
    func read(_ byteCount: Int, timeoutMilliseconds: Int = 20_000) -> String {
        var bytes: [UInt8] = []
        let deadline = monotonicNanoseconds() + UInt64(timeoutMilliseconds) * 1_000_000
        while bytes.count < byteCount, monotonicNanoseconds() < deadline {
            switch receive(timeoutMilliseconds: 100) {
            case .bytes(let more): bytes += more
            case .closed: return String(decoding: bytes, as: UTF8.self)
            case .timeout: break
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Whether the peer closes within the time; what arrives before is dropped.
    func isClosedWithin(milliseconds: Int) -> Bool {
        let deadline = monotonicNanoseconds() + UInt64(milliseconds) * 1_000_000
        while monotonicNanoseconds() < deadline {
            if case .closed = receive(timeoutMilliseconds: 50) { return true }
        }
        return false
    }

    /// Sends a request and expects a reply.
    func ask(_ request: String, _ reply: String) -> Bool {
        send(request)
        return read(reply.utf8.count) == reply
    }
}
