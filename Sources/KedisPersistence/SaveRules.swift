// When to save without being asked: `save <seconds> <changes> …`. Values only; no clock, no store.

package import KedisUtilities

package struct SaveRules: Sendable, Equatable {
    package struct Rule: Sendable, Equatable {
        package let seconds: Int64
        package let changes: Int64

        package init(seconds: Int64, changes: Int64) {
            self.seconds = seconds
            self.changes = changes
        }
    }

    package let rules: [Rule]

    /// The rules of a server without configuration: "3600 1 300 100 60 10000".
    package static var standard: SaveRules {
        SaveRules(rules: [
            Rule(seconds: 3600, changes: 1), Rule(seconds: 300, changes: 100), Rule(seconds: 60, changes: 10_000),
        ])
    }

    package static var none: SaveRules { SaveRules(rules: []) }

    package init(rules: [Rule]) { self.rules = rules }

    /// Reads pairs of seconds (from 1) and changes (from 0) between white space; nothing means no rules. Nil for
    /// anything else.
    package init?(_ text: ByteView) {
        var numbers: [Int64] = []
        var index = 0
        while index < text.count {
            guard !isASCIISpace(text[index]) else {
                index += 1
                continue
            }
            let start = index
            while index < text.count, !isASCIISpace(text[index]) { index += 1 }
            guard let number = parseInteger(text[start..<index]), number >= 0 else { return nil }
            numbers.append(number)
        }
        guard numbers.count % 2 == 0 else { return nil }
        var rules: [Rule] = []
        for pair in stride(from: 0, to: numbers.count, by: 2) {
            guard numbers[pair] >= 1 else { return nil }
            rules.append(Rule(seconds: numbers[pair], changes: numbers[pair + 1]))
        }
        self.rules = rules
    }

    package init?(_ text: String) {
        var text = text
        let parsed = text.withUTF8 { SaveRules(ByteView(UnsafeRawBufferPointer($0))) }
        guard let parsed else { return nil }
        self = parsed
    }

    /// The rules as CONFIG GET shows them.
    package var text: String { rules.map { "\($0.seconds) \($0.changes)" }.joined(separator: " ") }

    /// The first rule that asks for a save now: at least its changes, and more than its seconds since the last save.
    package func dueRule(changes: UInt64, secondsSinceLastSave: Int64) -> Rule? {
        rules.first { changes >= UInt64(clamping: $0.changes) && secondsSinceLastSave > $0.seconds }
    }

    package func isDue(changes: UInt64, secondsSinceLastSave: Int64) -> Bool {
        dueRule(changes: changes, secondsSinceLastSave: secondsSinceLastSave) != nil
    }
}
