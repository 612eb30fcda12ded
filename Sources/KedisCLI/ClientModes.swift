// The modes of `kedis cli` that do something else than executing commands: one at a time.

import ArgumentParser
import KedisProtocol
import KedisShell

struct ClientModes: ParsableArguments {
    @Flag(help: "List the keys, by SCAN.")
    var scan = false

    @Option(help: "Only keys that match, for --scan and --bigkeys.")
    var pattern: String?

    @Option(name: .customLong("quoted-pattern"), help: "The same in quotes, as in the shell: '\"\\x00*\"'.")
    var quotedPattern: String?

    @Option(help: "The COUNT of SCAN.")
    var count: Int?

    @Option(help: "Only keys of this type, for --scan and --bigkeys.")
    var type: String?

    @Flag(help: "Tell the biggest key of each type, by SCAN; BIGKEYS GET does it without.")
    var bigkeys = false

    @Flag(name: .customLong("stat"), help: "Print figures of the server every second, or as -i says.")
    var isWatching = false

    @Flag(help: "Measure round trips; for a second or as -i says where the output is no terminal.")
    var latency = false

    @Flag(name: .customLong("pipe"), help: "Send requests of the protocol from standard input, count the replies.")
    var isPipe = false

    @Option(
        name: .customLong("pipe-timeout"), help: "Seconds that --pipe waits for a reply; 0 for ever.")
    var pipeSecondsMax = 30

    @Option(name: .customLong("eval"), help: "Refused: there is no scripting.")
    var script: String?

    var isAny: Bool { chosenCount > 0 }

    private var chosenCount: Int { [scan, bigkeys, isWatching, latency, isPipe].filter { $0 }.count }

    func validate() throws {
        if script != nil { throw ValidationError("--eval needs scripting, which Kedis does not have yet.") }
        if chosenCount > 1 { throw ValidationError("--scan, --bigkeys, --stat, --latency, --pipe: one at a time.") }
        if pattern != nil, quotedPattern != nil { throw ValidationError("One pattern is enough.") }
        if let quotedPattern, patternBytes == nil { throw ValidationError("Invalid quoted string: \(quotedPattern)") }
        if pipeSecondsMax < 0 { throw ValidationError("The time that --pipe waits cannot be negative.") }
        if let count, count < 1 { throw ValidationError("The count must be positive.") }
        let hasFilter = pattern != nil || quotedPattern != nil || count != nil || type != nil
        if hasFilter, !scan, !bigkeys { throw ValidationError("--pattern, --count and --type go with --scan.") }
    }

    private var patternBytes: [UInt8]? {
        if let pattern { return Array(pattern.utf8) }
        guard let quotedPattern, let words = splitArguments(Array(quotedPattern.utf8)), words.count == 1 else {
            return nil
        }
        return words[0]
    }

    /// Runs the mode that was chosen; returns the exit code. `plainLatency` is nil for a terminal.
    func run(
        _ client: WireClient, pauseSeconds: Double, plainLatency: ServerWatch.LatencyForm?, isQuoted: Bool
    ) throws(WireError) -> Int32 {
        var options = KeyspaceWalk.Options()
        options.pattern = patternBytes
        options.count = count
        options.type = type
        options.pauseSeconds = pauseSeconds
        let seconds = pauseSeconds > 0 ? pauseSeconds : 1
        if scan { try KeyspaceWalk(client, options).list(isQuoted: isQuoted) }
        if bigkeys { try KeyspaceWalk(client, options).reportBigKeys() }
        if isWatching { try ServerWatch(client).printStatistics(intervalSeconds: seconds) }
        if latency { try ServerWatch(client).measureLatency(plainLatency ?? .live, seconds: seconds) }
        return isPipe ? try insert(client) : 0
    }

    private func insert(_ client: WireClient) throws(WireError) -> Int32 {
        client.silenceSecondsMax = pipeSecondsMax > 0 ? min(pipeSecondsMax, 1_000_000_000) : nil
        var insertion = MassInsertion(client)
        // As redis-cli prints them, for scripts that collect them.
        do throws(WireError) {
            try insertion.run(from: 0) { complain($0, as: "") }
            print("All data transferred. Waiting for the last reply...\nLast reply received from server.")
        } catch {
            guard error.isSilence else { throw error }
            complain(error.message, as: "")
            insertion.noteSilence()
        }
        print("errors: \(insertion.errorCount), replies: \(insertion.replyCount)")
        return insertion.errorCount == 0 ? 0 : 1
    }
}
