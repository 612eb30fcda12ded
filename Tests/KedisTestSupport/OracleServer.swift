// A real redis-server as a child process: the oracle of the `.resp` files, on a port and in a folder of its own.
//
// Ended by its process number when the object goes, or by `stop`.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

package import KedisProtocol

package struct OracleError: Error, CustomStringConvertible {
    package let description: String
}

package final class OracleServer {
    package let port: UInt16
    package let folder: String
    private var process: pid_t

    /// The redis-server to ask, from KEDIS_ORACLE or PATH.
    package static let program = TestFiles.program(TestFiles.environment("KEDIS_ORACLE") ?? "redis-server")

    /// The version that the expectations are written for; another one differs in error texts and options.
    package static let version = "7.0."

    /// Whether the oracle is there and has the right version.
    package static let isUsable: Bool = {
        guard program != nil, let server = try? OracleServer(), let peer = try? server.connect() else { return false }
        peer.send(Array("INFO server\r\n".utf8))
        guard case .reply(.bulk(let text)) = peer.receive(5_000) else { return false }
        return String(decoding: text, as: UTF8.self).contains("redis_version:\(version)")
    }()

    /// Starts a server and waits until it answers.
    package init() throws {
        guard let program = Self.program else { throw OracleError(description: "no redis-server in PATH") }
        guard let folder = TestFiles.makeTemporaryFolder() else { throw OracleError(description: "no folder") }
        self.folder = folder
        self.port = try LoopbackSocket.freePort()
        let arguments = [
            program, "--port", "\(port)", "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no",
            "--daemonize", "no", "--enable-debug-command", "yes", "--logfile", "\(folder)/redis.log",
        ]
        self.process = try spawnProcess(arguments)
        try waitUntilReady()
    }

    deinit { stop() }

    /// A new connection.
    package func connect() throws -> RespPeer { try RespPeer.connect(port: port) }

    private func waitUntilReady() throws {
        for _ in 0..<500 {
            if (try? LoopbackSocket(port: port)) != nil { return }
            TestFiles.sleep(milliseconds: 20)
        }
        throw OracleError(description: "redis-server does not listen on port \(port)")
    }

    package func stop() {
        guard process > 0 else { return }
        kill(process, SIGKILL)
        waitpid(process, nil, 0)
        process = 0
        TestFiles.removeTemporaryFolder(folder)
    }

    /// The oracle as a target of `.resp` files. The server lives as long as the target.
    package func target(protocolVersion: Int) -> RespTarget {
        RespTarget(name: "redis-server", isOracle: true, protocolVersion: protocolVersion, connect: { try self.connect() })
    }
}

/// Starts a child process with this one's environment; its output goes where this one's goes.
func spawnProcess(_ arguments: [String]) throws -> pid_t {
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    var process: pid_t = 0
    let result = posix_spawn(&process, arguments[0], nil, nil, pointers, environ)
    guard result == 0 else {
        throw OracleError(description: "starting \(arguments[0]): \(String(cString: strerror(result)))")
    }
    return process
}
