// A reply as text for a person, as redis-cli draws it on a terminal: `OK`, `"value"`, `(integer) 1`, numbered elements.
//
// Pure functions. Replies come from `ReplyDecoder` or the engine, which limit nesting, so the recursion here is
// shallow. Output is bytes, as simple strings may be anything. Cost: linear in the output.

extension Reply: CustomStringConvertible {
    /// The reply as redis-cli shows it, several lines for an aggregate: `OK`, `"value"`, `(integer) 1`, `(nil)`,
    /// `(error) ERR …`. Bytes that are not printable ASCII are escaped in bulk strings, repaired in others.
    ///
    /// - Complexity: O(size of the reply)
    public var description: String {
        var output: [UInt8] = []
        appendText(to: &output)
        return String(decoding: output, as: UTF8.self)
    }

    /// Appends the text of ``description`` as bytes, those of simple strings as they are.
    package func appendText(to output: inout [UInt8]) { Reply.append(self, indent: 0, to: &output) }

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

    private var isAggregate: Bool {
        switch self {
        case .array, .push, .set, .map: true
        default: false
        }
    }
}
