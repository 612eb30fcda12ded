// The line being edited: characters, a cursor, the text last cut. Pure state: no terminal, no history, no bytes.
//
// Invariant: `0 <= cursor <= characters.count`. A character is what a person sees as one (a grapheme cluster), so moves
// and deletions never split one. Cost: an edit is linear in the line, whose length is limited.

package struct LineBuffer: Equatable, Sendable {
    /// The most characters of a line: longer input is refused with the bell.
    package static let characterLimit = 65_536

    package private(set) var characters: [Character] = []
    package private(set) var cursor = 0
    private var cut = ""

    package init(_ text: String = "") {
        replace(text)
    }

    package var text: String { String(characters) }
    package var isEmpty: Bool { characters.isEmpty }
    package var isAtEnd: Bool { cursor == characters.count }

    /// Puts another text in place of the line, with the cursor at its end.
    package mutating func replace(_ text: String) {
        characters = Array(Array(LineBuffer.cleaned(text)).prefix(LineBuffer.characterLimit))
        cursor = characters.count
    }

    /// Inserts text at the cursor. False if the line would become too long; then nothing changes.
    package mutating func insert(_ text: String) -> Bool {
        // Joined with what precedes it, as an accent may belong to the character before the cursor.
        let head = Array(String(characters[..<cursor]) + LineBuffer.cleaned(text))
        guard head.count + characters.count - cursor <= LineBuffer.characterLimit else { return false }
        characters.replaceSubrange(..<cursor, with: head)
        cursor = head.count
        return true
    }

    /// The text without control characters: line ends and tabs, as pasted text has them, become blanks.
    private static func cleaned(_ text: String) -> String {
        var scalars = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 9, 10, 13: scalars.append(" ")
            case 0..<32, 127..<160: continue
            default: scalars.append(scalar)
            }
        }
        return String(scalars)
    }

    // MARK: Moves

    package mutating func moveLeft() { cursor = max(0, cursor - 1) }
    package mutating func moveRight() { cursor = min(characters.count, cursor + 1) }
    package mutating func moveToStart() { cursor = 0 }
    package mutating func moveToEnd() { cursor = characters.count }
    package mutating func moveWordLeft() { cursor = wordStart(LineBuffer.isWordCharacter) }
    package mutating func moveWordRight() { cursor = wordEnd() }

    // MARK: Deletions

    package mutating func deleteBackward() {
        guard cursor > 0 else { return }
        cursor -= 1
        characters.remove(at: cursor)
    }

    package mutating func deleteForward() {
        guard cursor < characters.count else { return }
        characters.remove(at: cursor)
    }

    package mutating func cutToEnd() { cut(cursor..<characters.count) }
    package mutating func cutToStart() { cut(0..<cursor) }
    package mutating func cutWordLeft() { cut(wordStart(LineBuffer.isWordCharacter)..<cursor) }
    package mutating func cutWordRight() { cut(cursor..<wordEnd()) }

    /// Cuts back to the blank before the cursor, whatever the word is made of.
    package mutating func cutArgumentLeft() { cut(wordStart { $0 != " " }..<cursor) }

    /// Inserts what was cut last. False if the line would become too long.
    package mutating func paste() -> Bool { insert(cut) }

    private mutating func cut(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        cut = String(characters[range])
        characters.removeSubrange(range)
        cursor = range.lowerBound
    }

    /// Swaps the two characters around the cursor (at the end: before it) and moves behind them.
    package mutating func transpose() {
        guard characters.count >= 2, cursor > 0 else { return }
        let second = min(cursor, characters.count - 1)
        characters.swapAt(second - 1, second)
        cursor = second + 1
    }

    // MARK: Words

    private static func isWordCharacter(_ character: Character) -> Bool { character.isLetter || character.isNumber }

    private func wordStart(_ isInside: (Character) -> Bool) -> Int {
        var index = cursor
        while index > 0, !isInside(characters[index - 1]) { index -= 1 }
        while index > 0, isInside(characters[index - 1]) { index -= 1 }
        return index
    }

    private func wordEnd() -> Int {
        var index = cursor
        while index < characters.count, !LineBuffer.isWordCharacter(characters[index]) { index += 1 }
        while index < characters.count, LineBuffer.isWordCharacter(characters[index]) { index += 1 }
        return index
    }
}
