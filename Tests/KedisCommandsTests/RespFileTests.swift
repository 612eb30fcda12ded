// The text tests of commands, run in every mode: see Tests/commands/README.md.

import KedisCommands
import KedisTestSupport
import KedisUtilities
import Testing

/// Runs a file and records every difference as an issue at the file's own line.
func check(_ respCase: RespCase, on target: RespTarget) throws {
    for mismatch in try RespRunner.run(respCase.file, on: target) {
        Issue.record(
            "RESP\(target.protocolVersion), \(target.name): \(mismatch)",
            sourceLocation: SourceLocation(
                fileID: "commands/\(respCase)", filePath: mismatch.path, line: max(1, mismatch.line),
                column: 1
            )
        )
    }
}

@Suite("Text tests of commands")
struct RespFileTests {
    @Test("The engine answers what the files expect", arguments: RespCase.registered, [2, 3])
    func inProcess(respCase: RespCase, protocolVersion: Int) throws {
        try check(respCase, on: TestEngine.target(protocolVersion: protocolVersion))
    }

    @Test("The engine answers the same when requests arrive byte by byte", arguments: RespCase.registered)
    func inProcessByteByByte(respCase: RespCase) throws {
        var target = TestEngine.target(protocolVersion: 3)
        let connect = target.connect
        target.connect = { try connect().sendingByteByByte() }
        try check(respCase, on: target)
    }

    @Test("Every command has its file, and every file its command")
    func everyCommandHasItsFile() {
        let table = CommandTable(allCommandSpecs)
        let registered = Set(table.commands.map { $0.pointee.fullName.text })
        let paths = TestFiles.list(below: "\(TestFiles.packageRoot)/Tests/commands", suffix: ".resp")
        let names = paths.map { RespCase(path: $0).name }
        for name in registered.subtracting(names).sorted() {
            Issue.record("\(name) has no test: write Tests/commands/<family>/\(name).resp")
        }
        for name in Set(names).subtracting(registered).sorted() {
            Issue.record("\(name).resp is about a command that is not registered")
        }
    }

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
