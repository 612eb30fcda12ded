// Goal: Kedis loads what redis-server saves, and redis-server loads what Kedis saves. Skipped, with a line, where
// redis-server is not installed or is another version.

import KedisPersistence
import KedisProtocol
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

@Suite("Snapshots to and from redis-server", .serialized)
struct RedisInterchangeTests {
    @Test("Kedis loads what redis-server saved", arguments: [true, false])
    func loadsFromRedis(compresses: Bool) throws {
        guard OracleServer.isUsable else { return print("skipped: no redis-server \(OracleServer.version)") }
        var generator = testGenerator("load from redis-server")
        let server = try OracleServer()
        let peer = try server.connect()
        try peer.command("CONFIG", "SET", "rdbcompression", compresses ? "yes" : "no")
        let store = makeStore()
        let future = wallClockMilliseconds() + 1_000_000
        for index in 0..<300 {
            let name = generator.nextBytes(byteCountMax: 30)
            let value = generator.nextBytes(byteCountMax: index % 50 == 0 ? 100_000 : 100)
            let deadline = index % 3 == 0 ? future + Int64(generator.next(below: 1 << 40)) : noDeadline
            let database = index % 4 * 5
            try peer.command("SELECT", "\(database)")
            let expiry = deadline == noDeadline ? [] : [Array("PXAT".utf8), Array("\(deadline)".utf8)]
            try peer.command([Array("SET".utf8), name, value] + expiry)
            try store.put(name, value, database: database, deadline: deadline)
        }
        try peer.command("SAVE")
        let loaded = makeStore()
        let path = "\(server.folder)/dump.rdb"
        let load = try #require(try loadSnapshot(into: loaded, from: path, nowMilliseconds: wallClockMilliseconds()))
        #expect(loaded.contents == store.contents)
        #expect(load.keyCount == store.contents.count)
        #expect(load.databases == [0, 5, 10, 15])
    }

    @Test("redis-server loads members with deadlines, which stay for ever there, and Kedis loads them as they were")
    func memberDeadlines() throws {
        guard OracleServer.isUsable else { return print("skipped: no redis-server \(OracleServer.version)") }
        let folder = try TestFolder()
        let store = makeStore()
        try putMembersWithDeadlines(3000, in: store)
        let path = folder.file("dump.rdb")
        _ = try saveSnapshot(of: store, to: path, options: SnapshotOptions(), nowMilliseconds: testNow)
        let loaded = makeStore()
        _ = try loadSnapshot(into: loaded, from: path, nowMilliseconds: testNow)
        let whole = KeyspaceSnapshot(of: store, nowMilliseconds: testNow)
        #expect(KeyspaceSnapshot(of: loaded, nowMilliseconds: testNow) == whole)
        loaded.checkInvariants()
        // Members that were due meanwhile are not there.
        let later = makeStore()
        _ = try loadSnapshot(into: later, from: path, nowMilliseconds: testNow + 1500)
        for each in [store, later] { while each.expireDue(nowMilliseconds: testNow + 1516, limit: 100) > 0 {} }
        let left = KeyspaceSnapshot(of: later, nowMilliseconds: testNow + 1516)
        #expect(left == KeyspaceSnapshot(of: store, nowMilliseconds: testNow + 1516))
        let server = try OracleServer()
        try writeFile(try readFile(path), to: "\(server.folder)/dump.rdb")
        let peer = try server.connect()
        try peer.command("DEBUG", "RELOAD", "NOSAVE")
        #expect(try peer.command("HLEN", "hash") == .integer(3000))
        #expect(try peer.command("SCARD", "set") == .integer(3000))
        #expect(try peer.command("ZCARD", "sorted") == .integer(3000))
    }

    /// A hash, a set and a sorted set, of whose members every second has a deadline.
    private func putMembersWithDeadlines(_ count: Int, in store: Store) throws {
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(0, nowMilliseconds: testNow, held: .all)
        let (hash, set, sorted) = (store.key("hash"), store.key("set"), store.key("sorted"))
        for index in 0..<count {
            try Array("member:\(index)".utf8).withUnsafeBytes { bytes in
                let member = ByteView(bytes)
                let deadline = index % 2 == 0 ? noDeadline : testNow + 1 + Int64(index)
                if index == 0 {
                    try keyspace.makeHash(hash, limits: HashLimits(), member, member)
                    try keyspace.makeSet(set, limits: SetLimits(), member: member)
                    var made = try keyspace.makeSortedSet(sorted, limits: SortedSetLimits())
                    try made.set(member, score: 0)
                    return
                }
                guard case .hash(var fields) = keyspace.editHash(hash, limits: HashLimits()),
                    case .set(var members) = keyspace.editSet(set, limits: SetLimits()),
                    var elements = keyspace.editSortedSet(sorted, limits: SortedSetLimits())
                else { return #expect(Bool(false)) }
                _ = try fields.set(member, member)
                try fields.setDeadline(member, deadline)
                _ = try members.add(member)
                try members.setDeadline(member, deadline)
                try elements.set(member, score: Double(index))
                try elements.setDeadline(member, deadline)
            }
        }
    }

    @Test("redis-server loads what Kedis saved, and redis-check-rdb has nothing to say", arguments: [true, false])
    func redisLoads(compresses: Bool) throws {
        guard OracleServer.isUsable else {
            return print("skipped: no redis-server \(OracleServer.version)")
        }
        var generator = testGenerator("load into redis-server")
        let folder = try TestFolder()
        let store = makeStore()
        try store.fillRandomly(500, using: &generator)
        try store.put("large", String(repeating: "many words ", count: 20_000))
        let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
        let options = SnapshotOptions(compress: compresses, checksum: compresses, functions: [Array(library.utf8)])
        let path = folder.file("dump.rdb")
        _ = try saveSnapshot(of: store, to: path, options: options, nowMilliseconds: testNow)
        if let check = TestFiles.program("redis-check-rdb") {
            #expect(try run([check, path], output: folder.file("check.log")) == 0)
        }
        let server = try OracleServer()
        // The oracle's own folder gets the file, which it then loads in place of what it has.
        try writeFile(try readFile(path), to: "\(server.folder)/dump.rdb")
        let peer = try server.connect()
        try peer.command("DEBUG", "RELOAD", "NOSAVE")
        let now = wallClockMilliseconds()
        for (key, value) in store.contents
        where value.deadlineMilliseconds == noDeadline || value.deadlineMilliseconds > now + 60_000 {
            try peer.command("SELECT", "\(key.database)")
            let reply = try peer.command([Array("GET".utf8), key.name])
            #expect(reply == .bulk(value.bytes))
            #expect(try peer.command([Array("PEXPIRETIME".utf8), key.name]) == .integer(value.deadlineMilliseconds))
        }
        guard case .array(let libraries) = try peer.command("FUNCTION", "LIST") else { return #expect(Bool(false)) }
        #expect(libraries.count == 1)
    }

    /// Sets of every form, by name.
    private static let sets: [(name: String, members: [String])] = [
        ("integers", ["-70000", "1", "2", "300"]), ("wide", ["-9223372036854775808", "9223372036854775807", "5"]),
        ("many integers", (0..<2000).map { "\($0 * 3)" }), ("packed", ["a", "b", "17", ""]),
        ("large", (0..<3000).map { "member \($0)" }), ("long", ["x", String(repeating: "long ", count: 5000)]),
    ]

    @Test("Sets go to redis-server and come from it")
    func sets() throws {
        guard OracleServer.isUsable else { return print("skipped: no redis-server \(OracleServer.version)") }
        let server = try OracleServer()
        let peer = try server.connect()
        for (name, members) in Self.sets { try peer.command(["SADD", name].map { Array($0.utf8) } + members.map { Array($0.utf8) }) }
        try peer.command("SAVE")
        let store = makeStore()
        let path = "\(server.folder)/dump.rdb"
        _ = try loadSnapshot(into: store, from: path, nowMilliseconds: wallClockMilliseconds())
        let loaded = KeyspaceSnapshot(of: store, nowMilliseconds: wallClockMilliseconds())
        for (name, members) in Self.sets {
            let expected = members.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) }
            #expect(loaded.entries["0/\(RespQuoting.quote(Array(name.utf8)))"]?.value == .array(expected.map { .bulk($0) }))
        }
        try peer.command("FLUSHALL")
        _ = try saveSnapshot(of: store, to: path, nowMilliseconds: wallClockMilliseconds())
        try peer.command("DEBUG", "RELOAD", "NOSAVE")
        for (name, members) in Self.sets {
            #expect(try peer.command("SCARD", name) == .integer(Int64(members.count)))
            for member in members.prefix(10) { #expect(try peer.command("SISMEMBER", name, member) == .integer(1)) }
        }
    }
}

/// Runs a program to its end, its output in a file, and returns its exit status.
func run(_ arguments: [String], output: String) throws -> Int32 {
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT, 0o644)
    var process: pid_t = 0
    guard posix_spawn(&process, arguments[0], &actions, nil, pointers, environ) == 0 else { return -1 }
    var status: Int32 = 0
    waitpid(process, &status, 0)
    return status
}

extension RespPeer {
    @discardableResult
    func command(_ words: String...) throws -> Reply { try command(words.map { Array($0.utf8) }) }

    @discardableResult
    func command(_ words: [[UInt8]]) throws -> Reply {
        var request = Array("*\(words.count)\r\n".utf8)
        for word in words { request += Array("$\(word.count)\r\n".utf8) + word + [13, 10] }
        send(request)
        guard case .reply(let reply) = receive(10_000) else { throw InterchangeError(text: "no reply") }
        if case .error(let text) = reply { throw InterchangeError(text: String(decoding: text, as: UTF8.self)) }
        return reply
    }
}

struct InterchangeError: Error {
    var text: String
}
