// The `<` lines of `.resp` files: one value a line, a collection's elements on the lines that follow it.
//
// The counts decide what belongs to what; indentation is for the reader.

extension RespFileParser {
    /// The replies written below a request; nil if there are none (yet), empty for `< nothing`.
    mutating func expectations() throws -> [RespExpectation]? {
        guard index < lines.count, lines[index].hasPrefix("<") else { return nil }
        if lines[index] == "< nothing" {
            index += 1
            return []
        }
        if lines[index] == "< blocks" {
            index += 1
            isBlocking = true
            return []
        }
        var expected: [RespExpectation] = []
        while index < lines.count, lines[index].hasPrefix("<") {
            expected.append(try expectation(depth: 0))
        }
        return expected
    }

    private mutating func expectation(depth: Int) throws -> RespExpectation {
        guard depth < 16 else { throw error("nested too deep") }
        guard index < lines.count, lines[index].hasPrefix("<") else {
            index += 1
            throw error("an element of a collection is missing here")
        }
        let text = lines[index].dropFirst().drop(while: { $0 == " " })
        index += 1
        let rest = text.dropFirst()
        switch text.first {
        case "?" where rest.isEmpty: return .anything
        case "+": return .simple(try plainPattern(rest))
        case "-": return .error(try plainPattern(rest))
        case ":": return .integer(try range(rest))
        case "$": return .bulk(try quotedPattern(rest))
        case "=": return .verbatim(try quotedPattern(rest))
        case ",": return .double(try plainPattern(rest))
        case "(": return .bigNumber(Array(rest.utf8))
        case "_" where rest.isEmpty: return .null
        case "_" where rest == "*": return .nullArray
        case "#" where rest == "t": return .boolean(true)
        case "#" where rest == "f": return .boolean(false)
        case "*", "%", "~", ">": return try collection(text, depth: depth)
        default: throw error("an expected reply that is not understood")
        }
    }

    private mutating func collection(_ text: Substring, depth: Int) throws -> RespExpectation {
        let head = text.first
        var rest = text.dropFirst()
        if rest == "?" {
            switch head {
            case "*": return .anyArray
            case "%": return .anyMap
            default: throw error("only * and % may have any count")
            }
        }
        var order = head == "*" || head == ">" ? ElementOrder.ordered : .unordered
        for (word, value) in [("unordered ", ElementOrder.unordered), ("has ", .contains)] where rest.hasPrefix(word) {
            order = value
            rest = rest.dropFirst(word.utf8.count)
        }
        guard let count = Int(rest), count >= 0, count <= 10_000 else { throw error("a count is expected") }
        var elements: [RespExpectation] = []
        for _ in 0..<(head == "%" ? 2 * count : count) { elements.append(try expectation(depth: depth + 1)) }
        switch head {
        case "*": return .array(elements, order)
        case "%": return .map(elements, order)
        case "~": return .set(elements, order)
        default: return .push(elements)
        }
    }

    /// The text as it stands, or quoted, `?` for any, or `~ ` and a glob pattern.
    private func plainPattern(_ text: Substring) throws -> BytePattern {
        if text == "?" { return .anything }
        if text.hasPrefix("\"") { return try quotedPattern(text) }
        if text.hasPrefix("~ ") { return .glob(Array(text.dropFirst(2).utf8)) }
        return .exact(Array(text.utf8))
    }

    /// A quoted string, `?` for any, or `~` and a quoted glob pattern.
    private func quotedPattern(_ text: Substring) throws -> BytePattern {
        if text == "?" { return .anything }
        let isGlob = text.hasPrefix("~")
        let arguments = try split(isGlob ? text.dropFirst() : text)
        guard arguments.count == 1 else { throw error("one quoted string is expected") }
        return isGlob ? .glob(arguments[0]) : .exact(arguments[0])
    }

    /// `7`, `-2..5` or `?`.
    private func range(_ text: Substring) throws -> ClosedRange<Int64> {
        if text == "?" { return Int64.min...Int64.max }
        if let value = Int64(text) { return value...value }
        let dots = text.indices.first { text[$0...].hasPrefix("..") }
        guard let dots, let lower = Int64(text[..<dots]), let upper = Int64(text[dots...].dropFirst(2)), lower <= upper
        else { throw error("an integer, a range or ? is expected") }
        return lower...upper
    }
}
