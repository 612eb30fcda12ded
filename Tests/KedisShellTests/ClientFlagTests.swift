// Goal: what scripts call redis-cli for, `kedis cli` does alike. Method: the same line with both programs against one
// redis-server; output and, where redis-cli tells, the exit code are compared byte for byte.

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

/// What a line of the shell prints, errors too, and its exit code.
private func run(_ line: String) -> (text: String, code: Int32) {
    guard let file = popen("{ \(line); } 2>&1", "r") else { return ("", -1) }
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { output += buffer[..<count] }
    let status = pclose(file)
    return (String(decoding: output, as: UTF8.self), status >> 8 & 0xFF)
}

@Suite("Flags of redis-cli",
    .enabled(if: OracleServer.isUsable && KedisProcess.program != nil, "no redis-server 7.0 or no kedis beside the tests"))
struct ClientFlagTests {
    private let server: OracleServer

    init() throws {
        server = try OracleServer()
        let peer = try server.connect()
        for line in [
            "MSET a 1 b 2 c 'x\"y'", #"SET bin "\x01\x02\n\t\\\xff""#, "HSET h f v g 2", "RPUSH l a b c", "ZADD z 1.5 m 2 n",
            "SADD s 1", "XADD st 1-1 f v", "SETRANGE big 2000 x",
        ] {
            peer.send(RespRunner.encode(splitArguments(Array(line.utf8)) ?? []))
            _ = peer.receive(10_000)
        }
    }

    private func kedis(_ line: String, input: String = "") -> (text: String, code: Int32) {
        run("printf '\(input)' | timeout -s KILL 20 '\(KedisProcess.program ?? "")' cli -p \(server.port) \(line)")
    }

    private func both(_ line: String, input: String = "") -> (kedis: (String, Int32), redis: (String, Int32)) {
        let redis = run("printf '\(input)' | timeout -s KILL 20 redis-cli -p \(server.port) \(line)")
        return (kedis(line, input: input), redis)
    }

    @Test("Every form of output is that of redis-cli", arguments: [
        "--json", "--csv", "--raw", "--no-raw", "-2 --json", "-3 --json", "-3 --csv", "-3 --no-raw", "--quoted-input --csv",
        "-n 3 --json", "--no-auth-warning --csv",
    ])
    func forms(options: String) {
        for request in [
            "HGETALL h", "GET c", "GET bin", "GET none", "NOSUCH", "GET", "MGET a none", "ZRANGE z 0 -1 WITHSCORES", "ZSCORE z m",
            "STRLEN a", "PING", "LRANGE none 0 -1", "SMEMBERS s", "XRANGE st - +", "COMMAND INFO GET", "CONFIG GET save",
            "EXISTS a", "OBJECT HELP", "MEMORY DOCTOR", #"ECHO '"\x41b"'"#,
        ] {
            let (kedis, redis) = both("\(options) \(request)")
            #expect(kedis.0 == redis.0, "\(options) \(request)")
        }
    }

    @Test("Keys are listed as redis-cli lists them", arguments: [
        "--scan", "--scan --pattern 'b*'", #"--scan --quoted-pattern '"\x61*"'"#, "--no-raw --scan --pattern 'b*'",
    ])
    func scan(options: String) {
        let (kedis, redis) = both(options)
        // A table that is still growing is walked in another order.
        #expect(kedis.0.split(separator: "\n").sorted() == redis.0.split(separator: "\n").sorted())
        #expect(kedis.0.hasSuffix("\n") && kedis.1 == 0)
    }

    @Test("--scan knows the type and count of SCAN")
    func scanOptions() {
        #expect(kedis("--scan --type hash --count 100") == ("h\n", 0))
    }

    @Test("--bigkeys finds what redis-cli finds; the order of the types is its own")
    func bigKeys() {
        let (kedis, redis) = both("--bigkeys")
        // What is the biggest so far depends on the walk, which takes another way while the table grows.
        let summary = { (text: String) in
            text.split(separator: "\n").drop { $0 != "-------- summary -------" }.sorted()
        }
        #expect(summary(kedis.0) == summary(redis.0) && summary(kedis.0).count > 10)
        #expect(kedis.0.contains("] Biggest string found so far '\"big\"' with 2001 bytes\n"))
    }

    @Test("--pipe counts replies and errors, and exits with 1 after an error")
    func pipe() {
        for input in ["", "PING\\r\\nnosuch\\r\\n", "*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\na\\r\\nPING\\r\\n", "\\r\\n\\r\\nPING\\r\\n"] {
            let (kedis, redis) = both("--pipe", input: input)
            let lines = { (text: String) in text.split(separator: "\n").sorted() }
            #expect(lines(kedis.0) == lines(redis.0) && kedis.1 == redis.1, "\(input)")
        }
        let (text, code) = kedis("--pipe", input: "PING\\r\\n*2\\r\\n$3\\r\\nGET\\r\\n")
        #expect(code == 1 && text.contains("ends within a request"))
    }

    @Test("--pipe does not wait for ever for replies that do not come")
    func pipeSilence() {
        let (kedis, redis) = both("--pipe --pipe-timeout 1", input: "CLIENT REPLY OFF\\r\\nSET a 1\\r\\n")
        #expect(kedis.0.contains("No replies for 1 seconds: exiting.\n") && kedis.1 == 1)
        #expect(kedis.0.hasSuffix("errors: 1, replies: 0\n"))
        let counts = { (text: String) in text.split(separator: "\n").last }
        #expect(counts(redis.0) == counts(kedis.0) && redis.1 == kedis.1)
    }

    @Test("--pipe sends many requests, and values of many bytes")
    func pipeMuch() {
        let feed = "{ for i in $(seq 20000); do printf 'SET pipe:%d %d\\r\\n' $i $i; done; "
            + "printf '*3\\r\\n$3\\r\\nSET\\r\\n$4\\r\\nlong\\r\\n$300000\\r\\n%0300000d\\r\\n' 7; }"
        let (text, code) = run("\(feed) | timeout 60 '\(KedisProcess.program ?? "")' cli -p \(server.port) --pipe")
        #expect(text.hasSuffix("errors: 0, replies: 20001\n") && code == 0)
        #expect(run("redis-cli -p \(server.port) STRLEN long").text == "300000\n")
        #expect(run("redis-cli -p \(server.port) GET pipe:20000").text == "20000\n")
    }

    @Test("--stat prints a line a second under its heading, --latency four figures")
    func watching() {
        let program = "'\(KedisProcess.program ?? "")' cli -p \(server.port)"
        let lines = run("timeout 2 \(program) --stat -i 0.2").text.split(separator: "\n")
        #expect(lines.first == "------- data ------ --------------------- load -------------------- - child -")
        #expect(lines.count > 3 && lines.dropFirst(2).allSatisfy { $0.hasPrefix("10 ") && $0.contains("(+") })
        let figures = run("timeout 5 \(program) --latency --csv -i 0.1").text.split(separator: ",")
        #expect(figures.count == 4)
    }

    @Test("What cannot be is refused before anything is sent", arguments: [
        "--eval script", "--json --csv PING", "--scan PING", "--scan --bigkeys", "--pattern a GET a", "--scan --count 0",
        "--scan --pattern a --quoted-pattern a", "--scan --quoted-pattern '\"a'", "-i -1 PING", "-a x --askpass PING",
    ])
    func refusals(options: String) {
        #expect(kedis(options).code == 64)
    }

    @Test("`kedis help` tells what a command does, without a server")
    func help() {
        let program = "'\(KedisProcess.program ?? "")'"
        let (text, code) = run("\(program) help HSET")
        #expect(text.hasPrefix("\n  HSET key field value [field value ...]\n  summary: ") && code == 0)
        #expect(run("\(program) help config get").text.contains("CONFIG GET"))
        #expect(run("\(program) help server").text.contains("USAGE: kedis server"))
        #expect(run("\(program) --dbfilename ../x.rdb GET a").code == 64)
    }
}

@Test("Values that no server of the tests sends are JSON and CSV too")
func formatsRareValues() {
    let text = { (bytes: [UInt8]) in String(decoding: bytes, as: UTF8.self) }
    let map = Reply.map([
        .init(key: .integer(1), value: .boolean(true)), .init(key: .bulk(Array("a\u{1}\u{c}\u{1f}".utf8)), value: .null),
    ])
    #expect(text(ReplyFormatter.json(map)) == #"{"1":true,"a\u0001\f\u001f":null}"# + "\n")
    #expect(text(ReplyFormatter.csv(map)) == #"1,true,"a\x01\x0c\x1f",NULL"# + "\n")
    #expect(text(ReplyFormatter.json(.set([.double(Array("inf".utf8)), .push([])]))) == "[inf,[]]\n")
}
