// The program under other names: what starts redis-server and redis-cli starts this one unchanged.

import KedisCommands
import KedisProtocol
import KedisTestSupport
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("Drop-in", .enabled(if: KedisProcess.program != nil, "no kedis beside the tests"))
struct DropInTests {
    /// A folder with the program under `name`.
    private struct Place {
        let folder: String
        let port: UInt16

        init(_ name: String) throws {
            guard let folder = TestFiles.makeTemporaryFolder(), let path = KedisProcess.program,
                let program = realpath(path, nil)
            else {
                throw TestServerError(description: "no folder or no program")
            }
            self.folder = folder
            port = try LoopbackSocket.freePort()
            defer { free(program) }
            guard symlink(program, "\(folder)/\(name)") == 0 else { throw TestServerError(description: "no link") }
        }

        func text(_ name: String) -> String {
            String(decoding: TestFiles.read("\(folder)/\(name)") ?? [], as: UTF8.self)
        }

        /// Runs a line of the shell in the folder; returns its exit code.
        func run(_ line: String) throws -> Int32 {
            let process = try spawnProcess(["/bin/sh", "-c", "cd '\(folder)' && \(line)"])
            var status: Int32 = 0
            waitpid(process, &status, 0)
            return status >> 8 & 0xFF
        }

        /// Starts a line of the shell, which ends in a server, and waits for the server's words.
        func start(_ line: String) throws -> pid_t {
            let process = try spawnProcess(["/bin/sh", "-c", "cd '\(folder)' && exec \(line) > out 2>&1"])
            guard eventually({ text("out").contains("Ready to accept connections") }) else {
                kill(process, SIGKILL)
                waitpid(process, nil, 0)
                throw TestServerError(description: "the server is not ready: \(text("out"))")
            }
            return process
        }

        func end(_ process: pid_t) -> Int32 {
            var status: Int32 = 0
            kill(process, SIGTERM)
            waitpid(process, &status, 0)
            return status & 0x7F == 0 ? status >> 8 & 0xFF : -1
        }
    }

    private func information(_ port: UInt16) throws -> [String: String] {
        let peer = try RespPeer.connect(port: port)
        defer { peer.close() }
        peer.send(Array("INFO\r\n".utf8))
        guard case .reply(.bulk(let bytes)) = peer.receive(60_000) else { return [:] }
        var result: [String: String] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\r\n") {
            let parts = line.split(separator: ":", maxSplits: 1).map(String.init)
            if parts.count == 2 { result[parts[0]] = parts[1] }
        }
        return result
    }

    @Test("Under the name of a server it takes a file and directives, tells its number, and is a Redis 7.2 to clients",
        arguments: ["redis-server", "valkey-server", "kedis-server"])
    func server(name: String) throws {
        let place = try Place(name)
        defer { TestFiles.removeTemporaryFolder(place.folder) }
        _ = TestFiles.write(
            "save \"\"\npidfile pid\nalways-show-logo yes\nbind 127.0.0.1 -::1\n", to: "\(place.folder)/a.conf")
        let process = try place.start("./\(name) a.conf --port \(place.port) --threads 1 --loglevel verbose")
        #expect(place.text("out").contains("PID: \(process)\n"))
        #expect(place.text("pid") == "\(process)\n")
        let facts = try information(place.port)
        #expect(facts["redis_version"]?.hasPrefix("7.2.") == true)
        #expect(facts["server_name"] == "kedis")
        #expect(facts["kedis_version"] != nil)
        #expect(facts["process_id"] == "\(process)")
        #expect(facts["listener0"] == "name=tcp,bind=127.0.0.1,bind=-::1,port=\(place.port)")
        #expect(facts["config_file"]?.hasSuffix("/a.conf") == true)
        #if os(Linux)
        let title = String(decoding: TestFiles.read("/proc/\(process)/cmdline") ?? [], as: UTF8.self)
        #expect(title.contains("127.0.0.1:\(place.port)"))
        #endif
        #expect(place.end(process) == 0)
        #expect(TestFiles.read("\(place.folder)/pid") == nil)
    }

    @Test("It says its version as redis-server does, and what is wrong with its arguments")
    func version() throws {
        let place = try Place("redis-server")
        defer { TestFiles.removeTemporaryFolder(place.folder) }
        #expect(try place.run("./redis-server --version > out") == 0)
        #expect(place.text("out").hasPrefix("Redis server v=7.2."))
        #expect(try place.run("./redis-server --nosuch 1 2> out") == 1)
        #expect(place.text("out").contains("unknown directive 'nosuch'"))
        #expect(try place.run("./redis-server none.conf 2> out") == 1)
    }

    @Test("`daemonize` leaves a server in the background, which its pidfile names; a signal ends it as configured")
    func daemon() throws {
        let place = try Place("redis-server")
        defer { TestFiles.removeTemporaryFolder(place.folder) }
        let line = "./redis-server --daemonize yes --port \(place.port) --pidfile pid --logfile log --threads 1 "
            + "--save 3600 1 --shutdown-on-sigterm nosave"
        #expect(try place.run(line) == 0)
        #expect(eventually { place.text("log").contains("Ready to accept connections") })
        let process = pid_t(place.text("pid").split(separator: "\n").first.map(String.init) ?? "") ?? 0
        #expect(process > 0)
        let client = try LoopbackSocket(port: place.port)
        #expect(client.ask("SET a 1\r\n", "+OK\r\n"))
        if process > 0 { kill(process, SIGTERM) }
        #expect(eventually { TestFiles.read("\(place.folder)/pid") == nil })
        #expect(TestFiles.read("\(place.folder)/dump.rdb") == nil)
    }

    @Test("Under the name of redis-cli it takes its flags")
    func client() throws {
        let place = try Place("redis-cli")
        defer { TestFiles.removeTemporaryFolder(place.folder) }
        let server = try KedisProcess(folder: place.folder, directives: ["--save", ""])
        let (port, cli) = (server.port, "./redis-cli -p \(server.port)")
        #expect(try place.run("\(cli) SET a 1 > out && \(cli) -r 3 -i 0.01 INCR a >> out") == 0)
        #expect(place.text("out") == "OK\n2\n3\n4\n")
        #expect(try place.run("printf 'x y' | \(cli) -x SET b > out && ./redis-cli -u redis://127.0.0.1:\(port)/0 GET b >> out") == 0)
        #expect(place.text("out") == "OK\nx y\n")
        #expect(try place.run("\(cli) -n 3 -2 --no-auth-warning --raw SET c 1 > out && \(cli) -n 3 -3 EXISTS c >> out") == 0)
        #expect(place.text("out") == "OK\n1\n")
        #expect(try place.run("\(cli) -e INCR b > out") == 1)
        #expect(try place.run("./redis-cli --version > out") == 0)
        #expect(place.text("out").hasPrefix("redis-cli 7.2."))
    }
}
