// Goal: a server works in a small address space, and one whose system refuses more memory answers with an error,
// keeps what it has, and goes on once there is room again.
//
// Method: the built program, started under `ulimit -v`. Not under a sanitizer, whose shadow memory takes terabytes.

import KedisProtocol
import KedisTestSupport
import Testing

@testable import KedisServer

@Suite(
    "Address space",
    .enabled(if: KedisProcess.program != nil && !isSanitized, "no kedis beside the tests, or under a sanitizer"),
    .timeLimit(.minutes(10)))
struct AddressSpaceTests {
    /// Sends one request and waits for its reply.
    private func ask(_ peer: RespPeer, _ arguments: [[UInt8]]) throws -> Reply {
        peer.send(RespRunner.encode(arguments))
        guard case .reply(let reply) = peer.receive(30_000) else { throw OracleError(description: "no reply") }
        return reply
    }

    private func ask(_ peer: RespPeer, _ words: String) throws -> Reply {
        try ask(peer, words.split(separator: " ").map { Array($0.utf8) })
    }

    /// A server with 70 MB of address space beside what one takes that is empty: a little more than a heap of the C
    /// library.
    private func tightServer(_ folder: String) throws -> KedisProcess {
        try KedisProcess(
            folder: folder, directives: ["--save", ""], addressSpaceKilobytes: 570_000 + (usesRing ? 8_400 : 0))
    }

    /// Rings have buffers of their own, 4 MB for each of two loops.
    private var usesRing: Bool {
        #if os(Linux)
        switch TestFiles.environment("KEDIS_TRANSPORT") {
        case nil, "auto": SystemRing.isUsable
        case let name: name == "io_uring"
        }
        #else
        false
        #endif
    }

    private func key(_ index: Int) -> [UInt8] { Array("key:\(index)".utf8) }

    private func value(_ index: Int, _ byteCount: Int) -> [UInt8] {
        [UInt8](repeating: UInt8(truncatingIfNeeded: index % 26 + 97), count: byteCount)
    }

    @Test("A store opens and works under ulimit -v 2000000")
    func small() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let server = try KedisProcess(folder: folder, directives: ["--save", ""], addressSpaceKilobytes: 2_000_000)
        let peer = try server.target(protocolVersion: 2).connect()
        for index in 0..<5000 {
            let reply = try ask(peer, [Array("SET".utf8), key(index), value(index, index % 300)])
            #expect(reply == .simple(Array("OK".utf8)))
        }
        for index in 0..<5000 {
            #expect(try ask(peer, [Array("GET".utf8), key(index)]) == .bulk(value(index, index % 300)))
        }
        #expect(try ask(peer, "DBSIZE") == .integer(5000))
        peer.close()
        #expect(server.terminate() == 0)
    }

    @Test(
        "Without more memory SET answers OOM, everything else works, and deleting makes room",
        arguments: [100, 3000, 100_000])
    func exhausted(byteCount: Int) throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let server = try tightServer(folder)
        let peer = try server.target(protocolVersion: 2).connect()
        let stored = try fill(peer, server, byteCount: byteCount)
        guard stored > 0 else { return }
        print("values of \(byteCount) bytes: \(stored) fit")
        try expectValues(peer, stored, byteCount: byteCount)
        #expect(try ask(peer, "DBSIZE") == .integer(Int64(stored)))
        let removed = stride(from: 0, to: stored, by: 2).map { $0 }
        for first in stride(from: 0, to: removed.count, by: 500) {
            let batch = removed[first..<min(removed.count, first + 500)]
            #expect(try ask(peer, [Array("DEL".utf8)] + batch.map(key)) == .integer(Int64(batch.count)))
        }
        // Large values are made a little smaller: where the C library keeps what was deleted, the store sees no room when
        // it looks for address space, every 4 MiB.
        let againByteCount = byteCount >= 16 << 10 ? byteCount / 10 * 9 : byteCount
        for index in removed.prefix(removed.count / 2).shuffled().prefix(5000) {
            try expectRoom(peer, for: index, byteCount: againByteCount)
        }
        #expect(server.isRunning)
        peer.close()
        #expect(server.terminate() == 0)
    }

    @Test("Requests and replies that a full server has no memory for are refused, and it goes on")
    func oversized() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let server = try tightServer(folder)
        let target = server.target(protocolVersion: 2)
        let peer = try target.connect()
        let stored = try fill(peer, server, byteCount: 3000)
        func expectAlive() throws {
            #expect(try ask(peer, "PING") == .simple(Array("PONG".utf8)))
            #expect(try ask(peer, "DBSIZE") == .integer(Int64(stored)))
            try expectValues(peer, stored, byteCount: 3000)
        }
        for megabytes in [8, 100, 400] {
            let other = try target.connect()
            other.send(RespRunner.encode([Array("SET".utf8), Array("big".utf8), value(0, megabytes << 20)]))
            expectRefused(other)
            try expectAlive()
        }
        // The first half of each, then the second, so that all of them wait at once.
        let request = RespRunner.encode([Array("SET".utf8), Array("big".utf8), value(0, 8 << 20)])
        let writers = try (0..<20).map { _ in try target.connect() }
        for writer in writers { writer.send(Array(request[..<(4 << 20)])) }
        try expectAlive()
        for writer in writers {
            writer.send(Array(request[(4 << 20)...]))
            expectRefused(writer)
        }
        // Replies of 30 MB that nobody reads.
        let names = (0..<10_000).map { key($0 % stored) }
        let readers = try (0..<20).map { _ in try target.connect() }
        for reader in readers { reader.send(RespRunner.encode([Array("MGET".utf8)] + names)) }
        try expectAlive()
        for reader in readers { reader.close() }
        try expectAlive()
        peer.close()
        #expect(server.terminate() == 0)
    }

    @Test("Requests whose many arguments found no memory ended the server, when a part of them had waited")
    func manyArguments() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let server = try tightServer(folder)
        let target = server.target(protocolVersion: 2)
        let peer = try target.connect()
        // Each takes 16 MiB of ranges and 8 MiB of input, and its last argument does not come.
        let empty = Array("$0\r\n\r\n".utf8)
        let request = Array("*1048576\r\n".utf8) + [[UInt8]](repeating: empty, count: 700_000).joined()
        let others = try (0..<40).map { _ in
            let other = try target.connect()
            other.send(request)
            return other
        }
        var refusedCount = 0
        for other in others {
            if other.receive(100) != .timeout { refusedCount += 1 }
            other.close()
        }
        #expect(refusedCount > 0)
        #expect(server.isRunning)
        #expect(try ask(peer, "PING") == .simple(Array("PONG".utf8)))
        peer.close()
        #expect(server.terminate() == 0)
    }

    /// The error, or the end of a connection that was still sending.
    private func expectRefused(_ peer: RespPeer) {
        switch peer.receive(30_000) {
        case .closed: break
        case .reply(.error(let message)):
            #expect(message.starts(with: Array("OOM".utf8)), "\(String(decoding: message, as: UTF8.self))")
        case let event: Issue.record("not refused: \(RespRunner.describe(event))")
        }
        peer.close()
    }

    /// Sets a value. The background may need a while to give back what was deleted, cells that it is moving above all.
    private func expectRoom(_ peer: RespPeer, for index: Int, byteCount: Int) throws {
        var reply = Reply.null
        for _ in 0..<200 {
            reply = try ask(peer, [Array("SET".utf8), key(index), value(index, byteCount)])
            if reply == .simple(Array("OK".utf8)) { return }
            TestFiles.sleep(milliseconds: 50)
        }
        Issue.record("room that was given back is not there: \(reply)")
    }

    /// Sets values until the server refuses; returns how many there are. Small ones go in pipelines.
    private func fill(_ peer: RespPeer, _ server: KedisProcess, byteCount: Int) throws -> Int {
        let batch = max(1, min(500, 100_000 / byteCount))
        var stored = 0
        while stored < 10_000_000 {
            var request: [UInt8] = []
            for index in stored..<stored + batch {
                request += RespRunner.encode([Array("SET".utf8), key(index), value(index, byteCount)])
            }
            peer.send(request)
            var refused = 0
            for _ in 0..<batch {
                switch peer.receive(30_000) {
                case .reply(.simple): stored += refused == 0 ? 1 : 0
                case .reply(.error(let message)):
                    #expect(message.starts(with: Array("OOM".utf8)), "\(String(decoding: message, as: UTF8.self))")
                    refused += 1
                case let event:
                    Issue.record("after \(stored) values: \(RespRunner.describe(event)), runs: \(server.isRunning)")
                    return 0
                }
            }
            if refused > 0 {
                // Some behind the first refused one may have found room.
                for index in stored..<stored + batch { _ = try ask(peer, [Array("DEL".utf8), key(index)]) }
                return stored
            }
        }
        Issue.record("the limit was never reached")
        return 0
    }

    private func expectValues(_ peer: RespPeer, _ stored: Int, byteCount: Int) throws {
        for index in stride(from: 0, to: stored, by: max(1, stored / 1000)) {
            let reply = try ask(peer, [Array("GET".utf8), key(index)])
            let isEqual = reply == .bulk(value(index, byteCount))
            #expect(isEqual, "value \(index) is not what was set")
            if !isEqual { return }
        }
    }
}
