// A redis-server of its own for a test that wants to know what Redis would say. Unix socket in a fresh folder, nothing
// saved; the process ends with the object.

import Foundation

struct OracleError: Error {
    var reason: String
}

final class RedisOracle {
    private static let candidates = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map { $0 + "/redis-server" }

    static var isInstalled: Bool { path != nil }
    private static var path: String? { candidates.first { FileManager.default.isExecutableFile(atPath: $0) } }

    private var process: pid_t = 0
    private let folder: URL
    private var descriptor: Int32 = -1
    private var input: [UInt8] = []
    private var inputStart = 0

    init() throws {
        guard let path = Self.path else { throw OracleError(reason: "redis-server is not installed") }
        folder = URL(fileURLWithPath: "/tmp/kedis-oracle-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let socketPath = folder.appendingPathComponent("s").path
        let log = folder.appendingPathComponent("log").path
        process = try Self.spawn(
            [path, "--port", "0", "--unixsocket", socketPath, "--dir", folder.path, "--save", "", "--logfile", log])
        for _ in 0..<500 {
            if connectSocket(socketPath) { return }
            usleep(20_000)
        }
        throw OracleError(reason: "redis-server does not listen")
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        if process > 0 {
            // Not SIGTERM: test threads block it, and the child inherits that.
            kill(process, SIGKILL)
            waitpid(process, nil, 0)
        }
        try? FileManager.default.removeItem(at: folder)
    }

    private static func spawn(_ arguments: [String]) throws -> pid_t {
        var pointers = arguments.map { strdup($0) }
        defer { for pointer in pointers { free(pointer) } }
        pointers.append(nil)
        var process: pid_t = 0
        guard posix_spawn(&process, arguments[0], nil, nil, pointers, environ) == 0 else {
            throw OracleError(reason: "cannot start \(arguments[0])")
        }
        return process
    }

    /// Sends a request and returns its reply, flattened to one list of strings.
    func ask(_ arguments: [[UInt8]]) throws -> [[UInt8]] {
        var request = [UInt8]("*\(arguments.count)\r\n".utf8)
        for argument in arguments {
            request += [UInt8]("$\(argument.count)\r\n".utf8) + argument + [0x0d, 0x0a]
        }
        var sent = 0
        while sent < request.count {
            let count = request[sent...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { throw OracleError(reason: "cannot write") }
            sent += count
        }
        return try readReply()
    }

    private func readReply() throws -> [[UInt8]] {
        let line = try readLine()
        let number = Int(String(decoding: line.dropFirst(), as: UTF8.self)) ?? 0
        switch line.first {
        case 0x24:
            guard number >= 0 else { return [] }
            return [Array(try read(count: number + 2).dropLast(2))]
        case 0x2a:
            var items: [[UInt8]] = []
            for _ in 0..<max(number, 0) { items += try readReply() }
            return items
        case 0x2d:
            throw OracleError(reason: String(decoding: line, as: UTF8.self))
        default:
            return [Array(line.dropFirst())]
        }
    }

    private func readLine() throws -> [UInt8] {
        while true {
            if let end = input[inputStart...].firstIndex(of: 0x0a) {
                defer { inputStart = end + 1 }
                return Array(input[inputStart..<end - 1])
            }
            try fill()
        }
    }

    private func read(count: Int) throws -> [UInt8] {
        while input.count - inputStart < count { try fill() }
        defer { inputStart += count }
        return Array(input[inputStart..<inputStart + count])
    }

    private func fill() throws {
        input.removeFirst(inputStart)
        inputStart = 0
        var piece = [UInt8](repeating: 0, count: 65_536)
        let count = Foundation.read(descriptor, &piece, piece.count)
        guard count > 0 else { throw OracleError(reason: "redis-server closed the connection") }
        input += piece[..<count]
    }

    private func connectSocket(_ path: String) -> Bool {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        #if canImport(Glibc)
        let candidate = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let candidate = socket(AF_UNIX, SOCK_STREAM, 0)
        #endif
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(candidate, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if result != 0 {
            close(candidate)
            return false
        }
        descriptor = candidate
        return true
    }
}
