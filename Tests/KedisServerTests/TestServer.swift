// A server in this process, on a port that the system chose and in a folder of its own.

import KedisCommands
import KedisServer
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

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

/// Gives `body` a new folder, which is removed behind it.
func withFolder(_ body: (String) async throws -> Void) async throws {
    guard let folder = TestFiles.makeTemporaryFolder() else { throw TestServerError(description: "no folder") }
    defer { TestFiles.removeTemporaryFolder(folder) }
    try await body(folder)
}

/// The same without waiting.
func withFolder(_ body: (String) throws -> Void) throws {
    guard let folder = TestFiles.makeTemporaryFolder() else { throw TestServerError(description: "no folder") }
    defer { TestFiles.removeTemporaryFolder(folder) }
    try body(folder)
}

/// Serves a folder once, with a request.
func serve(_ folder: String, _ options: [String], _ request: String, _ reply: String) async throws {
    let server = try await TestServer(options, folder: folder)
    #expect(try server.connect().ask(request, reply))
    await server.stop()
}

/// Two ends of a connection.
func makeSocketPair() throws -> (near: Int32, far: Int32) {
    var ends: [Int32] = [-1, -1]
    #if canImport(Glibc)
    let kind = Int32(SOCK_STREAM.rawValue)
    #else
    let kind = SOCK_STREAM
    #endif
    try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
    return (ends[0], ends[1])
}

struct TestServerError: Error, CustomStringConvertible {
    let description: String
}

extension LoopbackSocket {
    /// What is answered, with an end behind it.
    func answer(_ request: String) -> String {
        send("\(request)\r\nECHO over\r\n")
        var text = ""
        while !text.hasSuffix("$4\r\nover\r\n") {
            let more = read(1, timeoutMilliseconds: 60_000)
            guard !more.isEmpty else { return text }
            text += more
        }
        return text
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    /// What arrives until `byteCount` bytes are there, the peer closes, or time is up.
    func read(_ byteCount: Int, timeoutMilliseconds: Int = 60_000) -> String {
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
