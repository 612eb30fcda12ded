// The picture that the shell draws of an EXPLAIN reply: one box a stage, arrows between them.
//
// Works on what the reply says, so it draws the explanations of any server that answers this shape, RESP2 or RESP3.
// Every line has at most `width` columns: rows are broken at blanks, and a word wider than a row in itself.
// A value that would take more than a few rows is cut with an ellipsis.

package import KedisProtocol

/// Draws an explanation (a map whose first key is `command`) for a window of `width` columns.
/// - Returns: nil if the reply is no explanation; it is then drawn like any other reply.
package func renderExplanation(_ reply: Reply, width: Int) -> String? {
    let stages = reply.pairs
    guard let first = stages.first, first.name == "command" else { return nil }
    var picture = Picture(width: min(max(width, 40), 100), refusal: reply["error"]?.shortText ?? "")
    picture.line(first.value.elements.map(\.shortText).joined(separator: " "), indentation: 1)
    for stage in stages.dropFirst() { picture.draw(stage) }
    return picture.text
}

/// True if the reply explains a command that would not run.
func isRefusedExplanation(_ reply: Reply) -> Bool {
    reply.pairs.first?.name == "command" && reply["error"] != nil
}

/// Lines that grow downwards.
private struct Picture {
    let width: Int
    /// Why the command would not run; empty if it would.
    let refusal: String
    private(set) var text = ""

    init(width: Int, refusal: String) {
        self.width = width
        self.refusal = refusal
    }

    /// Columns between the borders of a box.
    private var inner: Int { width - 4 }

    mutating func line(_ content: String, indentation: Int = 0) {
        for row in fitted(content, to: width - indentation) {
            text += String(repeating: " ", count: indentation) + row + "\n"
        }
    }

    mutating func draw(_ stage: (name: String, value: Reply)) {
        if stage.name == "error" {
            text += "     │\n     ╳\n"
            return box("refused", [stage.value.shortText])
        }
        text += "     │\n     ▼\n"
        switch stage.name {
        case "parser": box("parser", parserRows(stage.value))
        case "table": box("table", tableRows(stage.value, refusal: refusal))
        case "admission": box("admission", admissionRows(stage.value))
        case "plan": box("plan", planRows(stage.value))
        case "store": box("store", storeRows(stage.value))
        case "effects": box("effects", effectRows(stage.value))
        case "reply": box("reply", replyRows(stage.value))
        case "nanoseconds": box("time", timeRows(stage.value))
        default: box(stage.name, [stage.value.shortText])
        }
    }

    private mutating func box(_ title: String, _ rows: [String]) {
        text += "┌─ " + title + " " + String(repeating: "─", count: max(0, width - title.count - 5)) + "┐\n"
        for content in rows.flatMap({ fitted($0, to: inner) }) {
            text += "│ " + content + String(repeating: " ", count: inner - content.count) + " │\n"
        }
        text += "└" + String(repeating: "─", count: width - 2) + "┘\n"
    }

    /// The most rows that one value takes, and the most rows of a reply.
    private static let (valueRowCountMax, replyRowCountMax) = (8, 24)

    /// The row, in as many rows as it needs.
    private func fitted(_ row: String, to columns: Int) -> [String] {
        let limit = columns * Picture.valueRowCountMax
        let shown = row.prefix(limit + 1).count > limit ? row.prefix(limit - 1) + "…" : row
        return wrappedLine(shown, width: columns).flatMap { line -> [String] in
            var rest = line[...]
            var rows: [String] = []
            while rest.count > columns {
                rows.append(String(rest.prefix(columns)))
                rest = rest.dropFirst(columns)
            }
            return rows + [String(rest)]
        }
    }

    // MARK: Stages

    private func parserRows(_ stage: Reply) -> [String] {
        let ranges = stage["arguments"]?.elements ?? []
        var rows = [(stage["request"]?.shortText ?? "") + "  (\(stage["bytes"]?.shortText ?? "?") bytes)"]
        rows.append("\(ranges.count) argument\(ranges.count == 1 ? "" : "s"), as offset+length: "
            + ranges.map { "\($0["offset"]?.shortText ?? "")+\($0["bytes"]?.shortText ?? "")" }.joined(separator: "  "))
        return rows
    }

    private func tableRows(_ stage: Reply, refusal: String) -> [String] {
        guard let name = stage["name"] else {
            if refusal.contains("wrong number of arguments") { return ["wrong number of arguments"] }
            return [refusal.contains("unknown subcommand") ? "no such subcommand" : "no such command"]
        }
        let flags = (stage["flags"]?.elements ?? []).map(\.shortText).joined(separator: " ")
        let facts = ["arity", "group"].map { "\($0) \(stage[$0]?.shortText ?? "")" }
        return flowed([name.shortText] + facts, width: inner) + ["flags: " + flags]
    }

    private func admissionRows(_ stage: Reply) -> [String] {
        let checks = (stage["checks"]?.pairs ?? []).map { "\($0.name) \($0.value.shortText == "passed" ? "✓" : "✗")" }
        return flowed(checks + ["→ " + (stage["decision"]?.shortText ?? "")], width: inner)
    }

    private func planRows(_ stage: Reply) -> [String] {
        let keys = (stage["keys"]?.elements ?? []).flatMap { key -> [String] in
            func text(_ field: String) -> String { key[field]?.shortText ?? "" }
            return flowed([text("key"), "hash \(text("hash"))", "stripe \(text("stripe"))"], width: inner)
        }
        return keys + ["locks", "batch"].map { "\($0): \(stage[$0]?.shortText ?? "")" }
    }

    private func storeRows(_ stage: Reply) -> [String] {
        guard !stage.elements.isEmpty else { return ["no key"] }
        return stage.elements.flatMap { key -> [String] in
            let facts = (key["place"]?.pairs ?? []).filter { $0.name != "hash" && $0.name != "stripe" }
            let (buckets, others) = (facts.filter(isBucket), facts.filter { !isBucket($0) })
            var rows = flowed(
                [key["key"]?.shortText ?? ""] + others.map { "\($0.name): \($0.value.shortText)" }, width: inner)
            // One line for each cache line.
            rows += buckets.map { "\(rightPadded($0.name, to: 9)) │\($0.value.shortText)" }
            guard let entry = key["entry"], entry != .null else { return rows + ["no entry"] }
            rows.append("\(entry["type"]?.shortText ?? ""), encoded as \(entry["encoding"]?.shortText ?? ""), "
                + "\(entry["bytes"]?.shortText ?? "?") bytes:")
            return rows + fieldRows(entry["fields"]?.elements ?? [])
        }
    }

    private func isBucket(_ fact: (name: String, value: Reply)) -> Bool { fact.name.hasPrefix("bucket ") }

    /// A table of the entry's memory: offset, length, name, bytes, meaning.
    private func fieldRows(_ fields: [Reply]) -> [String] {
        let names = fields.map { $0["field"]?.shortText ?? "" }
        let nameWidth = names.map(\.count).max() ?? 0
        let rows = zip(fields, names).map { field, name in
            let offset = leftPadded(field["offset"]?.shortText ?? "", to: 5)
            let count = leftPadded(field["bytes"]?.shortText ?? "", to: 4)
            let shown = (field["hex"]?.shortText ?? "").split(separator: " ")
            let hex = shown.prefix(8).joined(separator: " ") + (shown.count > 8 ? "…" : "")
            let row = "\(offset) +\(count)  \(rightPadded(name, to: nameWidth))  \(hex)"
            return (bytes: row, meaning: field["meaning"]?.shortText ?? "")
        }
        let bytesWidth = rows.map(\.bytes.count).max() ?? 0
        if rows.allSatisfy({ bytesWidth + 2 + $0.meaning.count <= inner }) {
            return rows.map { rightPadded($0.bytes, to: bytesWidth) + "  " + $0.meaning }
        }
        // In a narrow window what the bytes mean follows them at once, or goes below.
        return rows.flatMap { row -> [String] in
            if row.bytes.count + 2 + row.meaning.count <= inner { return [row.bytes + "  " + row.meaning] }
            return [row.bytes] + wrappedLine(String(repeating: " ", count: 13) + row.meaning, width: inner)
        }
    }

    private func effectRows(_ stage: Reply) -> [String] {
        var rows = [stage["declared"]?.shortText ?? ""]
        if let changes = stage["changes"] {
            rows[0] += "   counted: \(changes.shortText)"
            rows += (stage["events"]?.elements ?? []).map { event in
                "event \(event["event"]?.shortText ?? "") on \(event["key"]?.shortText ?? "")"
            }
        }
        if let waiting = stage["waiting"] { rows.append("waiting: \(waiting.shortText)") }
        if let served = stage["clients served"] { rows.append("clients served: \(served.shortText)") }
        return rows
    }

    private func replyRows(_ stage: Reply) -> [String] {
        if let actual = stage["actual"] {
            let drawn = String(decoding: ReplyFormatter.formatted(actual), as: UTF8.self)
            let rows = drawn.split(separator: "\n").map { String($0) }
            return rows.count > Picture.replyRowCountMax ? rows.prefix(Picture.replyRowCountMax) + ["…"] : rows
        }
        return (stage["shapes"]?.elements ?? []).flatMap { shape -> [String] in
            let name = rightPadded(shape["shape"]?.shortText ?? "", to: 8)
            return wrappedLine(name + " " + (shape["meaning"]?.shortText ?? ""), width: inner, indentation: 9)
        }
    }

    private func timeRows(_ stage: Reply) -> [String] {
        let total = stage.pairs.reduce(0) { $0 + (Int($1.value.shortText) ?? 0) }
        let nameWidth = stage.pairs.map(\.name.count).max() ?? 0
        let barWidth = max(1, inner - nameWidth - 14)
        return stage.pairs.map { pair in
            let share = total > 0 ? (Int(pair.value.shortText) ?? 0) * barWidth / total : 0
            return rightPadded(pair.name, to: nameWidth) + leftPadded(pair.value.shortText, to: 9) + " ns "
                + String(repeating: "█", count: share)
        } + [rightPadded("total", to: nameWidth) + leftPadded("\(total)", to: 9) + " ns"]
    }
}

private func leftPadded(_ text: String, to width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
}

private func rightPadded(_ text: String, to width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}

extension Reply {
    /// The entries of a map, also where RESP2 made it a flat array.
    fileprivate var pairs: [(name: String, value: Reply)] {
        switch self {
        case .map(let entries): entries.map { ($0.key.shortText, $0.value) }
        case .array(let flat) where flat.count % 2 == 0:
            stride(from: 0, to: flat.count, by: 2).map { (flat[$0].shortText, flat[$0 + 1]) }
        default: []
        }
    }

    fileprivate subscript(name: String) -> Reply? { pairs.first { $0.name == name }?.value }

    fileprivate var elements: [Reply] {
        switch self {
        case .array(let elements), .set(let elements), .push(let elements): elements
        default: []
        }
    }

    /// One line of text: control bytes as escapes, so that nothing in a key can disturb the picture.
    fileprivate var shortText: String {
        switch self {
        case .bulk(let bytes), .simple(let bytes), .error(let bytes), .double(let bytes), .bigNumber(let bytes):
            printable(bytes)
        case .verbatim(_, let bytes): printable(bytes)
        case .integer(let value): String(value)
        case .boolean(let value): value ? "true" : "false"
        case .null, .nullArray: "nil"
        case .array, .map, .set, .push: "…"
        }
    }
}

/// Text with escapes for what is not printable. Anything beyond ASCII is escaped too unless it is text of one column a
/// character.
private func printable(_ bytes: [UInt8]) -> String {
    var text = ""
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
        switch scalar {
        case "\r": text += "\\r"
        case "\n": text += "\\n"
        case "\t": text += "\\t"
        case "\u{20}"..."\u{7E}", "\u{A1}"..."\u{2FF}", "…": text.unicodeScalars.append(scalar)
        default: text += "\\u{" + String(scalar.value, radix: 16) + "}"
        }
    }
    return text
}
