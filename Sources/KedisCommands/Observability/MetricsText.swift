// The text of /metrics: families of samples in Prometheus's text format, version 0.0.4.
//
//      # HELP kedis_keys Keys in a database.
//      # TYPE kedis_keys gauge
//      kedis_keys{database="0"} 1000000
//
// A value that grows. Written here and not by a library: the format is these three kinds of lines, and what would keep
// the figures (counters that are summed up when somebody reads them) is there already.

/// What Prometheus is told of a family.
enum MetricKind: String {
    case counter
    case gauge
    case histogram
}

struct MetricsText {
    private(set) var bytes: [UInt8] = []
    private var family = ""

    /// Begins a family; its samples follow. Units are in the name: `_seconds`, `_bytes`, `_total`.
    mutating func begin(_ name: String, _ kind: MetricKind, _ help: String) {
        family = "kedis_\(name)"
        line("# HELP \(family) \(help)")
        line("# TYPE \(family) \(kind.rawValue)")
    }

    /// A family of one sample.
    mutating func add(_ name: String, _ kind: MetricKind, _ help: String, _ value: some MetricValue) {
        begin(name, kind, help)
        sample(value: value)
    }

    /// A sample of the family that was begun.
    mutating func sample(
        suffix: String = "", _ labels: [(name: String, value: String)] = [], value: some MetricValue
    ) {
        let list = labels.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",")
        line("\(family)\(suffix)\(list.isEmpty ? "" : "{\(list)}") \(value.metricText)")
    }

    /// A histogram: how many of `count` were not longer than 1.024 µs and its doublings, as `distribution` tells, and
    /// their sum. Without a distribution only count and sum.
    mutating func histogram(
        _ label: (name: String, value: String), _ distribution: LatencyDistribution, count: UInt64, nanoseconds: UInt64
    ) {
        if distribution.count > 0 {
            let counts = distribution.countsOfDoublings(scaledTo: count)
            for (bound, count) in zip(LatencyDistribution.doublingNanoseconds, counts) {
                sample(suffix: "_bucket", [label, ("le", formatSeconds(bound))], value: count)
            }
        }
        sample(suffix: "_bucket", [label, ("le", "+Inf")], value: count)
        sample(suffix: "_sum", [label], value: MetricSeconds(nanoseconds: nanoseconds))
        sample(suffix: "_count", [label], value: count)
    }

    private mutating func line(_ text: String) {
        bytes.append(contentsOf: text.utf8)
        bytes.append(0x0A)
    }

    /// Backslashes, quotes and line feeds as escapes.
    private static func escaped(_ text: String) -> String {
        text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            default: result.unicodeScalars.append(scalar)
            }
        }
    }
}

/// What can stand behind a sample.
protocol MetricValue {
    var metricText: String { get }
}

extension Int: MetricValue {
    var metricText: String { String(self) }
}

extension Int64: MetricValue {
    var metricText: String { String(self) }
}

extension UInt64: MetricValue {
    var metricText: String { String(self) }
}

extension Bool: MetricValue {
    var metricText: String { self ? "1" : "0" }
}

/// A time, in seconds.
struct MetricSeconds: MetricValue {
    var nanoseconds: UInt64

    var metricText: String { formatSeconds(nanoseconds) }
}

/// Exact: `0.000001024`.
private func formatSeconds(_ nanoseconds: UInt64) -> String {
    let fraction = String(nanoseconds % 1_000_000_000)
    return "\(nanoseconds / 1_000_000_000)." + String(repeating: "0", count: 9 - fraction.utf8.count) + fraction
}
