// The text of `.resp` files, both ways: the quoting of redis-cli for bytes, and replies and expectations as `<` lines.
//
// Used by the parser, by the messages about mismatches and by the recorder. Cost: proportional to the text.

package import KedisProtocol

/// Quoting as in redis-cli.
package enum RespQuoting {
    /// Splits a line into arguments, or says what is wrong with it.
    ///
    /// Source: redis-cli: `"…"` with `\xHH \n \r \t \b \a \\ \"`, `'…'` with `\'`, a closing quote ends the argument.
    package static func split(_ line: Substring) -> Result<[[UInt8]], RespTextError> {
        var arguments: [[UInt8]] = []
        var rest = Array(line.utf8)[...]
        while true {
            rest = rest.drop(while: isBlank)
            guard !rest.isEmpty else { return .success(arguments) }
            switch argument(&rest) {
            case .success(let bytes): arguments.append(bytes)
            case .failure(let error): return .failure(error)
            }
        }
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    private static func argument(_ rest: inout ArraySlice<UInt8>) -> Result<[UInt8], RespTextError> {
        var bytes: [UInt8] = []
        while let byte = rest.first, !isBlank(byte) {
            rest.removeFirst()
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                guard quoted(&rest, by: byte, into: &bytes) else { return .failure(.init("unbalanced quotes")) }
                guard rest.first.map(isBlank) ?? true else { return .failure(.init("text after a closing quote")) }
            } else {
                bytes.append(byte)
            }
        }
        return .success(bytes)
    }

    /// Reads up to the closing quote; false if there is none.
    private static func quoted(_ rest: inout ArraySlice<UInt8>, by quote: UInt8, into bytes: inout [UInt8]) -> Bool {
        while let byte = rest.popFirst() {
            if byte == quote { return true }
            guard byte == UInt8(ascii: "\\"), let escaped = rest.first else {
                bytes.append(byte)
                continue
            }
            if quote == UInt8(ascii: "'") {
                if escaped == quote { rest.removeFirst() }
                bytes.append(escaped == quote ? quote : byte)
            } else {
                rest.removeFirst()
                bytes.append(unescape(escaped, &rest))
            }
        }
        return false
    }

    private static func unescape(_ escaped: UInt8, _ rest: inout ArraySlice<UInt8>) -> UInt8 {
        switch escaped {
        case UInt8(ascii: "n"): return 0x0A
        case UInt8(ascii: "r"): return 0x0D
        case UInt8(ascii: "t"): return 0x09
        case UInt8(ascii: "b"): return 0x08
        case UInt8(ascii: "a"): return 0x07
        case UInt8(ascii: "x"):
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            guard digits.utf8.count == 2, let value = UInt8(digits, radix: 16) else { return escaped }
            rest = rest.dropFirst(2)
            return value
        default: return escaped
        }
    }

    /// The bytes in double quotes, everything but printable ASCII escaped.
    package static func quote(_ bytes: [UInt8]) -> String {
        var text = "\""
        for byte in bytes {
            switch byte {
            case 0x0A: text += "\\n"
            case 0x0D: text += "\\r"
            case 0x09: text += "\\t"
            case UInt8(ascii: "\""): text += "\\\""
            case UInt8(ascii: "\\"): text += "\\\\"
            case 0x20...0x7E: text.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16)
                text += "\\x" + (digits.utf8.count == 1 ? "0" : "") + digits
            }
        }
        return text + "\""
    }
}

/// What is wrong with a line, without its place.
package struct RespTextError: Error {
    package let message: String

    package init(_ message: String) { self.message = message }
}

extension Reply {
    /// The reply as `<` lines of a `.resp` file, two spaces deeper for each level.
    package func respLines(indentation: String = "") -> [String] {
        func lines(_ head: String, _ elements: [Reply]) -> [String] {
            ["< \(indentation)\(head)\(elements.count)"]
                + elements.flatMap { $0.respLines(indentation: indentation + "  ") }
        }
        func line(_ text: String) -> [String] { ["< \(indentation)\(text)"] }
        func plain(_ bytes: [UInt8]) -> String {
            // An editor may cut spaces at the end of a line, and a line cannot hold everything.
            let isPlain = bytes.last != 0x20 && bytes.allSatisfy { $0 >= 0x20 && $0 < 0x7F }
            return isPlain ? String(decoding: bytes, as: UTF8.self) : RespQuoting.quote(bytes)
        }

        switch self {
        case .simple(let bytes): return line("+" + plain(bytes))
        case .error(let bytes): return line("-" + plain(bytes))
        case .integer(let value): return line(":\(value)")
        case .bulk(let bytes): return line("$ " + RespQuoting.quote(bytes))
        case .null: return line("_")
        case .nullArray: return line("_*")
        case .array(let elements): return lines("*", elements)
        case .set(let elements): return lines("~", elements)
        case .push(let elements): return lines(">", elements)
        case .map(let entries):
            return ["< \(indentation)%\(entries.count)"]
                + entries.flatMap { entry in
                    [entry.key, entry.value].flatMap { $0.respLines(indentation: indentation + "  ") }
                }
        case .double(let bytes): return line("," + plain(bytes))
        case .boolean(let value): return line(value ? "#t" : "#f")
        case .bigNumber(let digits): return line("(" + plain(digits))
        case .verbatim(_, let text): return line("= " + RespQuoting.quote(text))
        }
    }

    /// The reply that a RESP3 connection got, with what only RESP2 tells apart: a null array.
    package func merged(withSecond second: Reply) -> Reply {
        switch (self, second) {
        case (.null, .nullArray): return .nullArray
        case (.array(let own), .array(let other)) where own.count == other.count:
            return .array(zip(own, other).map { $0.merged(withSecond: $1) })
        default: return self
        }
    }
}
