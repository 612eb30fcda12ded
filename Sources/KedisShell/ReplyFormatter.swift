// Replies as text: drawn for a person as redis-cli does on a terminal, or plain for a program (its `--raw`).
//
// Pure functions. Replies come from `ReplyDecoder` or the engine, which limit nesting, so the recursion here is
// shallow. Output is bytes, as plain replies may be anything. Cost: linear in the output.

package import KedisProtocol

package enum ReplyFormatter {
    /// The reply drawn for a person, with a line end.
    package static func formatted(_ reply: Reply) -> [UInt8] {
        var output: [UInt8] = []
        reply.appendText(to: &output)
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
    package var isError: Bool {
        if case .error = self { true } else { false }
    }
}
