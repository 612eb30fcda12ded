// CONFIG REWRITE: what stays of a file and what changes, and the directives that only a process shows.

import KedisCommands
import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisServer

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

private func rewritten(_ text: String, set pairs: [(String, String)] = []) throws -> String {
    let configuration = Configuration()
    for line in text.split(separator: "\n") where !line.hasPrefix("#") && !line.hasPrefix("include") {
        let words = line.split(separator: " ").map { $0 == "\"\"" ? "" : String($0) }
        if let name = words.first { try configuration.configure(name, Array(words.dropFirst())) }
    }
    try configuration.set(pairs.map { (name: $0.0, value: $0.1) })
    let bytes = ConfigurationRewrite(configuration: configuration).text(from: Array(text.utf8))
    return String(decoding: bytes, as: UTF8.self)
}

@Suite("CONFIG REWRITE")
struct ConfigurationRewriteTests {
    private static let file = """
        # The first line, and nothing else, is mine.

        timeout   10
        MAXMEMORY 100mb
        include other.conf
        # save rules
        save 900 1
        save 300 10
          tcp-keepalive 60
        # the end

        """

    @Test("A file that says what holds stays byte for byte")
    func unchanged() throws {
        #expect(try rewritten(Self.file) == Self.file)
        #expect(try rewritten("") == "")
        #expect(try rewritten("timeout 5") == "timeout 5\n")
    }

    @Test("A changed directive changes its line only; comments, order and other lines stay")
    func changed() throws {
        let expected = Self.file.replacingOnce("timeout   10", "timeout 20").replacingOnce("MAXMEMORY 100mb", "maxmemory 1gb")
        #expect(try rewritten(Self.file, set: [("timeout", "20"), ("maxmemory", "1gb")]) == expected)
    }

    @Test("What no line says follows at the end, under a remark that comes once")
    func added() throws {
        let once = try rewritten(Self.file, set: [("maxmemory-policy", "allkeys-lru"), ("lfu-log-factor", "10")])
        #expect(once == Self.file + "\(ConfigurationRewrite.remark)\nmaxmemory-policy allkeys-lru\n")
        let twice = try rewritten(once, set: [("hz", "20")])
        #expect(twice == once + "hz 20\n")
        #expect(try rewritten(twice) == twice)
    }

    @Test("Directives of several lines take the places that they have: fewer, more, none")
    func severalLines() throws {
        #expect(try rewritten(Self.file, set: [("save", "60 5")])
            == Self.file.replacingOnce("save 900 1\nsave 300 10\n", "save 60 5\n"))
        #expect(try rewritten(Self.file, set: [("save", "1 1 2 2 3 3")])
            == Self.file.replacingOnce("save 900 1\nsave 300 10\n", "save 1 1\nsave 2 2\n")
            + "\(ConfigurationRewrite.remark)\nsave 3 3\n")
        #expect(try rewritten(Self.file, set: [("save", "")])
            == Self.file.replacingOnce("save 900 1\nsave 300 10\n", "save \"\"\n"))
        let limits = try rewritten("", set: [("client-output-buffer-limit", "pubsub 1mb 0 0")])
        #expect(limits.contains("\nclient-output-buffer-limit pubsub 1048576 0 0\n"))
    }

    @Test("Of a directive that is there twice one line is left; other names are known")
    func repeated() throws {
        #expect(try rewritten("timeout 1\n#\ntimeout 2\n", set: [("timeout", "3")]) == "timeout 3\n#\n")
        #expect(try rewritten("timeout 1\ntimeout 2\n") == "timeout 1\ntimeout 2\n")
        #expect(try rewritten("hash-max-ziplist-entries 7\n", set: [("hash-max-listpack-entries", "9")])
            == "hash-max-listpack-entries 9\n")
    }

    @Test("A server rewrites its file, reads it again, and keeps its permissions")
    func server() async throws {
        guard let folder = TestFiles.makeTemporaryFolder() else { return }
        defer { TestFiles.removeTemporaryFolder(folder) }
        let path = "\(folder)/kedis.conf"
        _ = TestFiles.write("# mine\ntimeout 10\nthreads 1\nsave \"\"\ndir \(folder)\n", to: path)
        let options = try parseServerArguments([path]).get()
        let server = try KedisServer(options: options) { _ in }
        try await server.start(ephemeralPort: true)
        let client = try LoopbackSocket(port: UInt16(clamping: server.port))
        #expect(client.ask("CONFIG SET timeout 30 maxmemory 1mb\r\n", "+OK\r\n"))
        #expect(client.ask("CONFIG REWRITE\r\n", "+OK\r\n"))
        await server.stop()
        let text = TestFiles.read(path).map { String(decoding: $0, as: UTF8.self) }
        #expect(text == "# mine\ntimeout 30\nthreads 1\nsave \"\"\ndir \(folder)\n"
            + "\(ConfigurationRewrite.remark)\nmaxmemory 1mb\n")
        let again = try parseServerArguments([path]).get().configuration
        #expect(again.text("timeout") == "30" && again.text("maxmemory") == "1048576")
    }
}

@Suite("CONFIG REWRITE and CONFIG SET of a server's files")
struct ServerFileTests {
    /// A server on a file in a folder of its own.
    private struct Place {
        let folder: String
        let server: KedisServer
        let client: LoopbackSocket

        init(_ lines: String) async throws {
            folder = try #require(TestFiles.makeTemporaryFolder())
            let path = "\(folder)/kedis.conf"
            _ = TestFiles.write("threads 1\ndir \(folder)\n" + lines, to: path)
            server = try KedisServer(options: parseServerArguments([path]).get()) { _ in }
            try await server.start(ephemeralPort: true)
            client = try LoopbackSocket(port: UInt16(clamping: server.port))
        }

        var text: String { String(decoding: TestFiles.read("\(folder)/kedis.conf") ?? [], as: UTF8.self) }

        func end() async {
            await server.stop()
            TestFiles.removeTemporaryFolder(folder)
        }
    }

    @Test("Lines of users follow the users; those that still say what holds, comments and order stay")
    func users() async throws {
        let lines = """
            save ""
            # reads
            user reader   on >secret ~a* +@read
            user gone on nopass
            # writes
            user writer on nopass ~* +set

            """
        let place = try await Place(lines)
        #expect(place.client.ask("ACL DELUSER gone\r\n", ":1\r\n"))
        #expect(place.client.ask("ACL SETUSER writer +append (~b* +get)\r\n", "+OK\r\n"))
        #expect(place.client.ask("ACL SETUSER new on nopass\r\n", "+OK\r\n"))
        #expect(place.client.ask("CONFIG REWRITE\r\n", "+OK\r\n"))
        let expected = """
            threads 1
            dir \(place.folder)
            save ""
            # reads
            user reader   on >secret ~a* +@read
            # writes
            user writer on nopass sanitize-payload ~* resetchannels -@all +set +append (~b* resetchannels -@all +get)
            \(ConfigurationRewrite.remark)
            user new on nopass sanitize-payload resetchannels -@all

            """
        #expect(place.text == expected)
        #expect(place.client.ask("CONFIG REWRITE\r\n", "+OK\r\n"))
        #expect(place.text == expected)
        let again = try parseServerArguments(["\(place.folder)/kedis.conf"]).get().configuration
        #expect(again.declaredUsers.map { String(decoding: $0.name, as: UTF8.self) } == ["reader", "writer", "new"])
        await place.end()
    }

    @Test("The user default gets a line when it is not what the configuration makes it")
    func defaultUser() async throws {
        let place = try await Place("save \"\"\nrequirepass secret\n")
        #expect(place.client.ask("AUTH secret\r\n", "+OK\r\n"))
        #expect(place.client.ask("CONFIG REWRITE\r\n", "+OK\r\n"))
        #expect(!place.text.contains("user default"))
        #expect(place.client.ask("ACL SETUSER default nopass\r\n", "+OK\r\n"))
        #expect(place.client.ask("CONFIG REWRITE\r\n", "+OK\r\n"))
        #expect(place.text.hasSuffix("\nuser default on nopass sanitize-payload ~* &* +@all\n"))
        await place.end()
    }

    @Test("CONFIG SET dir takes a folder that is there and nobody else's, and saves go there")
    func folder() async throws {
        let place = try await Place("save \"\"\nenable-protected-configs yes\n")
        let other = "\(place.folder)/other", taken = "\(place.folder)/taken"
        for path in [other, taken] { #expect(mkdir(path, 0o755) == 0) }
        _ = TestFiles.write("", to: "\(place.folder)/file")
        let refusal = "-ERR CONFIG SET failed (possibly related to argument 'dir') - "
        #expect(place.client.ask("CONFIG SET dir nosuch\r\n", refusal + "No such file or directory\r\n"))
        #expect(place.client.ask("CONFIG SET dir \(place.folder)/file\r\n", refusal + "Not a directory\r\n"))
        let owner = try SnapshotLock.acquire(forSnapshot: "\(taken)/dump.rdb")
        let inUse = "\(taken)/dump.rdb is in use by process \(getpid()): two stores would overwrite each other's data\r\n"
        #expect(place.client.ask("CONFIG SET dir taken\r\n", refusal + inUse))
        #expect(place.client.ask("CONFIG SET dir other\r\n", "+OK\r\n"))
        #expect(place.client.ask("CONFIG GET dir\r\n", "*2\r\n$3\r\ndir\r\n$\(other.utf8.count)\r\n\(other)\r\n"))
        #expect(place.client.ask("SAVE\r\n", "+OK\r\n"))
        #expect(TestFiles.read("\(other)/dump.rdb") != nil)
        #expect(throws: SnapshotLockError.self) { try SnapshotLock.acquire(forSnapshot: "\(other)/dump.rdb") }
        // Where it goes, it lets go of where it was.
        owner?.release()
        #expect(place.client.ask("CONFIG SET dir \(taken)\r\n", "+OK\r\n"))
        #expect(throws: Never.self) { try SnapshotLock.acquire(forSnapshot: "\(other)/dump.rdb")?.release() }
        #expect(place.client.ask("CONFIG SET dbfilename ../x.rdb\r\n",
            "-ERR CONFIG SET failed (possibly related to argument 'dbfilename') - dbfilename can't be a path, just a filename\r\n"))
        await place.end()
    }

    @Test("A server that begins to save by itself must be the only one in its folder")
    func savingLater() async throws {
        let place = try await Place("save \"\"\n")
        let owner = try SnapshotLock.acquire(forSnapshot: "\(place.folder)/dump.rdb")
        #expect(!place.client.ask("CONFIG SET save \"60 1\"\r\n", "+OK\r\n"))
        owner?.release()
        #expect(place.client.ask("CONFIG SET save \"60 1\"\r\n", "+OK\r\n"))
        #expect(throws: SnapshotLockError.self) { try SnapshotLock.acquire(forSnapshot: "\(place.folder)/dump.rdb") }
        await place.end()
    }
}

@Suite("Directives about the process")
struct ProcessDirectiveTests {
    @Test("Sets of processors are read as the kernel's tools write them")
    func processors() {
        #expect(processorSet("") == [])
        #expect(processorSet("0,2-4,8-12:2") == [0, 2, 3, 4, 8, 10, 12])
        for text in ["a", "1-", "-1", "3-1", "1:2", "0-4:0", "0,,1", "1024", "1-2-3"] { #expect(processorSet(text) == nil) }
    }

    @Test("The title has its variables filled in; unknown ones are refused")
    func title() throws {
        let configuration = Configuration()
        try configuration.set([(name: "proc-title-template", value: "x {listen-addr} {server-mode} {port}/{config-file} ")])
        #expect(processTitle(configuration, configurationPath: "/c", port: 7, tlsPort: 0) == "x 127.0.0.1:7  7//c")
        #expect(processTitle(configuration, configurationPath: "/c", port: 0, tlsPort: 8) == "x 127.0.0.1:8  0//c")
        #expect(throws: ConfigurationError.self) {
            try configuration.set([(name: "proc-title-template", value: "{nosuch}")])
        }
        #expect(throws: ConfigurationError.self) { try configuration.set([(name: "proc-title-template", value: "{port")]) }
    }

    @Test("The facilities of the system's log have the system's numbers")
    func facilities() {
        #expect(SystemLog.facility("user") == 8)
        #expect(SystemLog.facility("local0") == 128)
        #expect(SystemLog.facility("local7") == 184)
    }
}

extension String {
    /// With the first `old` replaced, which must be there.
    fileprivate func replacingOnce(_ old: String, _ new: String) -> String {
        guard let range = firstRange(of: old) else { return "\(old) is not there" }
        return self[..<range.lowerBound] + new + self[range.upperBound...]
    }
}
