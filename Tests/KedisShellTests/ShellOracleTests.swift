// Goal: against a real redis-server, the client, the drawing of replies and the catalog do what redis-cli does.

import KedisProtocol
import KedisShell
import KedisTestSupport
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

private func words(_ line: String) -> [[UInt8]] { splitArguments(Array(line.utf8)) ?? [] }

private func client(_ server: OracleServer, usesRESP3: Bool = false, database: Int = 0) -> WireClient {
    var options = WireClient.Options(endpoint: .tcp(host: "127.0.0.1", port: server.port))
    options.usesRESP3 = usesRESP3
    options.database = database
    return WireClient(options: options)
}

/// What redis-cli prints.
private func redisCLI(_ server: OracleServer, _ options: String, _ line: String) -> [UInt8] {
    let quotedLine = line.replacing("'", with: "'\\''")
    // The line goes through the standard input, so that redis-cli splits it itself.
    guard let file = popen("printf '%s\\n' '\(quotedLine)' | redis-cli -p \(server.port) \(options)", "r") else {
        return []
    }
    defer { pclose(file) }
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { output += buffer[..<count] }
    return output
}

@Suite("Shell against redis-server", .enabled(if: OracleServer.isUsable, "no redis-server 7.0"))
struct ShellOracleTests {
    private static let lines = [
        "ping", "get none", #"set bin "\x01\x02\"\\\xff\n\t é""#, "get bin", "sort numbers", "lrange numbers 0 -1",
        "hset hash f v", "hgetall hash", "hgetall none", "sadd set x", "smembers set", "smembers none", "bad command",
        "get",
        "debug protocol string", "debug protocol integer", "debug protocol double", "debug protocol null",
        "debug protocol array", "debug protocol set", "debug protocol map", "debug protocol verbatim",
        "debug protocol true", "debug protocol false", "command docs get config", "command info get", "config get max*",
        "eval 'redis.setresp(3); return {map={a={map={q={1,2}}},b={1},c={}}}' 0", "lolwut", "object help",
        "eval \"return {1,{2,{3,{},4},'a'},{}, {{{5}}}, {'x','y'}, {err='ERR x'}, false}\" 0", "command docs",
    ]

    @Test("Replies are drawn byte for byte as redis-cli draws them", arguments: [false, true])
    func drawsReplies(usesRESP3: Bool) throws {
        let server = try OracleServer()
        let client = client(server, usesRESP3: usesRESP3)
        _ = try client.execute(words("rpush numbers 1 2 3 4 5 6 7 8 9 10 11"))
        for line in Self.lines {
            // Twice: the second time there is nothing left to change.
            _ = try client.execute(words(line))
            let reply = try client.execute(words(line))
            let report = ReplyFormatter.report(reply, of: words(line))
            let option = usesRESP3 ? "-3" : ""
            #expect(
                redisCLI(server, "\(option) --no-raw", line) == report ?? ReplyFormatter.formatted(reply), "\(line)")
            #expect(redisCLI(server, "\(option) --raw", line) == report ?? ReplyFormatter.raw(reply), "\(line)")
        }
    }

    @Test("The catalog of a real server, over both protocols")
    func readsCatalog() throws {
        let server = try OracleServer()
        for usesRESP3 in [false, true] {
            let catalog = CommandCatalog(
                documentation: try client(server, usesRESP3: usesRESP3).execute(words("COMMAND DOCS")))
            #expect(catalog.names.count > 350 && catalog.groups.contains("sorted-set"))
            #expect(
                catalog.command(named: "xadd")?.syntax
                    == "key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]]"
                    + " *|id field value [field value ...]"
            )
            #expect(
                catalog.command(named: "migrate")?.syntax.hasPrefix("host port key|\"\" destination-db timeout") == true
            )
            #expect(
                catalog.hint(for: "xadd s nomkstream maxlen ~ ")
                    == "threshold [LIMIT count] *|id field value [field value ...]")
            #expect(catalog.hint(for: "set k v ex 10 ") == "[NX|XX] [GET]")
            #expect(
                catalog.hint(for: "zunion 2 a b weights 1 2 ") == "[weight ...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]")
            for name in catalog.names {
                _ = catalog.hint(for: name + " a 1 b 2 c")
                #expect(catalog.help([name]).contains(name))
            }
        }
    }

    @Test("The syntax of every command is the one in redis-cli's help")
    func matchesHelp() throws {
        let server = try OracleServer()
        let catalog = CommandCatalog(documentation: try client(server).execute(words("COMMAND DOCS")))
        for name in catalog.names where !name.contains(" ") {
            let lines = String(decoding: redisCLI(server, "", "help \(name)"), as: UTF8.self).split { $0.isNewline }
            let shown = lines.map { $0.replacing(/\u{1B}\[[0-9]*m/, with: "") }.filter { $0.hasPrefix("  \(name)") }
            let ours = catalog.help([name]).split(separator: "\n").map(String.init).filter { $0.hasPrefix("  \(name)") }
            #expect(shown.map { $0.trimmingSuffix(" ") } == ours)
        }
    }

    @Test("A dropped connection is made anew, with its database; a transaction is not pretended to go on")
    func reconnects() throws {
        let server = try OracleServer()
        let (client, other) = (client(server, database: 2), client(server))
        #expect(try client.execute(words("set k v")) == .simple(Array("OK".utf8)))
        #expect(try client.execute(words("select 5")) == .simple(Array("OK".utf8)))
        _ = try client.execute(words("set k five"))
        _ = try other.execute(words("client kill type normal skipme yes"))
        #expect(try client.execute(words("get k")) == .bulk(Array("five".utf8)))
        _ = try client.execute(words("multi"))
        _ = try other.execute(words("client kill type normal skipme yes"))
        #expect(throws: WireError.self) { try client.execute(words("set k x")) }
        #expect(try client.execute(words("get k")) == .bulk(Array("five".utf8)))
        #expect(try client.execute(words("shutdown nosave")) == .simple(Array("OK".utf8)))
        #expect(
            throws: WireError(message: "Could not connect to Kedis at 127.0.0.1:\(server.port): Connection refused")
        ) {
            try client.execute(words("ping"))
        }
        #expect(!client.isConnected)
    }

    @Test("What a server refuses at the start is said clearly")
    func reportsRefusals() throws {
        let server = try OracleServer()
        #expect(throws: WireError(message: "SELECT 99 failed: ERR DB index is out of range")) {
            try client(server, database: 99).connect()
        }
        _ = try client(server).execute(words("config set requirepass secret"))
        var options = WireClient.Options(endpoint: .tcp(host: "localhost", port: server.port))
        options.password = Array("wrong".utf8)
        #expect(throws: WireError.self) { try WireClient(options: options).connect() }
        options.password = Array("secret".utf8)
        options.username = Array("default".utf8)
        options.usesRESP3 = true
        #expect(try WireClient(options: options).execute(words("ping")) == .simple(Array("PONG".utf8)))
        let nowhere = WireClient(options: .init(endpoint: .unix(path: "/nonexistent.sock")))
        #expect(
            throws: WireError(message: "Could not connect to Kedis at /nonexistent.sock: No such file or directory")
        ) {
            try nowhere.connect()
        }
        let long = WireClient(options: .init(endpoint: .unix(path: String(repeating: "x", count: 200))))
        #expect(throws: WireError.self) { try long.connect() }
    }

    @Test("Large values and pushed messages arrive whole")
    func receivesLargeAndPushed() throws {
        let server = try OracleServer()
        let (client, other) = (client(server, usesRESP3: true), client(server))
        let value = [UInt8](repeating: 120, count: 20_000_000)
        _ = try client.execute([Array("set".utf8), Array("big".utf8), value])
        #expect(try client.execute(words("get big")) == .bulk(value))
        var pushed: [Reply] = []
        client.onPush = { pushed.append($0) }
        _ = try client.execute(words("client tracking on"))
        _ = try client.execute(words("get k"))
        _ = try other.execute(words("set k v"))
        for _ in 0..<100 where pushed.isEmpty { _ = try client.execute(words("ping")) }
        #expect(pushed == [.push([.bulk(Array("invalidate".utf8)), .array([.bulk(Array("k".utf8))])])])
    }
}

extension StringProtocol {
    fileprivate func trimmingSuffix(_ character: Character) -> String {
        var text = String(self)
        while text.last == character { text.removeLast() }
        return text
    }
}
