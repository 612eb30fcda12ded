// How much happens in a second: INFO's `instantaneous_…`.
//
// The tickers note the counters about every 100 ms; what is told is the average of the last 16 rates, so that one busy
// moment does not stand for all. Threads: any; one lock. Source of the window: Redis's own, which tools compare.

import KedisStore
import Synchronization

package final class Rates: Sendable {
    /// What is counted, up to a moment or in a second.
    package struct Counts: Sendable, Equatable {
        package var commands: UInt64 = 0
        package var inputByteCount: UInt64 = 0
        package var outputByteCount: UInt64 = 0

        package init() {}
    }

    private struct State {
        var last = Counts()
        var lastNanoseconds: UInt64 = 0
        var samples: [Counts] = []
        var next = 0
    }

    private static let sampleCount = 16
    private static let intervalNanoseconds: UInt64 = 100_000_000

    private let state = Locked(State())

    /// Notes the counters as they are; nothing when it is not yet time.
    package func note(_ counts: @autoclosure () -> Counts, nowNanoseconds: UInt64) {
        state.withLock { state in
            let elapsed = nowNanoseconds &- state.lastNanoseconds
            guard state.lastNanoseconds == 0 || elapsed >= Self.intervalNanoseconds else { return }
            let now = counts()
            if state.lastNanoseconds > 0 {
                var rate = Counts()
                rate.commands = ratePerSecond(state.last.commands, now.commands, elapsed)
                rate.inputByteCount = ratePerSecond(state.last.inputByteCount, now.inputByteCount, elapsed)
                rate.outputByteCount = ratePerSecond(state.last.outputByteCount, now.outputByteCount, elapsed)
                if state.samples.count < Self.sampleCount {
                    state.samples.append(rate)
                } else {
                    state.samples[state.next] = rate
                }
                state.next = (state.next + 1) % Self.sampleCount
            }
            state.last = now
            state.lastNanoseconds = nowNanoseconds
        }
    }

    /// The average of the last rates.
    package var perSecond: Counts {
        let samples = state.withLock { $0.samples }
        guard !samples.isEmpty else { return Counts() }
        var sum = Counts()
        for sample in samples {
            sum.commands &+= sample.commands
            sum.inputByteCount &+= sample.inputByteCount
            sum.outputByteCount &+= sample.outputByteCount
        }
        let count = UInt64(Self.sampleCount)
        sum.commands /= count
        sum.inputByteCount /= count
        sum.outputByteCount /= count
        return sum
    }

    /// CONFIG RESETSTAT
    func reset() { state.withLock { $0 = State() } }
}

/// A counter that was set back counts from 0.
private func ratePerSecond(_ before: UInt64, _ now: UInt64, _ nanoseconds: UInt64) -> UInt64 {
    let difference = now >= before ? now - before : now
    return UInt64(Double(difference) * 1e9 / Double(nanoseconds))
}

extension Engine {
    /// Looks at the counters; the tickers call it.
    package func noteRates() {
        rates.note(counts, nowNanoseconds: clock.monotonicNanoseconds())
    }

    private var counts: Rates.Counts {
        var counts = Rates.Counts()
        counts.commands = statistics.commandsProcessed.load(ordering: .relaxed)
        counts.inputByteCount = statistics.inputByteCount.load(ordering: .relaxed)
        counts.outputByteCount = statistics.outputByteCount.load(ordering: .relaxed)
        return counts
    }
}
