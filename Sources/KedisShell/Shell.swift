// The shell: reads commands from a person, a pipe or the command line, has a backend execute them, shows the replies.
//
// Owns the editor and the state that the prompt shows; the backend owns the engine or connection. One thread. Ctrl-C
// while a command runs ends its repetition or its waiting, not the shell: the store may hold unsaved data. Commands
// go to the backend as typed: the shell itself knows only `help`, `clear`, `exit`, `quit` and a repetition count.

import KedisProtocol

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

package final class Shell {
    package struct Options: Sendable {
        package enum Format: Sendable { case automatic, formatted, raw, json, csv }

        package var input: Int32 = 0
        package var output: Int32 = 1
        package var format = Format.automatic
        /// The file of the history; nil keeps it in memory.
        package var historyPath: String?
        /// The database that is selected at the start.
        package var database = 0
        /// What an interactive shell says first. Empty: nothing.
        package var greeting = ""

        package init(historyPath: String? = History.defaultPath()) {
            self.historyPath = historyPath
        }
    }

    /// What a line led to.
    enum Status {
        case succeeded, failed
        /// The input said so.
        case leave
        /// The backend is gone.
        case abandon
    }

    private var backend: ShellBackend
    let options: Options
    private let terminal: Terminal
    private var database: Int
    private var isInTransaction = false
    private var isInteractive = false
    /// Output that is not yet written; a pipe gets it in large pieces.
    private var pendingOutput: [UInt8] = []
    private var isOutputGone = false
    /// True if the last EXPLAIN was of a command that would not run.
    private var hasRefusedExplanation = false

    package init(backend: ShellBackend, options: Options = Options()) {
        self.backend = backend
        self.options = options
        terminal = Terminal(input: options.input, output: options.output)
        database = options.database
    }

    private var isRaw: Bool {
        switch options.format {
        case .automatic: isatty(options.output) == 0
        case .formatted: false
        case .raw, .json, .csv: true
        }
    }

    var prompt: String {
        backend.name() + (database == 0 ? "" : "[\(database)]") + (isInTransaction ? "(TX)" : "") + "> "
    }

    // MARK: The three ways to run

    /// Runs until the person leaves. Without an editable terminal, commands are read line by line.
    /// - Returns: the exit status of the process.
    package func runInteractive() -> Int32 {
        guard isatty(options.input) == 1 else { return runPiped() }
        isInteractive = true
        defer { isInteractive = false }
        if !options.greeting.isEmpty { show(fitted(options.greeting + "\n")) }
        return Interruption.whileArmed { terminal.isEditable ? runEditor() : runPlainTerminal() }
    }

    private func runEditor() -> Int32 {
        let editor = LineEditor(terminal: terminal, history: History(path: options.historyPath))
        editor.completions = { [unowned self] in backend.catalog?.completions(for: $0) ?? [] }
        editor.hint = { [unowned self] in backend.catalog?.hint(for: $0) }
        while !isOutputGone {
            switch editor.readLine(prompt: prompt) {
            case .endOfInput: return 0
            case .interrupted: continue
            case .line(let line):
                editor.history.add(line)
                if let status = exitStatus(perform(line: Array(line.utf8))) { return status }
                if Interruption.isRequested { editor.dropTypedAhead() }
            }
        }
        return 0
    }

    /// Runs the commands of the input, one a line.
    /// - Returns: 0, or 1 if a command failed.
    package func runPiped() -> Int32 {
        var reader = LineReader(descriptor: options.input)
        var status: Int32 = 0
        while !isOutputGone {
            if !reader.hasLine { flush() }
            switch reader.next() {
            case .end: flush(); return isOutputGone ? 1 : status
            case .tooLong: show("Line too long\n"); flush(); return 1
            case .line(let line):
                let result = perform(line: line)
                if result == .failed || result == .abandon { status = 1 }
                if exitStatus(result) != nil {
                    flush()
                    return status
                }
            }
        }
        return 1
    }

    /// Runs one command.
    /// - Returns: 0, or 1 if it failed.
    package func runOnce(_ arguments: [[UInt8]]) -> Int32 {
        guard let first = arguments.first else { return 0 }
        let name = Shell.word(first)
        let status = (name == "HELP" ? performBuiltIn(name, arguments) : nil) ?? execute(arguments)
        flush()
        if hasRefusedExplanation { return 1 }
        return status == .failed || status == .abandon || isOutputGone ? 1 : 0
    }

    /// The exit status of a shell that leaves now; nil if it goes on.
    private func exitStatus(_ status: Status) -> Int32? {
        switch status {
        case .succeeded, .failed: nil
        case .leave: 0
        case .abandon: 1
        }
    }

    /// A terminal that cannot move its cursor: prompts, but no editing.
    private func runPlainTerminal() -> Int32 {
        var reader = LineReader(descriptor: options.input)
        while !isOutputGone {
            show(prompt)
            flush()
            guard case .line(let line) = reader.next() else { break }
            if let status = exitStatus(perform(line: line)) { return status }
        }
        return 0
    }

    // MARK: One line

    private func perform(line: [UInt8]) -> Status {
        Interruption.reset()
        guard let arguments = splitArguments(line) else {
            show("Invalid argument(s)\n")
            finishReply()
            return .failed
        }
        guard let first = arguments.first else { return .succeeded }
        let status = performBuiltIn(Shell.word(first), arguments) ?? performRepeated(arguments)
        finishReply()
        return status
    }

    private func performBuiltIn(_ name: String, _ arguments: [[UInt8]]) -> Status? {
        let words = arguments.dropFirst().map { String(decoding: $0, as: UTF8.self) }
        switch name {
        case "HELP", "?":
            if backend.catalog == nil { backend.loadCatalog() }
            let help = backend.catalog?.help(words)
            show(fitted(help ?? "There is no help, as the server does not describe its commands.\n"))
            return backend.catalog?.isHelpTopic(words) == true ? .succeeded : .failed
        case "CLEAR" where words.isEmpty && isInteractive:
            show("\u{1B}[H\u{1B}[2J")
            return .succeeded
        case "EXIT" where words.isEmpty: return .leave
        case "QUIT" where words.isEmpty:
            _ = backend.execute(arguments)
            return .leave
        default: return nil
        }
    }

    /// `5 INCR n` runs the command five times.
    private func performRepeated(_ arguments: [[UInt8]]) -> Status {
        guard arguments.count > 1, let count = Int(String(decoding: arguments[0], as: UTF8.self)) else {
            return execute(arguments)
        }
        guard count > 0 else {
            show("A repetition count must be positive.\n")
            return .failed
        }
        var status = Status.succeeded
        for number in 1...count {
            let result = execute(Array(arguments.dropFirst()))
            finishReply()
            if exitStatus(result) != nil || isOutputGone { return result }
            if result == .failed { status = .failed }
            if isInteractive, Interruption.isRequested, number < count {
                show("\n(stopped after \(number) of \(count))\n")
                return status
            }
        }
        return status
    }

    /// Executes a command and shows its reply.
    private func execute(_ arguments: [[UInt8]]) -> Status {
        let start = ContinuousClock.now
        switch backend.execute(arguments) {
        case .failure(let failure):
            isInTransaction = false
            if !failure.message.isEmpty { show("Error: \(failure.message)\n") }
            if failure.endsSession { return failure.message.isEmpty ? .leave : .abandon }
            return failure.message.isEmpty ? .succeeded : .failed
        case .success(let reply):
            follow(arguments, reply)
            hasRefusedExplanation = Shell.word(arguments[0]) == "EXPLAIN" && isRefusedExplanation(reply)
            show(text(of: reply, for: arguments))
            showDuration(since: start)
            if !reply.isError { showStream(after: arguments) }
            return reply.isError ? .failed : .succeeded
        }
    }

    private func text(of reply: Reply, for arguments: [[UInt8]]) -> [UInt8] {
        if let report = ReplyFormatter.report(reply, of: arguments) { return report }
        if options.format == .json { return ReplyFormatter.json(reply) }
        if options.format == .csv { return ReplyFormatter.csv(reply) }
        // A picture is for a person, also when it goes through a pager or into a file.
        if options.format != .raw, Shell.word(arguments[0]) == "EXPLAIN",
            let picture = renderExplanation(reply, width: terminal.windowSize.columnCount)
        {
            return Array(picture.utf8)
        }
        if isRaw { return ReplyFormatter.raw(reply) }
        return ReplyFormatter.formatted(reply)
    }

    /// A command that a person had to wait for says how long it took.
    private func showDuration(since start: ContinuousClock.Instant) {
        let duration = ContinuousClock.now - start
        guard isInteractive, duration >= .milliseconds(500) else { return }
        let (seconds, attoseconds) = duration.components
        let hundredths = seconds * 100 + attoseconds / 10_000_000_000_000_000
        let fraction = hundredths % 100
        show("(\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)s)\n")
    }

    /// Shows what a server sends by itself, until the connection ends or Ctrl-C closes it.
    private func showStream(after arguments: [[UInt8]]) {
        let streams = ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR"]
        let isStream = !isInTransaction && streams.contains(Shell.word(arguments[0]))
        guard isStream, let receive = backend.receive else { return }
        if isInteractive { show("Reading messages... (press Ctrl-C to stop)\n") }
        flush()
        while !isOutputGone {
            switch receive() {
            case .success(let reply): show(isRaw ? ReplyFormatter.raw(reply) : ReplyFormatter.formatted(reply))
            case .failure(let failure): show("Error: \(failure.message)\n"); return
            }
            flush()
        }
    }

    /// Keeps what the prompt shows.
    private func follow(_ arguments: [[UInt8]], _ reply: Reply) {
        switch Shell.word(arguments[0]) {
        case "EXEC", "DISCARD": if reply.isFinal { isInTransaction = false }
        case _ where reply.isError: break
        case "MULTI": isInTransaction = true
        case "SELECT" where reply == .simple(Array("OK".utf8)):
            database = Int(String(decoding: arguments.last ?? [], as: UTF8.self)) ?? database
        case "RESET": database = 0; isInTransaction = false
        default: break
        }
    }

    static func word(_ argument: [UInt8]) -> String {
        String(decoding: argument.prefix(16), as: UTF8.self).uppercased()
    }

    // MARK: Output

    /// The text broken to the window; as it is where there is none.
    private func fitted(_ text: String) -> String {
        isatty(options.output) == 1 ? wrappedText(text, width: terminal.windowSize.columnCount) : text
    }

    private func show(_ text: String) { show(Array(text.utf8)) }

    private func show(_ bytes: [UInt8]) {
        pendingOutput += bytes
        if pendingOutput.count >= 1 << 16 { flush() }
    }

    /// A person sees each reply at once; a pipe gets it when the input pauses.
    private func finishReply() {
        if isInteractive { flush() }
    }

    private func flush() {
        if !pendingOutput.isEmpty, !writeBytes(pendingOutput, to: options.output) { isOutputGone = true }
        pendingOutput.removeAll(keepingCapacity: true)
    }
}

extension Reply {
    /// True unless EXEC or DISCARD was refused for its arguments, which leaves the transaction open.
    fileprivate var isFinal: Bool {
        guard case .error(let text) = self else { return true }
        return !String(decoding: text, as: UTF8.self).contains("wrong number of arguments")
    }
}
