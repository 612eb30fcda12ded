// Goal: what redis-server has in its append-only files is in Kedis, whatever form they have, and nothing of them is
// changed. Method: random commands on redis-server 7.0.15 with `appendonly`; its files are read and compared with what it
// holds; then cut and damaged.

import KedisCommands
import KedisDurability
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisPersistence
@testable import KedisServer

@Suite("Append-only files of redis-server", .serialized)
struct AppendOnlyImportTests {
    private func load(_ files: AppendOnlyFiles) throws -> (store: Store, loaded: LoadedAppendOnlyFiles) {
        let store = Store(seed: HashSeed(5, 6))
        let loaded = try loadAppendOnlyFiles(files, into: store, configuration: Configuration(), progress: { _, _ in })
        return (store, loaded)
    }

    private func ask(_ peer: RespPeer, _ words: String...) {
        peer.send(RespRunner.encode(words.map { Array($0.utf8) }))
        _ = peer.receive(60_000)
    }

    /// Random commands, some in transactions, in three databases.
    private func work(_ peer: RespPeer, _ generator: inout FuzzGenerator, count: Int) throws {
        for index in 0..<count {
            let requests: [[[UInt8]]]
            switch index % 40 {
            case 10: requests = [["SELECT", "\(generator.random.next(below: 3))"].map { Array($0.utf8) }]
            case 20:
                requests = [[Array("MULTI".utf8)], ["INCR", "in:transaction"].map { Array($0.utf8) },
                    ["SELECT", "2"].map { Array($0.utf8) }, ["INCR", "in:another"].map { Array($0.utf8) },
                    [Array("EXEC".utf8)]]
            default: requests = [generator.next().arguments]
            }
            // One that would wait is ended.
            let mark = Array("mark \(index)".utf8)
            peer.send(requests.flatMap { RespRunner.encode($0) } + RespRunner.encode([Array("ECHO".utf8), mark]))
            while case .reply(let reply) = peer.receive(60_000), reply != .bulk(mark) {}
        }
    }

    @Test("A base and what came behind it, in every form, give what redis-server has",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"), arguments: ["yes", "no"], ["yes", "no"])
    func everyForm(hasPreamble: String, hasTimes: String) throws {
        let server = try OracleServer()
        let peer = try server.connect()
        var generator = FuzzGenerator(RandomGenerator.forTest("append-only files"), only: nil) { _ in true }
        try work(peer, &generator, count: 200)
        for (name, value) in [
            ("aof-use-rdb-preamble", hasPreamble), ("aof-timestamp-enabled", hasTimes), ("appendonly", "yes"),
        ] {
            ask(peer, "CONFIG", "SET", name, value)
        }
        try work(peer, &generator, count: 400)
        ask(peer, "DEBUG", "SLEEP", "0")
        let isWritten = eventually { TestFiles.list(below: server.folder, suffix: ".manifest").count == 1 }
        #expect(isWritten)
        _ = eventually { self.information(peer).contains("aof_rewrite_in_progress:0") }
        ask(peer, "CONFIG", "SET", "appendfsync", "always")
        ask(peer, "SET", "the", "last")
        let wanted = try KeyspaceSnapshot(of: server.target(protocolVersion: 2)).dropping(type: "stream")
        let found = try #require(
            try AppendOnlyFiles.find(
                directory: "\(server.folder)/appendonlydir", fileName: "appendonly.aof", folder: server.folder))
        #expect(found.paths.count >= 2)
        let before = found.paths.map { TestFiles.read($0) }
        let (store, loaded) = try load(found)
        let now = wallClockMilliseconds()
        let got = comparable(store, at: now)
        for difference in got.differences(from: wanted.restarted.droppingKeysDue(before: now + 1000)) {
            Issue.record("\(difference)")
        }
        #expect(loaded.cut == nil && loaded.requestCount > 50)
        #expect((loaded.base != nil) == (hasPreamble == "yes"))
        #expect(found.paths.map { TestFiles.read($0) } == before)
        store.checkInvariants()
        try compareStreams(peer, store)
        try single(found, got, at: now)
    }

    private func comparable(_ store: Store, at now: Int64) -> KeyspaceSnapshot {
        KeyspaceSnapshot(of: store, nowMilliseconds: now).restarted.droppingKeysDue(before: now + 1000)
            .dropping(type: "stream")
    }

    /// Streams by their digests, which both say.
    private func compareStreams(_ peer: RespPeer, _ store: Store) throws {
        let engine = Engine(store: store, clock: .system, seed: 1)
        engine.configuration.settle("enable-debug-command", "yes")
        let session = TestSession(engine)
        for database in 0..<3 {
            ask(peer, "SELECT", "\(database)")
            _ = try session.call("SELECT", "\(database)")
            for key in (0..<3).map({ "x\($0)" }) {
                let words = ["DEBUG", "DIGEST-VALUE", key]
                peer.send(RespRunner.encode(words.map { Array($0.utf8) }))
                guard case .reply(let wanted) = peer.receive(60_000) else { continue }
                #expect(try session.call("DEBUG", "DIGEST-VALUE", key) == wanted, "\(database)/\(key)")
            }
        }
    }

    private func information(_ peer: RespPeer) -> String {
        peer.send(Array("INFO persistence\r\n".utf8))
        guard case .reply(let reply) = peer.receive(60_000), case .bulk(let text) = reply else { return "" }
        return String(decoding: text, as: UTF8.self)
    }

    /// The same as the one file of an older Redis, whole and cut at its end.
    private func single(_ found: AppendOnlyFiles, _ wanted: KeyspaceSnapshot, at now: Int64) throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let whole = found.paths.flatMap { TestFiles.read($0) ?? [] }
        let path = "\(folder)/appendonly.aof"
        try write(whole, path)
        let legacy = try #require(
            try AppendOnlyFiles.find(directory: "\(folder)/none", fileName: "appendonly.aof", folder: folder))
        #expect(legacy.paths == [path])
        let (store, _) = try load(legacy)
        for difference in comparable(store, at: now).differences(from: wanted) { Issue.record("as one file: \(difference)") }
        for length in [1, 2, 7, 20] {
            try write(Array(whole.dropLast(length)), path)
            let cut = try load(legacy).loaded.cut
            // "SET the last" is 31 bytes: the end of it is missing.
            #expect(cut.map { $0.offset + $0.byteCount } == whole.count - length, "\(length)")
        }
        // In the middle it is damage.
        try write(whole.dropLast(31) + Array("*1\r\n!".utf8) + whole.suffix(31), path)
        #expect(throws: AppendOnlyError.self) { try load(legacy) }
    }

    private func write(_ bytes: [UInt8], _ path: String) throws {
        removeFile(path)
        let files = FileSystem.system
        let file = try files.open(path, .create)
        try bytes.withUnsafeBytes { try files.writeAll(file, ByteView($0)) }
        try files.close(file)
    }

    @Test("A server starts with them, and goes on with a journal of its own",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"))
    func start() async throws {
        let oracle = try OracleServer()
        let peer = try oracle.connect()
        ask(peer, "CONFIG", "SET", "appendonly", "yes")
        ask(peer, "SET", "before", "1")
        ask(peer, "RPUSH", "list", "a", "b")
        _ = eventually { self.information(peer).contains("aof_rewrite_in_progress:0") }
        ask(peer, "SHUTDOWN", "NOSAVE")
        for round in 0..<2 {
            let server = try await TestServer(["--appendonly", "yes"], folder: oracle.folder)
            #expect(server.log.contains("Loaded from redis-server") == (round == 0))
            #expect(server.log.contains("as there is a journal") == (round == 1))
            #expect(try server.connect().ask("MGET before after\r\nLLEN list\r\nSET after 2\r\n",
                "*2\r\n$1\r\n1\r\n\(round == 0 ? "$-1" : "$1\r\n2")\r\n:2\r\n+OK\r\n"))
            await server.stop()
        }
        for path in TestFiles.list(below: oracle.folder, suffix: ".kjl") { removeFile(path) }
        let without = try await TestServer([], folder: oracle.folder)
        #expect(without.log.contains("There are append-only files of Redis ("))
        await without.stop()
    }

    @Test("Random changes of a file are an error or a shorter one, never a trap; seconds from KEDIS_FUZZ_SECONDS")
    func fuzz() throws {
        var random = RandomGenerator.forTest("append-only fuzz")
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let path = "\(folder)/appendonly.aof"
        let requests = [
            ["SELECT", "1"], ["SET", "k", "value"], ["MULTI"], ["INCR", "n"], ["SELECT", "0"], ["EXEC"],
            ["RPUSH", "l", "a", "b"], ["PEXPIREAT", "k", "9999999999999"], ["XADD", "x", "1-1", "f", "v"],
        ]
        let whole = Array("#TS:1700000000\r\n".utf8) + requests.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) }
        let start = monotonicNanoseconds()
        var (read, refused) = (0, 0)
        while fuzzGoesOn(since: start) {
            try write(random.mutated(whole, with: Array("*$0123456789\r\n#aSE".utf8)), path)
            let files = AppendOnlyFiles(path: path, paths: [path])
            do {
                var reader = AppendOnlyReader(files)
                _ = try reader.run(
                    snapshot: { (_) throws(JournalRefusal) in 0 }, requests: { (_, _) throws(JournalRefusal) in })
                // Executing them takes an engine for each.
                if random.next(below: 10) == 0 { _ = try load(files) }
                read += 1
            } catch {
                refused += 1
            }
        }
        print("append-only fuzz: \(read) read, \(refused) refused")
        #expect(read + refused > 0)
    }

    @Test("Long requests, many words and many lines are read in one pass, and a length beyond the file ends it")
    func shapes() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let path = "\(folder)/appendonly.aof"
        let files = AppendOnlyFiles(path: path, paths: [path])
        let members = (0..<200_000).map { Array("member \($0)".utf8) }
        let long = RespRunner.encode([Array("SADD".utf8), Array("s".utf8)] + members)
        let lines = Array(String(repeating: "#TS:1700000000\r\n", count: 50_000).utf8)
        let after = RespRunner.encode(["SET", "after", "1"].map { Array($0.utf8) })
        try write(long + lines + after, path)
        let (store, loaded) = try load(files)
        #expect(loaded.requestCount == 2 && loaded.cut == nil)
        #expect(KeyspaceSnapshot(of: store, nowMilliseconds: 0).entries.count == 2)
        let torn = Array("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$999999999\r\nv\r\n".utf8)
        try write(after + torn + after, path)
        let cut = try #require(try load(files).loaded.cut)
        #expect(cut.offset == after.count && cut.byteCount == torn.count + after.count)
        try write(after + Array("#".utf8) + [UInt8](repeating: 0x61, count: 100_000), path)
        #expect(throws: AppendOnlyError.self) { try load(files) }
    }

    @Test("A request that cannot be executed is named by its place, wherever it stands in the file")
    func places() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let path = "\(folder)/appendonly.aof"
        func request(_ words: String...) -> [UInt8] { RespRunner.encode(words.map { Array($0.utf8) }) }
        let good = (0..<3000).flatMap { request("SET", "key \($0)", "value") }
        let transaction = request("MULTI") + request("SET", "a", "1") + request("RPUSH", "list", "x")
        for (before, bad) in [
            ([], request("INCR", "key")), (good, request("NONE")), (good + request("SELECT", "1"), request("HSET", "a")),
            (good + request("SET", "a", "b") + transaction, request("EXEC") + request("INCR", "list")),
        ] {
            let isTransaction = bad.starts(with: request("EXEC"))
            let start = request("SET", "key", "no number")
            try write(start + before + bad + good, path)
            var message = ""
            do { _ = try load(AppendOnlyFiles(path: path, paths: [path])) } catch { message = "\(error)" }
            let offset = start.count + before.count + (isTransaction ? request("EXEC").count : 0)
            #expect(message.contains("byte \(offset):"), "\(offset): \(message)")
        }
    }

    @Test("What a manifest says: the base, then the rest in order", arguments: [
        ("file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n",
            ["a.1.base.rdb", "a.1.incr.aof", "a.2.incr.aof"]),
        ("# a remark\nfile old seq 1 type h\nfile \"with \\\"quotes\\\" and space\" seq 3 type i\n",
            ["with \"quotes\" and space"]),
        ("file a seq 1 type b\r\nfile b seq 1 type i\r\n", ["a", "b"]),
        ("", []),
    ])
    func manifests(text: String, names: [String]) throws {
        #expect(try AppendOnlyFiles.manifestFiles(text) == names)
    }

    @Test("What is no manifest is refused with its line", arguments: [
        "file a seq 1", "file a seq x type b", "file ../a seq 1 type b", "file a seq 1 type z",
        "file a seq 1 type b\nfile b seq 2 type b", "file a seq 2 type i\nfile b seq 1 type i", "file \"a seq 1 type b",
    ])
    func badManifests(text: String) {
        #expect(throws: AppendOnlyError.self) { try AppendOnlyFiles.manifestFiles(text) }
    }
}
