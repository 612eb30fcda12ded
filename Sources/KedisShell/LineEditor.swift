// Reads one edited line from a terminal: the loop between keys, the line's state and the drawing.
//
// The editor owns the bytes that were typed ahead and the history; the terminal is in raw mode only while a line is
// read. One thread. What a key does to the line is in `LineBuffer`, what the screen shows in `LineLayout`; this file
// only connects them. Cost: a key redraws the line, unless more keys are waiting.

package final class LineEditor {
    package enum Outcome: Equatable, Sendable {
        case line(String)
        /// Ctrl-C: the line is dropped.
        case interrupted
        /// Ctrl-D on an empty line, or the terminal is gone.
        case endOfInput
    }

    private enum Action {
        case proceed
        case finish(Outcome)
    }

    private struct Completion {
        var original: String
        var candidates: [String]
        /// `candidates.count` stands for the original.
        var index: Int
    }

    package var history: History
    /// The lines that a line may be completed to.
    package var completions: (String) -> [String] = { _ in [] }
    /// What may still be typed behind a line.
    package var hint: (String) -> String? = { _ in nil }

    let terminal: Terminal
    var buffer = LineBuffer()
    private var decoder = KeyDecoder()
    private var typedAhead: ArraySlice<UInt8> = []
    /// What is left of pasted lines: each line, then Enter; they outlive the line that is being read.
    private var pastedKeys: ArraySlice<Key> = []
    private var prompt = ""
    private var completion: Completion?
    private var historyIndex = 0
    private var unfinishedLine = ""
    private var drawnCursorRow = 0
    private var drawnColumnCount = 0
    private var drawnLine: (prompt: String, buffer: LineBuffer) = ("", LineBuffer())

    package init(terminal: Terminal, history: History) {
        self.terminal = terminal
        self.history = history
    }

    package func readLine(prompt: String) -> Outcome {
        guard terminal.enterRawMode() else { return .endOfInput }
        defer { terminal.leaveRawMode() }
        self.prompt = prompt
        buffer = LineBuffer()
        completion = nil
        historyIndex = history.lines.count
        drawnCursorRow = 0
        drawnColumnCount = 0
        draw()
        while let key = nextKey() {
            if case .finish(let outcome) = handle(key) {
                leaveLine(outcome)
                return outcome
            }
            if typedAhead.isEmpty, pastedKeys.isEmpty { draw() }
        }
        return .endOfInput
    }

    // MARK: Keys

    func nextKey() -> Key? {
        while true {
            if let key = pastedKeys.popFirst() { return key }
            while let byte = typedAhead.popFirst() {
                guard let key = decoder.feed(byte) else { continue }
                guard case .pasted(let text) = key else { return key }
                pastedKeys = LineEditor.keys(ofPasted: text)[...]
                break
            }
            if !pastedKeys.isEmpty { continue }
            // A sequence's bytes arrive together; an escape that stays alone this long is the key.
            if decoder.isAmbiguous, !terminal.waitForInput(milliseconds: 50), let key = decoder.flush() { return key }
            guard let bytes = terminal.read() else { return nil }
            typedAhead = bytes[...]
        }
    }

    /// A pasted line end is Enter, so that pasted lines are as many commands and never become one.
    private static func keys(ofPasted text: String) -> [Key] {
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        return lines.indices.flatMap { index -> [Key] in
            let line = lines[index].isEmpty ? [] : [Key.pasted(String(lines[index]))]
            return index == lines.indices.last ? line : line + [.enter]
        }
    }

    /// Forgets the keys that were typed or pasted ahead.
    package func dropTypedAhead() {
        pastedKeys = []
        typedAhead = []
    }

    private func handle(_ key: Key) -> Action {
        if let action = handleCompletion(key) { return action }
        switch key {
        case .enter: return .finish(.line(buffer.text))
        case .control("C"): return .finish(.interrupted)
        case .control("D"):
            if buffer.isEmpty { return .finish(.endOfInput) }
            buffer.deleteForward()
        case .text(let text): if !buffer.insert(text) { bell() }
        case .pasted(let text):
            if !buffer.insert(text) {
                // The Enter behind it would execute something that nobody wrote.
                pastedKeys = []
                bell()
            }
        case .up, .control("P"): recall(historyIndex - 1)
        case .down, .control("N"): recall(historyIndex + 1)
        case .control("R"): return searchBackward()
        case .control("L"):
            terminal.write("\u{1B}[H\u{1B}[2J")
            drawnCursorRow = 0
        case .control("Z"):
            leaveLine(.interrupted)
            terminal.suspend()
        default: edit(key)
        }
        return .proceed
    }

    private func edit(_ key: Key) {
        switch key {
        case .left, .control("B"): buffer.moveLeft()
        case .right, .control("F"): buffer.moveRight()
        case .home, .control("A"): buffer.moveToStart()
        case .end, .control("E"): buffer.moveToEnd()
        case .wordLeft: buffer.moveWordLeft()
        case .wordRight: buffer.moveWordRight()
        case .backspace: buffer.deleteBackward()
        case .delete: buffer.deleteForward()
        case .control("K"): buffer.cutToEnd()
        case .control("U"): buffer.cutToStart()
        case .control("W"): buffer.cutArgumentLeft()
        case .cutWordLeft: buffer.cutWordLeft()
        case .cutWordRight: buffer.cutWordRight()
        case .control("T"): buffer.transpose()
        case .control("Y"): if !buffer.paste() { bell() }
        default: break
        }
    }

    func bell() {
        terminal.write("\u{7}")
    }

    // MARK: History

    /// Shows a line of the history; behind its last stands the line that was being typed.
    private func recall(_ index: Int) {
        guard index >= 0, index <= history.lines.count, index != historyIndex else { return bell() }
        if historyIndex >= history.lines.count { unfinishedLine = buffer.text }
        historyIndex = index
        buffer.replace(index < history.lines.count ? history.lines[index] : unfinishedLine)
    }

    private func searchBackward() -> Action {
        var search = HistorySearch(lines: history.lines)
        while true {
            drawSearch(search)
            guard let key = nextKey() else { return .finish(.endOfInput) }
            // A paste is searched for up to its first line end: an Enter out of it must not execute what was found.
            if case .pasted = key { pastedKeys = [] }
            switch search.handle(key) {
            case .searching: continue
            case .cancelled: return .proceed
            case .accepted(let line):
                if let line { buffer.replace(line) }
                return key == .enter ? .finish(.line(buffer.text)) : handle(key)
            }
        }
    }

    // MARK: Completion

    /// Tab goes through the candidates and back to what was typed; any other key takes what is shown.
    private func handleCompletion(_ key: Key) -> Action? {
        guard key == .tab || key == .backTab || completion != nil else { return nil }
        switch key {
        case .tab, .backTab:
            if completion == nil, !startCompletion() {
                bell()
                return .proceed
            }
            advanceCompletion(by: key == .tab ? 1 : -1)
            return .proceed
        case .escape:
            if let completion { buffer.replace(completion.original) }
            completion = nil
            return .proceed
        default:
            completion = nil
            return nil
        }
    }

    private func startCompletion() -> Bool {
        guard buffer.isAtEnd else { return false }
        let candidates = completions(buffer.text)
        guard !candidates.isEmpty else { return false }
        completion = Completion(original: buffer.text, candidates: candidates, index: candidates.count)
        return true
    }

    private func advanceCompletion(by step: Int) {
        guard var current = completion else { return }
        let placeCount = current.candidates.count + 1
        current.index = (current.index + step + placeCount) % placeCount
        let isOriginal = current.index == current.candidates.count
        if isOriginal { bell() }
        buffer.replace(isOriginal ? current.original : current.candidates[current.index])
        // A single candidate is taken at once, so that the next Tab completes the next word.
        completion = current.candidates.count == 1 ? nil : current
    }

    // MARK: Drawing

    private func draw(hasHint: Bool = true) {
        let hintText = hasHint && buffer.isAtEnd && !buffer.isEmpty ? hint(buffer.text) ?? "" : ""
        draw(prompt: prompt, buffer: buffer, hint: hintText)
    }

    private func drawSearch(_ search: HistorySearch) {
        draw(prompt: search.prompt, buffer: LineBuffer(search.match ?? ""), hint: "")
    }

    private func draw(prompt: String, buffer: LineBuffer, hint: String) {
        let size = terminal.windowSize
        if drawnColumnCount != 0, drawnColumnCount != size.columnCount {
            // The terminal has wrapped the old drawing anew: find where that put the cursor.
            drawnCursorRow = layout(drawnLine.prompt, drawnLine.buffer, size).cursorRow
        }
        let layout = layout(prompt, buffer, size)
        terminal.write(layout.drawing(over: drawnCursorRow, hint: hint))
        drawnCursorRow = layout.cursorRow
        drawnColumnCount = size.columnCount
        drawnLine = (prompt, buffer)
    }

    private func layout(
        _ prompt: String, _ buffer: LineBuffer, _ size: (columnCount: Int, rowCount: Int)
    ) -> LineLayout {
        LineLayout(
            prompt: prompt, characters: buffer.characters, cursor: buffer.cursor, columnCount: size.columnCount,
            rowCount: size.rowCount)
    }

    /// Draws the line a last time without its hint and goes below it.
    private func leaveLine(_ outcome: Outcome) {
        buffer.moveToEnd()
        draw(hasHint: false)
        terminal.write(outcome == .interrupted ? "^C\r\n" : "\r\n")
        drawnCursorRow = 0
    }
}
