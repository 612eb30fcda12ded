// LATENCY DOCTOR: what takes long, in sentences that say what helps.
//
// Three parts: the events of the latency monitor, the stages of requests, the commands that take the most time. Each is
// a list of findings; advice is given once, however many findings ask for it.

import KedisStore
import KedisUtilities
import Synchronization

enum LatencyDoctor {
    static func advice(_ engine: Engine, nowSeconds: Int64) -> String {
        let latency = engine.observability.latency
        let series = latency.all
        var text = ""
        if !latency.isOn {
            text += """
                Events are not recorded: latency-monitor-threshold is 0. CONFIG SET latency-monitor-threshold 100 \
                records what holds the server up for 100 ms and more.

                """
        } else if series.isEmpty {
            text += "No event took as long as latency-monitor-threshold says. Nothing to worry about so far.\n"
        }
        if !series.isEmpty { text += section("Events", series.map { describe($0, nowSeconds: nowSeconds) }) }
        text += section("Stages of requests, sampled", stages(engine))
        text += section("Commands that take the most time", commands(engine))
        text += section("What may help", advices(for: series, engine))
        return text
    }

    private static func section(_ heading: String, _ lines: [String]) -> String {
        lines.isEmpty ? "" : "\n\(heading):\n\n" + lines.map { " * \($0)\n" }.joined()
    }

    // MARK: Events

    private static func describe(_ series: LatencyMonitor.Series, nowSeconds: Int64) -> String {
        let values = series.samples.map { Double($0.milliseconds) }
        let mean = values.reduce(0, +) / Double(max(1, values.count))
        let deviation = values.reduce(0) { $0 + abs($1 - mean) } / Double(max(1, values.count))
        let span = max(1, nowSeconds - (series.samples.first?.seconds ?? nowSeconds))
        let period = Double(span) / Double(max(1, values.count))
        return """
            \(series.event.rawValue): \(values.count) samples, one in \(formatFixed(period, 1)) s, on average \
            \(formatFixed(mean, 0)) ms (mean deviation \(formatFixed(deviation, 0)) ms), the longest ever \
            \(series.longestMilliseconds) ms
            """
    }

    // MARK: Stages

    private static func stages(_ engine: Engine) -> [String] {
        let stages = engine.observability.stages
        return RequestStage.allCases.compactMap { stage in
            let durations = stages.durations(stage)
            guard durations.count > 0 else { return nil }
            return "\(stage.name): " + percentiles(durations)
        }
    }

    private static func percentiles(_ durations: LatencyDistribution) -> String {
        [50.0, 99, 99.9].map { percentile in
            let time = microseconds(durations.nanoseconds(atPercentile: percentile))
            return "p\(percentile == 99.9 ? "99.9" : String(Int(percentile))) \(time) us"
        }.joined(separator: ", ")
    }

    private static func microseconds(_ nanoseconds: UInt64) -> String { formatFixed(Double(nanoseconds) / 1000, 1) }

    /// The stage whose 99th percentile is the longest, if that is long at all.
    private static func longestStage(_ engine: Engine) -> RequestStage? {
        let times = RequestStage.allCases.map { stage in
            (stage, engine.observability.stages.durations(stage).nanoseconds(atPercentile: 99))
        }
        guard let longest = times.max(by: { $0.1 < $1.1 }), longest.1 >= notableStageNanoseconds else { return nil }
        return longest.0
    }

    private static let notableStageNanoseconds: UInt64 = 1_000_000

    // MARK: Commands

    private static let commandCountMax = 5

    private static func commands(_ engine: Engine) -> [String] {
        let all = engine.table.entries.map { ($0, engine.commandStatistics[$0.pointee.identifier]) }
        let total = all.reduce(0.0) { $0 + Double($1.1.nanoseconds) }
        guard total > 0 else { return [] }
        let first = all.filter { $0.1.calls > 0 }.sorted { $0.1.nanoseconds > $1.1.nanoseconds }.prefix(commandCountMax)
        return first.map { entry, counts in
            let share = formatFixed(100 * Double(counts.nanoseconds) / total, 1)
            let each = microseconds(counts.nanoseconds / counts.calls)
            let durations = engine.commandStatistics.durations(entry.pointee.identifier)
            let spread = durations.count > 0 ? ", " + percentiles(durations) : ""
            let name = entry.pointee.fullName.text
            return "\(name): \(share) % of the time, \(counts.calls) calls of \(each) us\(spread)"
        }
    }

    // MARK: Advice

    private static func advices(for series: [LatencyMonitor.Series], _ engine: Engine) -> [String] {
        var result: [String] = []
        func add(_ advice: String?) {
            if let advice, !result.contains(advice) { result.append(advice) }
        }
        for one in series { add(advice(for: one.event)) }
        if series.contains(where: { $0.event == .command || $0.event == .fastCommand }) { add(slowLogAdvice(engine)) }
        add(longestStage(engine).map(advice(for:)))
        return result
    }

    private static func advice(for event: LatencyEvent) -> String? {
        switch event {
        case .command:
            "SLOWLOG GET names the slow commands. Those over many elements can be cut into pieces: SCAN and its "
                + "relatives instead of KEYS and whole collections. BIGKEYS GET names the largest keys."
        case .fastCommand:
            "Commands that should be fast were not: the machine may be short of processors or memory (steal time, "
                + "swapping), or their arguments and values are very long. BIGKEYS GET names the largest keys."
        case .commandUnblocking:
            "Serving clients that wait in blocking commands took long: look at what they move (BLMOVE, XREADGROUP)."
        case .expireCycle:
            "Very many keys expire at the same moment. A random part in their deadlines spreads them."
        case .evictionCycle:
            "Keys are evicted while commands wait: maxmemory is too small for what is written, or "
                + "maxmemory-eviction-tenacity too high."
        case .activeDefragCycle:
            "Giving back memory took a slice that was too long: the machine may be short of memory (swapping)."
        case .lockWait:
            "Batches waited for keys that another thread held. HOTKEYS GET names the hottest keys; commands on the "
                + "whole keyspace (FLUSHALL, SAVE, DEBUG) hold all of them; large keys hold theirs for long."
        case .eventLoop:
            "Event loops came late: more is asked of them than they can do, or they had no processor. More threads "
                + "help where there are more cores; shorter pipelines and smaller replies spread the work."
        }
    }

    private static func slowLogAdvice(_ engine: Engine) -> String? {
        let observability = engine.observability
        let threshold = observability.latency.nanosecondsMin.load(ordering: .relaxed)
        let slow = observability.slowLog.nanosecondsMin.load(ordering: .relaxed)
        if slow == .max {
            return "The slow log is off: CONFIG SET slowlog-log-slower-than \(threshold / 1000) shows which commands."
        }
        guard slow > threshold else { return nil }
        return "The slow log starts above what is recorded here: CONFIG SET slowlog-log-slower-than "
            + "\(threshold / 1000) shows which commands."
    }

    private static func advice(for stage: RequestStage) -> String {
        switch stage {
        case .waiting:
            "Requests wait most for their turn: for other connections of their event loop and for what stands before "
                + "them in their pipeline. More threads, or shorter pipelines of the clients that send the most."
        case .lock:
            "Requests wait most for locks: several threads want the same stripes. HOTKEYS GET names the hottest keys."
        case .execution: "Requests take most of their time in commands: see SLOWLOG GET and the commands above."
        case .write:
            "Requests wait most for the system to take their replies: they are long, or the network is. CLIENT LIST "
                + "shows who does not read (obl)."
        }
    }
}
