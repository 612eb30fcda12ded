// What INFO commandstats counts of each command: calls, time, refusals, failures.
//
// Owner: the engine. Threads: any; counters are atomics, added to once for each run of equal commands in a batch. Cost:
// 32 bytes a command.

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

package final class CommandStatistics: @unchecked Sendable {
    // Sendable: the memory holds atomics only, and lives as long as the object.

    private struct Counters: ~Copyable {
        let calls = Atomic<UInt64>(0)
        let nanoseconds = Atomic<UInt64>(0)
        let rejected = Atomic<UInt64>(0)
        let failed = Atomic<UInt64>(0)
    }

    private let counters: UnsafeMutablePointer<Counters>
    private let count: Int

    init(commandCount: Int) {
        count = commandCount
        counters = .allocate(capacity: max(1, commandCount))
        for index in 0..<commandCount { (counters + index).initialize(to: Counters()) }
    }

    deinit {
        counters.deinitialize(count: count)
        counters.deallocate()
    }

    /// The counts of the command with that identifier.
    package subscript(_ identifier: Int) -> CommandCounts {
        precondition(identifier >= 0 && identifier < count)
        return CommandCounts(
            calls: counters[identifier].calls.load(ordering: .relaxed),
            nanoseconds: counters[identifier].nanoseconds.load(ordering: .relaxed),
            rejected: counters[identifier].rejected.load(ordering: .relaxed),
            failed: counters[identifier].failed.load(ordering: .relaxed)
        )
    }

    func noteCalls(_ identifier: Int, count: Int, nanoseconds: UInt64) {
        counters[identifier].calls.wrappingAdd(UInt64(truncatingIfNeeded: count), ordering: .relaxed)
        counters[identifier].nanoseconds.wrappingAdd(nanoseconds, ordering: .relaxed)
    }

    func noteRejection(_ identifier: Int) { counters[identifier].rejected.wrappingAdd(1, ordering: .relaxed) }

    func noteFailure(_ identifier: Int) { counters[identifier].failed.wrappingAdd(1, ordering: .relaxed) }

    /// CONFIG RESETSTAT
    package func reset() {
        for index in 0..<count {
            counters[index].calls.store(0, ordering: .relaxed)
            counters[index].nanoseconds.store(0, ordering: .relaxed)
            counters[index].rejected.store(0, ordering: .relaxed)
            counters[index].failed.store(0, ordering: .relaxed)
        }
    }
}
