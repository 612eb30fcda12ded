// Replies as text: drawn for a person as redis-cli does on a terminal, or plain for a program (its `--raw`).
//
// Pure functions. Replies come from `ReplyDecoder` or the engine, which limit nesting, so the recursion here is
// shallow. Output is bytes, as plain replies may be anything. Cost: linear in the output.

package import KedisProtocol

package enum ReplyFormatter {
    /// The reply drawn for a person, with a line end.
    package static func formatted(_ reply: Reply) -> [UInt8] {
        var output: [UInt8] = []
        append(reply, indent: 0, to: &output)
        output.append(10)
        return output
    }

    /// The reply as plain bytes, with a line end.
    package static func raw(_ reply: Reply) -> [UInt8] {
        var output: [UInt8] = []
        appendRaw(reply, to: &output)
        output.append(10)
        return output
    }

    /// The text of a reply that is a report (`INFO`, `CLIENT LIST`, …): as it is, on whole lines. Nil if the reply of
    /// `arguments` is to be drawn like any other.
    package static func report(_ reply: Reply, of arguments: [[UInt8]]) -> [UInt8]? {
        guard isReport(arguments) else { return nil }
        switch reply {
        case .bulk(var text), .verbatim(_, var text):
            if let last = text.last, last != 10 { text.append(10) }
            return text
        default: return nil
        }
    }

    private static func isReport(_ arguments: [[UInt8]]) -> Bool {
        let words = arguments.prefix(2).map { String(decoding: $0, as: UTF8.self).uppercased() }
        switch words.first {
        case "INFO", "LOLWUT": return true
        case "CLIENT": return words.last == "LIST" || words.last == "INFO"
        case "CLUSTER": return words.last == "NODES" || words.last == "INFO"
        case "MEMORY": return words.last == "MALLOC-STATS" || words.last == "DOCTOR"
        case "LATENCY": return words.last == "GRAPH" || words.last == "DOCTOR"
        case "DEBUG": return words.last == "HTSTATS" || words.last == "HTSTATS-KEY"
        default: return false
        }
    }

    // MARK: For a person

    private static func append(_ reply: Reply, indent: Int, to output: inout [UInt8]) {
        switch reply {
        case .simple(let text): output += text
        case .error(let text): output += "(error) ".utf8; output += text
        case .integer(let value): output += "(integer) \(value)".utf8
        case .bulk(let bytes): appendQuoted(bytes, to: &output)
        case .null, .nullArray: output += "(nil)".utf8
        case .double(let text): output += "(double) ".utf8; output += text
        case .boolean(let value): output += (value ? "(true)" : "(false)").utf8
        case .bigNumber(let digits): output += "(big number) ".utf8; output += digits
        case .verbatim(_, let text): output += text
        case .array(let elements): appendList(elements, ")", "(empty array)", indent, to: &output)
        case .push(let elements): appendList(elements, ")", "(empty push)", indent, to: &output)
        case .set(let elements): appendList(elements, "~", "(empty set)", indent, to: &output)
        case .map(let entries): appendMap(entries, indent, to: &output)
        }
    }

    private static func appendList(
        _ elements: [Reply], _ mark: String, _ empty: String, _ indent: Int, to output: inout [UInt8]
    ) {
        if elements.isEmpty { output += empty.utf8 }
        let width = String(elements.count).utf8.count
        for (index, element) in elements.enumerated() {
            appendIndex(index, mark, width, indent, to: &output)
            append(element, indent: indent + width + 2, to: &output)
        }
    }

    private static func appendMap(_ entries: [Reply.Entry], _ indent: Int, to output: inout [UInt8]) {
        if entries.isEmpty { output += "(empty hash)".utf8 }
        let width = String(entries.count).utf8.count
        let inner = indent + width + 2
        for (index, entry) in entries.enumerated() {
            appendIndex(index, "#", width, indent, to: &output)
            append(entry.key, indent: inner, to: &output)
            output += " => ".utf8
            let start = output.count
            append(entry.value, indent: inner, to: &output)
            // A value of several lines starts on its own line, so that its lines stand below each other.
            if entry.value.isAggregate, output[start...].contains(10) {
                output.insert(contentsOf: [10] + [UInt8](repeating: 32, count: inner), at: start)
            }
        }
    }

    private static func appendIndex(
        _ index: Int, _ mark: String, _ width: Int, _ indent: Int, to output: inout [UInt8]
    ) {
        if index > 0 {
            output.append(10)
            output += [UInt8](repeating: 32, count: indent)
        }
        let number = String(index + 1).utf8
        output += [UInt8](repeating: 32, count: max(0, width - number.count))
        output += number
        output += "\(mark) ".utf8
    }

    // MARK: For a program

    private static func appendRaw(_ reply: Reply, to output: inout [UInt8]) {
        switch reply {
        case .simple(let text), .bulk(let text), .double(let text), .bigNumber(let text), .verbatim(_, let text):
            output += text
        // An error is followed by an empty line, as scripts made for redis-cli expect.
        case .error(let text): output += text; output.append(10)
        case .integer(let value): output += String(value).utf8
        case .null, .nullArray: break
        case .boolean(let value): output += (value ? "(true)" : "(false)").utf8
        case .array(let elements), .push(let elements), .set(let elements):
            for (index, element) in elements.enumerated() {
                if index > 0 { output.append(10) }
                appendRaw(element, to: &output)
            }
        case .map(let entries):
            for (index, entry) in entries.enumerated() {
                if index > 0 { output.append(10) }
                appendRaw(entry.key, to: &output)
                output.append(32)
                appendRaw(entry.value, to: &output)
            }
        }
    }
}

extension Reply {
    fileprivate var isAggregate: Bool {
        switch self {
        case .array, .push, .set, .map: true
        default: false
        }
    }

    package var isError: Bool {
        if case .error = self { true } else { false }
    }
}
