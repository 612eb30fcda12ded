// Where prompt, line, hint and cursor stand on the screen, and the bytes that draw them.
//
// Pure: made for one prompt, line and window size. A line wider than the window wraps; one with more rows than the
// window shows the rows around the cursor. The hint never wraps: it is cut at the window's edge. Cost: linear in the
// line.

package struct LineLayout: Sendable {
    private var rows: [[Character]] = [[]]
    private var column = 0
    package private(set) var cursorRow = 0
    package private(set) var cursorColumn = 0
    private let columnCount: Int

    package var rowCount: Int { rows.count }

    package init(prompt: String, characters: [Character], cursor: Int, columnCount: Int, rowCount: Int) {
        self.columnCount = max(4, columnCount)
        for character in prompt { place(character) }
        for (index, character) in characters.enumerated() {
            place(character)
            if index == cursor { markCursor(before: character) }
        }
        if cursor >= characters.count {
            if column >= self.columnCount { startRow() }
            cursorRow = rows.count - 1
            cursorColumn = column
        }
        showRows(around: max(1, rowCount))
    }

    private mutating func place(_ character: Character) {
        let width = LineLayout.width(of: character)
        if column + width > columnCount { startRow() }
        rows[rows.count - 1].append(character)
        column += width
    }

    private mutating func startRow() {
        rows.append([])
        column = 0
    }

    private mutating func markCursor(before character: Character) {
        cursorRow = rows.count - 1
        cursorColumn = column - LineLayout.width(of: character)
    }

    /// Keeps as many rows as the window has, the cursor's among them.
    private mutating func showRows(around limit: Int) {
        guard rows.count > limit else { return }
        let first = min(max(0, cursorRow - limit + 1), rows.count - limit)
        rows = Array(rows[first..<first + limit])
        cursorRow -= first
    }

    /// The bytes that draw the line, starting from the cursor's place in the drawing before.
    package func drawing(over previousCursorRow: Int, hint: String) -> String {
        var output = "\r"
        if previousCursorRow > 0 { output += "\u{1B}[\(previousCursorRow)A" }
        output += "\u{1B}[J"
        for (index, row) in rows.enumerated() {
            // A full row wraps by itself; only an empty one needs a line feed to exist.
            if index > 0, row.isEmpty { output += "\r\n" }
            output += String(row)
        }
        let shownHint = fitted(hint)
        if !shownHint.isEmpty { output += "\u{1B}[90m" + shownHint + "\u{1B}[0m" }
        let rowsBelow = rows.count - 1 - cursorRow
        if rowsBelow > 0 { output += "\u{1B}[\(rowsBelow)A" }
        output += "\r"
        if cursorColumn > 0 { output += "\u{1B}[\(cursorColumn)C" }
        return output
    }

    private func fitted(_ hint: String) -> String {
        var room = columnCount - column - 1
        var shown = ""
        for character in hint {
            room -= LineLayout.width(of: character)
            if room < 0 { break }
            shown.append(character)
        }
        return shown
    }

    /// The columns that a terminal gives to a character: 0, 1 or 2.
    ///
    /// Source: Unicode's East Asian Width (wide and fullwidth) by blocks, and marks that take no room.
    package static func width(of character: Character) -> Int {
        guard let scalar = character.unicodeScalars.first else { return 0 }
        switch scalar.value {
        case 0..<0x300: return 1
        case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE4F,
            0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F, 0x1F680...0x1F6FF, 0x1F900...0x1FAFF,
            0x20000...0x3FFFD:
            return 2
        default: break
        }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format: return 0
        default: return 1
        }
    }
}
