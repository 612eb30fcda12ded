// The text tests of commands, run in every mode: see Tests/commands/README.md.

import KedisTestSupport
import Testing

/// A file to run, shown by its name in test reports.
struct RespCase: Sendable, CustomTestStringConvertible {
    let path: String

    var testDescription: String { path.split(separator: "/").suffix(2).joined(separator: "/") }

    /// All files, or those whose path contains KEDIS_RESP.
    static let all: [RespCase] = TestFiles.list(below: "\(TestFiles.packageRoot)/Tests/commands", suffix: ".resp")
        .filter { $0.contains(TestFiles.environment("KEDIS_RESP") ?? "") }
        .map { RespCase(path: $0) }
}

/// Runs a file and records every difference as an issue at the file's own line.
func check(_ respCase: RespCase, on target: RespTarget) throws {
    for mismatch in try RespRunner.run(RespFile(path: respCase.path), on: target) {
        Issue.record(
            "RESP\(target.protocolVersion), \(target.name): \(mismatch)",
            sourceLocation: SourceLocation(
                fileID: "commands/\(respCase.testDescription)", filePath: mismatch.path, line: max(1, mismatch.line),
                column: 1
            )
        )
    }
}

@Suite("Text tests of commands")
struct RespFileTests {
    @Test("redis-server answers what the files expect", .enabled(if: OracleServer.isUsable, "no redis-server 7.0"),
        arguments: RespCase.all, [2, 3])
    func oracle(respCase: RespCase, protocolVersion: Int) throws {
        let server = try OracleServer()
        try check(respCase, on: server.target(protocolVersion: protocolVersion))
    }

    @Test("redis-server answers the same when requests arrive byte by byte",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"), arguments: RespCase.all)
    func oracleByteByByte(respCase: RespCase) throws {
        let server = try OracleServer()
        var target = server.target(protocolVersion: 3)
        target.connect = { try server.connect().sendingByteByByte() }
        try check(respCase, on: target)
    }

    @Test("The oracle is there where it is required",
        .enabled(if: TestFiles.environment("KEDIS_REQUIRE_ORACLE") == "1", "KEDIS_REQUIRE_ORACLE is not 1"))
    func oracleIsThere() {
        #expect(OracleServer.isUsable, "redis-server \(OracleServer.version)x, in PATH or KEDIS_ORACLE")
    }

    @Test("Missing replies are written into the files, as the oracle gives them",
        .enabled(if: TestFiles.environment("KEDIS_RECORD") == "1", "KEDIS_RECORD is not 1"), arguments: RespCase.all)
    func record(respCase: RespCase) throws {
        let bytes = try #require(TestFiles.read(respCase.path))
        let (third, second) = (try OracleServer(), try OracleServer())
        let text = try RespRecorder.fill(
            respCase.path, text: String(decoding: bytes, as: UTF8.self), third: third.target(protocolVersion: 3),
            second: second.target(protocolVersion: 2)
        )
        if let text { #expect(TestFiles.write(text, to: respCase.path)) }
    }
}
