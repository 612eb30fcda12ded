// What is counted of each command: calls, time, refusals, failures, and how the times are spread.
//
//      CommandStatistics ─▶ shard of an event loop ─▶ a line for each command ─▶ its histogram, once it is needed
//
// Owner: the engine. Threads: any; counters are atomics. Those of a shard are written by one event loop (sessions
// without one share a few), so that no two threads fight for a cache line; readers add the shards up. Cost: 64 bytes a
// command in each shard that is used, and the pages of its histogram.

import KedisStore
import KedisUtilities
import Synchronization

/// The counts of one command at one time.
package struct CommandCounts: Sendable {
    package var calls: UInt64
    package var nanoseconds: UInt64
    /// Refused before they were executed: number of arguments, admission.
    package var rejected: UInt64
    /// Ended by an error.
    package var failed: UInt64

    package var isZero: Bool { calls == 0 && rejected == 0 && failed == 0 }
}

/// The counters of one command in one shard: a cache line.
private struct CommandLine: ~Copyable {
    let calls = Atomic<UInt64>(0)
    let nanoseconds = Atomic<UInt64>(0)
    let rejected = Atomic<UInt64>(0)
    let failed = Atomic<UInt64>(0)
    /// The address of its `HistogramCounters`, or 0.
    let histogram = Atomic<UInt>(0)
    private let padding: (UInt64, UInt64, UInt64) = (0, 0, 0)
}

/// The counters that one event loop, or some sessions without one, write. A handle; the statistics own the memory.
struct CommandShard: @unchecked Sendable {
    // Sendable: the memory holds atomics only.

    fileprivate let lines: UnsafeMutablePointer<CommandLine>

    fileprivate init(lines: UnsafeMutablePointer<CommandLine>) { self.lines = lines }

    /// Nil for 0.
    fileprivate init?(address: UInt) {
        guard let memory = UnsafeMutableRawPointer(bitPattern: address) else { return nil }
        lines = memory.assumingMemoryBound(to: CommandLine.self)
    }

    @inline(__always)
    func noteCalls(_ identifier: Int, count: Int, nanoseconds: UInt64) {
        lines[identifier].calls.wrappingAdd(UInt64(truncatingIfNeeded: count), ordering: .relaxed)
        lines[identifier].nanoseconds.wrappingAdd(nanoseconds, ordering: .relaxed)
    }

    /// Enters a duration, which stands for `weight` calls, into the command's histogram.
    @inline(__always)
    func noteDuration(_ identifier: Int, nanoseconds: UInt64, weight: UInt64) {
        let address = lines[identifier].histogram.load(ordering: .acquiring)
        guard let memory = UnsafeMutableRawPointer(bitPattern: address) else {
            return noteDurationSlowly(identifier, nanoseconds, weight)
        }
        HistogramCounters(address: memory).add(nanoseconds, weight: weight)
    }

    /// Makes the histogram. Without memory for it there is none.
    @inline(never)
    private func noteDurationSlowly(_ identifier: Int, _ nanoseconds: UInt64, _ weight: UInt64) {
        guard let made = HistogramCounters() else { return }
        let (exchanged, other) = lines[identifier].histogram.compareExchange(
            expected: 0, desired: UInt(bitPattern: made.address), ordering: .acquiringAndReleasing)
        var histogram = made
        if !exchanged, let winner = UnsafeMutableRawPointer(bitPattern: other) {
            made.release()
            histogram = HistogramCounters(address: winner)
        }
        histogram.add(nanoseconds, weight: weight)
    }

    func noteRejection(_ identifier: Int) { lines[identifier].rejected.wrappingAdd(1, ordering: .relaxed) }

    func noteFailure(_ identifier: Int) { lines[identifier].failed.wrappingAdd(1, ordering: .relaxed) }

    fileprivate func histogram(_ identifier: Int) -> HistogramCounters? {
        UnsafeMutableRawPointer(bitPattern: lines[identifier].histogram.load(ordering: .acquiring))
            .map { HistogramCounters(address: $0) }
    }
}

package final class CommandStatistics: @unchecked Sendable {
    // Sendable: the memory holds atomics only, and lives as long as the object.

    /// Shards of sessions without an event loop, and of more loops than these.
    package static let shardCountMax = 64
    private let count: Int
    /// The shards' addresses; 0 for those that nobody has asked for.
    private let shards: UnsafeMutablePointer<Atomic<UInt>>

    init(commandCount: Int) {
        count = commandCount
        shards = .allocate(capacity: Self.shardCountMax)
        for index in 0..<Self.shardCountMax { (shards + index).initialize(to: Atomic(0)) }
    }

    deinit {
        forEachShard { shard in
            for identifier in 0..<count { shard.histogram(identifier)?.release() }
            shard.lines.deinitialize(count: count)
            UnsafeMutableRawPointer(shard.lines).deallocate()
        }
        shards.deinitialize(count: Self.shardCountMax)
        shards.deallocate()
    }

    private func forEachShard(_ body: (CommandShard) -> Void) {
        for index in 0..<Self.shardCountMax {
            if let shard = CommandShard(address: shards[index].load(ordering: .acquiring)) { body(shard) }
        }
    }

    /// The shard with that number; larger numbers start from 0 again.
    func shard(_ number: Int) -> CommandShard {
        let index = number & (Self.shardCountMax - 1)
        if let shard = CommandShard(address: shards[index].load(ordering: .acquiring)) { return shard }
        let made = makeLines()
        let (exchanged, other) = shards[index].compareExchange(
            expected: 0, desired: UInt(bitPattern: made), ordering: .acquiringAndReleasing)
        guard !exchanged, let winner = CommandShard(address: other) else { return CommandShard(lines: made) }
        made.deinitialize(count: count)
        UnsafeMutableRawPointer(made).deallocate()
        return winner
    }

    private func makeLines() -> UnsafeMutablePointer<CommandLine> {
        assert(MemoryLayout<CommandLine>.stride == 64)
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: max(1, count) * MemoryLayout<CommandLine>.stride, alignment: 64
        ).bindMemory(to: CommandLine.self, capacity: max(1, count))
        for index in 0..<count { (memory + index).initialize(to: CommandLine()) }
        return memory
    }

    // MARK: Reading

    /// The counts of the command with that identifier.
    package subscript(_ identifier: Int) -> CommandCounts {
        precondition(identifier >= 0 && identifier < count)
        var sum = CommandCounts(calls: 0, nanoseconds: 0, rejected: 0, failed: 0)
        forEachShard { shard in
            let line = shard.lines + identifier
            sum.calls &+= line.pointee.calls.load(ordering: .relaxed)
            sum.nanoseconds &+= line.pointee.nanoseconds.load(ordering: .relaxed)
            sum.rejected &+= line.pointee.rejected.load(ordering: .relaxed)
            sum.failed &+= line.pointee.failed.load(ordering: .relaxed)
        }
        return sum
    }

    /// How the durations of that command's calls are spread; empty when none was noted.
    package func durations(_ identifier: Int) -> LatencyDistribution {
        precondition(identifier >= 0 && identifier < count)
        var result = LatencyDistribution()
        forEachShard { $0.histogram(identifier)?.add(to: &result) }
        return result
    }

    /// CONFIG RESETSTAT
    package func reset() {
        forEachShard { shard in
            for index in 0..<count {
                shard.lines[index].calls.store(0, ordering: .relaxed)
                shard.lines[index].nanoseconds.store(0, ordering: .relaxed)
                shard.lines[index].rejected.store(0, ordering: .relaxed)
                shard.lines[index].failed.store(0, ordering: .relaxed)
                shard.histogram(index)?.reset()
            }
        }
    }
}
