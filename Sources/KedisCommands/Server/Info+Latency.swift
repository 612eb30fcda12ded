// INFO latencystats and latencystages: how the durations of commands and of the stages of requests are spread.

import KedisStore
import KedisUtilities
import Synchronization

extension InfoCommand {
    static func writeLatencyStatistics(_ source: InfoSource, _ text: inout InfoText) {
        let configuration = source.engine.configuration
        guard configuration.boolean("latency-tracking") else { return }
        let percentiles = configuration.latencyPercentiles
        for entry in source.engine.table.entries {
            let durations = source.engine.commandStatistics.durations(entry.pointee.identifier)
            guard durations.count > 0 else { continue }
            text.add(
                "latency_percentiles_usec_\(entry.pointee.fullName.text)", list(durations, at: percentiles))
        }
    }

    /// For each stage how many commands were in the sample, and percentiles in microseconds.
    static func writeStages(_ source: InfoSource, _ text: inout InfoText) {
        let stages = source.engine.observability.stages
        text.add("latency_stages_enabled", source.engine.observability.samplesStages ? 1 : 0)
        let percentiles = source.engine.configuration.latencyPercentiles
        for stage in RequestStage.allCases {
            let durations = stages.durations(stage)
            guard durations.count > 0 else { continue }
            text.add(
                "latency_stage_\(stage.name)",
                (["samples=\(durations.count)"] + [list(durations, at: percentiles)]).filter { !$0.isEmpty }
                    .joined(separator: ",")
            )
        }
    }

    /// What HOTKEYS GET is based on, as in Valkey.
    static func writeHotKeys(_ source: InfoSource, _ text: inout InfoText) {
        let report = source.engine.observability.hotKeys.report(nowMilliseconds: source.nowMilliseconds)
        text.add("hotkeys_last_window_samples", report.sampleCount)
        text.add("hotkeys_last_window_duration_ms", report.durationMilliseconds)
    }

    /// `p50=1.003,p99=2.007`
    private static func list(
        _ durations: LatencyDistribution, at percentiles: [(text: String, value: Double)]
    ) -> String {
        percentiles.map { text, value in
            "p\(text)=\(formatFixed(Double(durations.nanoseconds(atPercentile: value)) / 1000, 3))"
        }.joined(separator: ",")
    }
}
