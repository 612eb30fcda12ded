// How a line becomes arguments: of inline requests, of lines typed into a shell, of configuration files. One way for
// all, as users know it from redis-cli.
//
// Works on a borrowed line and appends to the caller's bytes. Any bytes are accepted; unbalanced quotes are told. A
// zero byte ends the line. Cost: linear.

import KedisUtilities

/// Splits a line into arguments: blanks separate, double quotes know `\n \r \t \b \a`, `\xHH` and a backslash before
/// any other byte, single quotes know `\'` only, and a closing quote is followed by a blank or the end.
/// - Returns: nil if a quote is unbalanced or not followed by a blank.
package func splitArguments(_ line: [UInt8]) -> [[UInt8]]? {
    line.withUnsafeBytes { bytes in
        var splitter = ArgumentSplitter(line: ByteView(bytes))
        var arguments: [[UInt8]] = []
        while true {
            splitter.skipBlanks()
            if splitter.isAtEnd { return arguments }
            var argument: [UInt8] = []
            guard splitter.readArgument(into: &argument) else { return nil }
            arguments.append(argument)
        }
    }
}

/// Reads arguments with their quotes off a line.
struct ArgumentSplitter {
    let line: ByteView
    var position = 0

    init(line: ByteView) {
        self.line = line
    }

    var isAtEnd: Bool { position >= line.count || line[position] == 0 }

    mutating func skipBlanks() {
        while position < line.count, isASCIISpace(line[position]) { position += 1 }
    }

    /// Appends the unescaped bytes of the next argument; false for unbalanced quotes.
    mutating func readArgument(into bytes: inout [UInt8]) -> Bool {
        while !isAtEnd {
            let byte = line[position]
            // As in Redis, vertical tabs and form feeds are blanks in front of an argument and bytes inside one.
            if isASCIISpace(byte), byte != 0x0B, byte != 0x0C { return true }
            position += 1
            switch byte {
            case 0x22: return readDoubleQuoted(into: &bytes) && isAtBoundary
            case 0x27: return readSingleQuoted(into: &bytes) && isAtBoundary
            default: bytes.append(byte)
            }
        }
        return true
    }

    private var isAtBoundary: Bool { position >= line.count || isASCIISpace(line[position]) }

    private mutating func readSingleQuoted(into bytes: inout [UInt8]) -> Bool {
        while !isAtEnd {
            let byte = line[position]
            position += 1
            if byte == 0x5C, position < line.count, line[position] == 0x27 {
                bytes.append(0x27)
                position += 1
            } else if byte == 0x27 {
                return true
            } else {
                bytes.append(byte)
            }
        }
        return false
    }

    private mutating func readDoubleQuoted(into bytes: inout [UInt8]) -> Bool {
        while !isAtEnd {
            let byte = line[position]
            position += 1
            if byte == 0x22 { return true }
            guard byte == 0x5C, position < line.count else {
                bytes.append(byte)
                continue
            }
            readEscape(into: &bytes)
        }
        return false
    }

    /// The escape behind a backslash: `\xHH`, a control letter, or the byte itself.
    private mutating func readEscape(into bytes: inout [UInt8]) {
        let byte = line[position]
        if byte == 0x78, position + 2 < line.count, let high = hexadecimalDigit(line[position + 1]),
            let low = hexadecimalDigit(line[position + 2])
        {
            bytes.append(high << 4 | low)
            position += 3
            return
        }
        position += 1
        switch byte {
        case 0x6E: bytes.append(0x0A)
        case 0x72: bytes.append(0x0D)
        case 0x74: bytes.append(0x09)
        case 0x62: bytes.append(0x08)
        case 0x61: bytes.append(0x07)
        default: bytes.append(byte)
        }
    }
}

/// The value of a hexadecimal digit, or nil.
func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x37
    case 0x61...0x66: byte - 0x57
    default: nil
    }
}
