// What tells why it is slow, what is big and what is hot: slow log, latency monitor, stages, MONITOR, hot and big keys.
//
// Ownership: the engine's. Threads: any. What the data path asks before it does anything is one line of atomics
// (`ObservabilitySwitches`), which only CONFIG SET writes.

import KedisStore
import KedisUtilities
import Synchronization

/// What the data path looks at for each batch.
struct ObservabilitySwitches: ~Copyable {
    /// From this time on a command is something to note: the lower one of the slow log's and the latency monitor's.
    let slowNanoseconds = Atomic<UInt64>(.max)
    /// `latency-tracking`
    let tracksLatency = Atomic<Bool>(true)
    /// `latency-monitor-threshold` is set: batches note how long they wait for locks.
    let watchesLocks = Atomic<Bool>(false)
    /// One access to a key in so many is looked at, for hot and big keys; 0 for none.
    let keyInterval = Atomic<UInt32>(0)
    /// `bigkeys-top-k` is not 0.
    let seeksBigKeys = Atomic<Bool>(false)
    /// `latency-stages`
    let samplesStages = Atomic<Bool>(true)
    private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0)
}

package final class Observability: @unchecked Sendable {
    // Sendable: the memory of the switches holds atomics only, and lives as long as the object.

    package let slowLog = SlowLog()
    package let latency = LatencyMonitor()
    package let stages = StageStatistics()
    package let hotKeys = HotKeys()
    package let bigKeys = BigKeys()
    package let throughput = Throughput()
    let monitors: MonitorRegistry
    let switches: UnsafeMutablePointer<ObservabilitySwitches>

    init(_ interest: InterestWord) {
        monitors = MonitorRegistry(interest)
        switches = UnsafeMutableRawPointer.allocate(
            byteCount: MemoryLayout<ObservabilitySwitches>.stride, alignment: 64
        ).bindMemory(to: ObservabilitySwitches.self, capacity: 1)
        switches.initialize(to: ObservabilitySwitches())
    }

    deinit {
        switches.deinitialize(count: 1)
        UnsafeMutableRawPointer(switches).deallocate()
    }

    /// `latency-stages`
    package var samplesStages: Bool { switches.pointee.samplesStages.load(ordering: .relaxed) }

    /// Takes over what the directives say.
    func follow(_ configuration: Configuration) {
        let slowMicroseconds = configuration.integer("slowlog-log-slower-than")
        let slow = slowMicroseconds < 0 ? .max : Self.nanoseconds(slowMicroseconds, unit: 1000)
        slowLog.limit(nanosecondsMin: slow, countMax: configuration.integer("slowlog-max-len"))
        let thresholdMilliseconds = configuration.integer("latency-monitor-threshold")
        let threshold = thresholdMilliseconds <= 0 ? .max : Self.nanoseconds(thresholdMilliseconds, unit: 1_000_000)
        latency.nanosecondsMin.store(threshold, ordering: .relaxed)
        let slowest = min(slowLog.nanosecondsMin.load(ordering: .relaxed), threshold)
        switches.pointee.slowNanoseconds.store(slowest, ordering: .relaxed)
        switches.pointee.tracksLatency.store(configuration.boolean("latency-tracking"), ordering: .relaxed)
        switches.pointee.watchesLocks.store(threshold != .max, ordering: .relaxed)
        switches.pointee.samplesStages.store(configuration.boolean("latency-stages"), ordering: .relaxed)
        followKeys(configuration)
    }

    private func followKeys(_ configuration: Configuration) {
        let hotCount = configuration.integer("hotkeys-top-k")
        let bigCount = configuration.integer("bigkeys-top-k")
        let interval = 100 / max(1, configuration.integer("hotkeys-sampling-percentage"))
        hotKeys.limit(
            topCount: hotCount, interval: interval,
            windowMilliseconds: Int64(configuration.integer("hotkeys-window-seconds")) * 1000)
        bigKeys.limit(count: bigCount)
        let isOn = hotCount > 0 || bigCount > 0
        switches.pointee.keyInterval.store(isOn ? UInt32(clamping: interval) : 0, ordering: .relaxed)
        switches.pointee.seeksBigKeys.store(bigCount > 0, ordering: .relaxed)
    }

    private static func nanoseconds(_ count: Int, unit: UInt64) -> UInt64 {
        let (product, overflow) = UInt64(max(0, count)).multipliedReportingOverflow(by: unit)
        return overflow ? .max : product
    }

    /// CONFIG RESETSTAT
    package func resetStatistics() { stages.reset() }
}
