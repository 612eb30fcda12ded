// LATENCY: what held the server up, and how long commands take.

import KedisProtocol
import KedisStore
import KedisUtilities

enum LatencyCommand {
    static let spec = CommandSpec(
        "LATENCY", summary: "Groups the commands about latency.", since: "2.8.13", group: .server,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            reading(
                "DOCTOR", "Says in sentences what takes long, and what helps.", arity: 2, .verbatim("advice"),
                differences: ["The sentences are our own; they look at stages of requests and histograms, too."],
                doctor),
            reading(
                "GRAPH", "Draws the samples of an event.", arity: 3, arguments: [ArgumentSpec("event", .string)],
                .verbatim("a graph of characters"), graph),
            .help(since: "2.8.13", group: .server),
            histogramSpec,
            reading(
                "HISTORY", "Returns the samples of an event.", arity: 3, arguments: [ArgumentSpec("event", .string)],
                .array("time in seconds and milliseconds of each sample, oldest first"), history),
            reading(
                "LATEST", "Returns the newest sample of each event.", arity: 2,
                .array("for each event its name, when it was, its newest and its longest time in ms"), latest),
            CommandSpec(
                "RESET", summary: "Forgets samples.", since: "2.8.13", group: .server, arity: -2, flags: flags,
                locks: .none, tips: ["request_policy:all_nodes", "response_policy:all_succeeded"],
                arguments: [ArgumentSpec("event", .string, isOptional: true, isMultiple: true)],
                replies: [.integer("how many events were forgotten")], handler: reset
            ),
        ]
    )

    private static let flags: CommandFlags = [.admin, .noScript, .loading, .stale]

    private static func reading(
        _ name: String, _ summary: String, arity: Int, since: String = "2.8.13", complexity: String = "O(1)",
        arguments: [ArgumentSpec] = [], _ reply: ReplySpec, differences: [String] = [],
        _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: since, group: .server, complexity: complexity, arity: arity, flags: flags,
            locks: .none, tips: ["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            arguments: arguments, replies: [reply], differences: differences, handler: handler
        )
    }

    private static let histogramSpec = reading(
        "HISTOGRAM", "Returns how the durations of commands are spread.", arity: -2, since: "7.0.0",
        complexity: "O(N), N being the number of commands that are returned",
        arguments: [ArgumentSpec("command", .string, isOptional: true, isMultiple: true)],
        .map("for each command its calls, and by duration in microseconds how many took no longer"),
        differences: [
            "Of pipelines of more than 4 commands one in 8 is measured and stands for the others; calls are exact."
        ],
        histogram)

    // MARK: Events

    private static func event(_ name: ByteView) -> LatencyEvent? { LatencyEvent(rawValue: name.text) }

    static func latest(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let all = call.engine.observability.latency.all
        reply.array(all.count)
        for series in all {
            reply.array(4)
            reply.bulk(text: series.event.rawValue)
            reply.integer(series.samples.last?.seconds ?? 0)
            reply.integer(series.samples.last?.milliseconds ?? 0)
            reply.integer(series.longestMilliseconds)
        }
    }

    static func history(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let series = event(call.arguments[2]).flatMap { call.engine.observability.latency.series(of: $0) }
        reply.array(series?.samples.count ?? 0)
        for sample in series?.samples ?? [] {
            reply.array(2)
            reply.integer(sample.seconds)
            reply.integer(sample.milliseconds)
        }
    }

    static func graph(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let name = call.arguments[2]
        guard let series = event(name).flatMap({ call.engine.observability.latency.series(of: $0) }) else {
            throw .joined("ERR No samples available for event '", name, "'")
        }
        let text = LatencyGraph.draw(series, nowSeconds: call.nowMilliseconds / 1000)
        text.withUnsafeBytes { reply.verbatim("txt", ByteView($0)) }
    }

    static func reset(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let latency = call.engine.observability.latency
        guard call.arguments.count > 2 else { return reply.integer(latency.forgetAll()) }
        var count = 0
        for index in 2..<call.arguments.count {
            if let event = event(call.arguments[index]), latency.forget(event) { count += 1 }
        }
        reply.integer(count)
    }

    static func doctor(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var text = LatencyDoctor.advice(call.engine, nowSeconds: call.nowMilliseconds / 1000)
        text.withUTF8 { reply.verbatim("txt", ByteView(UnsafeRawBufferPointer($0))) }
    }

    // MARK: Histograms

    static func histogram(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let table = call.engine.table
        let start = reply.count
        var count = 0
        func write(_ entry: UnsafePointer<CommandEntry>) {
            if writeHistogram(entry, call.engine, &reply) { count += 1 }
        }
        if call.arguments.count == 2 {
            for entry in table.entries { write(entry) }
        } else {
            for index in 2..<call.arguments.count {
                guard let entry = table.find(fullName: call.arguments[index]) else { continue }
                write(entry)
                for subcommand in entry.pointee.subcommands { write(subcommand) }
            }
        }
        if reply.version == .resp3 {
            reply.insertMapHeader(at: start, pairCount: count)
        } else {
            reply.insertArrayHeader(at: start, elementCount: 2 * count)
        }
    }

    /// Writes a command and its histogram; false when there is none.
    private static func writeHistogram(
        _ entry: UnsafePointer<CommandEntry>, _ engine: Engine, _ reply: inout ReplyWriter
    ) -> Bool {
        let calls = engine.commandStatistics[entry.pointee.identifier].calls
        guard calls > 0 else { return false }
        let durations = engine.commandStatistics.durations(entry.pointee.identifier)
        guard durations.count > 0 else { return false }
        let bounds = durations.doublings(scaledTo: calls)
        reply.bulk(entry.pointee.fullName)
        reply.map(2)
        reply.bulk("calls")
        reply.integer(Int64(clamping: calls))
        reply.bulk("histogram_usec")
        reply.map(bounds.count)
        for bound in bounds {
            reply.integer(Int64(clamping: bound.microseconds))
            reply.integer(Int64(clamping: bound.count))
        }
        return true
    }
}
