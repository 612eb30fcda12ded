// A terminal's screen for tests: interprets what the shell writes and tells what a person would see.
//
// Knows the sequences that the shell uses (cursor moves, erasing, colours, bracketed paste, clearing) and wraps as
// xterm does: a full row stays until the next character comes. Anything else is recorded in `unknown`.

import KedisShell

struct Screen {
    let columnCount: Int
    private(set) var rows: [[Character]] = [[]]
    private(set) var row = 0
    private(set) var column = 0
    private(set) var unknown: [String] = []
    /// The text drawn in grey since it was last cleared.
    var grey = ""
    private var isGrey = false
    private var pending: [UInt8] = []

    init(columnCount: Int) {
        self.columnCount = columnCount
    }

    /// The rows without blanks at their ends.
    var lines: [String] {
        rows.map { row in
            var text = row
            while text.last == " " { text.removeLast() }
            return String(text)
        }
    }

    var text: String { lines.joined(separator: "\n") }

    mutating func feed(_ bytes: [UInt8]) {
        pending += bytes
        let end = pending.lastIndex { $0 & 0xC0 != 0x80 } ?? pending.count
        // The last character may be cut: keep it until it is whole.
        var whole = pending.count
        if end < pending.count, pending[end] >= 0xC0 {
            let need = pending[end] >= 0xF0 ? 4 : pending[end] >= 0xE0 ? 3 : 2
            if pending.count - end < need { whole = end }
        }
        var scalars = Array(String(decoding: pending[..<whole], as: UTF8.self).unicodeScalars)[...]
        pending.removeFirst(whole)
        while let scalar = scalars.popFirst() {
            if scalar.value == 27 {
                guard let sequence = takeSequence(&scalars) else {
                    pending = Array(String(String.UnicodeScalarView([scalar] + scalars)).utf8) + pending
                    return
                }
                apply(sequence)
            } else {
                put(scalar)
            }
        }
    }

    private func takeSequence(_ scalars: inout ArraySlice<Unicode.Scalar>) -> String? {
        guard let end = scalars.firstIndex(where: { (0x40...0x7E).contains($0.value) && $0 != "[" }) else { return nil }
        let sequence = String(String.UnicodeScalarView(scalars[scalars.startIndex...end]))
        scalars = scalars[(end + 1)...]
        return sequence
    }

    private mutating func put(_ scalar: Unicode.Scalar) {
        switch scalar.value {
        case 7: return
        case 10: goDown()
        case 13: column = 0
        default: draw(scalar)
        }
    }

    private mutating func goDown() {
        row += 1
        while rows.count <= row { rows.append([]) }
    }

    private mutating func draw(_ scalar: Unicode.Scalar) {
        let width = LineLayout.width(of: Character(scalar))
        if width == 0 {
            guard column > 0, rows[row].indices.contains(column - 1) else { return }
            rows[row][column - 1] = Character(String(rows[row][column - 1]) + String(scalar))
            return
        }
        if column + width > columnCount {
            column = 0
            goDown()
        }
        while rows[row].count < column + width { rows[row].append(" ") }
        rows[row][column] = Character(scalar)
        // The second half of a wide character shows nothing.
        if width == 2 { rows[row][column + 1] = "\u{200B}" }
        column += width
        if isGrey { grey.unicodeScalars.append(scalar) }
    }

    private mutating func apply(_ sequence: String) {
        let count = Int(sequence.filter(\.isNumber)) ?? 1
        switch sequence.last {
        case "A": row = max(0, row - count)
        case "C": column = min(columnCount - 1, column + count)
        case "J" where sequence == "[J":
            rows[row] = Array(rows[row].prefix(column))
            rows.removeLast(rows.count - row - 1)
        case "J" where sequence == "[2J":
            rows = [[]]
            row = 0
        case "H": (row, column) = (0, 0)
        case "m": isGrey = count == 90
        case "h", "l": if sequence.dropLast() != "[?2004" { unknown.append(sequence) }
        default: unknown.append(sequence)
        }
    }
}
