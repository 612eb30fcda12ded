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

import KedisProtocol

package struct OracleError: Error, CustomStringConvertible {
    package let description: String

    package init(description: String) { self.description = description }
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
        guard case .reply(.bulk(let text)) = peer.receive(60_000) else { return false }
        return String(decoding: text, as: UTF8.self).contains("redis_version:\(version)")
    }()

    /// Starts a server and waits until it answers. A port that was free may be taken when the server wants it, so a
    /// few are tried.
    package init() throws {
        guard let program = Self.program else { throw OracleError(description: "no redis-server in PATH") }
        guard let folder = TestFiles.makeTemporaryFolder() else { throw OracleError(description: "no folder") }
        self.folder = folder
        for _ in 0..<8 {
            let port = try LoopbackSocket.freePort()
            let process = try spawnProcess([
                program, "--port", "\(port)", "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no",
                "--daemonize", "no", "--enable-debug-command", "yes", "--logfile", "\(folder)/redis.log",
            ])
            if Self.isReady(process, port: port) {
                self.port = port
                self.process = process
                return
            }
            kill(process, SIGKILL)
            waitpid(process, nil, 0)
        }
        let log = String(decoding: TestFiles.read("\(folder)/redis.log") ?? [], as: UTF8.self)
        TestFiles.removeTemporaryFolder(folder)
        throw OracleError(description: "redis-server does not start: \(log.suffix(500))")
    }

    deinit { stop() }

    /// A new connection.
    package func connect() throws -> RespPeer { try RespPeer.connect(port: port) }

    /// Waits until this very process answers on the port (another server may have it).
    static func isReady(_ process: pid_t, port: UInt16) -> Bool {
        for _ in 0..<1000 {
            if waitpid(process, nil, WNOHANG) != 0 { return false }
            if let peer = try? RespPeer.connect(port: port) {
                defer { peer.close() }
                peer.send(Array("INFO server\r\n".utf8))
                guard case .reply(.bulk(let text)) = peer.receive(60_000) else { return false }
                // CR LF is one character of a String, so the line is compared whole.
                let lines = String(decoding: text, as: UTF8.self).split(separator: "\r\n")
                return lines.contains("process_id:\(process)")
            }
            TestFiles.sleep(milliseconds: 10)
        }
        return false
    }

    /// Whether it runs; one that crashed does not.
    package var isRunning: Bool {
        guard process > 0 else { return false }
        if waitpid(process, nil, WNOHANG) == 0 { return true }
        process = 0
        return false
    }

    /// The end of what it logged.
    package var log: String { String(decoding: (TestFiles.read("\(folder)/redis.log") ?? []).suffix(20_000), as: UTF8.self) }

    package func stop() {
        if process > 0 {
            kill(process, SIGKILL)
            waitpid(process, nil, 0)
            process = 0
        }
        TestFiles.removeTemporaryFolder(folder)
    }

    /// The oracle as a target of `.resp` files. The server lives as long as the target.
    package func target(protocolVersion: Int) -> RespTarget {
        RespTarget(name: "redis-server", isOracle: true, protocolVersion: protocolVersion, connect: { try self.connect() })
    }
}

/// Starts a child process with this one's environment; its output goes where this one's goes.
package func spawnProcess(_ arguments: [String]) throws -> Int32 {
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
