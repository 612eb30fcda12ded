// The directives about what is measured and where it can be read, in the form of DirectiveTable.swift.

import KedisUtilities

let observabilityDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "slowlog-log-slower-than", .integer(-1...Int64.max), default: "10000", .atRunTime,
        "Microseconds from which on a command is entered into the slow log; 0 for all, -1 for none."
    ),
    DirectiveSpec(
        "slowlog-max-len", .integer(0...Int64.max), default: "128", .atRunTime,
        "The most entries of the slow log; the oldest go."
    ),
    DirectiveSpec(
        "latency-monitor-threshold", .integer(0...Int64.max), default: "0", .atRunTime,
        "Milliseconds from which on LATENCY records what held the server up; 0 for never."
    ),
    DirectiveSpec(
        "latency-tracking", .boolean, default: "yes", .atRunTime,
        "Whether each command has a histogram of its durations."
    ),
    DirectiveSpec(
        "latency-tracking-info-percentiles", .percentiles, default: "50 99 99.9", .atRunTime,
        "The percentiles that INFO latencystats shows."
    ),
    DirectiveSpec(
        "latency-stages", .boolean, default: "yes", .atRunTime,
        "Whether the stages of requests are sampled: waiting, locks, execution, writing. Not in Redis."
    ),
    DirectiveSpec(
        "hotkeys-top-k", .integer(0...1000), default: "16", .atRunTime,
        "The most keys that HOTKEYS GET names; 0 for none. As in Valkey, where it is 0 at first."
    ),
    DirectiveSpec(
        "hotkeys-sampling-percentage", .integer(1...100), default: "1", .atRunTime,
        """
        How many of 100 accesses to keys are looked at, for hot and for big keys, rounded to one in a whole number. As \
        in Valkey.
        """
    ),
    DirectiveSpec(
        "hotkeys-window-seconds", .integer(1...300), default: "10", .atRunTime,
        "The length of the windows of time that HOTKEYS GET reports. As in Valkey, where it is 1 at first."
    ),
    DirectiveSpec(
        "bigkeys-top-k", .integer(0...64), default: "32", .atRunTime,
        "The most keys that BIGKEYS GET names; 0 turns the search for big keys off. Not in Redis."
    ),
    DirectiveSpec(
        "metrics-port", .integer(0...65535), default: "0", .atStart,
        "The TCP port of an HTTP server with /metrics (Prometheus) and /healthz; 0 for none. Not in Redis."
    ),
    DirectiveSpec(
        "metrics-bind", .list, default: "127.0.0.1", .atStart,
        "The addresses that the HTTP server of metrics-port listens on. Not in Redis."
    ),
]

extension DirectiveSpec {
    /// Percentages between blanks, as `50 99 99.9`.
    func normalisePercentiles(_ text: String) throws(DirectiveReason) -> String {
        var result: [String] = []
        for word in words(of: text) {
            guard let number = word.withBytes(parseDouble) else {
                throw DirectiveReason(text: "Invalid \(name) parameters")
            }
            guard number >= 0, number <= 100 else {
                throw DirectiveReason(text: "\(name) parameters should sit between [0.0,100.0]")
            }
            result.append(shortest(number))
        }
        return result.joined(separator: " ")
    }
}

/// With as many of six places as are needed.
private func shortest(_ number: Double) -> String {
    var text = formatFixed(number, 6)
    while text.last == "0" { text.removeLast() }
    if text.last == "." { text.removeLast() }
    return text
}

extension Configuration {
    /// `latency-tracking-info-percentiles`: each as it was written, and as a number.
    var latencyPercentiles: [(text: String, value: Double)] {
        words(of: text("latency-tracking-info-percentiles")).map { ($0, $0.withBytes(parseDouble) ?? 0) }
    }
}
