// Where the time of a request goes: four stages, sampled.
//
//      bytes are there ──▶ read, parse, requests before ──▶ wait for locks ──▶ execute ──▶ write ──▶ the peer
//                          waiting                          lock               execution   write
//
// A transport samples by time: now and then it has its sessions note a round of its event loop (KedisServer:
// LoopStages.swift). A session without one samples each 64th batch, which has no waiting and no write. A stage is
// entered once for each command that went through it, with the time of its batch or its read, because that is what the
// command's client waits for.
//
// Ownership: the engine's. Threads: any, atomics. Cost: nothing for what is not sampled but a test.

import KedisUtilities
import Synchronization

package enum RequestStage: Int, CaseIterable, Sendable {
    /// From the round of the event loop that found the bytes to the moment that the batch asks for its locks: other
    /// connections of the round, parsing, requests before in the pipeline.
    case waiting
    /// Until the locks of its stripes are held.
    case lock
    /// While they are held.
    case execution
    /// From the last command of a read to the moment that the system has taken all replies.
    case write

    package var name: String {
        switch self {
        case .waiting: "waiting"
        case .lock: "lock"
        case .execution: "execution"
        case .write: "write"
        }
    }
}

package final class StageStatistics: @unchecked Sendable {
    // Sendable: addresses of atomics, set once.

    private let histograms: [HistogramCounters?]
    /// The sums of what was entered, for metrics.
    private let nanoseconds: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        histograms = RequestStage.allCases.map { _ in HistogramCounters() }
        nanoseconds = .allocate(capacity: RequestStage.allCases.count)
        for index in RequestStage.allCases.indices { (nanoseconds + index).initialize(to: Atomic(0)) }
    }

    deinit {
        for histogram in histograms { histogram?.release() }
        nanoseconds.deinitialize(count: RequestStage.allCases.count)
        nanoseconds.deallocate()
    }

    /// Enters a time that `commandCount` commands went through.
    package func note(_ stage: RequestStage, nanoseconds time: UInt64, commandCount: Int) {
        let weight = UInt64(truncatingIfNeeded: commandCount)
        histograms[stage.rawValue]?.add(time, weight: weight)
        nanoseconds[stage.rawValue].wrappingAdd(time &* weight, ordering: .relaxed)
    }

    package func durations(_ stage: RequestStage) -> LatencyDistribution {
        var result = LatencyDistribution()
        histograms[stage.rawValue]?.add(to: &result)
        return result
    }

    package func sumNanoseconds(_ stage: RequestStage) -> UInt64 {
        nanoseconds[stage.rawValue].load(ordering: .relaxed)
    }

    /// CONFIG RESETSTAT
    package func reset() {
        for stage in RequestStage.allCases {
            histograms[stage.rawValue]?.reset()
            nanoseconds[stage.rawValue].store(0, ordering: .relaxed)
        }
    }
}

/// What a session knows of the sampling: whether this read is in the sample, and since when its bytes were there.
struct StageSample {
    /// Set by a transport that samples by itself.
    var isLedByTransport = false
    /// The tick at which the bytes of this read were there; 0 when the read is not in the sample.
    var startTicks: UInt64 = 0
    private var batchCount: UInt8 = 0

    private static let period: UInt8 = 64

    /// Whether the next batch is in the sample.
    @inline(__always)
    mutating func takesNext() -> Bool {
        if isLedByTransport { return startTicks != 0 }
        batchCount &+= 1
        return batchCount & (Self.period - 1) == 0
    }
}
