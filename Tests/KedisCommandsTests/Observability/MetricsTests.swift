// Goal: /metrics is text that Prometheus takes: every sample belongs to the family before it, no family comes twice,
// histograms grow to their count. Method: a reader of the format that knows nothing of how it is written.

import KedisProtocol
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisCommands

@Suite("Metrics")
struct MetricsTests {
    private struct Sample {
        var name: String
        var labels: [String: String]
        var value: Double
    }

    /// Reads the text; issues are mistakes in it.
    private func read(_ text: String) -> [Sample] {
        var family = ""
        var seen: Set<String> = []
        var samples: [Sample] = []
        #expect(text.hasSuffix("\n"))
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            let words = line.split(separator: " ", maxSplits: 3).map(String.init)
            if line.hasPrefix("# HELP ") {
                #expect(words.count == 4 && seen.insert(words[2]).inserted, "\(line)")
                family = words[2]
            } else if line.hasPrefix("# TYPE ") {
                #expect(words[2] == family && ["counter", "gauge", "histogram"].contains(words[3]))
            } else if let sample = sample(String(line)) {
                let isOfFamily = ["", "_bucket", "_sum", "_count"].contains { sample.name == family + $0 }
                #expect(isOfFamily, "\(line) is not of \(family)")
                samples.append(sample)
            } else {
                Issue.record("no sample: \(line)")
            }
        }
        return samples
    }

    private func sample(_ line: String) -> Sample? {
        guard let blank = line.lastIndex(of: " "), let value = Double(line[line.index(after: blank)...]) else {
            return nil
        }
        let head = line[..<blank]
        guard let brace = head.firstIndex(of: "{") else { return Sample(name: String(head), labels: [:], value: value) }
        guard head.hasSuffix("\"}") else { return nil }
        var labels: [String: String] = [:]
        for part in head[head.index(after: brace)...].dropLast(2).split(separator: "\",") {
            let pieces = part.split(separator: "=", maxSplits: 1)
            guard pieces.count == 2, pieces[1].hasPrefix("\"") else { return nil }
            labels[String(pieces[0])] = String(pieces[1].dropFirst())
        }
        return Sample(name: String(head[..<brace]), labels: labels, value: value)
    }

    private func text(_ engine: Engine) -> String { String(decoding: metricsText(engine), as: UTF8.self) }

    @Test("The text is well formed, of a new engine and of one that has worked")
    func format() throws {
        let engine = Engine.forTest()
        #expect(read(text(engine)).count > 20)
        let session = TestSession(engine)
        _ = try session.call("SET", "a", "1", "EX", "100")
        _ = try session.call("GET", "a")
        _ = try session.call("GET")
        _ = try session.call("LPUSH", "a", "1")
        _ = try session.call("CONFIG", "SET", "latency-monitor-threshold", "1")
        for _ in 0..<200 { _ = try session.call("PING") }
        let samples = read(text(engine))
        func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
            samples.first { $0.name == "kedis_" + name && $0.labels == labels }?.value
        }
        #expect(value("keys", ["database": "0"]) == 1)
        #expect(value("keys_with_deadline", ["database": "0"]) == 1)
        #expect(value("connected_clients") == 1)
        #expect(value("commands_processed_total") == 205)
        #expect(value("commands_failed_total", ["command": "lpush"]) == 1)
        #expect(value("commands_rejected_total", ["command": "get"]) == 1)
        #expect(value("errors_total", ["code": "WRONGTYPE"]) == 1)
        #expect(value("command_duration_seconds_count", ["command": "ping"]) == 200)
        #expect(value("stage_duration_seconds_count", ["stage": "execution"]) ?? 0 > 0)
    }

    @Test("Histograms never fall, and end with their count")
    func histograms() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        for _ in 0..<500 { _ = session.send(Array(String(repeating: "PING\r\n", count: 9).utf8)) }
        _ = try session.call("CONFIG", "SET", "latency-tracking", "no")
        _ = try session.call("DBSIZE")
        let samples = read(text(engine))
        for command in ["ping", "dbsize"] {
            let buckets = samples.filter { $0.name.hasSuffix("duration_seconds_bucket") }
                .filter { $0.labels["command"] == command }
            #expect(buckets.count == (command == "ping" ? 26 : 1))
            #expect(zip(buckets, buckets.dropFirst()).allSatisfy { $0.value <= $1.value })
            #expect(buckets.last?.labels["le"] == "+Inf")
            #expect(buckets.last?.value == (command == "ping" ? 4500 : 1))
        }
    }
}

@Suite("Throughput")
struct ThroughputTests {
    @Test("Rates are those of the last 1.6 seconds")
    func rates() {
        let throughput = Throughput()
        let statistics = EngineStatistics()
        #expect(throughput.perSecond == Throughput.Figures())
        // 1,000 commands in 10 ms, then 100: old figures go.
        for step in 0..<1000 {
            throughput.note(statistics, nowNanoseconds: UInt64(step) * 10_000_000)
            // Any line counts.
            statistics.traffic.line(step).pointee.noteCommands(step < 500 ? 1000 : 100)
            statistics.traffic.line(step / 7).pointee.noteInput(byteCount: 50)
        }
        #expect(throughput.perSecond == Throughput.Figures(commands: 10_000, inputByteCount: 5_000))
        statistics.reset()
        throughput.note(statistics, nowNanoseconds: 20_000_000_000)
        #expect(throughput.perSecond == Throughput.Figures())
    }
}
