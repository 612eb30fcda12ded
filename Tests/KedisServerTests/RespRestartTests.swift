// The text tests of commands, write–restart–compare: whatever a file leaves in the store comes back from the snapshot.

import KedisCommands
import KedisPersistence
import KedisProtocol
import KedisServer
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("What the text tests write survives a restart")
struct RespRestartTests {
    @Test("After every request that changes something, a snapshot brings everything back", arguments: RespCase.registered)
    func afterEveryChange(respCase: RespCase) throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        var last: KeyspaceSnapshot?
        var keyCount = 0
        let target = TestEngine.target(protocolVersion: 3) { engine in
            let now = engine.clock.nowMicroseconds / 1000
            let before = KeyspaceSnapshot(of: engine.engine.store, nowMilliseconds: now)
            guard before != last else { return }
            last = before
            keyCount += before.entries.count
            do {
                let store = try restart(engine.engine.store, folder: folder, nowMilliseconds: now)
                let after = KeyspaceSnapshot(of: store, nowMilliseconds: now)
                for difference in after.restarted.differences(from: before.restarted) {
                    Issue.record("\(respCase): \(difference)")
                }
            } catch {
                Issue.record("\(respCase): \(error)")
            }
        }
        try check(respCase, respCase.file, on: target)
        if respCase.family == "strings" { #expect(keyCount > 0, "nothing was compared") }
    }

    /// The store saved and loaded again. The disk is not waited for: that it has the file is tested elsewhere.
    private func restart(_ store: Store, folder: String, nowMilliseconds: Int64) throws -> Store {
        var files = FileSystem.system
        files.synchronize = { (_) throws(SystemError) in }
        files.synchronizeDirectory = { (_) throws(SystemError) in }
        let path = "\(folder)/dump.rdb"
        _ = try saveSnapshot(of: store, to: path, nowMilliseconds: nowMilliseconds, fileSystem: files)
        let fresh = Store(databaseCount: store.databaseCount, seed: HashSeed(7, 9))
        let summary = try loadSnapshot(into: fresh, from: path, nowMilliseconds: nowMilliseconds)
        #expect(summary != nil)
        return fresh
    }

    @Test("A server that saves, ends and starts again has everything that the files wrote",
        .enabled(if: KedisProcess.program != nil, "no kedis beside the tests"),
        .enabled(if: TestFiles.environment("KEDIS_RESP") == nil, "it needs all files"), arguments: [true, false])
    func process(savesAtExit: Bool) throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let directives = ["--save"] + (savesAtExit ? ["3600", "1"] : [""])
        var server = try KedisProcess(folder: folder, directives: directives)
        var target = server.target(protocolVersion: 2)
        try Self.write(to: target)
        // Real time passes until the second look.
        let limit = wallClockMilliseconds() + 60_000
        let before = try KeyspaceSnapshot(of: target).droppingKeysDue(before: limit)
        #expect(before.entries.count > 50)
        #expect(before.entries.values.contains { $0.deadlineMilliseconds != -1 })
        if !savesAtExit {
            let peer = try target.connect()
            peer.send(Array("SAVE\r\n".utf8))
            #expect(peer.receive(60_000) == .reply(.simple(Array("OK".utf8))))
            peer.close()
        }
        #expect(server.terminate() == 0)
        server = try KedisProcess(folder: folder, directives: directives)
        target = server.target(protocolVersion: 2)
        let after = try KeyspaceSnapshot(of: target).droppingKeysDue(before: limit)
        for difference in after.restarted.differences(from: before.restarted) { Issue.record("\(difference)") }
        #expect(wallClockMilliseconds() < limit, "too slow to compare deadlines")
        #expect(server.terminate() == 0)
    }

    /// Sends what the files about strings send, each into a database of its own where there is one; replies are not
    /// looked at here.
    private static func write(to target: RespTarget) throws {
        for (index, respCase) in RespCase.registered.filter({ $0.family == "strings" }).enumerated() {
            let peer = try target.connect()
            peer.send(Array("SELECT \(index % 16)\r\n".utf8))
            for case .request(let request) in try respCase.file.steps {
                guard case .arguments(let arguments) = request.payload, request.scope != .oracleOnly else { continue }
                peer.send(RespRunner.encode(arguments))
            }
            peer.send(Array("ECHO end\r\n".utf8))
            while true {
                let event = peer.receive(60_000)
                guard case .reply(let reply) = event else { throw OracleError(description: RespRunner.describe(event)) }
                if reply == .bulk(Array("end".utf8)) { break }
            }
            peer.close()
        }
    }
}
