// Goal: the picture of an explanation keeps to the window and leaves nothing out, in any window from 60 columns on;
// text is broken at blanks. Method: a made-up explanation whose values are as long as real ones.

import KedisProtocol
import KedisShell
import Testing

private func text(_ text: String) -> Reply { .bulk(Array(text.utf8)) }

private func map(_ pairs: (String, Reply)...) -> Reply {
    .map(pairs.map { .init(key: text($0.0), value: $0.1) })
}

private let explanation: Reply = {
    func field(_ name: String, _ hex: String, _ meaning: String) -> Reply {
        map(
            ("field", text(name)), ("offset", .integer(16)), ("bytes", .integer(8)), ("hex", text(hex)),
            ("meaning", text(meaning)))
    }
    let key = map(("key", text("name")), ("hash", text("0x53b1c9bbe145fe8a")), ("stripe", .integer(2)))
    let place = map(
        ("database", text("0")), ("table", text("1 key in 1 segment of 768 slots")), ("home bucket", text("6 of 60")),
        ("slot", text("9 (3 from home)")))
    let entry = map(
        ("type", text("string")), ("encoding", text("embstr")), ("bytes", .integer(56)),
        (
            "fields",
            .array([
                field("value length", "07 00 00 00 00 00 00 00", "7 bytes"),
                field("accessed", "59 57 04 6b 00 00 00 00", "1795446617 s since 1970"),
            ])
        ))
    return map(
        ("command", .array([text("SET"), text("name"), text("Karthik")])),
        (
            "plan",
            map(
                ("keys", .array([key])),
                ("locks", text("the stripes of the keys")), ("batch", text("shares a plan with pipelined neighbours")))
        ),
        ("store", .array([map(("key", text("name")), ("place", place), ("entry", entry))])),
        (
            "reply",
            map((
                "shapes",
                .array([
                    map(
                        ("shape", text("null")),
                        ("meaning", text("the condition was not met, or with GET: the key did not exist")))
                ])
            ))
        ))
}()

@Suite("Explanation renderer")
struct ExplanationRendererTests {
    @Test("Values were cut at 80 columns: rows are broken instead, down to 60", arguments: 60...100)
    func fits(width: Int) throws {
        let picture = try #require(renderExplanation(explanation, width: width))
        let lines = picture.split(separator: "\n")
        #expect(lines.allSatisfy { $0.count <= width } && !picture.contains("…"))
        let words = picture.split { $0 == " " || $0 == "\n" || $0 == "│" }.joined(separator: " ")
        for phrase in [
            "batch: shares a plan with pipelined neighbours", "0x53b1c9bbe145fe8a", "slot: 9 (3 from home)",
            "59 57 04 6b 00 00 00 00 1795446617 s since 1970", "7 bytes", "with GET: the key did not exist",
        ] {
            #expect(words.contains(phrase), "\(phrase) in \(picture)")
        }
    }

    @Test("A long word is broken in itself, a very long value is cut")
    func bounds() throws {
        func picture(_ value: String) throws -> String {
            let reply = map(("command", .array([text("GET")])), ("reply", map(("actual", text(value)))))
            return try #require(renderExplanation(reply, width: 60))
        }
        let long = try picture(String(repeating: "a", count: 200))
        #expect(long.filter { $0 == "a" }.count == 200 && long.split(separator: "\n").allSatisfy { $0.count <= 60 })
        #expect(try picture(String(repeating: "a", count: 100_000)).split(separator: "\n").count < 20)
    }

    @Test(
        "What is not found says why",
        arguments: [
            ("ERR unknown command 'NOPE', with args beginning with: ", "no such command"),
            ("ERR wrong number of arguments for 'get' command", "wrong number of arguments"),
        ])
    func saysWhy(error: String, words: String) throws {
        let reply = map(
            ("command", .array([text("NOPE")])), ("table", map(("found", text("nothing")))), ("error", text(error)))
        #expect(try #require(renderExplanation(reply, width: 80)).contains("│ \(words) "))
    }

    @Test("Text is broken at blanks and keeps its indentation")
    func wraps() {
        let wrapped = wrappedText("one two three\n  four five six\n", width: 9)
        #expect(wrapped == "one two\n  three\n  four\n    five\n    six\n")
        #expect(wrappedText("a  b", width: 9) == "a  b" && wrappedText("", width: 9).isEmpty)
        #expect(wrappedText("abcdefghijkl m", width: 5) == "abcdefghijkl\n  m")
    }
}
