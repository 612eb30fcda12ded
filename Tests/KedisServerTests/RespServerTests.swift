// The text tests of commands against a server behind a socket, with requests that arrive in pieces.
//
// A piece counts as sent when the server has read it, so each split is a read of its own and none is left to chance.

import KedisCommands
import KedisServer
import KedisTestSupport
import Synchronization
import Testing

/// Runs a file and records every difference as an issue at the file's own line.
func check(_ respCase: RespCase, _ file: RespFile, on target: RespTarget) throws {
    for mismatch in try RespRunner.run(file, on: target) {
        Issue.record(
            "RESP\(target.protocolVersion), \(target.name): \(mismatch)",
            sourceLocation: SourceLocation(
                fileID: "commands/\(respCase)", filePath: mismatch.path, line: max(1, mismatch.line), column: 1
            )
        )
    }
}

// One server at a time: hundreds of them at once keep each other from everything, and waits from their times.
@Suite("Text tests of commands over a socket", .serialized)
struct RespServerTests {
    /// How often a file is run with its requests split elsewhere: each request meets this many of its positions, and
    /// neighbouring ones, which are of the same kind, meet the positions after those. The protocol changes every time.
    private static let rounds = 4

    @Test("The server answers what the files expect, each byte read on its own", arguments: RespCase.registered, [2, 3])
    func byteByByte(respCase: RespCase, protocolVersion: Int) async throws {
        try await Self.withServer { server, sendPart in
            try check(respCase, respCase.file, on: server.target(protocolVersion) { peer in
                peer.sendingByteByByte { sendPart(peer, $0) }
            })
        }
    }

    @Test("The server answers the same whichever two parts a request comes in", arguments: RespCase.registered)
    func inTwoParts(respCase: RespCase) async throws {
        let file = try respCase.file.untilFirstSleep
        for round in 0..<Self.rounds {
            // A server for each round: some files count connections, saves and commands.
            try await Self.withServer { server, sendPart in
                try check(respCase, file, on: server.target(2 + round % 2) { peer in
                    peer.sendingInTwoParts(round * 7) { sendPart(peer, $0) }
                })
            }
        }
    }

    private typealias SendPart = (RespPeer, [UInt8]) -> Void

    /// Runs `body` with a server as the oracle is started, and a function that sends bytes and waits until they are read.
    /// Each ends by a shutdown, SHUTDOWN's own file by SHUTDOWN.
    private static func withServer(_ body: (TestServer, @escaping SendPart) throws -> Void) async throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let server = try await TestServer(["--enable-debug-command", "yes"], folder: folder)
        let serving = Task { await server.server.serve() }
        let statistics = server.server.engine.statistics
        let result = Result {
            try body(server) { peer, bytes in
                let before = statistics.traffic.totals.inputByteCount
                peer.send(bytes)
                // Not for ever: CONFIG RESETSTAT sets the count back, and a connection may have been closed.
                for attempt in 0..<500 where statistics.traffic.totals.inputByteCount == before {
                    TestFiles.sleep(microseconds: attempt < 100 ? 0 : 10)
                }
            }
        }
        _ = server.server.engine.host.shutDown(.noSave, false, true)
        await serving.value
        try result.get()
    }
}

extension TestServer {
    /// The server as a target of `.resp` files, over connections that `change` has changed.
    fileprivate func target(_ protocolVersion: Int, _ change: @escaping (RespPeer) -> RespPeer) -> RespTarget {
        RespTarget(
            name: "the server", protocolVersion: protocolVersion,
            connect: { change(try RespPeer.connect(port: self.port)) }
        )
    }
}
