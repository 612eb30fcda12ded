// LATENCY GRAPH: the samples of an event as columns of characters, with their ages written downwards below.
//
//      command - high 500 ms, low 100 ms (all time high 500 ms)
//      ────────────────────────────────────────────────────────
//           #        a row has three heights: _ o #, and | where the column goes on above
//          _|
//         _||
//      ___|||
//
//      4333222
//      sssssss
//
// The layout is Redis's, to the byte: four rows, 80 columns, further samples below.

import KedisUtilities

enum LatencyGraph {
    private static let columnCount = 80
    private static let rowCount = 4
    private static let heights: [UInt8] = Array("_o#".utf8)

    static func draw(_ series: LatencyMonitor.Series, nowSeconds: Int64) -> [UInt8] {
        let values = series.samples.map(\.milliseconds)
        let low = values.min() ?? 0
        let high = values.max() ?? 0
        var text = Array(
            """
            \(series.event.rawValue) - high \(high) ms, low \(low) ms (all time high \(series.longestMilliseconds) ms)

            """.utf8)
        text += Array(repeating: 0x2D, count: columnCount) + [0x0A]
        for start in stride(from: 0, to: series.samples.count, by: columnCount) {
            if start > 0 { text.append(0x0A) }
            let samples = series.samples[start..<min(start + columnCount, series.samples.count)]
            let steps = samples.map { step(of: $0.milliseconds, low: low, high: high) }
            text += rows(steps) + labels(samples.map { Array(age(of: $0, nowSeconds: nowSeconds).utf8) })
        }
        return text
    }

    /// How high a value stands, from 0 to one less than there are heights in all rows.
    private static func step(of value: Int64, low: Int64, high: Int64) -> Int {
        let stepCount = heights.count * rowCount
        let span = high > low ? Double(high) - Double(low) : 1
        return min(Int((Double(value) - Double(low)) * Double(stepCount) / span), stepCount - 1)
    }

    private static func rows(_ steps: [Int]) -> [UInt8] {
        (0..<rowCount).flatMap { row -> [UInt8] in
            let base = (rowCount - row - 1) * heights.count
            return steps.map { step in
                if step < base { return 0x20 }
                return step - base < heights.count ? heights[step - base] : 0x7C
            } + [0x0A]
        }
    }

    /// An empty line, then each label from top to bottom.
    private static func labels(_ labels: [[UInt8]]) -> [UInt8] {
        let height = labels.map(\.count).max() ?? 0
        var text = Array(repeating: UInt8(0x20), count: labels.count) + [0x0A]
        for row in 0..<height { text += labels.map { row < $0.count ? $0[row] : 0x20 } + [0x0A] }
        return text
    }

    private static func age(of sample: LatencyMonitor.Sample, nowSeconds: Int64) -> String {
        let seconds = max(0, nowSeconds - sample.seconds)
        if seconds < 60 { return "\(seconds)s" }
        if seconds < 3600 { return "\(seconds / 60)m" }
        return seconds < 86_400 ? "\(seconds / 3600)h" : "\(seconds / 86_400)d"
    }
}
