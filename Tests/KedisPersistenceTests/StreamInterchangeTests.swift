// Goal: streams with their groups go from redis-server to Kedis and back without a difference.
//
// Method: random stream commands on redis-server, SAVE, load, save, redis-check-rdb, load by redis-server; what XINFO
// says of everything in a stream and DEBUG DIGEST must be the same before and after. Skipped where redis-server is missing.

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

@Suite("Streams to and from redis-server", .serialized)
struct StreamInterchangeTests {
    @Test("redis-server, Kedis, redis-server", arguments: [true, false])
    func thereAndBack(compresses: Bool) throws {
        guard OracleServer.isUsable else { return print("skipped: no redis-server \(OracleServer.version)") }
        var generator = testGenerator("streams from and to redis-server")
        let folder = try TestFolder()
        let server = try OracleServer()
        let peer = try server.connect()
        try peer.command("CONFIG", "SET", "stream-node-max-entries", compresses ? "100" : "3")
        for _ in 0..<600 { try change(&generator, peer) }
        let before = try describe(peer)
        let digest = try peer.command("DEBUG", "DIGEST")
        try peer.command("SAVE")

        let store = makeStore()
        let now = wallClockMilliseconds()
        let summary = try #require(
            try loadSnapshot(into: store, from: "\(server.folder)/dump.rdb", nowMilliseconds: now))
        #expect(summary.keyCount == 3)
        store.checkInvariants()
        let path = folder.file("dump.rdb")
        let options = SnapshotOptions(compress: compresses, checksum: compresses)
        _ = try saveSnapshot(of: store, to: path, options: options, nowMilliseconds: now)
        if let check = TestFiles.program("redis-check-rdb") {
            #expect(try run([check, path], output: folder.file("check.log")) == 0)
        }
        try peer.command("FLUSHALL")
        unlink("\(server.folder)/dump.rdb")
        try writeFile(try readFile(path), to: "\(server.folder)/dump.rdb")
        try peer.command("DEBUG", "RELOAD", "NOSAVE")
        #expect(try describe(peer) == before)
        #expect(try peer.command("DEBUG", "DIGEST") == digest)

        let again = makeStore()
        _ = try loadSnapshot(into: again, from: path, nowMilliseconds: now)
        let (first, second) = (
            KeyspaceSnapshot(of: store, nowMilliseconds: now), KeyspaceSnapshot(of: again, nowMilliseconds: now)
        )
        #expect(first.entries.count == 3 && first == second)
    }

    private func describe(_ peer: RespPeer) throws -> [Reply] {
        try (0..<3).map { try peer.command("XINFO", "STREAM", "s\($0)", "FULL", "COUNT", "0") }
    }

    private func change(_ generator: inout RandomGenerator, _ peer: RespPeer) throws {
        let key = "s\(generator.next(below: 3))"
        let group = "group\(generator.next(below: 3))"
        let consumer = "consumer \(generator.next(below: 4))"
        let id = "\(1 + generator.next(below: 300))-\(generator.next(below: 3))"
        var words: [String]
        switch generator.next(below: 12) {
        case 0...4:
            words = ["XADD", key, "*", "field", "\(generator.next(below: 1 << 30))"]
            if generator.next(below: 3) == 0 { words += ["other", String(repeating: "word ", count: 20)] }
        case 5: words = ["XGROUP", "CREATE", key, group, "0", "MKSTREAM"]
        case 6...8: words = ["XREADGROUP", "GROUP", group, consumer, "COUNT", "5", "STREAMS", key, ">"]
        case 9: words = ["XCLAIM", key, group, consumer, "0", id, "FORCE"]
        case 10: words = ["XTRIM", key, "MAXLEN", "~", "60"]
        default: words = ["XAUTOCLAIM", key, group, consumer, "0", "0", "COUNT", "3"]
        }
        // Many are errors: no such group, or it is there already.
        _ = try? peer.command(words.map { Array($0.utf8) })
        if generator.next(below: 10) == 0, case .array(let entries) = try peer.command("XRANGE", key, "-", "+"),
            case .array(let pieces)? = entries.randomElement(using: &generator), case .bulk(let entry)? = pieces.first
        {
            _ = try peer.command([Array("XDEL".utf8), Array(key.utf8), entry])
        }
    }
}
