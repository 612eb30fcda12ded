// How much is going on now: commands and bytes a second, as INFO's `instantaneous_…` fields, over the last 1.6 seconds.
//
// The tickers of server and library note the counters; ten notes a second are kept, the last 16. Without a ticker
// everything is 0. Threads: any; a lock.

import KedisStore
import Synchronization

package final class Throughput: Sendable {
    /// Totals at one time, then rates.
    struct Figures: Equatable {
        var commands: UInt64 = 0
        var inputByteCount: UInt64 = 0
        var outputByteCount: UInt64 = 0
    }

    private struct State {
        var times: [UInt64] = []
        var figures: [Figures] = []
    }

    private let state = Locked(State())
    private static let noteCount = 17
    private static let periodNanoseconds: UInt64 = 100_000_000

    /// Notes the counters, if the last note is old enough.
    package func note(_ statistics: EngineStatistics, nowNanoseconds: UInt64) {
        let totals = statistics.traffic.totals
        let figures = Figures(
            commands: totals.commands, inputByteCount: totals.inputByteCount, outputByteCount: totals.outputByteCount)
        state.withLock { state in
            if let last = state.times.last, nowNanoseconds < last &+ Self.periodNanoseconds { return }
            if state.times.count == Self.noteCount {
                state.times.removeFirst()
                state.figures.removeFirst()
            }
            state.times.append(nowNanoseconds)
            state.figures.append(figures)
        }
    }

    /// Per second, between the oldest note and the newest; 0 after the counters were set to 0.
    var perSecond: Figures {
        state.withLock { state in
            guard let first = state.figures.first, let last = state.figures.last,
                let start = state.times.first, let end = state.times.last, end > start
            else { return Figures() }
            let seconds = Double(end - start) / 1_000_000_000
            func rate(_ from: UInt64, _ to: UInt64) -> UInt64 { to > from ? UInt64(Double(to - from) / seconds) : 0 }
            return Figures(
                commands: rate(first.commands, last.commands),
                inputByteCount: rate(first.inputByteCount, last.inputByteCount),
                outputByteCount: rate(first.outputByteCount, last.outputByteCount))
        }
    }
}
