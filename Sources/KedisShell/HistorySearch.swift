// Searching the history backwards, as it is typed (Ctrl-R). Pure state; a step is linear in the history.

struct HistorySearch {
    enum Result: Equatable {
        case searching
        case cancelled
        /// The search is over and the key that ended it is still to be handled. Nil: nothing was found.
        case accepted(String?)
    }

    private let lines: [String]
    private var query = ""
    private var index: Int
    private var isFailing = false

    init(lines: [String]) {
        self.lines = lines
        index = lines.count
    }

    /// The line that is found.
    var match: String? { index < lines.count ? lines[index] : nil }

    var prompt: String { "(\(isFailing ? "failed " : "")reverse search)`\(query)': " }

    mutating func handle(_ key: Key) -> Result {
        switch key {
        case .text(let text), .pasted(let text):
            query += text
            find(from: min(index, lines.count - 1))
        case .backspace:
            query = String(query.dropLast())
            index = lines.count
            find(from: lines.count - 1)
        case .control("R"): find(from: index - 1)
        case .control("C"), .control("G"), .escape: return .cancelled
        default: return .accepted(match)
        }
        return .searching
    }

    private mutating func find(from start: Int) {
        guard !query.isEmpty else {
            isFailing = false
            return
        }
        var candidate = start
        while candidate >= 0, !contains(lines[candidate], query) { candidate -= 1 }
        isFailing = candidate < 0
        if !isFailing { index = candidate }
    }

    private func contains(_ line: String, _ query: String) -> Bool {
        let text = Array(line.utf8)
        let part = Array(query.utf8)
        guard part.count <= text.count else { return false }
        return (0...text.count - part.count).contains { text[$0..<$0 + part.count].elementsEqual(part) }
    }
}
