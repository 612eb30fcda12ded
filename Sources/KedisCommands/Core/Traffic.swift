// What goes in and out of a server: each event loop counts on a cache line of its own, readers add the lines up.
//
// Owner: `EngineStatistics`. Threads: any; counters are atomics. Sessions without an event loop share a few lines, and
// so do more loops than there are lines. Cost: 4 KiB.

import Synchronization

/// The counters that one event loop writes: a cache line.
package struct TrafficLine: ~Copyable {
    fileprivate let commands = Atomic<UInt64>(0)
    fileprivate let inputByteCount = Atomic<UInt64>(0)
    fileprivate let outputByteCount = Atomic<UInt64>(0)
    /// Calls of the system that brought input, and that took output.
    fileprivate let reads = Atomic<UInt64>(0)
    fileprivate let writes = Atomic<UInt64>(0)
    private let padding: (UInt64, UInt64, UInt64) = (0, 0, 0)

    @inline(__always)
    package func noteInput(byteCount: Int) {
        reads.wrappingAdd(1, ordering: .relaxed)
        inputByteCount.wrappingAdd(UInt64(truncatingIfNeeded: byteCount), ordering: .relaxed)
    }

    @inline(__always)
    package func noteOutput(byteCount: Int) {
        writes.wrappingAdd(1, ordering: .relaxed)
        outputByteCount.wrappingAdd(UInt64(truncatingIfNeeded: byteCount), ordering: .relaxed)
    }

    @inline(__always)
    package func noteCommands(_ count: Int) {
        commands.wrappingAdd(UInt64(truncatingIfNeeded: count), ordering: .relaxed)
    }
}

/// Sums of all lines at one time.
package struct TrafficTotals: Equatable, Sendable {
    package var commands: UInt64 = 0
    package var inputByteCount: UInt64 = 0
    package var outputByteCount: UInt64 = 0
    package var reads: UInt64 = 0
    package var writes: UInt64 = 0
}

package final class Traffic: @unchecked Sendable {
    // Sendable: the memory holds atomics only, and lives as long as the object.

    private static let lineCount = 64
    private let lines: UnsafeMutablePointer<TrafficLine>
    /// Lines that anybody has asked for come before this one.
    private let usedCount = Atomic<Int>(0)

    init() {
        assert(MemoryLayout<TrafficLine>.stride == 64)
        lines = UnsafeMutableRawPointer.allocate(
            byteCount: Self.lineCount * MemoryLayout<TrafficLine>.stride, alignment: 64
        ).bindMemory(to: TrafficLine.self, capacity: Self.lineCount)
        for index in 0..<Self.lineCount { (lines + index).initialize(to: TrafficLine()) }
    }

    deinit {
        lines.deinitialize(count: Self.lineCount)
        UnsafeMutableRawPointer(lines).deallocate()
    }

    /// The line with that number; larger numbers start from 0 again. It lives as long as the engine.
    package func line(_ number: Int) -> UnsafePointer<TrafficLine> {
        let index = number & (Self.lineCount - 1)
        usedCount.max(index + 1, ordering: .relaxed)
        return UnsafePointer(lines + index)
    }

    package var totals: TrafficTotals {
        var result = TrafficTotals()
        for index in 0..<usedCount.load(ordering: .relaxed) {
            result.commands &+= lines[index].commands.load(ordering: .relaxed)
            result.inputByteCount &+= lines[index].inputByteCount.load(ordering: .relaxed)
            result.outputByteCount &+= lines[index].outputByteCount.load(ordering: .relaxed)
            result.reads &+= lines[index].reads.load(ordering: .relaxed)
            result.writes &+= lines[index].writes.load(ordering: .relaxed)
        }
        return result
    }

    func reset() {
        for index in 0..<Self.lineCount {
            lines[index].commands.store(0, ordering: .relaxed)
            lines[index].inputByteCount.store(0, ordering: .relaxed)
            lines[index].outputByteCount.store(0, ordering: .relaxed)
            lines[index].reads.store(0, ordering: .relaxed)
            lines[index].writes.store(0, ordering: .relaxed)
        }
    }
}
