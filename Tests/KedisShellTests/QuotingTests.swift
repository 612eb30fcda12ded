// Goal: lines split and bytes are quoted exactly as redis-cli does, and one undoes the other.

import KedisProtocol
import KedisShell
import Testing

private func split(_ line: String) -> [String]? {
    splitArguments(Array(line.utf8))?.map { String(decoding: $0, as: UTF8.self) }
}

@Test("Lines split by blanks, quotes and escapes")
func splits() {
    #expect(split("") == [])
    #expect(split(" \t ") == [])
    #expect(split("set  a\tb ") == ["set", "a", "b"])
    #expect(split(#"set "a b" 'c d'"#) == ["set", "a b", "c d"])
    #expect(split(#""" ''"#) == ["", ""])
    #expect(split(#""\n\r\t\b\a\\\"\q""#) == ["\n\r\t\u{8}\u{7}\\\"q"])
    #expect(split(#"'a\'b\n'"#) == [#"a'b\n"#])
    #expect(split(#"a\n"#) == [#"a\n"#])
    #expect(split(#"k"x y""#) == ["kx y"])
    #expect(splitArguments(Array(#""\x00\xFf\xg1\x""#.utf8)) == [[0, 255] + Array("xg1x".utf8)])
}

@Test(
    "Unbalanced quotes are refused",
    arguments: [#"""#, #"'"#, #""a"#, #""a"b"#, #"'a'b"#, #""a\"#, #""a\""#, #"a 'b\'"#])
func refuses(line: String) {
    #expect(split(line) == nil)
}

@Test("Quoted bytes are printable and read back as they were")
func quotesAndReadsBack() {
    #expect(quoted([1, 2, 34, 92, 255, 10, 9, 13, 7, 8, 65]) == #""\x01\x02\"\\\xff\n\t\r\a\bA""#)
    let seed = UInt64.random(in: 0...UInt64.max)
    print("Quoting seed \(seed)")
    var random = TestRandom(state: seed)
    for _ in 0..<2_000 {
        let bytes = (0..<Int.random(in: 0...20, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        #expect(splitArguments(Array(quoted(bytes).utf8)) == [bytes], "seed \(seed)")
        // Whatever is typed, splitting must not trap.
        _ = splitArguments(bytes.map { $0 % 3 == 0 ? [34, 39, 92, 32][Int($0) % 4] : $0 })
    }
}
