// Goal: who has not logged in can do nothing and make nothing large, users come from configuration and files and go back
// there, and whoever loses a right loses it on every event loop. Method: servers behind real sockets.

import KedisCommands
import KedisStore
import KedisTestSupport
import NIOCore
import NIOEmbedded
import NIOPosix
import Synchronization
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@testable import KedisServer

@Suite("Users of a server", .serialized)
struct AccessTests {
    private static let notLoggedIn = "-NOAUTH Authentication required.\r\n"
    private static let wrongPassword = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"

    @Test("With requirepass, who has not logged in gets NOAUTH for everything but AUTH, HELLO, QUIT and RESET")
    func requirePassword() async throws {
        try await TestServer.with(["--requirepass", "secret word"]) { server in
            let client = try server.connect()
            for request in ["PING", "SET a 1", "GET a", "ACL WHOAMI", "CONFIG GET *", "MULTI", "SUBSCRIBE a", "CLIENT ID"] {
                #expect(client.ask("\(request)\r\n", Self.notLoggedIn), "\(request)")
            }
            #expect(client.ask("RESET\r\n", "+RESET\r\n"))
            #expect(client.ask("PING\r\n", Self.notLoggedIn))
            #expect(client.ask("AUTH secret\r\n", Self.wrongPassword))
            #expect(client.ask("AUTH default secret\r\n", Self.wrongPassword))
            #expect(client.ask("AUTH nobody \"secret word\"\r\n", Self.wrongPassword))
            #expect(client.ask("PING\r\n", Self.notLoggedIn))
            #expect(client.ask("AUTH \"secret word\"\r\nSET a 1\r\nRESET\r\nGET a\r\n",
                "+OK\r\n+OK\r\n+RESET\r\n" + Self.notLoggedIn))
            #expect(client.ask("AUTH default \"secret word\"\r\nGET a\r\n", "+OK\r\n$1\r\n1\r\n"))
            #expect(server.server.engine.store.keyspace(0, nowMilliseconds: 0).count == 1)
        }
    }

    @Test("HELLO logs in before it says anything, and a wrong password leaves the protocol as it was")
    func hello() async throws {
        try await TestServer.with(["--requirepass", "pw"]) { server in
            let client = try server.connect()
            client.send("HELLO 3\r\n")
            let refusal = """
                -NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> \
                <pass> option can be used to authenticate the client and select the RESP protocol version at the same \
                time\r\n
                """
            #expect(client.read(refusal.utf8.count) == refusal)
            #expect(client.ask("HELLO 3 AUTH default no\r\n", Self.wrongPassword))
            client.send("HELLO 3 AUTH default pw SETNAME me\r\n")
            #expect(client.read(4).hasPrefix("%7\r\n"))
        }
    }

    @Test("Who has not logged in can send ten arguments of 16 KiB; AUTH in the same read lifts that")
    func smallRequests() async throws {
        try await TestServer.with(["--requirepass", "pw"]) { server in
            let bulk = "-ERR Protocol error: unauthenticated bulk length\r\n"
            let multibulk = "-ERR Protocol error: unauthenticated multibulk length\r\n"
            for (request, reply) in [("*11\r\n", multibulk), ("*1048576\r\n", multibulk), ("*2\r\n$16385\r\n", bulk)] {
                let client = try server.connect()
                #expect(client.ask(request, reply))
                #expect(client.isClosedWithin(milliseconds: 60_000), "\(request)")
            }
            let client = try server.connect()
            let value = String(repeating: "x", count: 16384)
            #expect(client.ask("*2\r\n$4\r\nECHO\r\n$16384\r\n\(value)\r\n", Self.notLoggedIn))
            let large = "*12\r\n$3\r\nDEL\r\n" + String(repeating: "$1\r\na\r\n", count: 11)
            #expect(client.ask("AUTH pw\r\n" + large, "+OK\r\n:0\r\n"))
            // And RESET brings the limits back.
            #expect(client.ask("RESET\r\n" + large, "+RESET\r\n" + multibulk))
        }
    }

    @Test("Protected mode lets nobody in from elsewhere while the default user has no password")
    func protectedMode() async throws {
        for (directives, rejectedCount) in [([], 1), (["--requirepass", "pw"], 0), (["--protected-mode", "no"], 0)] {
            let options = try parseServerArguments(["--save", "", "--threads", "1"] + directives).get()
            let server = try KedisServer(options: options) { _ in }
            let channel = EmbeddedChannel()
            let loop = LoopClients(
                loop: NIOLoop(channel.eventLoop), number: 0, server: server.context,
                health: Health(loopCount: 1))
            let listener = Listener(server: server.context, group: .singleton, loops: [loop])
            try await listener.initialise(channel, .plain).get()
            let count = server.context.engine.statistics.connectionsRejected.load(ordering: .relaxed)
            #expect(count == UInt64(rejectedCount), "\(directives)")
            _ = try? channel.finish(acceptAlreadyClosed: true)
            await server.stop()
        }
    }

    // MARK: Where users come from

    @Test("Users of a configuration file have their rules, and default stays")
    func declaredUsers() async throws {
        try await withFile("user alice on >wonder ~a* +@read\nUSER bob on nopass (+get ~b*)\n") { path, folder in
            let options = try parseServerArguments([path, "--dir", folder, "--save", "", "--port", "0"]).get()
            let server = try KedisServer(options: options) { _ in }
            try await server.start(ephemeralPort: true)
            let client = try LoopbackSocket(port: UInt16(clamping: server.port))
            #expect(client.ask("AUTH alice wonder\r\nGET a\r\nGET b\r\n",
                "+OK\r\n$-1\r\n-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"))
            #expect(client.ask("AUTH bob x\r\nGET b\r\nGET a\r\n",
                "+OK\r\n$-1\r\n-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"))
            let other = try LoopbackSocket(port: UInt16(clamping: server.port))
            #expect(other.ask("ACL USERS\r\n", "*3\r\n$5\r\nalice\r\n$3\r\nbob\r\n$7\r\ndefault\r\n"))
            await server.stop()
        }
    }

    @Test("A file of users is read at the start and by ACL LOAD, all or nothing, and ACL SAVE writes what there is")
    func fileOfUsers() async throws {
        try await withFile("user default on nopass ~* &* +@all\n\nuser alice on >wonder ~a* +get\n") { path, _ in
            try await TestServer.with(["--aclfile", path]) { server in
                let (admin, alice) = (try server.connect(), try server.connect())
                #expect(alice.ask("AUTH alice wonder\r\nGET a\r\n", "+OK\r\n$-1\r\n"))
                // What is wrong is told, with its line, and nothing changes.
                #expect(TestFiles.write("user default on nopass ~* &* +@all\nuser alice +nothing\nusr x\n", to: path))
                let problem = """
                    -ERR \(path):2: Error in applying operation '+nothing': Unknown command or category name in ACL. \
                    \(path):3 should start with user keyword followed by the username. WARNING: ACL errors detected, no \
                    change to the previously active ACL rules was performed\r\n
                    """
                #expect(admin.ask("ACL LOAD\r\n", problem))
                #expect(alice.ask("GET a\r\n", "$-1\r\n"))
                // Saved, changed, loaded: as it was saved.
                #expect(admin.ask("ACL SETUSER carol on >pw +@all (~c* +get)\r\nACL SAVE\r\n", "+OK\r\n+OK\r\n"))
                let saved = try #require(TestFiles.read(path))
                #expect(String(decoding: saved, as: UTF8.self).split(separator: "\n").count == 3)
                var status = stat()
                #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
                #expect(admin.ask("ACL DELUSER carol\r\nACL LOAD\r\n", ":1\r\n+OK\r\n"))
                // Loading makes other users, whose clients must log in anew.
                #expect(alice.isClosedWithin(milliseconds: 60_000))
                #expect(admin.ask("ACL SAVE\r\n", "+OK\r\n"))
                #expect(TestFiles.read(path) == saved)
                #expect(admin.ask("ACL USERS\r\n", "*3\r\n$5\r\nalice\r\n$5\r\ncarol\r\n$7\r\ndefault\r\n"))
            }
        }
    }

    @Test("A file of users that is missing or wrong stops the start")
    func wrongFile() async throws {
        try await withFile("user alice on >wonder ~a* +nothing\n") { path, folder in
            for arguments in [["--aclfile", path], ["--aclfile", "\(folder)/none"], ["--aclfile", path, "--user", "bob"]] {
                let options = try parseServerArguments(["--dir", folder, "--save", ""] + arguments).get()
                let server = try KedisServer(options: options) { _ in }
                await #expect(throws: StartError.self) { try await server.start(ephemeralPort: true) }
            }
        }
    }

    private func withFile(_ text: String, _ body: (_ path: String, _ folder: String) async throws -> Void) async throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let path = "\(folder)/users.acl"
        #expect(TestFiles.write(text, to: path))
        try await body(path, folder)
    }

    // MARK: Names of commands

    @Test("rename-command takes a name away or gives another; rules of users know the old ones")
    func renamed() async throws {
        let renames = ["--rename-command", "FLUSHALL", "", "--rename-command", "CONFIG", "hush"]
        try await TestServer.with(renames) { server in
            let client = try server.connect()
            #expect(client.ask("FLUSHALL\r\n", "-ERR unknown command 'FLUSHALL', with args beginning with: \r\n"))
            #expect(client.ask("CONFIG GET port\r\n",
                "-ERR unknown command 'CONFIG', with args beginning with: 'GET' 'port' \r\n"))
            #expect(client.ask("HUSH GET maxmemory\r\n", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"))
            #expect(client.ask("hush nothing\r\n", "-ERR unknown subcommand 'nothing'. Try HUSH HELP.\r\n"))
            #expect(client.ask("ACL SETUSER a on nopass +config|get -flushall\r\nAUTH a x\r\n", "+OK\r\n+OK\r\n"))
            #expect(client.ask("hush GET maxmemory\r\n", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"))
            #expect(client.ask("hush RESETSTAT\r\n",
                "-NOPERM this user has no permissions to run the 'config|resetstat' command\r\n"))
        }
    }

    // MARK: Other event loops

    @Test("Rights are lost at once on every event loop: commands, channels, the user itself")
    func otherLoops() async throws {
        try await TestServer.with { server in
            let admin = try server.connect()
            #expect(admin.ask("ACL SETUSER u on nopass +@all ~* &news &more\r\n", "+OK\r\n"))
            let clients = try (0..<8).map { _ in try server.connect() }
            let listeners = try (0..<8).map { _ in try server.connect() }
            let refusal = "-NOPERM this user has no permissions to run the 'set' command\r\n"
            for client in clients { #expect(client.ask("AUTH u x\r\nSET a 1\r\n", "+OK\r\n+OK\r\n")) }
            for (index, client) in listeners.enumerated() {
                let name = index % 2 == 0 ? "news" : "more"
                #expect(client.ask("AUTH u x\r\nSUBSCRIBE \(name)\r\n",
                    "+OK\r\n*3\r\n$9\r\nsubscribe\r\n$4\r\n\(name)\r\n:1\r\n"))
            }
            #expect(admin.ask("ACL SETUSER u -set resetchannels &more\r\n", "+OK\r\n"))
            for client in clients { #expect(client.ask("SET a 1\r\nGET a\r\n", refusal + "$1\r\n1\r\n")) }
            for (index, client) in listeners.enumerated() where index % 2 == 0 { #expect(client.isClosedWithin(milliseconds: 60_000)) }
            #expect(admin.ask("PUBLISH more m\r\n", ":4\r\n"))
            for (index, client) in listeners.enumerated() where index % 2 == 1 {
                #expect(client.read(34) == "*3\r\n$7\r\nmessage\r\n$4\r\nmore\r\n$1\r\nm\r\n")
            }
            #expect(admin.ask("ACL DELUSER u\r\n", ":1\r\n"))
            for client in clients { #expect(client.isClosedWithin(milliseconds: 60_000)) }
        }
    }
}
