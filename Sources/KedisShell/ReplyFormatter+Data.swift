// Replies for other programs: JSON and CSV, byte for byte as redis-cli writes them.
//
// Pure functions, linear in their output. Bytes that are no UTF-8 stay as they are in JSON, as there. Replies come from
// `ReplyDecoder` or the engine, which limit nesting, so the recursion is shallow.

package import KedisProtocol

extension ReplyFormatter {
    /// The reply as a JSON value, with a line end; an error is `error:` and its text, which is none.
    package static func json(_ reply: Reply) -> [UInt8] {
        var output: [UInt8] = []
        appendJSON(reply, to: &output)
        output.append(10)
        return output
    }

    /// The reply as one line of values between commas: an array within another one is flattened.
    package static func csv(_ reply: Reply) -> [UInt8] {
        var output: [UInt8] = []
        appendCSV(reply, to: &output)
        output.append(10)
        return output
    }

    // MARK: JSON

    private static func appendJSON(_ reply: Reply, to output: inout [UInt8]) {
        switch reply {
        case .error(let text):
            output += Array("error:".utf8)
            appendJSONString(text, to: &output)
        case .simple(let text), .bulk(let text), .verbatim(_, let text): appendJSONString(text, to: &output)
        case .double(let text), .bigNumber(let text): output += text
        case .integer(let value): output += String(value).utf8
        case .boolean(let value): output += (value ? "true" : "false").utf8
        case .null, .nullArray: output += Array("null".utf8)
        case .array(let elements), .push(let elements), .set(let elements):
            output.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                appendJSON(element, to: &output)
            }
            output.append(UInt8(ascii: "]"))
        case .map(let entries):
            output.append(UInt8(ascii: "{"))
            for (index, entry) in entries.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                appendJSONKey(entry.key, to: &output)
                output.append(UInt8(ascii: ":"))
                appendJSON(entry.value, to: &output)
            }
            output.append(UInt8(ascii: "}"))
        }
    }

    /// A key is a string in JSON, whatever it is here.
    private static func appendJSONKey(_ key: Reply, to output: inout [UInt8]) {
        switch key {
        case .error, .simple, .bulk, .verbatim: appendJSON(key, to: &output)
        default:
            var text: [UInt8] = []
            appendJSON(key, to: &text)
            appendJSONString(text, to: &output)
        }
    }

    private static func appendJSONString(_ text: [UInt8], to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in text {
            switch byte {
            case UInt8(ascii: "\\"), UInt8(ascii: "\""): output += [UInt8(ascii: "\\"), byte]
            case 8: output += Array("\\b".utf8)
            case 9: output += Array("\\t".utf8)
            case 10: output += Array("\\n".utf8)
            case 12: output += Array("\\f".utf8)
            case 13: output += Array("\\r".utf8)
            case 0..<32: output += Array((byte < 16 ? "\\u000" : "\\u00").utf8) + Array(String(byte, radix: 16).utf8)
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }

    // MARK: CSV

    private static func appendCSV(_ reply: Reply, to output: inout [UInt8]) {
        switch reply {
        case .error(let text):
            output += Array("ERROR,".utf8)
            appendQuoted(text, to: &output)
        case .simple(let text), .bulk(let text), .verbatim(_, let text): appendQuoted(text, to: &output)
        case .double(let text), .bigNumber(let text): output += text
        case .integer(let value): output += String(value).utf8
        case .boolean(let value): output += (value ? "true" : "false").utf8
        case .null, .nullArray: output += Array("NULL".utf8)
        case .array(let elements), .push(let elements), .set(let elements):
            for (index, element) in elements.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                appendCSV(element, to: &output)
            }
        case .map(let entries):
            for (index, entry) in entries.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                appendCSV(entry.key, to: &output)
                output.append(UInt8(ascii: ","))
                appendCSV(entry.value, to: &output)
            }
        }
    }
}
