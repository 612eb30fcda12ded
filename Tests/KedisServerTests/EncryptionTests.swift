// Goal: what clients do over plain connections they do over TLS, and whoever cannot complete a handshake is counted,
// told of in the log at a moderate rate, and gone. Method: servers with certificates of the openssl command, clients of
// SwiftNIO's TLS over plain sockets.

import KedisCommands
import KedisTestSupport
import KedisUtilities
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

@Suite("TLS", .serialized, .enabled(if: TestCertificates.isPossible, "no openssl to make certificates with"))
struct EncryptionTests {
    private func withServer(
        _ directives: [String] = [], _ body: (TestServer, TestCertificates) async throws -> Void
    ) async throws {
        let certificates = try TestCertificates()
        defer { certificates.remove() }
        try await TestServer.with(certificates.directives + directives) { try await body($0, certificates) }
    }

    private func failureCount(_ server: TestServer) -> UInt64 {
        server.server.engine.statistics.handshakeFailures.load(ordering: .relaxed)
    }

    // MARK: Commands

    @Test("Commands, pipelines, long values and RESP3 work, on both ports at once")
    func commands() async throws {
        try await withServer { server, certificates in
            let client = try EncryptedSocket(port: server.tlsPort, authority: certificates.path("ca.crt"))
            #expect(client.ask("SET k v\r\n", "+OK\r\n"))
            #expect(try server.connect().ask("GET k\r\n", "$1\r\nv\r\n"))
            let count = 20_000
            let requests = String(repeating: "INCR n\r\n", count: count)
            let replies = (1...count).map { ":\($0)\r\n" }.joined()
            #expect(client.ask(requests, replies))
            let value = String(repeating: "0123456789", count: 1_000_000)
            let isSet = client.ask(
                "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$\(value.utf8.count)\r\n\(value)\r\n", "+OK\r\n")
            let isThere = client.ask("GET b\r\n", "$\(value.utf8.count)\r\n\(value)\r\n")
            #expect(isSet && isThere)
            client.send("HELLO 3\r\n")
            #expect(client.read(1).hasPrefix("%"))
        }
    }

    @Test("Blocked clients, messages, MONITOR, QUIT and CLIENT KILL work")
    func pushes() async throws {
        try await withServer { server, _ in
            let (one, two) = (try EncryptedSocket(port: server.tlsPort), try EncryptedSocket(port: server.tlsPort))
            one.send("BLPOP list 0\r\n")
            #expect(one.read(1, timeoutMilliseconds: 200).isEmpty)
            #expect(two.ask("RPUSH list a\r\n", ":1\r\n"))
            #expect(one.receives("*2\r\n$4\r\nlist\r\n$1\r\na\r\n"))
            #expect(one.ask("SUBSCRIBE c\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"))
            #expect(two.ask("PUBLISH c hello\r\n", ":1\r\n"))
            #expect(one.receives("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"))
            #expect(one.ask("UNSUBSCRIBE\r\n", "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n"))
            #expect(one.ask("MONITOR\r\n", "+OK\r\n"))
            #expect(two.ask("PING\r\n", "+PONG\r\n"))
            #expect(one.read(20).contains("\"PING\""))
            #expect(two.ask("CLIENT KILL TYPE normal SKIPME yes\r\n", ":1\r\n"))
            #expect(one.isClosedWithin(milliseconds: 60_000))
            #expect(two.ask("QUIT\r\n", "+OK\r\n"))
            #expect(two.isClosedWithin(milliseconds: 60_000))
            #expect(eventually { server.server.engine.clients.count == 0 })
        }
    }

    @Test("A reply was lost when the peer ended its connection behind the request")
    func lastWords() async throws {
        try await withServer { server, _ in
            let client = try EncryptedSocket(port: server.tlsPort)
            client.sendLast("SET last 1\r\nGET last\r\n")
            // The channel of the client has ended, so the replies are counted where they were sent.
            #expect(client.socket.isClosedWithin(milliseconds: 60_000))
            #expect(server.server.engine.statistics.traffic.totals.outputByteCount == 12)
            #expect(try server.connect().ask("GET last\r\n", "$1\r\n1\r\n"))
        }
    }

    @Test("What a killed client had sent behind is not executed, though TLS takes a moment to say goodbye")
    func killed() async throws {
        try await withServer { server, _ in
            let client = try EncryptedSocket(port: server.tlsPort)
            client.send("SET a 1\r\nQUIT\r\nSET a 2\r\n")
            #expect(client.isClosedWithin(milliseconds: 60_000))
            #expect(try server.connect().ask("GET a\r\n", "$1\r\n1\r\n"))
        }
    }

    // MARK: Limits

    @Test("A peer that takes nothing makes the server hold no more than its limits, and is closed")
    func outputLimits() async throws {
        try await withServer(["--client-output-buffer-limit", "normal", "8mb", "0", "0"]) { server, _ in
            let client = try EncryptedSocket(port: server.tlsPort)
            let value = String(repeating: "x", count: 4 << 20)
            let isSet = client.ask("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$4194304\r\n\(value)\r\n", "+OK\r\n")
            #expect(isSet)
            client.send(String(repeating: "GET b\r\n", count: 50))
            #expect(eventually { server.log.contains("overcoming of output buffer limits") })
            #expect(eventually { server.server.engine.clients.count == 0 })
        }
    }

    @Test("Who waits for its output is read again when it has taken it, and loses nothing")
    func backpressure() async throws {
        try await withServer(["--client-output-pause-limit", "1mb"]) { server, _ in
            let client = try EncryptedSocket(port: server.tlsPort)
            let value = String(repeating: "x", count: 1 << 20)
            let isSet = client.ask("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1048576\r\n\(value)\r\n", "+OK\r\n")
            #expect(isSet)
            for _ in 0..<30 { client.send("GET b\r\n") }
            TestFiles.sleep(milliseconds: 300)
            let reply = "$1048576\r\n\(value)\r\n"
            let isWhole = client.receives(String(repeating: reply, count: 30))
            #expect(isWhole)
            #expect(client.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    @Test("Beyond maxclients, and in protected mode, a client is told why after the handshake")
    func refusals() async throws {
        try await withServer(["--maxclients", "1"]) { server, _ in
            let first = try EncryptedSocket(port: server.tlsPort)
            #expect(first.ask("PING\r\n", "+PONG\r\n"))
            let second = try EncryptedSocket(port: server.tlsPort)
            #expect(second.read(36, timeoutMilliseconds: 60_000) == "-ERR max number of clients reached\r\n")
            #expect(second.isClosedWithin(milliseconds: 60_000))
            #expect(first.ask("QUIT\r\n", "+OK\r\n"))
            #expect(eventually { server.server.context.connectionCount.load(ordering: .relaxed) == 0 })
            let third = try EncryptedSocket(port: server.tlsPort)
            #expect(third.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    @Test("A peer that never says anything is closed, and gives its place back")
    func silence() async throws {
        try await withServer(["--timeout", "1"]) { server, _ in
            let silent = try LoopbackSocket(port: server.tlsPort)
            #expect(silent.isClosedWithin(milliseconds: 8_000))
            #expect(server.log.contains("no handshake within 1 seconds"))
            #expect(eventually { server.server.context.connectionCount.load(ordering: .relaxed) == 0 })
        }
    }

    // MARK: The wrong way

    @Test("A plain client on the TLS port, and a TLS client on the plain port, are closed")
    func wrongPorts() async throws {
        try await withServer { server, _ in
            let plain = try LoopbackSocket(port: server.tlsPort)
            plain.send("PING\r\n")
            #expect(plain.isClosedWithin(milliseconds: 60_000))
            #expect(eventually { failureCount(server) == 1 })
            #expect(server.log.contains("Error accepting a client connection: wrong version number (addr=127.0.0.1:"))
            #expect(throws: (any Error).self) { try EncryptedSocket(port: server.port) }
            #expect(try server.connect().ask("PING\r\n", "+PONG\r\n"))
        }
    }

    @Test("Random bytes, and handshakes that are cut off or changed, end their connection and nothing else")
    func damagedHandshakes() async throws {
        try await withServer { server, _ in
            var random = RandomGenerator.forTest("broken handshakes")
            let hello = try EncryptedSocket.hello()
            let count = 200
            for turn in 0..<count {
                let length = 1 + random.next(below: 400)
                var bytes = turn % 2 == 0 ? hello : random.bytes(length, of: Array(0...255))
                for _ in 0..<3 { bytes[random.next(below: bytes.count)] ^= 1 << UInt8(random.next(below: 8)) }
                if turn % 5 == 0 { bytes = Array(bytes.prefix(1 + random.next(below: bytes.count))) }
                let socket = try LoopbackSocket(port: server.tlsPort)
                socket.send(bytes)
                socket.close()
            }
            #expect(eventually { failureCount(server) == UInt64(count) })
            #expect(eventually { server.server.context.connectionCount.load(ordering: .relaxed) == 0 })
            let lines = server.log.split(separator: "\n").filter { $0.contains("Error accepting") }
            #expect(lines.count < 30, "a line for each of many failures fills disks")
            #expect(try EncryptedSocket(port: server.tlsPort).ask("PING\r\n", "+PONG\r\n"))
        }
    }

    // MARK: Certificates of clients

    @Test("tls-auth-clients: certificates of clients are required, welcome, or not asked for")
    func clientCertificates() async throws {
        try await withServer(["--tls-auth-clients", "yes"]) { server, certificates in
            func works(_ identity: String?) -> Bool {
                let client = try? EncryptedSocket(
                    port: server.tlsPort, identity: identity.map { certificates.path($0) })
                return client?.ask("PING\r\n", "+PONG\r\n") ?? false
            }
            let admin = try server.connect()
            #expect(works("client"))
            #expect(!works("other"), "an authority that is not trusted")
            #expect(!works(nil))
            #expect(admin.ask("CONFIG SET tls-auth-clients optional\r\n", "+OK\r\n"))
            #expect(works("client") && works(nil))
            #expect(!works("other"))
            #expect(admin.ask("CONFIG SET tls-auth-clients no\r\n", "+OK\r\n"))
            #expect(works("client") && works(nil) && works("other"))
            let folder = "CONFIG SET tls-auth-clients yes tls-ca-cert-file \"\" "
                + "tls-ca-cert-dir \(certificates.path("authorities"))\r\n"
            #expect(admin.ask(folder, "+OK\r\n"))
            #expect(works("client"))
            #expect(!works("other") && !works(nil))
        }
    }

    // MARK: Reloading

    @Test("New connections get new certificates, old ones go on; what is wrong changes nothing")
    func reload() async throws {
        try await withServer { server, certificates in
            let old = try EncryptedSocket(port: server.tlsPort, authority: certificates.path("ca.crt"))
            let (cert, key) = (certificates.path("other.crt"), certificates.path("other.key"))
            let refusal = { (name: String) in
                "-ERR CONFIG SET failed (possibly related to argument '\(name)') - "
                    + "Unable to update TLS configuration. Check server logs.\r\n"
            }
            #expect(old.ask("CONFIG SET tls-cert-file /nowhere\r\n", refusal("tls-cert-file")))
            #expect(server.log.contains("/nowhere: No such file or directory"))
            #expect(old.ask("CONFIG SET tls-cert-file \(cert)\r\n", refusal("tls-cert-file")), "not the key's")
            #expect(old.ask("CONFIG SET tls-ciphers nonsense\r\n", refusal("tls-ciphers")))
            #expect(old.ask("CONFIG SET tls-protocols TLSv9\r\n", refusal("tls-protocols")))
            #expect(old.ask(
                "CONFIG SET tls-ca-cert-file \"\" tls-auth-clients yes\r\n", refusal("tls-ca-cert-file")))
            #expect(old.ask("CONFIG SET maxclients 50 tls-key-file \(cert)\r\n", refusal("tls-key-file")))
            #expect(old.ask("CONFIG GET maxclients\r\n", "*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n"))
            let path = certificates.path("server.crt")
            #expect(old.ask(
                "CONFIG GET tls-cert-file\r\n", "*2\r\n$13\r\ntls-cert-file\r\n$\(path.utf8.count)\r\n\(path)\r\n"))
            let same = try EncryptedSocket(port: server.tlsPort, authority: certificates.path("ca.crt"))
            #expect(same.ask("PING\r\n", "+PONG\r\n"))

            #expect(old.ask("CONFIG SET tls-cert-file \(cert) tls-key-file \(key)\r\n", "+OK\r\n"))
            #expect(old.ask("PING\r\n", "+PONG\r\n"))
            #expect(throws: (any Error).self) {
                try EncryptedSocket(port: server.tlsPort, authority: certificates.path("ca.crt"))
            }
            let new = try EncryptedSocket(port: server.tlsPort, authority: certificates.path("other-ca.crt"))
            #expect(new.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    @Test("A file that was replaced under its name is read by CONFIG SET of that name")
    func replacedFile() async throws {
        try await withServer { server, certificates in
            for kind in ["crt", "key"] {
                _ = TestFiles.write(
                    String(decoding: TestFiles.read(certificates.path("other.\(kind)")) ?? [], as: UTF8.self),
                    to: certificates.path("server.\(kind)"))
            }
            let set = "CONFIG SET tls-cert-file \(certificates.path("server.crt"))\r\n"
            #expect(try server.connect().ask(set, "+OK\r\n"))
            let client = try EncryptedSocket(port: server.tlsPort, authority: certificates.path("other-ca.crt"))
            #expect(client.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    // MARK: The start

    @Test("Without what TLS needs the start ends, and says what is missing")
    func badStarts() async throws {
        let certificates = try TestCertificates()
        defer { certificates.remove() }
        let (cert, key) = (certificates.path("server.crt"), certificates.path("server.key"))
        let base = ["--tls-port", "1", "--tls-auth-clients", "no"]
        let cases: [([String], String)] = [
            ([], "tls-cert-file is not set"),
            (["--tls-cert-file", cert], "tls-key-file is not set"),
            (["--tls-cert-file", "/nowhere", "--tls-key-file", key], "/nowhere: No such file or directory"),
            (["--tls-cert-file", "/tmp", "--tls-key-file", key], "/tmp is no plain file"),
            (["--tls-cert-file", key, "--tls-key-file", key], "has no PEM certificate that can be read"),
            (["--tls-cert-file", cert, "--tls-key-file", cert], "has no PEM key that can be read"),
            (["--tls-cert-file", cert, "--tls-key-file", certificates.path("client.key")], "do not belong together"),
            (["--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "yes"], "needs tls-ca-cert-file"),
            (["--tls-cert-file", cert, "--tls-key-file", certificates.path("locked.key")], "another password"),
            (
                ["--tls-cert-file", cert, "--tls-key-file", certificates.path("locked.key"), "--tls-key-file-pass", "é"],
                "must be ASCII"
            ),
            (
                ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-protocols", "TLSv1.1 TLSv1.3"],
                "cannot be left out"
            ),
        ]
        for (directives, words) in cases {
            do {
                try await TestServer.with(base + directives) { _ in Issue.record("\(directives) started") }
            } catch let error as StartError {
                #expect(error.description.contains(words), "\(directives): \(error)")
            }
        }
        let locked = ["--tls-cert-file", cert, "--tls-key-file", certificates.path("locked.key")]
        try await TestServer.with(base + locked + ["--tls-key-file-pass", "secret"]) { server in
            let client = try EncryptedSocket(port: server.tlsPort)
            #expect(client.ask("PING\r\n", "+PONG\r\n"))
        }
    }

    @Test("With port 0 there is TLS only, and INFO tells its port")
    func onlyEncrypted() async throws {
        try await withServer(["--port", "0"]) { server, _ in
            #expect(server.server.port == 0)
            let client = try EncryptedSocket(port: server.tlsPort)
            client.send("INFO server\r\n")
            let text = client.read(400)
            #expect(text.contains("tcp_port:\(server.tlsPort)\r\n"))
            #expect(text.contains("listener2:name=tls,bind=127.0.0.1,port=\(server.tlsPort)\r\n"))
            #expect(!text.contains("listener0"))
        }
    }

    @Test("`kedis cli` trusts whom it is told to, shows a certificate, and says why a handshake fails",
        .enabled(if: KedisProcess.program != nil, "no kedis beside the tests"))
    func shell() async throws {
        guard let path = KedisProcess.program, let absolute = realpath(path, nil) else { return }
        let program = String(cString: absolute)
        free(absolute)
        try await withServer(["--tls-auth-clients", "yes"]) { server, certificates in
            func run(_ options: String) throws -> String {
                let process = try spawnProcess([
                    "/bin/sh", "-c", "cd '\(certificates.folder)' && exec timeout 20 '\(program)' cli \(options) > out 2>&1",
                ])
                waitpid(process, nil, 0)
                return String(decoding: TestFiles.read(certificates.path("out")) ?? [], as: UTF8.self)
            }
            let identity = "--cert client.crt --key client.key"
            let port = "-p \(server.tlsPort) --tls"
            let authority = "--cacert ca.crt"
            let answers = [
                try run("\(port) \(authority) \(identity) PING"),
                try run("\(port) --cacertdir authorities \(identity) PING"),
                try run("-u rediss://localhost:\(server.tlsPort)/1 \(authority) \(identity) PING"),
                try run("\(port) --insecure \(identity) --sni localhost PING"),
            ]
            #expect(answers == Array(repeating: "PONG\n", count: 4))
            #expect(try run("\(port) \(identity) PING").contains("certificate verify failed"))
            #expect(try run("\(port) \(authority) PING").contains("--cert FILE --key FILE"))
            #expect(try run("\(port) \(authority) --cert other.crt --key other.key PING").contains("does not trust"))
            #expect(try run("\(port) \(authority) --cert other.crt --key client.key PING").contains("do not belong"))
            #expect(try run("\(port) \(authority) --cert client.crt PING").contains("belong together"))
            #expect(try run("-p \(server.port) --tls --insecure PING").contains("does not speak TLS"))
        }
    }

    @Test("Ciphers are chosen in the language of OpenSSL, and what selects none is none")
    func ciphers() {
        #expect(cipherNames(selectedBy: "ECDHE-RSA-AES128-GCM-SHA256") == ["ECDHE-RSA-AES128-GCM-SHA256"])
        #expect(cipherNames(selectedBy: "DEFAULT:!MEDIUM:!aNULL")?.count == 14)
        #expect(cipherNames(selectedBy: "ECDHE+AESGCM:!ECDSA") == ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"])
        #expect(cipherNames(selectedBy: "AES256-SHA:AES128-SHA") == ["AES256-SHA", "AES128-SHA"])
        #expect(cipherNames(selectedBy: "AES128-SHA:AES256-SHA:+AES128-SHA") == ["AES256-SHA", "AES128-SHA"])
        #expect(cipherNames(selectedBy: "ALL:-kRSA:AES128-SHA")?.last == "AES128-SHA")
        #expect(cipherNames(selectedBy: "ALL:!kRSA:AES128-SHA")?.last != "AES128-SHA")
        for list in ["", ":", "nonsense", "!ALL", "ALL:!ALL", "+", "-", "!", "@STRENGTH", "++", "RC4"] {
            #expect(cipherNames(selectedBy: list) == nil, "\(list)")
        }
    }
}
