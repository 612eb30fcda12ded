// Goal: replies look as redis-cli 7.0.15 shows them, on a terminal and plain. (`ShellOracleTests` compares live.)

import KedisProtocol
import KedisShell
import Testing

private func formatted(_ reply: Reply) -> String { String(decoding: ReplyFormatter.formatted(reply), as: UTF8.self) }
private func raw(_ reply: Reply) -> String { String(decoding: ReplyFormatter.raw(reply), as: UTF8.self) }
private func bulk(_ text: String) -> Reply { .bulk(Array(text.utf8)) }
private func simple(_ text: String) -> Reply { .simple(Array(text.utf8)) }

@Test("Single values")
func formatsSingleValues() {
    #expect(formatted(simple("OK")) == "OK\n" && raw(simple("OK")) == "OK\n")
    #expect(formatted(bulk("Karthik")) == "\"Karthik\"\n" && raw(bulk("Karthik")) == "Karthik\n")
    #expect(formatted(.integer(-1)) == "(integer) -1\n" && raw(.integer(-1)) == "-1\n")
    #expect(formatted(.null) == "(nil)\n" && raw(.nullArray) == "\n")
    #expect(
        formatted(.error(Array("ERR x".utf8))) == "(error) ERR x\n" && raw(.error(Array("ERR x".utf8))) == "ERR x\n\n")
    #expect(formatted(.double(Array("1.5".utf8))) == "(double) 1.5\n" && raw(.double(Array("1.5".utf8))) == "1.5\n")
    #expect(formatted(.boolean(true)) == "(true)\n" && raw(.boolean(false)) == "(false)\n")
    #expect(formatted(.verbatim(format: [], text: Array("a\nb".utf8))) == "a\nb\n")
    #expect(formatted(.array([])) == "(empty array)\n" && raw(.array([])) == "\n")
    #expect(formatted(.map([])) == "(empty hash)\n" && formatted(.set([])) == "(empty set)\n")
}

@Test("Nested values line up")
func formatsNestedValues() {
    let nested = Reply.array([.integer(1), .array([.integer(2), .array([.integer(3), .array([])]), bulk("a")])])
    #expect(
        formatted(nested) == """
            1) (integer) 1
            2) 1) (integer) 2
               2) 1) (integer) 3
                  2) (empty array)
               3) "a"

            """)
    let ten = Reply.array((1...10).map { .integer($0) })
    #expect(formatted(ten).hasPrefix(" 1) (integer) 1\n") && formatted(ten).hasSuffix("\n10) (integer) 10\n"))
    let map = Reply.map([
        .init(key: bulk("one"), value: .array([.integer(1)])),
        .init(key: bulk("two"), value: .set([.integer(1), .integer(2)])),
    ])
    #expect(
        formatted(map) == """
            1# "one" => 1) (integer) 1
            2# "two" =>\u{20}
               1~ (integer) 1
               2~ (integer) 2

            """)
    #expect(raw(map) == "one 1\ntwo 1\n2\n")
}

@Test("Reports are shown as they are")
func formatsReports() {
    let report = bulk("a:1\r\nb:2\r\n")
    func shown(_ line: String) -> [UInt8]? { ReplyFormatter.report(report, of: splitArguments(Array(line.utf8))!) }
    for line in ["INFO", "info server", "client list", "CLIENT INFO", "lolwut", "cluster nodes", "memory doctor"] {
        #expect(shown(line) == Array("a:1\r\nb:2\r\n".utf8))
    }
    for line in ["get k", "client getname", "memory usage k"] { #expect(shown(line) == nil) }
    #expect(ReplyFormatter.report(.error([]), of: [Array("INFO".utf8)]) == nil)
    #expect(ReplyFormatter.report(bulk("x"), of: [Array("INFO".utf8)]) == Array("x\n".utf8))
}
