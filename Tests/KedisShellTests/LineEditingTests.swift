// Goal: the line's state, its keys and its drawing are right for any text, cursor and window. The drawing is checked by
// interpreting it with a model of a terminal.

import KedisShell
import Testing

private func buffer(_ text: String, left: Int = 0) -> LineBuffer {
    var buffer = LineBuffer(text)
    for _ in 0..<left { buffer.moveLeft() }
    return buffer
}

private func edited(_ text: String, left: Int = 0, _ edit: (inout LineBuffer) -> Void) -> String {
    var buffer = buffer(text, left: left)
    edit(&buffer)
    return String(buffer.characters[..<buffer.cursor]) + "|" + String(buffer.characters[buffer.cursor...])
}

@Test("Edits change the text and leave the cursor where a person expects it")
func edits() {
    #expect(edited("abc") { _ = $0.insert("d") } == "abcd|")
    #expect(edited("abc", left: 1) { _ = $0.insert("xy") } == "abxy|c")
    #expect(edited("abc", left: 1) { $0.deleteBackward() } == "a|c")
    #expect(edited("abc", left: 1) { $0.deleteForward() } == "ab|")
    #expect(edited("abc") { $0.deleteForward() } == "abc|")
    #expect(edited("", left: 3) { $0.deleteBackward() } == "|")
    #expect(edited("set foo bar") { $0.moveWordLeft() } == "set foo |bar")
    #expect(edited("set foo bar", left: 11) { $0.moveWordRight() } == "set| foo bar")
    #expect(edited("set a:b") { $0.cutArgumentLeft() } == "set |")
    #expect(edited("set a:b") { $0.cutWordLeft() } == "set a:|")
    #expect(edited("set  ", left: 0) { $0.cutArgumentLeft() } == "|")
    #expect(edited("abcd", left: 2) { $0.cutToEnd() } == "ab|")
    #expect(edited("abcd", left: 2) { $0.cutToStart() } == "|cd")
    #expect(
        edited("abcd", left: 2) {
            $0.cutToEnd()
            $0.moveToStart()
            _ = $0.paste()
        } == "cd|ab")
    #expect(edited("abc") { $0.transpose() } == "acb|")
    #expect(edited("abc", left: 2) { $0.transpose() } == "ba|c")
    #expect(edited("a", left: 0) { $0.transpose() } == "a|")
}

@Test("A character is what a person sees as one; control characters never enter the line")
func characters() {
    #expect(edited("e\u{301}👩‍👩‍👧") { $0.deleteBackward() } == "e\u{301}|")
    #expect(
        edited("e") {
            _ = $0.insert("\u{301}")
            $0.deleteBackward()
        } == "|")
    #expect(edited("") { _ = $0.insert("a\r\nb\tc\u{1B}[31m\u{7F}") } == "a  b c[31m|")
    var long = LineBuffer(String(repeating: "x", count: LineBuffer.characterLimit))
    let isInserted = long.insert("y")
    #expect(!isInserted && long.characters.count == LineBuffer.characterLimit)
}

private func keys(_ text: String) -> [Key] {
    var decoder = KeyDecoder()
    var keys = text.utf8.compactMap { decoder.feed($0) }
    if let last = decoder.flush() { keys.append(last) }
    return keys
}

@Test("Bytes of common terminals become keys")
func decodesKeys() {
    #expect(keys("aé日") == [.text("a"), .text("é"), .text("日")])
    #expect(
        keys("\u{1}\u{12}\r\n\t\u{7F}\u{8}") == [
            .control("A"), .control("R"), .enter, .enter, .tab, .backspace, .backspace,
        ])
    #expect(keys("\u{1B}[A\u{1B}[B\u{1B}[C\u{1B}[D\u{1B}OA\u{1B}OH") == [.up, .down, .right, .left, .up, .home])
    #expect(
        keys("\u{1B}[1~\u{1B}[4~\u{1B}[3~\u{1B}[H\u{1B}[F\u{1B}[Z") == [.home, .end, .delete, .home, .end, .backTab])
    #expect(
        keys("\u{1B}[1;5C\u{1B}[1;3D\u{1B}b\u{1B}f\u{1B}d") == [
            .wordRight, .wordLeft, .wordLeft, .wordRight, .cutWordRight,
        ])
    #expect(keys("\u{1B}[200~a\nb\u{1B}[Ac\u{1B}[201~d") == [.pasted("a\nb\u{1B}[Ac"), .text("d")])
    #expect(keys("\u{1B}[99;99xa\u{1B}[15~b") == [.text("a"), .text("b")])
    #expect(keys("\u{1B}") == [.escape])
}

@Test("Any bytes are decoded without a trap, and the decoder recovers")
func fuzzesKeys() {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("KeyDecoder fuzz seed \(seed)")
    var random = TestRandom(state: seed)
    var decoder = KeyDecoder()
    for _ in 0..<200_000 { _ = decoder.feed(UInt8.random(in: 0...255, using: &random)) }
    for byte in "\u{1B}[201~\u{1B}[A\u{1B}[A".utf8 { _ = decoder.feed(byte) }
    #expect(decoder.feed(97) == .text("a"))
}

@Test("What is drawn over any earlier drawing is the line, with the cursor in its place")
func draws() {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("LineLayout seed \(seed)")
    var random = TestRandom(state: seed)
    let alphabet: [Character] = ["a", "b", " ", "é", "日", "本", "e\u{301}", "x"]
    for _ in 0..<400 {
        let columnCount = Int.random(in: 6...20, using: &random)
        var screen = Screen(columnCount: columnCount)
        var cursorRow = 0
        for _ in 0..<8 {
            let text = (0..<Int.random(in: 0...50, using: &random)).map { _ in alphabet.randomElement(using: &random)! }
            let cursor = Int.random(in: 0...text.count, using: &random)
            let layout = LineLayout(
                prompt: "k> ", characters: text, cursor: cursor, columnCount: columnCount, rowCount: 100)
            screen.feed(Array(layout.drawing(over: cursorRow, hint: "hint日本 and more").utf8))
            cursorRow = layout.cursorRow
            let shown = screen.rows.joined().filter { $0 != "\u{200B}" }
            let expected = Array("k> ") + text
            // A wide character that does not fit leaves a blank at the end of its row.
            #expect(shown.filter { $0 != " " }.starts(with: expected.filter { $0 != " " }), "seed \(seed)")
            #expect(screen.row == layout.cursorRow && screen.column == layout.cursorColumn, "seed \(seed)")
            if cursor < text.count, text[cursor] != " " {
                #expect(screen.rows[screen.row][screen.column] == text[cursor], "seed \(seed)")
            }
            #expect(screen.rows.count == layout.rowCount && screen.unknown.isEmpty, "seed \(seed)")
        }
    }
}

@Test("A line with more rows than the window shows the rows around the cursor")
func drawsTallLines() {
    let text = Array(String(repeating: "0123456789", count: 10))
    for cursor in [0, 35, 100] {
        let layout = LineLayout(prompt: "", characters: text, cursor: cursor, columnCount: 10, rowCount: 3)
        #expect(layout.rowCount == 3 && (0..<3).contains(layout.cursorRow))
    }
}
