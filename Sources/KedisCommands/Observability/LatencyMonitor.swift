// The latency monitor: what held the server up for longer than `latency-monitor-threshold`, by kind of event.
//
// Ownership: the engine's. Threads: any; a lock, only taken for what was too slow and by those who ask. Bounds: 160
// samples an event, at most one a second (the longest of it), and the events are those named here. Cost: nothing for
// what is fast.

import KedisStore
import KedisUtilities
package import Synchronization

/// What can hold up the server. The names are Redis's where it has the event.
package enum LatencyEvent: String, CaseIterable, Sendable {
    /// A command took long; `fast-command` when it is one that should not.
    case command
    case fastCommand = "fast-command"
    /// Serving a client that had been waiting in a blocking command.
    case commandUnblocking = "command-unblocking"
    /// A slice of removing keys whose deadline has passed.
    case expireCycle = "expire-cycle"
    /// Making room before a command.
    case evictionCycle = "eviction-cycle"
    /// A slice of giving back and defragmenting memory.
    case activeDefragCycle = "active-defrag-cycle"
    /// A batch waited for stripes that another thread held. Not in Redis.
    case lockWait = "lock-wait"
    /// The event loop came late to what was due: it was busy, or had no processor. Not in Redis.
    case eventLoop = "event-loop"
}

package final class LatencyMonitor: Sendable {
    package struct Sample: Sendable {
        package var seconds: Int64
        package var milliseconds: Int64
    }

    /// What is known of one event.
    package struct Series: Sendable {
        package let event: LatencyEvent
        /// Oldest first.
        package fileprivate(set) var samples: [Sample] = []
        package fileprivate(set) var longestMilliseconds: Int64 = 0
        /// All that were noted, also those that share a second.
        package fileprivate(set) var count = 0
        package fileprivate(set) var sumMilliseconds: Int64 = 0

        package static let sampleCountMax = 160

        fileprivate mutating func add(_ sample: Sample) {
            longestMilliseconds = max(longestMilliseconds, sample.milliseconds)
            count += 1
            sumMilliseconds &+= sample.milliseconds
            if let last = samples.last, last.seconds == sample.seconds {
                samples[samples.count - 1].milliseconds = max(last.milliseconds, sample.milliseconds)
                return
            }
            if samples.count == Self.sampleCountMax { samples.removeFirst() }
            samples.append(sample)
        }
    }

    private let series = Locked<[LatencyEvent: Series]>([:])
    /// `latency-monitor-threshold`; `.max` for never.
    package let nanosecondsMin = Atomic<UInt64>(.max)

    package init() {}

    package var isOn: Bool { nanosecondsMin.load(ordering: .relaxed) != .max }

    /// Notes an event if it took long enough.
    @inline(__always)
    package func note(_ event: LatencyEvent, nanoseconds: UInt64, wallMilliseconds: @autoclosure () -> Int64) {
        guard nanoseconds >= nanosecondsMin.load(ordering: .relaxed) else { return }
        noteSlowly(event, nanoseconds, wallMilliseconds())
    }

    @inline(never)
    private func noteSlowly(_ event: LatencyEvent, _ nanoseconds: UInt64, _ wallMilliseconds: Int64) {
        let sample = Sample(seconds: wallMilliseconds / 1000, milliseconds: Int64(clamping: nanoseconds / 1_000_000))
        series.withLock { $0[event, default: Series(event: event)].add(sample) }
    }

    /// What is known of an event, if it has happened.
    package func series(of event: LatencyEvent) -> Series? { series.withLock { $0[event] } }

    /// The events that have happened, in the order of their names.
    package var all: [Series] {
        series.withLock { series in series.values.sorted { $0.event.rawValue < $1.event.rawValue } }
    }

    /// Forgets an event; false when there was nothing to forget.
    package func forget(_ event: LatencyEvent) -> Bool { series.withLock { $0.removeValue(forKey: event) != nil } }

    /// Forgets all events; returns how many there were.
    package func forgetAll() -> Int {
        series.withLock { series in
            let count = series.count
            series = [:]
            return count
        }
    }
}
