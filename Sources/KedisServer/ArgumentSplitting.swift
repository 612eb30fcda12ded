// Words of a configuration line: blanks part them; double quotes with \n \r \t \b \a \xHH and \ before any byte, single
// quotes with \' alone.

import KedisUtilities

/// The words of `line`, or nil when a quote is not closed or something follows a closing quote at once.
func splitArguments(_ line: [UInt8]) -> [String]? {
    var splitter = ArgumentSplitter(line: line)
    return splitter.split()
}

private struct ArgumentSplitter {
    let line: [UInt8]
    private var position = 0
    private var word: [UInt8] = []

    init(line: [UInt8]) { self.line = line }

    mutating func split() -> [String]? {
        var words: [String] = []
        while true {
            while position < line.count, isASCIISpace(line[position]) { position += 1 }
            guard position < line.count, line[position] != 0 else { return words }
            word = []
            guard takeWord() else { return nil }
            words.append(String(decoding: word, as: UTF8.self))
        }
    }

    private mutating func takeWord() -> Bool {
        while position < line.count, !isASCIISpace(line[position]) {
            let byte = line[position]
            position += 1
            switch byte {
            case 0x22: return takeDoubleQuoted()
            case 0x27: return takeSingleQuoted()
            case 0: return true
            default: word.append(byte)
            }
        }
        return true
    }

    private mutating func takeDoubleQuoted() -> Bool {
        while position < line.count {
            let byte = line[position]
            position += 1
            if byte == 0x22 { return isAtEndOfWord }
            if byte == 0x5C, position < line.count { takeEscape() } else { word.append(byte) }
        }
        return false
    }

    private mutating func takeEscape() {
        let byte = line[position]
        if byte == 0x78, position + 2 < line.count, let high = hexadecimalValue(line[position + 1]),
            let low = hexadecimalValue(line[position + 2])
        {
            word.append(high << 4 | low)
            position += 3
            return
        }
        position += 1
        switch byte {
        case 0x6E: word.append(0x0A)
        case 0x72: word.append(0x0D)
        case 0x74: word.append(0x09)
        case 0x62: word.append(0x08)
        case 0x61: word.append(0x07)
        default: word.append(byte)
        }
    }

    private mutating func takeSingleQuoted() -> Bool {
        while position < line.count {
            let byte = line[position]
            position += 1
            if byte == 0x27 { return isAtEndOfWord }
            if byte == 0x5C, position < line.count, line[position] == 0x27 {
                word.append(0x27)
                position += 1
            } else {
                word.append(byte)
            }
        }
        return false
    }

    /// A closing quote must end its word.
    private var isAtEndOfWord: Bool { position == line.count || isASCIISpace(line[position]) }

    private func hexadecimalValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }
}
