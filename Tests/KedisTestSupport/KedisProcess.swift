// `kedis server` as a child process, on a port and with the folder that it is given: what survives its end is in there.
//
// The executable is the one that was built with the tests. Ended by its process number.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

package final class KedisProcess {
    package let port: UInt16
    private var process: pid_t

    /// The number of the process; 0 when it has ended.
    package var identifier: Int32 { process }

    /// The executable beside the one that runs the tests; nil where there is none.
    package static let program: String? = {
        let own = CommandLine.arguments.first ?? ""
        let folder = own.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        return TestFiles.program("\(folder)/kedis")
    }()

    /// Starts a server and waits until it answers. With `addressSpaceKilobytes` the system refuses it more than that.
    package init(folder: String, directives: [String], addressSpaceKilobytes: Int? = nil) throws {
        guard let program = Self.program else { throw OracleError(description: "no kedis beside the tests") }
        for _ in 0..<8 {
            let port = try LoopbackSocket.freePort()
            // The shell becomes the server: the process number stays.
            let limit = addressSpaceKilobytes.map { ["/bin/sh", "-c", "ulimit -v \($0); exec \"$0\" \"$@\""] } ?? []
            let process = try spawnProcess(limit + [
                program, "server", "--port", "\(port)", "--bind", "127.0.0.1", "--dir", folder,
                "--logfile", "\(folder)/kedis.log", "--threads", "2",
            ] + TestFiles.transportDirectives + directives)
            if OracleServer.isReady(process, port: port) {
                self.port = port
                self.process = process
                return
            }
            kill(process, SIGKILL)
            waitpid(process, nil, 0)
        }
        let log = String(decoding: TestFiles.read("\(folder)/kedis.log") ?? [], as: UTF8.self)
        throw OracleError(description: "kedis server does not start: \(log.suffix(500))")
    }

    deinit {
        guard process > 0 else { return }
        kill(process, SIGKILL)
        waitpid(process, nil, 0)
    }

    /// Asks it to leave and waits for its end; returns its exit code, or nil when a signal ended it.
    package func terminate() -> Int32? {
        guard process > 0 else { return nil }
        var status: Int32 = 0
        kill(process, SIGTERM)
        waitpid(process, &status, 0)
        process = 0
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : nil
    }

    /// Whether it runs; what a crash leaves is not.
    package var isRunning: Bool {
        guard process > 0 else { return false }
        if waitpid(process, nil, WNOHANG) == 0 { return true }
        process = 0
        return false
    }

    package func target(protocolVersion: Int) -> RespTarget {
        RespTarget(
            name: "kedis server", protocolVersion: protocolVersion, connect: { try RespPeer.connect(port: self.port) }
        )
    }
}
