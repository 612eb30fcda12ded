// How a line becomes arguments and how bytes become readable text, both by the rules that users know from redis-cli.
//
// Pure functions, linear in their input. Any bytes are accepted; what has no meaning yields nil.

private let hexDigits = Array("0123456789abcdef".utf8)

/// Splits a line into arguments.
///
/// Arguments are separated by blanks. Double quotes know `\n \r \t \b \a`, `\xHH` and a backslash before any other
/// byte; single quotes know `\'` only. A closing quote must be followed by a blank or the end.
/// - Returns: nil if a quote is unbalanced or not followed by a blank.
package func splitArguments(_ line: [UInt8]) -> [[UInt8]]? {
    var splitter = ArgumentSplitter(line: line[...])
    return splitter.split()
}

private struct ArgumentSplitter {
    var line: ArraySlice<UInt8>

    mutating func split() -> [[UInt8]]? {
        var arguments: [[UInt8]] = []
        while true {
            line = line.drop(while: isBlank)
            if line.isEmpty { return arguments }
            guard let argument = takeArgument() else { return nil }
            arguments.append(argument)
        }
    }

    private mutating func takeArgument() -> [UInt8]? {
        var argument: [UInt8] = []
        while let byte = line.first, !isBlank(byte) {
            line.removeFirst()
            switch byte {
            case UInt8(ascii: "\""):
                return takeDoubleQuoted(&argument) ? argument : nil
            case UInt8(ascii: "'"):
                return takeSingleQuoted(&argument) ? argument : nil
            default:
                argument.append(byte)
            }
        }
        return argument
    }

    private mutating func takeDoubleQuoted(_ argument: inout [UInt8]) -> Bool {
        while let byte = line.popFirst() {
            switch byte {
            case UInt8(ascii: "\""): return isAtBoundary
            case UInt8(ascii: "\\"):
                guard let escaped = takeEscape() else { return false }
                argument.append(escaped)
            default: argument.append(byte)
            }
        }
        return false
    }

    private mutating func takeEscape() -> UInt8? {
        guard let byte = line.popFirst() else { return nil }
        switch byte {
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "r"): return 13
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "b"): return 8
        case UInt8(ascii: "a"): return 7
        case UInt8(ascii: "x"):
            let digits = line.prefix(2).compactMap(hexValue)
            guard digits.count == 2 else { return byte }
            line.removeFirst(2)
            return digits[0] << 4 | digits[1]
        default: return byte
        }
    }

    private mutating func takeSingleQuoted(_ argument: inout [UInt8]) -> Bool {
        while let byte = line.popFirst() {
            if byte == UInt8(ascii: "'") { return isAtBoundary }
            if byte == UInt8(ascii: "\\"), line.first == UInt8(ascii: "'") {
                line.removeFirst()
                argument.append(UInt8(ascii: "'"))
            } else {
                argument.append(byte)
            }
        }
        return false
    }

    private var isAtBoundary: Bool { line.first.map(isBlank) ?? true }
}

private func isBlank(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }

private func hexValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}

/// The bytes in double quotes, everything but printable ASCII escaped; `splitArguments` reads it back.
package func quoted(_ bytes: [UInt8]) -> String {
    var output: [UInt8] = []
    appendQuoted(bytes, to: &output)
    return String(decoding: output, as: UTF8.self)
}

package func appendQuoted(_ bytes: [UInt8], to output: inout [UInt8]) {
    output.append(UInt8(ascii: "\""))
    for byte in bytes {
        switch byte {
        case UInt8(ascii: "\\"), UInt8(ascii: "\""): output += [UInt8(ascii: "\\"), byte]
        case 10: output += Array("\\n".utf8)
        case 13: output += Array("\\r".utf8)
        case 9: output += Array("\\t".utf8)
        case 7: output += Array("\\a".utf8)
        case 8: output += Array("\\b".utf8)
        case 32...126: output.append(byte)
        default: output += [UInt8(ascii: "\\"), UInt8(ascii: "x"), hexDigits[Int(byte >> 4)], hexDigits[Int(byte & 15)]]
        }
    }
    output.append(UInt8(ascii: "\""))
}
