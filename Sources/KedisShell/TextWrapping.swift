// Text for a window: broken at blanks, so that no word is torn. Pure functions, linear in the text.

/// The text with every line that is wider than `width` broken at blanks; what follows a break is indented by
/// `indentation` more than the line. A word that is wider than the window stays whole. Line ends stay.
package func wrappedText(_ text: String, width: Int, indentation: Int = 2) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false)
        .flatMap { wrappedLine(String($0), width: width, indentation: indentation) }
        .joined(separator: "\n")
}

/// One line, broken at blanks into lines of at most `width` characters.
package func wrappedLine(_ line: String, width: Int, indentation: Int = 2) -> [String] {
    guard line.count > width else { return [line] }
    let head = line.prefix { $0 == " " }
    let following = String(repeating: " ", count: head.count + indentation)
    var lines: [String] = []
    var current = String(head)
    var isEmpty = true
    // Neighbouring blanks make empty words, which keeps the distance between columns.
    for word in line.dropFirst(head.count).split(separator: " ", omittingEmptySubsequences: false) {
        if !isEmpty, current.count + 1 + word.count > width, !word.isEmpty {
            lines.append(trimmed(current))
            current = following
            isEmpty = true
        }
        current += isEmpty ? String(word) : " " + word
        isEmpty = false
    }
    return lines + [current]
}

private func trimmed(_ line: String) -> String {
    var line = line[...]
    while line.last == " " { line.removeLast() }
    return String(line)
}

/// Parts side by side, three blanks between them, in as many rows as `width` needs. A part is broken only if it is
/// wider than a row. Rows behind the first are indented.
package func flowed(_ parts: [String], width: Int) -> [String] {
    var rows: [String] = []
    for part in parts where !part.isEmpty {
        if let last = rows.last, last.count + 3 + part.count <= width {
            rows[rows.count - 1] = last + "   " + part
        } else {
            rows += wrappedLine(rows.isEmpty ? part : "  " + part, width: width)
        }
    }
    return rows
}
