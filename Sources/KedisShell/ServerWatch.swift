// Watching a server: `--stat` prints a line of figures each second, `--latency` measures round trips. The output is
// that of redis-cli.
//
// They go on until the connection, the output or the process ends; `--latency` without a terminal ends after a second.
// One thread.

import KedisProtocol

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

package struct ServerWatch {
    private let client: WireClient
    private let output: Int32

    package init(_ client: WireClient, output: Int32 = 1) {
        self.client = client
        self.output = output
    }

    // MARK: --stat

    private static let header = """
        ------- data ------ --------------------- load -------------------- - child -
        keys       mem      clients blocked requests            connections          

        """

    /// Prints figures of INFO every `intervalSeconds`, a heading each 20 lines; `lineCountMax` ends it.
    package func printStatistics(intervalSeconds: Double, lineCountMax: Int? = nil) throws(WireError) {
        var previousCount: Int?
        var lineCount = 0
        while lineCount < lineCountMax ?? .max {
            let facts = try information()
            let count = facts["total_commands_processed"].flatMap { Int($0) }.map { max(0, $0) } ?? 0
            var text = lineCount % 20 == 0 ? Self.header : ""
            let newCount = previousCount.map { max(0, count - $0) } ?? 0
            text += statisticsLine(facts, requests: "\(count) (+\(newCount))") + "\n"
            guard writeBytes(Array(text.utf8), to: output) else { return }
            previousCount = count
            lineCount += 1
            pause(seconds: intervalSeconds)
        }
    }

    private func information() throws(WireError) -> [String: String] {
        switch try client.execute([Array("INFO".utf8)]) {
        case .bulk(let bytes), .verbatim(_, let bytes):
            var facts: [String: String] = [:]
            for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
                let parts = line.split(separator: ":", maxSplits: 1)
                if parts.count == 2 { facts[String(parts[0])] = String(parts[1]) }
            }
            return facts
        case .error(let text): throw WireError(message: String(decoding: text, as: UTF8.self))
        default: throw WireError(message: "the server's answer to INFO is not understood")
        }
    }

    private func statisticsLine(_ facts: [String: String], requests: String) -> String {
        let keyCount = facts.reduce(0) { sum, fact in
            guard fact.key.hasPrefix("db"), fact.value.hasPrefix("keys=") else { return sum }
            return saturatingSum(sum, max(0, Int(fact.value.dropFirst(5).prefix { $0 != "," }) ?? 0))
        }
        let columns = [
            (String(keyCount), 11), (byteText(facts["used_memory"].flatMap { Int($0) } ?? 0), 9),
            (facts["connected_clients"] ?? "0", 8), (facts["blocked_clients"] ?? "0", 8), (requests, 20),
            (facts["total_connections_received"] ?? "0", 12),
        ]
        let isSaving = facts["rdb_bgsave_in_progress"] == "1", isRewriting = facts["aof_rewrite_in_progress"] == "1"
        let child = isSaving && isRewriting ? "SAVE+AOF" : isSaving ? "SAVE" : isRewriting ? "AOF" : ""
        return columns.map { $0 + String(repeating: " ", count: max(0, $1 - $0.count)) }.joined() + child
    }

    /// `2.05M`, with two decimals from kibibytes on.
    private func byteText(_ byteCount: Int) -> String {
        guard byteCount >= 1024 else { return "\(byteCount)B" }
        var value = Double(byteCount) / 1024
        var units = ["K", "M", "G"][...]
        while value >= 1024, units.count > 1 {
            value /= 1024
            units.removeFirst()
        }
        return fixed(value) + (units.first ?? "")
    }

    // MARK: --latency

    package enum LatencyForm { case live, plain, csv }

    /// Round trips of PING in milliseconds, one each 10 ms.
    private struct Latencies {
        var least = Int64.max
        var most: Int64 = 0
        var sum: Int64 = 0
        var count: Int64 = 0

        mutating func add(_ milliseconds: Int64) {
            least = min(least, milliseconds)
            most = max(most, milliseconds)
            sum += milliseconds
            count += 1
        }

        var average: String { fixed(count > 0 ? Double(sum) / Double(count) : 0) }
    }

    /// Prints the latencies so far over and over in one line, or once when `seconds` are over.
    package func measureLatency(_ form: LatencyForm, seconds: Double) throws(WireError) {
        var latencies = Latencies()
        let begin = ContinuousClock.now
        while true {
            let start = ContinuousClock.now
            _ = try client.execute([Array("PING".utf8)])
            let duration = ContinuousClock.now - start
            latencies.add(duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000)
            if form == .live {
                let text =
                    "\u{1B}[0G\u{1B}[2Kmin: \(latencies.least), max: \(latencies.most), avg: \(latencies.average) "
                    + "(\(latencies.count) samples)"
                guard writeBytes(Array(text.utf8), to: output) else { return }
            } else if ContinuousClock.now - begin >= .seconds(seconds) {
                let words = ["\(latencies.least)", "\(latencies.most)", latencies.average, "\(latencies.count)"]
                _ = writeBytes(Array((words.joined(separator: form == .csv ? "," : " ") + "\n").utf8), to: output)
                return
            }
            pause(seconds: 0.01)
        }
    }
}
